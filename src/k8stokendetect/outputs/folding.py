# SPDX-License-Identifier: Apache-2.0
"""An incident as a forest: callers, their requests, what was done with each token; equal ones are folded into one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

import attrs

from k8stokendetect.findings import EventRef, Severity
from k8stokendetect.incidents.story import Request


@attrs.define(eq=False)
class Part:
    """A caller, or a request; equal ones with equal consequences, side by side, are one.

    Attributes:
        label: who it is, or what it did.
        note: what else to say.
        kind: `identity`, `token`, `act` or `refused`.
        id: of the token that was minted.
        worst: the highest severity of it and of what is below.
        seen: when.
        times: how many there are.
        children: what was done with the token.
        shape: the same number for what looks the same.

    """

    label: str
    note: str = ""
    kind: str = "identity"
    id: str = ""
    worst: Severity = Severity.INFORMATIONAL
    seen: tuple[datetime, ...] = ()
    times: int = 1
    children: tuple[Part, ...] = ()
    shape: int = -1


def forest(
    requests: Mapping[str, Request],
    /,
    *,
    describe: Callable[[Request, EventRef | None], Part],
    describe_caller: Callable[[Sequence[EventRef]], Part],
    name: Callable[[EventRef], str],
) -> tuple[Part, ...]:
    """Group requests by caller, each below the mint of the token it was made with, the most urgent first.

    Arguments:
        requests: of an incident.
        describe: what to say about a request, and the mint of its token where that is known.
        describe_caller: what to say about the caller of some requests.
        name: of a request's caller; those of one name are one.

    """
    below: dict[str | None, list[str]] = {}
    for key, request in requests.items():
        below.setdefault(request.parent, []).append(key)
    order = list(below.get(None, ()))
    for key in order:
        order.extend(below.get(key, ()))
    parts: dict[str, Part] = {}
    shapes: dict[tuple[object, ...], int] = {}
    for key in reversed(order):
        request = requests[key]
        part = parts[key] = describe(request, requests[request.parent].ref if request.parent else None)
        part.children = _folded(parts[child] for child in below.get(key, ()))
        shape = (part.kind, part.label, part.note, *((child.shape, child.times) for child in part.children))
        part.shape = shapes.setdefault(shape, len(shapes))
        part.worst = max([request.severity, *(child.worst for child in part.children)])
        part.seen = (request.ref.time,) if request.ref.time else ()
    callers: dict[str, list[str]] = {}
    for key in below.get(None, ()):
        callers.setdefault(name(requests[key].ref), []).append(key)
    found = []
    for keys in callers.values():
        caller = describe_caller([requests[key].ref for key in keys])
        caller.children = _folded(parts[key] for key in keys)
        caller.worst = max(child.worst for child in caller.children)
        found.append(caller)
    return tuple(sorted(found, key=lambda part: -part.worst))


def _folded(parts: Iterable[Part]) -> tuple[Part, ...]:
    """Fold parts of one shape; the most urgent come first, for the rest may be cut off, then the earliest."""
    found: dict[int, Part] = {}
    for part in parts:
        same = found.setdefault(part.shape, part)
        if same is not part:
            same.times += 1
            same.seen += part.seen
    return tuple(sorted(found.values(), key=lambda part: -part.worst))
