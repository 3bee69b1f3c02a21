# SPDX-License-Identifier: Apache-2.0
"""What every wrapper offers and yields: `Envelope`, `Inner`, `Context`."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Protocol, TypeAlias

import attrs

from k8stokendetect.clouds import Cloud
from k8stokendetect.errors import ReadError
from k8stokendetect.events import Platform
from k8stokendetect.reprs import with_short_repr

Pods: TypeAlias = frozenset[str]
"""Pods, each NAMESPACE/NAME."""


@with_short_repr
@attrs.frozen(eq=False)
class Claim:
    """What a wrapper says about whose output an event is, until `origin.settled` has compared it with the event.

    Arguments:
        pod: as in `Pods`.
        said: every value with which it says so.

    """

    pod: str
    said: Any = None


Claims: TypeAlias = tuple[Claim, ...]


@with_short_repr
@attrs.frozen
class Context:
    """What a wrapper tells about the events in it.

    Arguments:
        platform: where they come from.
        cluster: the cluster's name.
        account: the AWS account, Azure subscription or Google project.
        region: the cloud's region.
        lost: what this wrapper does not carry, of `groups`, `extra`, `impersonation`, `bodies`, `annotations`,
            `source IPs`, `code`; it becomes a caveat of the finding.
        pods: whose output they are, where a wrapper says so; `read` believes API servers only, and whom it is told to.
        claims: the same, where it is not certain yet that no client wrote it.

    """

    platform: Platform | None = None
    cluster: str | None = None
    account: str | None = None
    region: str | None = None
    lost: frozenset[str] = frozenset()
    pods: Pods = frozenset()
    claims: Claims = ()

    def inside(self, outer: Context, /) -> Context:
        """Return this context within another wrapper's: the inner one knows better; losses, pods and claims add up."""
        if outer is _NOTHING:
            return self
        if self is _NOTHING:
            return outer
        return Context(
            platform=self.platform or outer.platform,
            cluster=self.cluster or outer.cluster,
            account=self.account or outer.account,
            region=self.region or outer.region,
            lost=self.lost | outer.lost,
            pods=self.pods | outer.pods,
            claims=self.claims + outer.claims,
        )


_NOTHING: Final = Context()


@with_short_repr
@attrs.frozen
class Inner:
    """One thing taken out of a wrapper.

    Arguments:
        record: an audit event, another wrapper's record, text that holds either, or a ReadError in its stead.
        place: where it stood, such as `.records[3]`.
        context: what the wrapper tells about it.
        is_event: it is an audit event in the API server's own form, not to be unwrapped further.
        skipped: why there is rightly no audit event here (a control message, another log's lines); counted, no error.
            Its record is what was skipped: if that speaks of an audit event, it is looked into all the same.
        cloud: it is a record of this cloud's own log, in that cloud's form, not to be unwrapped further.

    """

    record: Any
    place: str = ""
    context: Context = _NOTHING
    is_event: bool = False
    skipped: str | None = None
    cloud: Cloud | None = None

    def inside(self, outer: Inner, /) -> Inner:
        """Return it as it stands in what was taken out of another wrapper."""
        place, context = outer.place + self.place, self.context.inside(outer.context)
        return Inner(self.record, place, context, self.is_event, self.skipped, self.cloud)

    def holding(self, record: Any, /) -> Inner:
        """Return another record, or an error, in its place."""
        return Inner(record, self.place, self.context, self.is_event, self.skipped, self.cloud)


@with_short_repr
@attrs.frozen
class Form:
    """One common form of a wrapper, decoded without what does not matter.

    Arguments:
        decode: decodes a record of exactly this form; raises for any other.
        texts: returns the audit events in what was decoded, as text; None in the place of what is something else.
        inner: returns one of them, by its number, as the wrapper's `events` and their wrappers' would.

    """

    decode: Callable[[bytes], Any]
    texts: Callable[[Any], Sequence[str | None]]
    inner: Callable[[Any, int], Inner]


class Envelope(Protocol):
    """What a module of this folder offers."""

    def recognises(self, record: Any, /) -> bool:
        """Tell whether this record looks like mine; true means that no other wrapper is asked."""
        ...

    def events(self, record: Any, /) -> Iterator[Inner]:
        """Yield what is in it."""
        ...


def text_of(mapping: Any, *keys: str) -> str | None:
    """Follow keys into nested mappings; None unless there is a text at the end."""
    for key in keys:
        mapping = mapping.get(key) if isinstance(mapping, dict) else None
    return mapping if isinstance(mapping, str) and mapping else None


def is_json(text: str) -> bool:
    """Tell whether a text may be a JSON object."""
    return text.lstrip()[:1] == "{"


def line_of(value: Any, place: str, context: Context) -> Inner:
    """Pass on what may hold an audit event; another log's line is skipped."""
    if isinstance(value, str) and not is_json(value):
        return Inner(value, place, context, skipped="a log line of something else")
    return Inner(value, place, context)


def from_base64(data: str, what: str, /) -> bytes | ReadError:
    """Decode base64, of text or of gzip; a ReadError that names `what` if it is not valid base64."""
    try:
        return base64.b64decode(data, validate=True)
    except ValueError:
        return ReadError(f"data of {what} that is not base64")
