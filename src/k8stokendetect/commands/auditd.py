# SPDX-License-Identifier: Apache-2.0
"""Reads lines of a Linux audit log, and groups the records of one event.

How the kernel writes them: kernel/auditsc.c (`audit_log_execve_info`, `audit_log_proctitle`) and kernel/audit.c
(`audit_log_n_untrustedstring`). A text with a space, a quote or a byte outside 0x21 to 0x7E is written in hex, any
other one in quotes; so no value holds a space. With `log_format = ENRICHED`, `auditd` adds names behind the byte 0x1D
(AUDIT_INTERP_SEPARATOR of audit-userspace); its syslog plug-in writes a space instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

import attrs

from k8stokendetect.errors import ReadError

LONGEST_TITLE: Final = 128
"""Bytes of a PROCTITLE that are logged (MAX_PROCTITLE_AUDIT_LEN); what fills them may have been cut."""

END_OF_EVENT: Final = timedelta(seconds=2)
"""After so long no record of an event is to be expected: `end_of_event_timeout` of auditd.conf(5), its default."""

PENDING_EVENTS: Final = 4096
PENDING_BYTES: Final = 32 * 1024 * 1024
"""So much waits for the rest of its event; the oldest goes on as it is when there is more."""

_HEAD: Final = re.compile(
    rb"(?:[^\"'=]*[ :])?(?:node=(\S{1,255}) )?type=([A-Z0-9_]{1,40}) (?:msg=)?"
    rb"audit\((\d{1,11})\.(\d{3}):(\d{1,20})\): ?"
)
_TYPES: Final = {b"1300": b"SYSCALL", b"1309": b"EXECVE", b"1320": b"EOE", b"1327": b"PROCTITLE"}
"""Numbers stand where the kernel log has the records (include/uapi/linux/audit.h)."""

_WANTED: Final = frozenset(_TYPES.values())
_ARGUMENT: Final = re.compile(rb"a(\d{1,7})(?:\[(\d{1,7})\])?")
_LENGTH: Final = re.compile(rb"a(\d{1,7})_len")
_EXECVE_CALLS: Final = {
    b"c000003e": (b"59", b"322"),  # x86_64
    b"40000003": (b"11", b"358"),  # i386
    b"c00000b7": (b"221", b"281"),  # aarch64
    b"40000028": (b"11", b"387"),  # arm
    b"c0000015": (b"11", b"362"),  # ppc64le
    b"80000016": (b"11", b"354"),  # s390x
}
"""Numbers of execve and execveat by architecture (the kernel's syscall tables)."""


@attrs.frozen
class AuditRecord:
    """One line: its type, which event it belongs to, and its fields as they stand there."""

    kind: bytes
    node: bytes
    time: datetime
    stamp: str
    serial: int
    fields: tuple[tuple[bytes, bytes], ...]
    size: int


def parse_line(line: bytes, /) -> AuditRecord | None:
    """Parse a line; None for a record that says nothing about a command.

    Raises:
        ReadError: when it is no record of the audit log; repeats none of it.

    """
    head = _HEAD.match(line)
    if head is None:
        raise ReadError("no record of an audit log")
    node, kind, seconds, millis, serial = head.groups()
    kind = _TYPES.get(kind, kind)
    if kind not in _WANTED:
        return None
    try:
        time = datetime.fromtimestamp(int(seconds), UTC) + timedelta(milliseconds=int(millis))
    except (ValueError, OverflowError, OSError):
        raise ReadError("the record's time is none") from None
    words = line[head.end() :].replace(b"\x1d", b" ").split()
    pairs = [word.partition(b"=") for word in words]
    if kind == b"EXECVE" and not all(mark for _, mark, _ in pairs):
        raise ReadError("the record is damaged: a field without a value")
    fields = tuple((name, value) for name, mark, value in pairs if mark)
    return AuditRecord(kind, node or b"", time, f"{seconds.decode()}.{millis.decode()}", int(serial), fields, len(line))


def decoded(value: bytes, /) -> bytes:
    """Return what an untrusted text says: it stands in quotes or in hex.

    Raises:
        ReadError: when it is neither.

    """
    if value[:1] == b'"':
        if len(value) > 1 and value.find(b'"', 1) == len(value) - 1:
            return value[1:-1]
    elif value:
        try:
            return bytes.fromhex(value.decode("ascii"))
        except ValueError:
            pass
    raise ReadError("the record is damaged: a text that is neither quoted nor hex")


@attrs.define
class Group:
    """The records of one event, so far.

    Attributes:
        pieces: pieces of arguments by the argument's number and theirs.
        lengths: how long an argument is that stands in pieces, in characters as they are logged.
        place: where its first record stands.
        broken: a record of it could not be read whole.

    """

    node: bytes
    time: datetime
    stamp: str
    serial: int
    place: str = ""
    size: int = 0
    argc: int | None = None
    has_execve: bool = False
    ended: bool = False
    broken: bool = False
    title: bytes | None = None
    syscall: dict[bytes, bytes] | None = None
    pieces: dict[int, dict[int, bytes]] = attrs.field(factory=dict)
    logged: dict[int, int] = attrs.field(factory=dict)
    lengths: dict[int, int] = attrs.field(factory=dict)

    def add(self, record: AuditRecord, /) -> None:
        """Take in a record.

        Raises:
            ReadError: when a part of it is damaged; the rest was taken in.

        """
        self.size += record.size
        if record.kind == b"EXECVE":
            self.has_execve = True
            self._add_arguments(record)
        elif record.kind == b"SYSCALL":
            self.syscall = self.syscall or dict(record.fields)
        elif record.kind == b"PROCTITLE":
            value = dict(record.fields).get(b"proctitle", b"")
            self.ended = True
            if value != b"(null)":
                self.title = decoded(value)
        else:
            self.ended = True

    def _add_arguments(self, record: AuditRecord) -> None:
        damage = None
        for name, value in record.fields:
            try:
                self._add_argument(name, value)
            except ReadError as error:
                self.broken, damage = True, error
        if damage is not None:
            raise damage

    def _add_argument(self, name: bytes, value: bytes) -> None:
        if argument := _ARGUMENT.fullmatch(name):
            number, piece = int(argument[1]), int(argument[2] or 0)
            pieces = self.pieces.setdefault(number, {})
            if piece not in pieces:
                pieces[piece] = decoded(value)
                self.logged[number] = self.logged.get(number, 0) + len(value.strip(b'"'))
        elif name == b"argc" or (length := _LENGTH.fullmatch(name)):
            if not re.fullmatch(rb"\d{1,12}", value):
                raise ReadError("the record is damaged: a length that is no number")
            if name == b"argc":
                self.argc = int(value)
            elif length:
                self.lengths[int(length[1])] = int(value)

    @property
    def is_execve(self) -> bool:
        """Whether its system call is known to start a program, and did."""
        call = self.syscall or {}
        named = call.get(b"SYSCALL", b"") in {b"execve", b"execveat"}
        numbered = call.get(b"syscall", b"-") in _EXECVE_CALLS.get(call.get(b"arch", b""), ())
        return call.get(b"success") == b"yes" and (named or numbered)

    def whole(self, number: int) -> bool:
        """Tell whether every piece of an argument has come."""
        pieces = self.pieces.get(number, {})
        if len(pieces) > 1 and number not in self.lengths:
            return False
        return bool(pieces) and max(pieces) == len(pieces) - 1 and self.logged[number] >= self.lengths.get(number, 0)

    @property
    def has_all_arguments(self) -> bool:
        """Whether every argument has come, with all of its pieces."""
        count = len(self.pieces)
        if self.broken or self.argc != count or (count and max(self.pieces) != count - 1):
            return False
        return all(self.whole(number) for number in self.pieces)

    @property
    def finished(self) -> bool:
        """Whether nothing more is to come: PROCTITLE is written last, and EOE only to plug-ins."""
        return self.ended and self.has_execve and self.syscall is not None and self.has_all_arguments


class Grouping:
    """Puts the records of one event together; those of several come interleaved, out of order, or not at all."""

    def __init__(self) -> None:
        self._nodes: dict[bytes, dict[tuple[str, int], Group]] = {}
        self._events = self._bytes = 0

    def put(self, record: AuditRecord, place: str, /) -> Iterator[Group | ReadError]:
        """Take in a record and yield the events for which nothing more is to be expected."""
        waiting = self._nodes.get(record.node, {})
        key = (record.stamp, record.serial)
        group = waiting.get(key)
        if group is None:
            if record.kind == b"EOE":  # of an event that was whole before
                return
            yield from self._expired(record)
            group = Group(record.node, record.time, record.stamp, record.serial, place)
            self._nodes.setdefault(record.node, {})[key] = group
            self._events += 1
        before = group.size
        try:
            group.add(record)
        except ReadError as error:
            group.broken = True
            yield error.at(place)
        self._bytes += group.size - before
        if group.finished:
            yield self._take(record.node, key)
        while self._events > PENDING_EVENTS or self._bytes > PENDING_BYTES:
            yield self._oldest()

    def rest(self) -> Iterator[Group]:
        """Yield the events that still wait."""
        while self._nodes:
            yield self._oldest()

    def _expired(self, record: AuditRecord) -> Iterator[Group]:
        """Yield what is too old to get another record; each host has a clock of its own."""
        while waiting := self._nodes.get(record.node):
            key = next(iter(waiting))
            if record.time - waiting[key].time <= END_OF_EVENT:
                return
            yield self._take(record.node, key)

    def _oldest(self) -> Group:
        node = next(iter(self._nodes))
        return self._take(node, next(iter(self._nodes[node])))

    def _take(self, node: bytes, key: tuple[str, int]) -> Group:
        waiting = self._nodes[node]
        group = waiting.pop(key)
        if not waiting:
            del self._nodes[node]
        self._events -= 1
        self._bytes -= group.size
        return group
