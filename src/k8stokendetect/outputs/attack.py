# SPDX-License-Identifier: Apache-2.0
"""The names that MITRE ATT&CK gives to the techniques and tactics of rules, as a SIEM shows them.

Source: attack.mitre.org, Enterprise matrix. A technique that is not in the table goes by its id alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import attrs

TECHNIQUES: Final = {
    "T1078": "Valid Accounts",
    "T1078.004": "Cloud Accounts",
    "T1098": "Account Manipulation",
    "T1098.006": "Additional Container Cluster Roles",
    "T1528": "Steal Application Access Token",
    "T1550": "Use Alternate Authentication Material",
    "T1550.001": "Application Access Token",
    "T1552": "Unsecured Credentials",
    "T1552.001": "Credentials In Files",
    "T1552.004": "Private Keys",
    "T1552.007": "Container API",
    "T1606": "Forge Web Credentials",
}

TACTICS: Final = {
    "reconnaissance": "TA0043",
    "resource-development": "TA0042",
    "initial-access": "TA0001",
    "execution": "TA0002",
    "persistence": "TA0003",
    "privilege-escalation": "TA0004",
    "defense-evasion": "TA0005",
    "credential-access": "TA0006",
    "discovery": "TA0007",
    "lateral-movement": "TA0008",
    "collection": "TA0009",
    "command-and-control": "TA0011",
    "exfiltration": "TA0010",
    "impact": "TA0040",
}


@attrs.frozen
class Named:
    """A technique, a part of one, or a tactic.

    Arguments:
        id: such as `T1552.007` or `TA0006`; empty where it is not known.
        name: as ATT&CK writes it; empty where it is not known.
        reference: its page; empty without an id.

    """

    id: str
    name: str
    reference: str


def technique(id_: str, /) -> Named:
    """Return a technique, or a part of one, by its id."""
    return Named(id_, TECHNIQUES.get(id_, ""), f"https://attack.mitre.org/techniques/{id_.replace('.', '/')}/")


def techniques(ids: Iterable[str], /) -> list[Named]:
    """Return the techniques of some ids, each once; of a part the whole."""
    return [technique(id_) for id_ in dict.fromkeys(id_.partition(".")[0] for id_ in ids)]


def subtechniques(ids: Iterable[str], /) -> list[Named]:
    """Return the parts of techniques among some ids."""
    return [technique(id_) for id_ in dict.fromkeys(ids) if "." in id_]


def tactics(names: Iterable[str], /) -> list[Named]:
    """Return the tactics that rules name as `credential-access`."""
    return [_tactic(name) for name in dict.fromkeys(names) if name.strip()]


def _tactic(name: str) -> Named:
    id_ = TACTICS.get(name, "")
    words = [word if word == "and" else word.capitalize() for word in name.split("-")]
    return Named(id_, " ".join(words), f"https://attack.mitre.org/tactics/{id_}/" if id_ else "")
