# SPDX-License-Identifier: Apache-2.0
"""minted-token-used: a request carries the credential id of a token whose mint was reported."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Final

import attrs

from k8stokendetect.detectors.base import MINTS, Traits
from k8stokendetect.detectors.following import (
    NO_MINT,
    Followed,
    Use,
    fold_without_id,
    keys_without_id,
    lifetime,
    used_finding,
)
from k8stokendetect.detectors.keyed import KeyedDetector, View
from k8stokendetect.detectors.states import ALLOWED_LATENESS
from k8stokendetect.events import Event, Signal
from k8stokendetect.findings import EventRef, Finding, Rule, Severity

TOKEN_ID: Final = "JTI="  # noqa: S105 - the kind of a credential id
MAX_EARLY: Final = 20
"""Maximum number of uses remembered of a token whose mint has not come yet."""


class MintedTokenUsed(KeyedDetector[Followed]):
    """Follows each token whose mint was reported, and the tokens minted with it.

    On a cluster that writes no credential ids (before 1.30) there remain the service account, time and origin.
    """

    rule = Rule(
        "minted-token-used",
        "Minted service account token used",
        Severity.HIGH,
        description=(
            "A request was made with a token that someone other than a system component minted. The finding says which "
            "mint, by whom, how long ago, from which other address, and what was done; for a token minted with another "
            "minted token, the whole chain. Critical: secrets, exec, RBAC, workloads or further mints, if the API "
            "server allowed them; but not what a deployment job does in the target's namespace from the address of the "
            "mint. High: from another address. Low: refused, or a client's discovery. Mint and use are joined by the "
            "credential id (KEP-4193, on by default from 1.30)."
        ),
        techniques=("T1552.007", "T1078.004", "T1550.001"),
        tactics=("lateral-movement", "privilege-escalation", "credential-access"),
        references=(
            "https://github.com/kubernetes/enhancements/tree/master/keps/sig-auth/4193-bound-service-account-token-improvements",
            "https://attack.mitre.org/techniques/T1550/001/",
        ),
        false_positives=("people who run `kubectl create token` to try something out, and use it themselves",),
        blind_spots=(
            "uses outside the cluster: in AWS, Azure, Google or Vault the token never reaches the API server again",
            "a token whose mint was excluded, stolen afterwards: see pod-token-moved",
            "a mint that the log does not hold, or whose lifetime it does not say and that is over a year old",
        ),
        response=(
            "End the token: delete the Pod, Secret or Node object it is bound to, or delete and recreate the service "
            "account. Undo what it did (the finding names it), then take the right to mint from the first minter of "
            "the chain."
        ),
    )
    watches = MINTS | {Signal.USE_OF_REPORTED}
    traits = Traits(excludable=False)  # what is followed was reported
    needs = frozenset({"token-request"})
    remember_for = timedelta(days=366)  # an extended token lives a year, and the log may not say

    def keys(self, event: Event, reported: Sequence[Finding], /) -> Iterable[str]:
        """Name the token that was used and the one that was minted, by id or, without ids, by service account."""
        used = event.used_credential
        named = [used] if used and used.startswith(TOKEN_ID) else []
        minted = event.minted_credential if event.mints_token and reported else None
        if minted and minted != used:
            named.append(minted)
        for finding in reported:  # some are about a mint that is only judged now
            earlier = finding.event.minted_credential
            if earlier and earlier not in {used, event.minted_credential} and finding.event.mints_token:
                named.append(earlier)
        return named if used and not reported else [*named, *keys_without_id(event, reported)]

    def fold(self, key: str, event: Event, reported: Sequence[Finding], memory: View[Followed], /) -> Iterator[Finding]:
        """Remember a mint, or report a use of one and pass the chain on to what it mints."""
        if not key.startswith(TOKEN_ID):
            yield from fold_without_id(self.rule, key, event, reported, memory)
        elif key not in {event.minted_credential, event.used_credential}:
            self._judged_late(key, reported, memory)
        elif key == event.minted_credential and key != event.used_credential:
            yield from self._minted(key, event, reported, memory)
        else:
            yield from self._used(key, event, reported, memory)

    def _used(self, key: str, event: Event, reported: Sequence[Finding], memory: View[Followed]) -> Iterator[Finding]:
        followed, use = memory.get(key) or NO_MINT, Use.of(event)
        if not followed.mints:  # its mint may still come: the clocks of API servers differ
            early = (*(other for other in followed.early if other.key != use.key), use)
            memory.put(key, attrs.evolve(followed, early=early[-MAX_EARLY:]), expires=use.until(ALLOWED_LATENESS))
            return
        memory.put(key, followed, expires=followed.until)
        yield used_finding(self.rule, followed.mints, use, depth=followed.depth, enable=followed.enable)
        minted = event.minted_credential if event.mints_token and reported else None
        if minted and minted != key:
            earlier = memory.get(minted) or NO_MINT
            chain = earlier if earlier.mints else followed
            memory.put(minted, attrs.evolve(earlier, mints=chain.mints, depth=chain.depth))

    def _judged_late(self, key: str, reported: Sequence[Finding], memory: View[Followed]) -> None:
        """Remember a mint that is reported because of a later one."""
        followed = memory.get(key) or NO_MINT
        mint = next(one.event for one in reported if one.event.minted_credential == key)
        if mint not in followed.mints:
            memory.put(key, followed.with_mint(mint, mint.expires), expires=mint.expires)

    def _minted(self, key: str, event: Event, reported: Sequence[Finding], memory: View[Followed]) -> Iterator[Finding]:
        followed, mint = memory.get(key) or NO_MINT, EventRef.of(event)
        if mint in followed.mints:
            memory.put(key, followed, expires=followed.until)
            return
        enable = ""
        for finding in () if followed.mints else reported:
            enable = enable or finding.enable
        chain = attrs.evolve(followed.with_mint(mint, lifetime(event)), enable=enable)
        memory.put(key, chain, expires=chain.until)
        for use in followed.early:
            yield used_finding(self.rule, chain.mints, use, depth=chain.depth, enable=chain.enable)
