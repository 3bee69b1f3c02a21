# SPDX-License-Identifier: Apache-2.0
"""What a detector looks like in Sigma, and the selections that several of them share."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Final, Literal

import attrs

from k8stokendetect.detectors import Detector
from k8stokendetect.events import TOKEN_SUBRESOURCE
from k8stokendetect.identity import CREDENTIAL_ID, ISSUED_CREDENTIAL_ID
from k8stokendetect.sigma.terms import CODE, EXTRA, Selection, Terms, guarded, there

_RESOURCE, _, _SUBRESOURCE = TOKEN_SUBRESOURCE.partition("/")
SUCCEEDED: Final[Terms] = {f"{CODE}|gte": 200, f"{CODE}|lt": 300}

CALL: Final[Terms] = {"objectRef.resource": _RESOURCE, "objectRef.subresource": _SUBRESOURCE}
CREATE: Final[Terms] = {"verb": "create", **CALL}
USED: Final = f"{EXTRA}.{CREDENTIAL_ID}"

MINT: Final[Mapping[str, Selection]] = {
    "selection_mint_answer": {**CREATE, **SUCCEEDED},
    "selection_mint_id": [
        *(there(f"annotations.{key}") for key in ISSUED_CREDENTIAL_ID),
        {**CREATE, **there(f"annotations.{CREDENTIAL_ID}")},
    ],
}
"""`Event.mints_token`: a 2xx answer, or an issued credential's id."""

MINTED: Final = "1 of selection_mint_*"
RECEIVED: Final[Mapping[str, Selection]] = {"received": guarded({"stage": "RequestReceived"})}
"""`Event.answered`: one request gives an event for each stage, and only this one comes before the answer."""


@attrs.frozen(kw_only=True)
class Form:
    """A detector in Sigma.

    Arguments:
        detector: whose rule it is.
        selections: by name.
        condition: over the selections.
        lookalikes: callers named like a component and without its proofs are flagged; else exclusions are filters.
        level: the audit level from which on it finds something.
        wider: why it flags more than the detector; empty where it flags the same but for filters not said.
        left_to: what it does not flag, and the rule whose Sigma form does.
        lost: what no Sigma form of ours flags.

    """

    detector: type[Detector]
    selections: Mapping[str, Selection]
    condition: str
    lookalikes: bool = False
    level: Literal["Metadata", "Request", "RequestResponse"] = "Metadata"
    wider: str = ""
    left_to: Mapping[str, str] = attrs.field(factory=dict)
    lost: str = ""


@attrs.frozen(kw_only=True)
class Part:
    """One of the two kinds of events that a correlation joins.

    Arguments:
        name: its last part.
        title: one line.
        selections: by name.
        condition: over the selections.
        excused_as: the detector whose filters it has; none without.
        key: the fields that the other part's must equal, one by one.

    """

    name: str
    title: str
    selections: Mapping[str, Selection]
    condition: str
    excused_as: type[Detector] | None = None
    key: tuple[str, ...]


@attrs.frozen(kw_only=True)
class Join:
    """What two kinds of events together say, as a Sigma correlation.

    Arguments:
        detector: whose rule it is.
        part: what it adds to the rule's id and to its title, where the rule has a form of its own, too.
        parts: what is joined.
        aliases: names for the fields to join on, where they differ between the parts.
        within: the length of time.
        wider: why it flags more than the detector.
        lost: what it does not flag.

    """

    detector: type[Detector]
    part: tuple[str, str] = ("", "")
    parts: tuple[Part, Part]
    aliases: tuple[str, ...] = ()
    within: timedelta
    wider: str = ""
    lost: str = ""

    @property
    def id(self) -> str:
        """The rule's id, with what is added."""
        return f"{self.detector.rule.id}{self.part[0]}"
