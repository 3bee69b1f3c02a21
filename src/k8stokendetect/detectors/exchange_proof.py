# SPDX-License-Identifier: Apache-2.0
"""How strongly an exchange in a cloud speaks for a reported mint: what is remembered of an account, and the proof."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import attrs

from k8stokendetect.clouds import Exchange
from k8stokendetect.detectors.cloud import SKEW
from k8stokendetect.detectors.exchanges import Networks, Origin, Usual, is_elsewhere
from k8stokendetect.detectors.token_request_cloud_audience import API_SERVER_AUDIENCES
from k8stokendetect.findings import EventRef, Severity

MAX_MINTS: Final = 10
MAX_EARLY: Final = 20
"""How many reported mints, and exchanges that no mint explains yet, are remembered of one account."""

MOST_ALIKE: Final = 3
"""How many exchanges that look like the pods' own are reported of one mint."""


@attrs.frozen
class Mint:
    """A reported mint.

    Arguments:
        ref: the request.
        until: when its token ends.
        enable: the optional exclusion of which the minter has every proof; empty for none.
        alike: the exchanges that were reported and look like the pods' own.
        since: when the first of the mints was made that this one stands for; None where it stands for itself.

    """

    ref: EventRef
    until: datetime
    enable: str = ""
    alike: tuple[str, ...] = ()
    since: datetime | None = None

    @property
    def start(self) -> datetime:
        """From when on exchanges may be of this mint."""
        return self.since or self.ref.time or BEGINNING

    def with_forgotten(self, other: Mint) -> Mint:
        """Return the one of the two that ends last, which stands for both from now on."""
        last = max(self, other, key=lambda mint: mint.until)
        enable = last.enable if self.enable and other.enable else ""
        return attrs.evolve(last, since=min(self.start, other.start), enable=enable)


@attrs.frozen
class Early:
    """An exchange that no mint explains, yet; its address may say nothing, see `is_no_sign`."""

    ref: EventRef
    exchange: Exchange
    origin: Origin
    is_shared: bool = False


@attrs.frozen
class Account:
    """What is remembered of an account.

    Arguments:
        mints: those that were reported.
        lost: stands for those for which there was no room.
        early: exchanges that no mint explains, yet.
        usual: where its tokens are exchanged.
        pods: when a token was minted for one of its pods, or for a component by design.
        networks: not of an account, but of an issuer or an account of the cloud.

    """

    mints: tuple[Mint, ...] = ()
    early: tuple[Early, ...] = ()
    usual: Usual = attrs.field(factory=Usual)
    pods: datetime | None = None
    networks: Networks = attrs.field(factory=dict)
    lost: Mint | None = None

    def with_mint(self, mint: Mint) -> Account:
        """Return it with a mint; where there are too many, one stands for all of its kind, and who ends first goes."""
        mints = [*self.mints, mint]
        if len(mints) > MAX_MINTS:
            kinds: dict[object, Mint] = {}
            for one in mints:
                kind = one.ref.user, one.ref.audiences, one.ref.bound_to, one.ref.cluster, _is_logged(one.ref)
                kinds[kind] = kinds[kind].with_forgotten(one) if kind in kinds else one
            mints = list(kinds.values())
        if len(mints) <= MAX_MINTS:
            return attrs.evolve(self, mints=tuple(mints))
        first = min(mints, key=lambda mint: mint.until)
        mints.remove(first)
        is_over = self.lost is None or self.lost.until < first.start
        lost = first if self.lost is None or is_over else self.lost.with_forgotten(first)
        return attrs.evolve(self, mints=tuple(mints), lost=lost)

    def with_early(self, early: Early) -> Account:
        """Return it with an exchange; where there are too many, one that was refused goes first."""
        kept = [*self.early, early]
        if len(kept) > MAX_EARLY:
            kept.remove(next((one for one in kept if not one.ref.succeeded), kept[0]))
        return attrs.evolve(self, early=tuple(kept))


@attrs.frozen
class Joined:
    """An exchange that a mint explains: how urgent that is, by which proof, and what is not known."""

    mint: Mint
    call: Early
    severity: Severity
    proof: str
    caveats: tuple[str, ...]


BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)

NO_ID: Final = "the cloud logs no id of the token: service account and time join the two"
NO_AUDIENCE: Final = "the audience of the minted token was not logged, as at level Metadata"
LIKE_OWN: Final = "it looks like the exchanges of the account's own pods"
MORE_MINTS: Final = "there were more such mints than are remembered, so it is not known which one it is"
ALIKE: Final = "a pod of this account may have made it: nothing distinguishes the two"


