# SPDX-License-Identifier: Apache-2.0
"""`ExecEvent`: a command that a Linux host's audit log shows, and `read_auditd()`, which reads such a log."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any, Final, Literal

import attrs

from k8stokendetect.commands.auditd import LONGEST_TITLE, AuditdSource, AuditRecord, Group, decode, lines_of, parse_line
from k8stokendetect.convert.credentials import REDACTED, clean_text
from k8stokendetect.errors import OnReadError, ReadError, check, raise_error
from k8stokendetect.findings import EventRef
from k8stokendetect.input.sources import check_source
from k8stokendetect.reprs import with_short_repr

END_OF_EVENT: Final = timedelta(seconds=2)
"""No record of an event arrives after this time: the default `end_of_event_timeout` of auditd.conf(5)."""

PENDING_EVENTS: Final = 4096
PENDING_BYTES: Final = 32 * 1024 * 1024
"""Maximum that waits for the rest of its event; beyond it the oldest event is read as it is."""

_UNSET: Final = 2**32 - 1  # what the kernel writes for no user or no session

_BEARER: Final = re.compile(r"(?i)(\bbearer(?:\s|%20|\+)+)(?![$@<{%`])[^\s\"'\\]{16,}")
_TOKEN_OPTION: Final = re.compile(r"(--token(?:=|\s+))(?![$@<{%`])[^\s\"'\\]+")


@with_short_repr
@attrs.frozen(kw_only=True)
class ExecEvent:
    r"""A command that was run on a host, with tokens removed.

    Attributes:
        arguments: the argument vector, the program's own name first; invalid UTF-8 as `\xNN`.
        source: `execve`, the record of the call, or `proctitle`, the title that any process can set for itself,
            of which 128 bytes are logged.
        complete: no argument is known to be missing.
        time: when; UTC.
        stamp: the time as the log writes it, such as `1700000000.123`.
        serial: the kernel's number for the event.
        node: the host, where logged.
        exe: the program's file, as the kernel knows it.
        comm: the thread's name, 15 bytes, which it can choose.
        uid: the user whose rights the process has; None if unknown.
        auid: the user who logged in, unchanged by sudo; None if nobody did, as in containers.
        user, login: the names of uid and auid, where logged.
        pid, ppid: the process, and the one that started it.
        ses: the login session; None when there is none.
        tty: the terminal; empty when there is none.
        success: whether the system call succeeded.
        key: the key of the audit rule that logged it.
        carried_token: the arguments contained a live token, which was removed.
        origin: file and line of its first record.

    """

    arguments: tuple[str, ...]
    source: Literal["execve", "proctitle"]
    complete: bool
    time: datetime
    stamp: str
    serial: int
    node: str = ""
    exe: str = ""
    comm: str = ""
    uid: int | None = None
    auid: int | None = None
    user: str = ""
    login: str = ""
    pid: int | None = None
    ppid: int | None = None
    ses: int | None = None
    tty: str = ""
    success: bool | None = None
    key: str = ""
    carried_token: bool = False
    origin: str | None = None

    @property
    def who(self) -> str:
        """Who ran it: the login user where known, by name where there is one; empty if unknown."""
        if self.login or self.auid is not None:
            return self.login or f"uid {self.auid}"
        return self.user or ("" if self.uid is None else f"uid {self.uid}")

    def ref(self) -> EventRef:
        """Refer to this event; `ausearch -a` and grep find it by `audit_id`."""
        return EventRef(
            audit_id=f"{self.node} audit({self.stamp}:{self.serial})".strip(),
            time=self.time,
            verb="execve",
            user=self.who,
            origin=self.origin,
        )


def read_auditd(source: AuditdSource, /, on_error: OnReadError = raise_error) -> Iterator[ExecEvent]:
    """Read the commands in a Linux audit log; lazy, with bounded memory.

    Arguments:
        source: a path, bytes (content), an open binary file, or a list of such; a folder's files and a list of files
            are read in the order of their first records.
        on_error: called with a ReadError for each line that is not a record, and each command with missing
            arguments; the default raises it.

    Raises:
        ConfigError: when the source has another type; at the call.

    """
    log = ExecLog(source)
    check(on_error, object, "on_error is not callable", callable)
    return _events(log, on_error)


def _events(log: ExecLog, on_error: OnReadError) -> Iterator[ExecEvent]:
    for item in log.stream():
        if isinstance(item, ReadError):
            on_error(item)
        else:
            yield item


class Grouping:
    """Groups records by event; records of several events arrive interleaved, out of order, or not at all."""

    def __init__(self) -> None:
        self._nodes: dict[bytes, dict[tuple[str, int], Group]] = {}
        self._events = self._bytes = 0

    def put(self, record: AuditRecord, place: str, /) -> Iterator[Group | ReadError]:
        """Add a record and yield the events that are complete or overdue."""
        waiting = self._nodes.get(record.node, {})
        key = (record.stamp, record.serial)
        group = waiting.get(key)
        if group is None:
            if record.kind == b"EOE":  # of an event that was complete before
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
        """Yield the events that are still incomplete."""
        while self._nodes:
            yield self._oldest()

    def _expired(self, record: AuditRecord) -> Iterator[Group]:
        """Yield events that are too old to get another record; each host has its own clock."""
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


class ExecLog:
    """The commands in a source.

    Attributes:
        skipped: number of records that are not about a command, such as PATH and CWD.

    """

    def __init__(self, source: AuditdSource) -> None:
        check_source(source, "an audit log", (Iterable,))
        self._source = source
        self.skipped = 0

    def stream(self) -> Iterator[ExecEvent | ReadError]:
        """Iterate over commands, with a ReadError for each line and each argument that cannot be read."""
        grouping = Grouping()
        for item in lines_of(self._source):
            if isinstance(item, ReadError):
                yield item
                continue
            place, line = item
            try:
                record = parse_line(line)
            except ReadError as error:
                yield error.at(place)
                continue
            if record is None:
                self.skipped += 1
                continue
            for found in grouping.put(record, place):
                yield from [found] if isinstance(found, ReadError) else self._read(found)
        for group in grouping.rest():
            yield from self._read(group)

    def _read(self, group: Group) -> Iterator[ExecEvent | ReadError]:
        if group.has_execve and not group.has_all_arguments:
            yield ReadError("arguments of a command are missing", group.place)
        elif group.is_execve and not group.has_execve:
            yield ReadError("the EXECVE record of a command is missing", group.place)
        if group.has_execve or group.title:
            yield _event(group)
        elif not group.broken:
            self.skipped += 1


def _event(group: Group) -> ExecEvent:
    """Make an event, without tokens."""
    found, complete = [_joined(group, number) for number in sorted(group.pieces)], group.has_all_arguments
    title = (group.title or b"").rstrip(b"\0").split(b"\0") if group.title else []
    titled = not group.has_execve or (not complete and len(title) > len(found))
    if titled:
        complete = not group.has_execve and len(group.title or b"") < LONGEST_TITLE
        found = title
    texts = [text.decode("utf-8", "backslashreplace") for text in found]
    arguments = _without_tokens(texts)
    return ExecEvent(
        arguments=arguments,
        source="proctitle" if titled else "execve",
        complete=complete,
        time=group.time,
        stamp=group.stamp,
        serial=group.serial,
        node=clean_text(group.node.decode("utf-8", "backslashreplace")),
        carried_token=list(arguments) != texts,
        origin=group.place,
        **_of_syscall(group.syscall or {}),
    )


def _joined(group: Group, number: int) -> bytes:
    """Join an argument's pieces; of an incomplete one only the first: half a token may follow a gap."""
    pieces = group.pieces[number]
    if not group.whole(number):
        return pieces.get(0, b"")
    return b"".join(pieces[piece] for piece in range(len(pieces)))


