# SPDX-License-Identifier: Apache-2.0
"""The requests behind some findings: with which token each was made, and the story in one sentence."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final, TypeAlias

import attrs

from k8stokendetect.detectors.wording import brief
from k8stokendetect.events import TOKEN_SUBRESOURCE
from k8stokendetect.findings import EventRef, Finding, Severity
from k8stokendetect.identity import ServiceAccount

BEGINNING: Final = datetime.min.replace(tzinfo=UTC)
"""Stands for a time that was not logged."""

_TARGET: Final = re.compile(r"([a-z0-9][-a-z0-9]*)/([a-z0-9][-a-z0-9.]*)")
"""How an EventRef names a service account; any other target begins with its resource and a space."""

RequestKey: TypeAlias = tuple[Hashable, ...]


@attrs.define
class Act:
    """One request of an incident.

    Attributes:
        ref: the request.
        parent: the request that minted the token it was made with; None when that is not in the incident.
        rules: which rules reported it; none for a mint that is only known from a later finding.
        severity: the worst of what they said.

    """

    ref: EventRef
    parent: RequestKey | None = None
    rules: tuple[str, ...] = ()
    severity: Severity = Severity.INFORMATIONAL


def asked_for(ref: EventRef, /) -> ServiceAccount | None:
    """Return whose token a request asked for; None for any other request."""
    match = _TARGET.fullmatch(ref.target or "") if ref.verb == "create" or ref.minted_credential else None
    return ServiceAccount(match[1], match[2]) if match else None


def succeeded(ref: EventRef, /) -> bool:
    """Tell whether the answer was 2xx."""
    return ref.code is not None and 200 <= ref.code < 300  # noqa: PLR2004 - HTTP 2xx


def issued(ref: EventRef, /) -> bool:
    """Tell whether a token was really issued."""
    return ref.minted_credential is not None or (asked_for(ref) is not None and succeeded(ref))


def caller(ref: EventRef, /) -> str:
    """Name who called; without a user, from where."""
    peer = f" at {ref.source_ips[-1]}" if ref.source_ips else ""
    return brief(ref.user) if ref.user else f"an unauthenticated client{peer}"


def moment(ref: EventRef, /) -> datetime | None:
    """Return the time in UTC; None where none was logged."""
    return ref.time.replace(tzinfo=UTC) if ref.time and ref.time.tzinfo is None else ref.time


def request_key(ref: EventRef, /) -> RequestKey:
    """Identify a request by what a client cannot choose, beside the auditID, which it can."""
    return (ref.audit_id or ref.origin, moment(ref), ref.user, ref.target, ref.minted_credential)


def acts(findings: Iterable[Finding], /) -> dict[RequestKey, Act]:
    """Return every request of some findings once, in the order of time, each with the mint it depends on."""
    found: dict[RequestKey, Act] = {}
    for finding in findings:
        for ref in (*finding.related, finding.event):
            found.setdefault(request_key(ref), Act(ref))
        act = found[request_key(finding.event)]
        act.rules = tuple(dict.fromkeys((*act.rules, finding.rule.id)))
        act.severity = max(act.severity, finding.severity)
        for mint, ref in pairwise((*finding.related, finding.event)):
            if is_token_of(mint, ref):
                found[request_key(ref)].parent = request_key(mint)
    mints = {act.ref.minted_credential: key for key, act in found.items() if act.ref.minted_credential}
    for key, act in found.items():
        mint_key = mints.get(act.ref.used_credential or "")
        if mint_key is not None and mint_key != key:
            act.parent = mint_key
    in_order = dict(sorted(found.items(), key=lambda item: moment(item[1].ref) or BEGINNING))
    _cut_circles(in_order)
    return in_order


def _cut_circles(requests: Mapping[RequestKey, Act]) -> None:
    """Make a forest of it: no token can be minted with itself, but a damaged log may say so."""
    settled: set[RequestKey] = set()
    for start in requests:
        path: set[RequestKey] = set()
        key: RequestKey | None = start
        while key is not None and key not in settled:
            path.add(key)
            act = requests[key]
            if act.parent in path:
                act.parent = None
            key = act.parent
        settled |= path


def is_token_of(mint: EventRef, use: EventRef) -> bool:
    """Tell whether a use with a reported mint can be that token's; ids decide where both were logged."""
    if mint.minted_credential and use.used_credential:
        return mint.minted_credential == use.used_credential
    target = asked_for(mint)
    return target is not None and issued(mint) and target == ServiceAccount.of_username(use.user)