def same_pod(mint: Mint, exchange: Exchange, /) -> bool:
    """Tell whether a minted token is bound to the pod whose token was exchanged."""
    bound = mint.ref.bound_to
    return bound is not None and bound.kind == "Pod" and bound.uid != "" and bound.uid == exchange.pod_uid


def explains(mint: Mint, call: EventRef, exchange: Exchange) -> bool:
    """Tell whether a token that was minted can be the one that was exchanged."""
    ref, bound = mint.ref, mint.ref.bound_to
    if ref.time is None or not _is_while(mint, call):
        return False
    if bound is not None and bound.kind == "Pod" and exchange.pod_uid and bound.uid not in {"", exchange.pod_uid}:
        return False
    return (same_pod(mint, exchange) or not is_elsewhere(ref, exchange)) and _fits(ref, exchange)


def lost_to(known: Account, call: EventRef, exchange: Exchange, /) -> Mint | None:
    """Return what stands for the mints that are not remembered, if one of those can explain an exchange."""
    lost = known.lost
    return lost if lost is not None and _is_while(lost, call) and not is_elsewhere(lost.ref, exchange) else None


def _is_while(mint: Mint, call: EventRef) -> bool:
    return call.time is not None and mint.start - SKEW <= call.time <= mint.until


def _fits(mint: EventRef, exchange: Exchange) -> bool:
    """Compare audiences, where both logs have them; Google's and Azure's do not say which one the token had."""
    wanted = "pods.eks.amazonaws.com" if exchange.kind == "pod identity" else exchange.audience.strip()
    if exchange.kind not in {"web identity", "pod identity"} or not wanted or not _is_logged(mint):
        return True
    own = wanted in API_SERVER_AUDIENCES or wanted.removeprefix("https://").rstrip("/") == exchange.issuer
    return wanted in mint.audiences or mint.more_audiences > 0 or (own and not mint.audiences)


def _is_logged(mint: EventRef) -> bool:
    return bool(mint.audiences) or mint.expiration_seconds is not None


def joined(known: Account, mint: Mint, call: Early) -> tuple[Account, Joined | None]:
    """Say how strong the proof is; the account counts what looks like its pods' own."""
    severity, proof = _proof(known, mint, call)
    is_lost = mint is known.lost
    if is_lost:
        severity = min(severity, Severity.HIGH)
    if proof == LIKE_OWN:
        alike = tuple(dict.fromkeys((*mint.alike, call.ref.request_id)))
        if len(alike) > MOST_ALIKE or (call.ref.time or BEGINNING) < mint.start:
            return known, None
        mint = attrs.evolve(mint, alike=alike)
        mints = tuple(mint if one.ref == mint.ref else one for one in known.mints)
        known = attrs.evolve(known, mints=mints, lost=mint if is_lost else known.lost)
    caveats = (
        *((NO_ID,) if not call.exchange.pod_uid else ()),
        *((NO_AUDIENCE,) if not _is_logged(mint.ref) else ()),
        *((MORE_MINTS,) if is_lost else ()),
        *((ALIKE,) if proof == LIKE_OWN else ()),
    )
    if mint.enable:
        severity = min(severity, Severity.MEDIUM)
    return known, Joined(mint, call, severity, proof, caveats)


def _proof(known: Account, mint: Mint, call: Early) -> tuple[Severity, str]:
    """Weigh what speaks for the minted token, the strongest first."""
    start, then = mint.start, call.ref.time or BEGINNING
    before = min(start, then)  # an exchange that was read before its mint was learned from
    new = [kind for kind in known.usual.new(call.origin, before) if not (kind == "address" and call.is_shared)]
    if not call.ref.succeeded:
        return Severity.LOW, "the minted token may be the one"
    if same_pod(mint, call.exchange) and not mint.alike:
        return Severity.CRITICAL, "it is a token of the pod that the minted one is bound to"
    if new:
        severity = Severity.HIGH if new == ["address"] and not _is_logged(mint.ref) else Severity.CRITICAL
        return severity, f"no pod of this account has used that {' or '.join(new)}"
    if known.pods is None or then - known.pods > timedelta(hours=25):
        return Severity.CRITICAL, "this log shows no pod of the account in the day before"
    if not known.usual.is_known(before):
        return Severity.HIGH, "where pods of this account exchange tokens is not known"
    return (Severity.LOW if _is_logged(mint.ref) else Severity.INFORMATIONAL), LIKE_OWN
