# SPDX-License-Identifier: Apache-2.0
"""The requests behind an incident: with which token each was made, and the story in one sentence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final

import attrs

from k8stokendetect.findings import EventRef, Finding, Severity
from k8stokendetect.identity import LEADERS
from k8stokendetect.reprs import with_short_repr
from k8stokendetect.words import NAMELESS_ACCOUNT, brief, caller_of, request_of

BEGINNING: Final = datetime.min.replace(tzinfo=UTC)
"""Sorts before every time that was logged."""

_MOST_TARGETS: Final = 3


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

    """

    ref: EventRef
    parent: str | None = None
    rules: tuple[str, ...] = ()
    severity: Severity = Severity.INFORMATIONAL
    count: int = 1
    enable: str = ""

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


def title(requests: Mapping[str, Request], findings: Sequence[Finding], /) -> str:
    """Say in one sentence who did what to whom, and how it ended."""
    refs = [request.ref for request in requests.values()]
    mints = [ref for ref in refs if ref.mints_token]
    refused = [one for one in requests.values() if one.ref.token_account and not one.ref.mints_token]
    if mints:
        return f"{_who(requests, findings)} minted {_minted(mints, requests)}; {_end(requests)}"
    if refused:
        return f"{_who(requests, findings)} asked {_refused(refused)}"
    return max(findings, key=lambda finding: finding.severity).summary


def _who(requests: Mapping[str, Request], findings: Sequence[Finding]) -> str:
    """Name the first caller whose token was not minted in this incident, and count the others."""
    roots = [one.ref for one in requests.values() if one.parent is None and not one.is_witness]
    roots = roots or [findings[0].event]
    first, *others = dict.fromkeys(map(caller_of, roots))
    if not others:
        return first
    return f"{first} and {len(others)} other{'s' if len(others) > 1 else ''}"


def _minted(mints: Sequence[EventRef], requests: Mapping[str, Request]) -> str:
    depth = max(depths(requests).values())
    number = "a token" if len(mints) == 1 else f"{len(mints)} tokens"
    chain = f", {depth} of them one with another" if depth > 1 else ""
    return f"{number} for {_targets(mints)}{chain}"


def _refused(refused: Sequence[Request]) -> str:
    number = sum(request.count for request in refused)
    times = f"{number:,} times " if number > 1 else ""
    answered = all(request.ref.code is not None for request in refused)
    outcome = "none was issued" if answered else "whether one was issued is not known"
    return f"{times}for a token of {_targets(request.ref for request in refused)}; {outcome}"


def _targets(refs: Iterable[EventRef]) -> str:
    names = list(dict.fromkeys(brief(str(ref.token_account or NAMELESS_ACCOUNT)) for ref in refs))
    if len(names) > _MOST_TARGETS:
        names[_MOST_TARGETS - 1 :] = [f"{len(names) - _MOST_TARGETS + 1} more"]
    return " and ".join(", ".join(names).rsplit(", ", 1))


def _end(requests: Mapping[str, Request]) -> str:
    """Name the worst use of the tokens: one that worked, was urgent, came from deep in the chain, came late."""
    depth = depths(requests)
    uses = {id_: request for id_, request in requests.items() if request.parent and not request.ref.mints_token}
    if not uses:
        chained = any(request.parent for request in requests.values())
        return "they were used to mint one another" if chained else "no use was reported"
    order = {id_: place for place, id_ in enumerate(uses)}
    worst = max(uses, key=lambda id_: (uses[id_].ref.succeeded, uses[id_].severity, depth[id_], order[id_]))
    ref = uses[worst].ref
    refused = "" if ref.succeeded or ref.code is None else f", refused with {ref.code}"
    return f"it ended with {request_of(ref)} as {caller_of(ref)}{refused}"