def _without_tokens(texts: list[str]) -> tuple[str, ...]:
    """Remove JWTs, and anything in the place of a bearer token: those of OpenShift are not JWTs."""
    cleaned = []
    for before, text in zip(["", *texts], texts, strict=False):
        if before == "--token" and text and text[0] not in "$@<":
            cleaned.append(REDACTED)
        else:
            without = _BEARER.sub(rf"\1{REDACTED}", clean_text(text))
            cleaned.append(_TOKEN_OPTION.sub(rf"\1{REDACTED}", without))
    return tuple(cleaned)


def _of_syscall(fields: dict[bytes, bytes]) -> dict[str, Any]:
    def text(name: bytes) -> str:
        value = fields.get(name, b"")
        if value in {b"", b"(null)", b"(none)"}:
            return ""
        try:
            plain = value if name == b"tty" else decode(value)
        except ReadError:
            return ""
        return clean_text(plain.decode("utf-8", "backslashreplace"))

    def number(name: bytes) -> int | None:
        value = fields.get(name, b"")
        return int(value) if re.fullmatch(rb"\d{1,10}", value) and int(value) != _UNSET else None

    def name(key: bytes) -> str:
        found = text(key)
        return "" if found in {"unset", "unknown"} or found.startswith("unknown(") else found

    return {
        **{key: text(key.encode()) for key in ("exe", "comm", "tty", "key")},
        **{key: number(key.encode()) for key in ("uid", "auid", "pid", "ppid", "ses")},
        "user": name(b"UID"),
        "login": name(b"AUID"),
        "success": {b"yes": True, b"no": False}.get(fields.get(b"success", b"")),
    }
