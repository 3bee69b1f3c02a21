# SPDX-License-Identifier: Apache-2.0
"""The first half, on every executor: drops what no detector wants, reads the rest, and sends it to its cluster."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import attrs

from k8stokendetect.convert.credentials import is_suspect
from k8stokendetect.convert.nesting import SHORT, is_deep
from k8stokendetect.convert.structure import complete
from k8stokendetect.engine.reorder import order_of
from k8stokendetect.engine.tally import Tally
from k8stokendetect.errors import DetectorError, K8sTokenDetectError, ReadError
from k8stokendetect.events import Event, Signal
from k8stokendetect.identity import SERVICE_ACCOUNT_PREFIX
from k8stokendetect.outputs.native import to_line
from k8stokendetect.reading import read
from k8stokendetect.reading.prefilter import Prefilter, has_token_sign
from k8stokendetect.reading.projection import NO_PROJECTION, Projection, project
from k8stokendetect.reading.skipping import time_of
from k8stokendetect.spark.plan import Plan
from k8stokendetect.spark.rows import Row, Rows, Source

_BATCH: Final = 2000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_USES: Final = frozenset({Signal.USE_OF_REPORTED, Signal.UNBOUND_USE})
"""Signals about requests made with tokens, of which only the second half knows which are wanted."""

NO_TIME: Final = -(1 << 62)
"""The moment of an event without a time: before all others."""

Routed = tuple[str, int, str, str, bytes]
"""A row of the schema `ROUTED`."""


def moment(time: datetime | None, /) -> int:
    """Return a time in microseconds since 1970; `NO_TIME` for None."""
    return (time - _EPOCH) // timedelta(microseconds=1) if time else NO_TIME


def tie(event: Event, /) -> str:
    """Return the sort key for events of the same time, the same as the engine's."""
    _, audit_id, user, stage = order_of(event)
    return f"{audit_id}\0{user}\0{stage}"


def error_line(error: K8sTokenDetectError, /) -> str:
    """Return an error as JSON."""
    if isinstance(error, DetectorError):
        said = {"origin": error.origin, "reason": error.reason, "rule_id": error.rule_id}
    elif isinstance(error, ReadError):
        said = {"origin": error.origin, "reason": error.reason, "path": error.path}
    else:
        said = {"reason": str(error)}
    return json.dumps(said)


def tally_line(tally: Tally, /) -> str:
    """Return a tally as JSON."""
    return json.dumps({name: sorted(v) if isinstance(v, set) else v for name, v in attrs.asdict(tally).items()})


class Front:
    """Reads one partition.

    Arguments:
        plan: what to look for.

    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._tally = Tally()
        self._rows: list[Routed] = []
        self._pipeline = plan.pipeline(self._failed, self._tally)
        watches = self._pipeline.watchers.watches
        self._takes_uses = not _USES.isdisjoint(watches)
        self._prefilter = Prefilter(watches - _USES)

    def route(self, batches: Iterable[Any], /) -> Iterator[list[Routed]]:
        """Yield rows for the second half."""
        rows = Rows(batches, self._to_be_read, self._unread)
        log = read(rows.sources(), platform=self._plan.platform, on_error=self._failed)
        reading = Prefilter(self._pipeline.watchers.watches - _USES | self._every_use())
        for item in log.stream(reading):
            origin, source = rows.source(item.origin)
            if isinstance(item, ReadError):
                self._unreadable(item.at(origin), source)
            elif isinstance(item, Event):
                self._tally.events += 1
                event = complete(item, origin=origin)
                self._send(source, moment(event.time), tie(event), "event", pickle.dumps(event))
            else:
                self._tally.cloud_events += 1
                call = attrs.evolve(item, origin=origin)
                self._send(source, moment(call.time), call.id, "event", pickle.dumps(call))
            if len(self._rows) >= _BATCH:
                yield self._taken()
        counts = log.counts
        self._tally.events += counts.unwanted
        self._tally.skipped, self._tally.unproven = counts.other_logs, counts.unproven
        self._send(Source(), 0, "", "tally", tally_line(self._tally).encode())
        yield self._taken()

    def _every_use(self) -> frozenset[Signal]:
        """Want every use: what has to be read anyway is not sorted by token."""
        return frozenset({Signal.USE_OF_ANY}) if self._takes_uses else frozenset()

    def _taken(self) -> list[Routed]:
        rows, self._rows = self._rows, []
        return rows

    def _send(self, source: Source, time: int, order: str, kind: str, payload: bytes) -> None:
        self._rows.append((source.cluster or "", time, order, kind, payload))

    def _to_be_read(self, rows: Sequence[Row], /) -> list[Row]:
        """Return the rows that have to be read; uses of tokens go on unread, and what nobody wants is counted."""
        return [row for row in rows if self._has_to_be_read(*row)]

    def _has_to_be_read(self, text: bytes, source: Source) -> bool:
        if len(text) > SHORT and is_deep(text):
            return True
        try:
            event = project(text)
        except NO_PROJECTION:
            return True
        if self._prefilter.wants(event) or (self._takes_uses and not self._can_go_on(event, text, source)):
            return True
        self._tally.events += 1
        return False

    def _can_go_on(self, event: Projection, text: bytes, source: Source) -> bool:
        """Send a use as it is, and drop anything else; False for one that has to be read first."""
        user = event.user
        if user is None:
            return True
        is_accounts = user.username.startswith(SERVICE_ACCOUNT_PREFIX)
        ids = user.extra.credential if user.extra is not None else ()
        if not ids:
            return not is_accounts  # an old cluster's: the account's name stands for the token
        if not (is_accounts or ids[0].startswith("JTI=")):
            return True
        time = time_of(text)
        if time is None or _may_hold_token(event, text):
            return False
        self._rows.append((source.cluster or "", moment(time), source.origin or "", "use", text))
        return True

    def _unreadable(self, error: ReadError, source: Source) -> None:
        self._tally.unreadable += 1
        for finding in self._pipeline.unreadable(error):
            self._send(source, moment(finding.event.time), "", "finding", to_line(source.name(finding)).encode())
        self._failed(error)

    def _unread(self, error: ReadError, source: Source) -> None:
        self._tally.unreadable += 1
        self._failed(error.at(source.origin))

    def _failed(self, error: K8sTokenDetectError) -> None:
        self._send(Source(), 0, "", "error", error_line(error).encode())


def _may_hold_token(event: Projection, text: bytes) -> bool:
    """Tell whether a text must not leave the reader unredacted: it has a body, or what looks like a credential."""
    status = event.response_status
    chosen = f"{event.request_uri}\n{event.user_agent}\n{status.message if status is not None else ''}"
    has_body = bool(event.request_object or event.response_object)
    return has_body or b"%" in text or has_token_sign(text) or is_suspect(chosen)
