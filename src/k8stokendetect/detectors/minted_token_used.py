# SPDX-License-Identifier: Apache-2.0
"""minted-token-used: a request carries the credential id of a token whose mint was reported."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Final

import attrs

from k8stokendetect.detectors import without_ids
from k8stokendetect.detectors.following import NO_MINT, Followed, Use, lifetime, used_finding
from k8stokendetect.detectors.keyed import LATENESS, KeyedDetector, Step
from k8stokendetect.events import TOKEN_SUBRESOURCE, Event
from k8stokendetect.findings import EventRef, Finding, Rule, Severity

TOKEN_ID: Final = "JTI="  # noqa: S105 - the kind of a credential id


class MintedTokenUsed(KeyedDetector[Followed]):
    """Follows each token whose mint was reported, and the tokens minted with it.

    On a cluster that writes no credential ids (before 1.30) there remain the service account, time and origin.
    """

    rule = Rule(
        "minted-token-used",
        "Minted service account token used",
        Severity.HIGH,
        description=(
            "A request was made with a token that somebody who is no system component minted. It says which mint, by "
            "whom, how long ago, from which other address or client, and what was done; for a token minted with "
            "another minted token, the whole chain. Critical: secrets, exec, RBAC, workloads, further mints, or an "
            "origin other than the mint's. Source of the join: KEP-4193, credential ids, on by default from 1.30."
        ),
        techniques=("T1552.007", "T1078.004", "T1550.001"),
        tactics=("lateral-movement", "privilege-escalation", "credential-access"),
        references=(
            "https://github.com/kubernetes/enhancements/tree/master/keps/sig-auth/4193-bound-service-account-token-improvements",
            "https://attack.mitre.org/techniques/T1550/001/",
        ),
        false_positives=("people who run `kubectl create token` to try something out, and use it themselves",),
        blind_spots=(
            "uses outside the cluster: in AWS, Azure, Google or Vault the token never meets the API server again",
            "a token whose mint an exclusion set aside, stolen afterwards: see pod-token-moved",
            "a mint that the log does not hold, or that is older than seven days where no use came between",
        ),
        response=(
            "End the token: delete the Pod, Secret or Node object it is bound to, or delete and recreate the service "
            "account. Undo what it did (the finding names it), then take the right to mint from the first of the chain."
        ),
    )
    watches = frozenset({TOKEN_SUBRESOURCE})
    follows_credentials = True
    only_followed = True
    needs = frozenset({"token-request"})
    excludable = False  # what is followed was reported
    remember_for = timedelta(days=7)

    def keys(self, event: Event, reported: Sequence[Finding], /) -> Iterator[str]:
        """Name the token that was used and the one that was minted, by id or, without ids, by service account."""
        used = event.used_credential
        if used and used.startswith(TOKEN_ID):
            yield used
        minted = event.minted_credential if event.mints_token and reported else None
        if minted and minted != used:
            yield minted
        yield from without_ids.keys(event, reported)

    def step(self, key: str, event: Event, reported: Sequence[Finding], state: Followed | None, /) -> Step[Followed]:
        """Remember a mint, or report a use of one and hand the chain on to what it mints."""
        if not key.startswith(TOKEN_ID):
            return without_ids.step(self.rule, key, event, reported, state)
        followed = state or NO_MINT
        if key == event.minted_credential and key != event.used_credential:
            return self._minted(event, followed)
        use = Use.of(event)
        if not followed.mints:  # its mint may still come: API servers write a file each
            early = (*(other for other in followed.early if other.key != use.key), use)
            return Step(attrs.evolve(followed, early=early[-20:]), expires=use.until(LATENESS))
        handed = {}
        minted = event.minted_credential if event.mints_token and reported else None
        if minted:
            handed[minted] = Followed(mints=followed.mints)
        return Step(followed, (used_finding(self.rule, followed.mints, use),), followed.until, handed)

    def merge(self, mine: Followed | None, handed: Followed, /) -> Followed:
        """Begin the chain with what was handed on, and keep the uses that came before their mint."""
        return handed if mine is None else attrs.evolve(mine, mints=mine.mints or handed.mints)

    def _minted(self, event: Event, followed: Followed) -> Step[Followed]:
        mint = EventRef.of(event)
        if mint in followed.mints:
            return Step(followed, expires=followed.until)
        mints = (*followed.mints, mint)
        findings = tuple(used_finding(self.rule, mints, use) for use in followed.early)
        until = lifetime(event)
        return Step(Followed(mints=mints, until=until), findings, until)
