# SPDX-License-Identifier: Apache-2.0
"""Decides whether dates such as 12/11/2026 begin with the day: by what the user says, or the file itself proves.

A date that nobody can tell is not used as the time of its event, and there is one question for each file.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from k8stokendetect.convert.structure import TIMES, UNDECIDED, parse_event, parse_quickly
from k8stokendetect.convert.times import format_time, has_order, is_day_first, moment_of
from k8stokendetect.errors import ReadError
from k8stokendetect.events import Event, Platform
from k8stokendetect.input.decoding import NotJSONError, decode_whole
from k8stokendetect.input.sources import is_file
from k8stokendetect.reading.skipping import Typed

_BYTES: Final = "<bytes>"
_QUESTION: Final = (
    "with dates that may begin with the day or with the month, such as 12/11/2026: read without a time. "
    "Say which it is: day_first=True or False, --day-first or --month-first"
)


class Dates:
    """Parses events, and their dates in the order of their file.

    Arguments:
        day_first: the order in every file; None to look for proof in each file.
        orders_in: returns the orders that the dates of a source prove.

    """

    def __init__(
        self, *, day_first: bool | None = None, orders_in: Callable[[Any], set[bool]] = lambda _: set()
    ) -> None:
        self.day_first = day_first
        self._orders_in = orders_in
        self._bytes: Any = None
        self._roots: list[str] = []
        self._orders: dict[str, bool | None] = {}
        self._undecided = Counter[str]()

    def opens(self, source: Any, /) -> None:
        """Note a source that can be read a second time: bytes, or a path that the user gave."""
        if isinstance(source, bytes | bytearray | memoryview):
            self._orders.pop(_BYTES, None)
            self._bytes = source
        elif isinstance(source, os.PathLike):
            self._roots.append(os.fspath(source))

    def parsed(self, record: Any, platform: Platform | None, origin: str, /) -> Event:
        """Make an Event of a decoded event, or of one that has its types already.

        Raises:
            ReadError: when it is not an audit event.

        """
        if self.day_first is not None:
            return _parsed(_in_order(record, day_first=self.day_first), platform, origin)
        event = _parsed(record, platform, origin)
        if UNDECIDED.isdisjoint(event.lost):
            return event
        file, source = self._source_of(origin)
        order = self._order_in(file, source)
        if order is None:
            self._undecided[file] += 1
            return event
        return _parsed(_in_order(record, day_first=order), platform, origin)

    def _source_of(self, origin: str) -> tuple[str, Any]:
        """Return the file of an event, by name and to be read again; a stream's own name is not one."""
        if origin.startswith(f"{_BYTES}:"):
            return _BYTES, self._bytes
        for root in self._roots:
            if origin.startswith(root):
                for colon in re.finditer(":", origin[len(root) :]):
                    path = Path(origin[: len(root) + colon.start()])
                    if is_file(path):
                        return str(path), path
                return (root, Path(root)) if is_file(Path(root)) else ("", None)  # an archive
        return "", None

    def _order_in(self, file: str, source: Any) -> bool | None:
        if file not in self._orders:
            proved = self._orders_in(source) if source is not None else set()
            self._orders[file] = proved.pop() if len(proved) == 1 else None
        return self._orders[file]

    def questions(self) -> Iterator[ReadError]:
        """Yield an error for each file with dates that could not be read."""
        for file, number in self._undecided.items():
            yield ReadError(f"{number:,} {'event' if number == 1 else 'events'} {_QUESTION}", file or None)
        self._undecided.clear()


class Proofs(Dates):
    """Looks for dates whose day is over 12, and makes no events."""

    def __init__(self) -> None:
        super().__init__()
        self.orders: set[bool] = set()

    def parsed(self, record: Any, platform: Platform | None, origin: str, /) -> Event:
        """Look at the dates of an event; always raises ReadError."""
        del platform
        texts = _times(record).values()
        found = {is_day_first(text) for text in texts if isinstance(text, str)}
        self.orders |= {order for order in found if order is not None}
        raise ReadError("only its dates are looked at", origin)


def _times(record: Any) -> Mapping[str, Any]:
    if isinstance(record, Typed):
        fields = record.fields
        return dict(zip(TIMES, (fields.request_received_timestamp, fields.stage_timestamp), strict=True))
    return {name: record.get(name) for name in TIMES} if isinstance(record, Mapping) else {}


def _in_order(record: Any, *, day_first: bool) -> Any:
    """Return a record with its dates as Kubernetes writes them; one that contradicts the order becomes unreadable."""
    changed: dict[str, Any] = {}
    for name, text in _times(record).items():
        if not isinstance(text, str) or not has_order(text):
            continue
        try:
            moment = moment_of(text, day_first=day_first)
        except ValueError:
            changed[name] = "in another order"
        else:
            changed[name] = format_time(moment) if moment else None
    if not changed:
        return record
    return {**(decode_whole(record.text) if isinstance(record, Typed) else record), **changed}


def _parsed(record: Any, platform: Platform | None, origin: str) -> Event:
    if isinstance(record, Typed):
        event = parse_quickly(record.fields, platform=platform, origin=origin)
        if event is not None:
            return event
        try:
            record = decode_whole(record.text)
        except NotJSONError as error:
            reason = f"not JSON: {error}"
        else:
            return parse_event(record, platform=platform, origin=origin)
        raise ReadError(reason)
    return parse_event(record, platform=platform, origin=origin)
