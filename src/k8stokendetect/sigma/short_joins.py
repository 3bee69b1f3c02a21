# SPDX-License-Identifier: Apache-2.0
"""The short form of the correlations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from k8stokendetect.detectors.minted_token_used import TOKEN_ID
from k8stokendetect.sigma.short import ANSWERED, MINTED, NOT_RECEIVED
from k8stokendetect.sigma.terms import CODE, USED, USERNAME, Join, Selection

_PARTS: Final[Mapping[str, tuple[Mapping[str, Selection], str]]] = {
    "mint": (MINTED, "selection"),
    "use": ({"selection": {f"{USED}|startswith": [TOKEN_ID, f'["{TOKEN_ID}']}, **NOT_RECEIVED}, ANSWERED),
    "made": ({"selection": {"objectRef.resource": "secrets", "verb": "create", CODE: 201}}, "selection"),
    "written": (
        {
            "selection": {
                "objectRef.resource": "secrets",
                "verb": "update",
                CODE: 200,
                USERNAME: "system:kube-controller-manager",
            }
        },
        "selection",
    ),
}
"""By the name of a correlation's part: its selections and condition."""


_ALSO_LOGGED: Final = "; a Secret whose type was logged is joined as well, although legacy-token-secret flags it itself"


def short_join(join: Join, /) -> Join:
    """Return the short form of a correlation."""
    parts = [attrs.evolve(part, selections=_PARTS[part.name][0], condition=_PARTS[part.name][1]) for part in join.parts]
    more = _ALSO_LOGGED if any(part.name == "made" for part in parts) else ""
    return attrs.evolve(join, parts=(parts[0], parts[1]), wider=f"{join.wider}{more}")