def depths(requests: Mapping[RequestKey, Act], /) -> dict[RequestKey, int]:
    """Count for every request the tokens that were minted one with another up to it, its own included."""
    known: dict[RequestKey, int] = {}
    for start in requests:
        path: list[RequestKey] = []
        key: RequestKey | None = start
        while key is not None and key not in known:
            path.append(key)
            key = requests[key].parent
        depth = 0 if key is None else known[key]
        for step in reversed(path):
            depth += issued(requests[step].ref)
            known[step] = depth
    return known


def title(requests: Mapping[RequestKey, Act], findings: Sequence[Finding], /) -> str:
    """Say in one sentence who did what to whom, and how it ended."""
    roots = [act.ref for act in requests.values() if act.parent is None]
    others = len({caller(ref) for ref in roots} - {caller(roots[0])}) if roots else 0
    who = caller((roots or [findings[0].event])[0]) + (
        f" and {others} other{'s' if others > 1 else ''}" if others else ""
    )
    mints = [act.ref for act in requests.values() if issued(act.ref)]
    refused = [act.ref for act in requests.values() if asked_for(act.ref) and not issued(act.ref)]
    if mints:
        depth = max(depths(requests).values())
        number = "a token" if len(mints) == 1 else f"{len(mints)} tokens"
        chain = f", {depth} of them one with another" if depth > 1 else ""
        return f"{who} minted {number} for {_targets(mints)}{chain}; {_end(requests)}"
    if refused:
        times = f" {len(refused)} times" if len(refused) > 1 else ""
        known = all(ref.code is not None for ref in refused)
        outcome = "none was issued" if known else "whether one was issued is not known"
        return f"{who} asked{times} for a token of {_targets(refused)}; {outcome}"
    return max(findings, key=lambda finding: finding.severity).summary


def _targets(refs: Iterable[EventRef]) -> str:
    names = list(dict.fromkeys(brief(ref.target or "") or "an unnamed service account" for ref in refs))
    if len(names) > 3:  # noqa: PLR2004
        names[2:] = [f"{len(names) - 2} more"]
    return " and ".join(", ".join(names).rsplit(", ", 1))


def _end(requests: Mapping[RequestKey, Act]) -> str:
    """Say what the tokens were used for at worst: what worked, was urgent, came from deep in the chain, came late."""
    depth = depths(requests)
    uses = {key: act for key, act in requests.items() if act.parent is not None and not issued(act.ref)}
    if not uses:
        return (
            "no use was reported"
            if all(act.parent is None for act in requests.values())
            else "they were used to mint one another"
        )
    order = {key: place for place, key in enumerate(uses)}
    worst = max(uses, key=lambda key: (succeeded(uses[key].ref), uses[key].severity, depth[key], order[key]))
    ref = uses[worst].ref
    refused = "" if succeeded(ref) or ref.code is None else f", refused with {ref.code}"
    return f"it ended with {act_name(ref)} as {caller(ref)}{refused}"


def act_name(ref: EventRef, /) -> str:
    """Name what a request did: `list secrets prod`."""
    target = f"{TOKEN_SUBRESOURCE} {ref.target}" if _TARGET.fullmatch(ref.target or "") else ref.target
    return f"{brief(ref.verb) or 'an unknown verb'} {brief(target or '') or 'of a path without a resource'}"
