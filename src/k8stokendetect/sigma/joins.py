# SPDX-License-Identifier: Apache-2.0
"""What only two kinds of events together say, as Sigma correlations: data, held to the detectors by the tests."""

from __future__ import annotations

from typing import Final

from k8stokendetect.detectors import LegacyTokenSecret, MintedTokenUsed, TokenRequest
from k8stokendetect.detectors.legacy_token_secret import FILLED_WITHIN
from k8stokendetect.detectors.minted_token_used import TOKEN_ID
from k8stokendetect.exclusions import find_exclusion
from k8stokendetect.identity import ISSUED_CREDENTIAL_ID
from k8stokendetect.sigma.form import MINT, MINTED, RECEIVED, SUCCEEDED, USED, Join, Part
from k8stokendetect.sigma.terms import USERNAME, first_begins, missing

_SECRET: Final = ("objectRef.namespace", "objectRef.name")

JOINS: Final[tuple[Join, ...]] = (
    Join(
        detector=MintedTokenUsed,
        parts=(
            Part(
                name="mint",
                title="Token minted, to be joined with its uses",
                selections=MINT,
                condition=MINTED,
                excused_as=TokenRequest,
                key=(f"annotations.{ISSUED_CREDENTIAL_ID[0]}",),
            ),
            Part(
                name="use",
                title="Request made with a token that has an id",
                selections={"selection": first_begins(USED, TOKEN_ID), **RECEIVED},
                condition="selection and not received",
                key=(USED,),
            ),
        ),
        aliases=("credential",),
        within=MintedTokenUsed.remember_for,
        lost="clusters that write no credential ids (before 1.30)",
    ),
    Join(
        detector=LegacyTokenSecret,
        part=(".filled", ", told by the token controller's update"),
        parts=(
            Part(
                name="made",
                title="Secret made whose type was not logged",
                selections={
                    "selection": {
                        "objectRef.resource": "secrets",
                        "verb": "create",
                        **SUCCEEDED,
                        **missing("requestObject.type"),
                    }
                },
                condition="selection",
                key=_SECRET,
            ),
            Part(
                name="written",
                title="Secret written by the controller manager",
                selections={
                    "selection": {
                        "objectRef.resource": "secrets",
                        "verb": "update",
                        **SUCCEEDED,
                        USERNAME: find_exclusion("kube-controller-manager").component.actor.username[0],
                    }
                },
                condition="selection",
                key=_SECRET,
            ),
        ),
        within=FILLED_WITHIN,
        wider="the controller manager is told by its name alone",
    ),
)
