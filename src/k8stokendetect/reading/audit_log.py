# SPDX-License-Identifier: Apache-2.0
"""`read()`: files, folders, archives, streams, bytes and mappings become an AuditLog, an iterable of Events."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

from k8stokendetect.clouds import CloudEvent
from k8stokendetect.envelopes import Envelope
from k8stokendetect.errors import ConfigError, OnReadError, ReadError, check, raise_error
from k8stokendetect.events import PLATFORMS, Event, JsonValue, Platform
from k8stokendetect.input.limits import DEFAULT, Limits
from k8stokendetect.input.sources import check_source
from k8stokendetect.input.streams import BinaryFile
from k8stokendetect.reading.prefilter import Prefilter
from k8stokendetect.reading.reader import Reading
from k8stokendetect.reading.skipping import Counts
from k8stokendetect.reading.trust import Trust
from k8stokendetect.reprs import short_repr

Item: TypeAlias = "Mapping[str, JsonValue] | Event | CloudEvent | bytes | os.PathLike[str] | BinaryFile | AuditLog"
Source: TypeAlias = "str | Item | Iterable[Item]"
"""A path or URL, an open binary file, bytes (content), a mapping, an Event or CloudEvent, an AuditLog, or an iterable.

A `str` is a path or URL only where it stands alone: in an iterable it may be what somebody put on a queue, and no
message may choose which file is opened.
"""


def read(
    source: Source,
    *,
    platform: Platform | None = None,
    on_error: OnReadError = raise_error,
    max_record: int = DEFAULT.record,
    max_nesting: int = DEFAULT.nesting,
    max_ratio: float = DEFAULT.ratio,
    max_members: int = DEFAULT.members,
    envelopes: Iterable[Envelope] = (),
    trust_pods: Iterable[str] = (),
    day_first: bool | None = None,
) -> AuditLog:
    """Turn a source into an AuditLog; nothing is read until it is iterated.

    Arguments:
        source: told by its type, never guessed from content. A `str` is a path: a file, compressed or not, an archive,
            or a folder whose files (but for dot files) are read in the order of their events: several API servers
            write a file each. So is a list of files. It may be a URL, such as `s3://logs/audit/`, with the extra
            `remote`. `bytes` are content.
        platform: where the records come from, where they do not say so themselves; it decides which provider's
            exclusions apply.
        on_error: called with a ReadError for every record that cannot be read; the default raises it. A `detect` of
            this log that has none of its own also calls it with a DetectorError for each detector that raised.
        max_record: longest record, in bytes, decompressed; a few times this much is held in memory.
        max_nesting: how many wrappers may stand around one event.
        max_ratio: so many times its size may come out of compressed data.
        max_members: how many files the archives in one file or stream may hold together.
        envelopes: wrappers besides `envelopes.ENVELOPES`, for JSON records: asked about what none of those recognises.
        trust_pods: pods whose output is an audit log, besides the API server's own, each NAMESPACE/NAME, or /NAME where
            records name no namespace; in NAME a `*` stands for any characters. Events that any other pod printed are
            counted in `unproven`, and not read.
        day_first: whether dates such as 12/11/2026, as portals export them, begin with the day. None: what the file
            itself proves by a day over 12; without proof, such events are read without a time, and one ReadError a
            file says how many.

    Raises:
        ConfigError: when the source is of no such type, the platform is unknown, a limit is below 1, an
            envelope lacks `recognises` or `events`, or a pod is not of this form.

    """
    return AuditLog(
        source,
        platform=platform,
        on_error=on_error,
        max_record=max_record,
        max_nesting=max_nesting,
        max_ratio=max_ratio,
        max_members=max_members,
        envelopes=envelopes,
        trust_pods=trust_pods,
        day_first=day_first,
    )


class AuditLog:
    """The Events of a source; iterating twice reads twice, where the source can be read twice.

    Attributes:
        source: what it reads.
        platform: where the records come from, where they do not say so themselves.
        on_error: called with a ReadError for every record that cannot be read.
        counts: the following, together.
        bytes_read: how many bytes have been read from files and streams so far, before decompression.
        skipped: how many records of other logs a wrapper held, such as control messages; they are not audit events.
        unproven: how many audit events pods printed that are not known to print an audit log; they are not read.
        passed_over: how many events `detect` skipped, because no detector wants them.
        wrappers: how many records each wrapper recognised, where they were read in full; one may stand in another.
        cloud_records: how many records of clouds' logs were read so far: see `cloud_events`.

    """

    platform: Platform | None

    def __init__(
        self,
        source: Source,
        *,
        platform: Platform | None = None,
        on_error: OnReadError = raise_error,
        max_record: int = DEFAULT.record,
        max_nesting: int = DEFAULT.nesting,
        max_ratio: float = DEFAULT.ratio,
        max_members: int = DEFAULT.members,
        envelopes: Iterable[Envelope] = (),
        trust_pods: Iterable[str] = (),
        day_first: bool | None = None,
    ) -> None:
        check_source(source)
        if platform is not None and platform not in PLATFORMS:
            raise ConfigError(f"unknown platform {platform!r}; known: {', '.join(PLATFORMS)}")
        if not callable(on_error):
            raise ConfigError("on_error is not callable")
        self._envelopes = tuple(envelopes)
        for envelope in self._envelopes:
            if not all(callable(getattr(envelope, name, None)) for name in ("recognises", "events")):
                raise ConfigError(f"not an envelope, without `recognises` or `events`: {envelope!r}")
        check(day_first, (bool, type(None)), "day_first is neither True, False nor None")
        self._day_first = day_first
        self.platform = platform
        self.on_error = on_error
        self._trust = Trust(trust_pods)
        self.counts = Counts()
        self.source = source
        self._limits = Limits(record=max_record, nesting=max_nesting, ratio=max_ratio, members=max_members)

    def __repr__(self) -> str:
        """Name a path; any other source only by its type: a URL may hold a password, and content a token."""
        source = self.source
        named = type(source).__name__
        if isinstance(source, os.PathLike) or (isinstance(source, str) and "://" not in source):
            named = os.fspath(source)
        return short_repr(self, source=named, platform=self.platform)

    def __iter__(self) -> Iterator[Event]:
        for item in self.stream():
            if isinstance(item, ReadError):
                self.on_error(item)
            elif isinstance(item, Event):
                yield item

    def cloud_events(self) -> Iterator[CloudEvent]:
        """Iterate over the records of clouds' logs instead; iterating over the AuditLog only counts them.

        A record that cannot be read is an error in either case.
        """
        for item in self.stream():
            if isinstance(item, ReadError):
                self.on_error(item)
            elif isinstance(item, CloudEvent):
                yield item

    def stream(self, prefilter: Prefilter | None = None, /) -> Iterator[Event | CloudEvent | ReadError]:
        """Iterate over Events and CloudEvents, with a ReadError in the place of each record that cannot be read.

        Arguments:
            prefilter: which audit events are wanted; all others are skipped and counted. The caller may follow more
                tokens after each event: what was skipped lately and was made with them is read then. None: everything
                is read.

        """
        return self.reading(prefilter).events(self.source)

    def reading(self, prefilter: Prefilter | None = None, /, *, tail: bool = True) -> Reading:
        """Return one reading: `stream` is its `events`; what is followed only after the last of them is in `late`.

        Arguments:
            prefilter: as for `stream`.
            tail: the last uses of tokens are wanted as well: their mints may come in another reading.

        """
        return Reading(
            self.platform,
            self._limits,
            self.counts,
            prefilter,
            envelopes=self._envelopes,
            trust=self._trust,
            day_first=self._day_first,
            tail=tail,
        )

    @property
    def bytes_read(self) -> int:
        """How many bytes have been read from files and streams so far, before decompression."""
        return self.counts.bytes_read

    @property
    def skipped(self) -> int:
        """How many records of other logs a wrapper held."""
        return self.counts.other_logs

    @property
    def unproven(self) -> int:
        """How many audit events were printed by pods that are not known to print an audit log."""
        return self.counts.unproven

    @property
    def passed_over(self) -> int:
        """How many events were skipped, because no detector wants them."""
        return self.counts.unwanted

    @property
    def cloud_records(self) -> int:
        """How many records of clouds' logs were read."""
        return self.counts.clouds

    @property
    def wrappers(self) -> Counter[str]:
        """How many records each wrapper recognised, where they were read in full; one may stand in another."""
        return self.counts.wrappers.copy()
