# SPDX-License-Identifier: Apache-2.0
"""The requests behind an incident: with which token each was made, and the story in one sentence."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final

import attrs

from k8stokendetect.findings import EventRef, Finding, Severity
from k8stokendetect.identity import LEADERS
from k8stokendetect.incidents.deeds import done, weight
from k8stokendetect.reprs import with_short_repr
from k8stokendetect.words import NAMELESS_ACCOUNT, caller_of, often

BEGINNING: Final = datetime.min.replace(tzinfo=UTC)
"""Sorts before every time that was logged."""

_MOST_TARGETS: Final = 2


@with_short_repr
@attrs.define
class Request:
    """One request of an incident.

    Attributes:
        ref: its facts.
        parent: the id of the request that minted the token it was made with; None when that is not in the incident.
        rules: the rules that reported it; none for a mint that is only known from a later finding.
        severity: the worst that they gave it.
        count: how many requests it stands for.
        enable: the optional exclusion of which its caller has every proof; empty for none.
        shows: the id of the request that this one only shows the effect of, see `is_witness`.

    """

    ref: EventRef
    parent: str | None = None
    rules: tuple[str, ...] = ()
    severity: Severity = Severity.INFORMATIONAL
    count: int = 1
    enable: str = ""
    shows: str | None = None

    @property
    def is_witness(self) -> bool:
        """A controller manager did it by design, and it only shows what somebody else did."""
        return not self.rules and not self.ref.mints_token and self.ref.user in LEADERS


def requests_of(findings: Iterable[Finding], /) -> dict[str, Request]:
    """Return every request of some findings once, by its id and in the order of time, each with its parent."""
    found: dict[str, Request] = {}
    for finding in findings:
        for ref in (*finding.related, finding.event):
            found.setdefault(ref.request_id, Request(ref))
        request = found[finding.event.request_id]
        request.rules = tuple(dict.fromkeys((*request.rules, finding.rule.id)))
        request.severity = max(request.severity, finding.severity)
        request.count = max(request.count, finding.count)
        request.enable = request.enable or finding.enable
        for ref in finding.related:
            found[ref.request_id].shows = finding.event.request_id
        for mint, ref in pairwise((*finding.related, finding.event)):
            if ref.uses_token_of(mint):
                found[ref.request_id].parent = mint.request_id
    mints = {request.ref.minted_credential: id_ for id_, request in found.items() if request.ref.minted_credential}
    for id_, request in found.items():
        mint_id = mints.get(request.ref.used_credential or "")
        if mint_id is not None and mint_id != id_:
            request.parent = mint_id
    in_order = dict(sorted(found.items(), key=lambda item: item[1].ref.time or BEGINNING))
    _cut_circles(in_order)
    return in_order


def by_known_components(requests: Mapping[str, Request], /) -> dict[str, Request]:
    """Return what a component did that an optional exclusion knows, as long as no token of it was used elsewhere."""
    moved = {
        one.parent for one in requests.values() if one.parent and one.ref.peer_ip != requests[one.parent].ref.peer_ip
    }
    own = {id_ for id_, one in requests.items() if one.enable and one.ref.mints_token and id_ not in moved}
    return {id_: one for id_, one in requests.items() if id_ in own or one.parent in own}


def _cut_circles(requests: Mapping[str, Request]) -> None:
    """Make it a forest: no token can be minted with itself, but a damaged log may say so."""
    settled: set[str] = set()
    for start in requests:
        path: set[str] = set()
        id_: str | None = start
        while id_ is not None and id_ not in settled:
            path.add(id_)
            request = requests[id_]
            if request.parent in path:
                request.parent = None
            id_ = request.parent
        settled |= path


def depths(requests: Mapping[str, Request], /) -> dict[str, int]:
    """Return the number of mints in the chain that ends at each request, its own included."""
    known: dict[str, int] = {}
    for start in requests:
        path: list[str] = []
        id_: str | None = start
        while id_ is not None and id_ not in known:
            path.append(id_)
            id_ = requests[id_].parent
        depth = 0 if id_ is None else known[id_]
        for step in reversed(path):
            depth += requests[step].ref.mints_token
            known[step] = depth
    return known


def worst_act(requests: Mapping[str, Request], /, among: Collection[str] | None = None) -> Request | None:
    """Return the worst request that succeeded: by severity, by what was done, by depth in the chain, the earliest.

    One whose answer was not logged may have succeeded, and counts where none is known to have. What a component did
    that an optional exclusion knows counts where there is nothing else. None where everything was refused.

    Arguments:
        requests: of an incident.
        among: the ids of those to choose from; by default all.

    """
    depth, known = depths(requests), by_known_components(requests)
    able = {
        id_: one
        for id_, one in requests.items()
        if (among is None or id_ in among)
        and not one.is_witness
        and (one.ref.mints_token or one.ref.succeeded or one.ref.code is None)
    }
    place = {id_: -number for number, id_ in enumerate(requests)}

    def urgency(id_: str) -> tuple[object, ...]:
        one = able[id_]
        is_mint, worked = one.ref.mints_token, one.ref.mints_token or one.ref.succeeded
        return id_ not in known, worked, one.severity, not is_mint, weight(one.ref), depth[id_], place[id_]

    return able[max(able, key=urgency)] if able else None


def callers(requests: Mapping[str, Request], /) -> tuple[EventRef, ...]:
    """Return the first request of each caller whose token was not minted in this incident."""
    roots = [one.ref for one in requests.values() if one.parent is None and not one.is_witness]
    roots = roots or [one.ref for one in requests.values()]
    return tuple({caller_of(ref): ref for ref in reversed(roots)}.values())[::-1]


def title(requests: Mapping[str, Request], findings: Sequence[Finding], /) -> str:
    """Say in one sentence who did what to whom, and the worst that succeeded."""
    mints = [one for one in requests.values() if one.ref.mints_token]
    refused = [one for one in requests.values() if one.ref.token_account and not one.ref.mints_token]
    if mints:
        return f"{_who(requests)} minted {_minted(mints, requests)}{_end(requests)}"
    worst = worst_act(requests)
    about = [one for one in findings if worst and one.event.request_id == worst.ref.request_id] or findings
    if refused and (worst is None or not worst.ref.succeeded):
        return f"{_who(requests)} asked {_refused(refused)}"
    also = f"; also asked {_refused(refused)}" if refused else ""
    return f"{max(about, key=lambda finding: finding.severity).summary}{also}"


def _who(requests: Mapping[str, Request]) -> str:
    """Name the first caller whose token was not minted in this incident, and count the others."""
    first, *others = map(caller_of, callers(requests))
    if not others:
        return first
    return f"{first} and {len(others):,} other{'s' if len(others) > 1 else ''}"


def _minted(mints: Sequence[Request], requests: Mapping[str, Request]) -> str:
    """Count what the callers minted, and what was minted with that; name one or two accounts, unless the end does."""
    first = [one for one in mints if one.parent is None] or mints
    later = len(mints) - len(first)
    number = "a token" if len(first) == 1 else f"{len(first):,} tokens"
    more = f", and {later:,} more with {'it' if len(first) == 1 else 'them'}" if later else ""
    worst = _worst_use(requests)
    path = set(_made_with(worst, requests)) if worst else set()
    accounts = {_target(one) for one in first}
    others = {_target(one) for one in mints} - accounts
    if len(accounts) + len(others) == _MOST_TARGETS and others and not (worst and caller_of(worst.ref) in others):
        more += f", for {others.pop()}"
    if len(accounts) > _MOST_TARGETS and worst and {_target(requests[id_]) for id_ in path} & {caller_of(worst.ref)}:
        return f"{number}{more}"
    worst_first = sorted(first, key=lambda one: (one.ref.request_id not in path, -one.severity))
    return f"{number} for {_targets(first, worst_first)}{more}"


def _made_with(request: Request, requests: Mapping[str, Request]) -> Iterator[str]:
    """Yield the ids of the mints behind a request, the last first."""
    id_ = request.parent
    while id_ is not None:
        yield id_
        id_ = requests[id_].parent


def _refused(refused: Sequence[Request]) -> str:
    number = sum(request.count for request in refused)
    times = "" if number == 1 else f"{often(number)} "
    worst_first = sorted(refused, key=lambda one: -one.severity)
    answered = all(request.ref.code is not None for request in refused)
    outcome = "none was issued" if answered else "whether one was issued is not known"
    return f"{times}for a token of {_targets(refused, worst_first)}; {outcome}"


def _targets(asked: Sequence[Request], worst_first: Sequence[Request]) -> str:
    """Name the service accounts in the order of time; of more than two, the two worst, and count the others."""
    names = list(dict.fromkeys(map(_target, asked)))
    if len(names) > _MOST_TARGETS:
        more = len(names) - _MOST_TARGETS
        names = list(dict.fromkeys(map(_target, worst_first)))[:_MOST_TARGETS]
        names.append(f"{more:,} more account{'s' if more > 1 else ''}")
    return " and ".join(", ".join(names).rsplit(", ", 1))


def _target(request: Request) -> str:
    return str(request.ref.token_account or NAMELESS_ACCOUNT)


def _end(requests: Mapping[str, Request]) -> str:
    """Say what the tokens, or else the callers, did with success; or that they did not."""
    worst = _worst_use(requests)
    if worst is not None:
        who = caller_of(worst.ref)
        whom = "" if who == caller_of(callers(requests)[0]) else f" as {who}"
        return f", and {done(worst.ref)}{whom}"
    if any(one.parent and not one.ref.mints_token for one in requests.values()):
        return "; every reported use was refused"
    return "" if any(one.parent for one in requests.values()) else "; no use was reported"


def _worst_use(requests: Mapping[str, Request]) -> Request | None:
    """Return the worst that was done, with the tokens or else by the callers, besides minting."""
    acts = [id_ for id_, one in requests.items() if not one.ref.mints_token and (one.parent or one.rules)]
    return worst_act(requests, acts)
