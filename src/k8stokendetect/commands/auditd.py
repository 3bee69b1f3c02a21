# SPDX-License-Identifier: Apache-2.0
"""Reads the records of a Linux audit log from files, rotated files in order, gzip, streams and bytes.

How the kernel writes them: kernel/auditsc.c (`audit_log_execve_info`, `audit_log_proctitle`) and kernel/audit.c
(`audit_log_n_untrustedstring`). A text with a space, a quote or a byte outside 0x21 to 0x7E is written in hex, any
other one in quotes; so no value has a space. With `log_format = ENRICHED`, `auditd` adds names behind the byte 0x1D
(AUDIT_INTERP_SEPARATOR of audit-userspace); its syslog plug-in writes a space instead.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeAlias

import attrs

from k8stokendetect.errors import ReadError
from k8stokendetect.input.archives import logs_in
from k8stokendetect.input.budget import Budget
from k8stokendetect.input.limits import DEFAULT
from k8stokendetect.input.sources import files_in, name_of, opened
from k8stokendetect.input.streams import BinaryFile, ByteStream

AuditdItem: TypeAlias = "os.PathLike[str] | bytes | BinaryFile"
AuditdSource: TypeAlias = "str | AuditdItem | Iterable[AuditdItem]"
"""A path (a file, a gzip file, a folder of rotated files), bytes (content), an open binary file, or a list of such."""

Line: TypeAlias = tuple[str, bytes]
"""Its place, such as `audit.log:12`, and its content."""

LONGEST_LINE: Final = 64 * 1024
"""Bytes; auditd's records have at most 8,970 (MAX_AUDIT_MESSAGE_LENGTH of audit-userspace's libaudit.h)."""

_ROTATED: Final = re.compile(r"\.(\d{1,9})(?:\.gz)?$")

_PEEK: Final = 1000
"""Maximum number of lines that are looked at to learn when a file begins."""

LONGEST_TITLE: Final = 128
"""Bytes of a PROCTITLE that are logged (MAX_PROCTITLE_AUDIT_LEN); a longer title is cut."""

_HEAD: Final = re.compile(
    rb"(?:[^\"'=]*[ :])?(?:node=(?P<node>\S{1,255}) )?type=(?P<kind>[A-Z0-9_]{1,40}) (?:msg=)?"
    rb"audit\((?P<stamp>(?P<seconds>\d{1,11})\.(?P<millis>\d{3})):(?P<serial>\d{1,20})\): ?"
)
_TYPES: Final = {b"1300": b"SYSCALL", b"1309": b"EXECVE", b"1320": b"EOE", b"1327": b"PROCTITLE"}
"""The kernel log has numbers instead of names (include/uapi/linux/audit.h)."""

_WANTED: Final = frozenset(_TYPES.values())
_ARGUMENT: Final = re.compile(rb"a(?P<number>\d{1,7})(?:\[(?P<piece>\d{1,7})\])?")
_LENGTH: Final = re.compile(rb"a(?P<number>\d{1,7})_len")
_EXECVE_CALLS: Final = {
    b"c000003e": (b"59", b"322"),  # x86_64
    b"40000003": (b"11", b"358"),  # i386
    b"c00000b7": (b"221", b"281"),  # aarch64
    b"40000028": (b"11", b"387"),  # arm
    b"c0000015": (b"11", b"362"),  # ppc64le
    b"80000016": (b"11", b"354"),  # s390x
}
"""Numbers of execve and execveat by architecture (the kernel's syscall tables)."""


def lines_of(source: Any, /) -> Iterator[Line | ReadError]:
    """Yield the lines of a source, with a ReadError for whatever cannot be read; empty lines are skipped."""
    if isinstance(source, str | os.PathLike):
        yield from _of_path(Path(source))
    elif isinstance(source, bytes | bytearray | memoryview):
        yield from _of_stream(io.BytesIO(source), "<bytes>")
    elif hasattr(source, "read"):
        yield from _of_stream(source, name_of(source))
    else:
        items = list(source)
        if items and all(isinstance(item, os.PathLike) for item in items):
            items.sort(key=lambda path: _age(Path(path)))
        for item in items:
            if isinstance(item, os.PathLike | bytes | bytearray | memoryview) or hasattr(item, "read"):
                yield from lines_of(item)
            else:
                yield ReadError(f"cannot read a log from {type(item).__name__} in a list: give bytes or a Path")


def _of_path(path: Path) -> Iterator[Line | ReadError]:
    if not os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises for a name that is too long
        yield from _of_file(path)
        return
    files, errors = files_in(path)
    yield from errors
    if not files and not errors:
        yield ReadError("the folder holds no log files", str(path))
    for file in sorted(files, key=_age):
        yield from _of_file(file)


def _of_file(path: Path) -> Iterator[Line | ReadError]:
    file = opened(path)
    if isinstance(file, ReadError):
        yield file
        return
    with file:
        yield from _of_stream(file, str(path))


def _of_stream(source: BinaryFile, name: str) -> Iterator[Line | ReadError]:
    for log in logs_in(source, name, Budget(DEFAULT)):
        yield from [log] if isinstance(log, ReadError) else _of_log(*log)


def _of_log(name: str, stream: ByteStream) -> Iterator[Line | ReadError]:
    """Yield lines; one that is too long to be a record is reported instead."""
    number, place = 0, name
    while line := stream.buffer.readline(LONGEST_LINE):
        number, place = number + 1, f"{name}:{number + 1}"
        if len(line) == LONGEST_LINE and line[-1:] != b"\n":
            while (more := stream.buffer.readline(LONGEST_LINE)) and more[-1:] != b"\n":
                pass
            yield ReadError(f"line longer than {LONGEST_LINE} bytes", place)
        elif line.strip():
            yield place, line
    if stream.failure:
        yield ReadError(f"{stream.failure}; the rest is not read", place)


def _age(path: Path) -> tuple[datetime, int, int, str]:
    """Return when a file's first record about a command was written; `audit.log.2` comes before `.1`."""
    rotated = _ROTATED.search(path.name)
    number = -int(rotated[1]) if rotated else 0
    for item in islice(_of_file(path), _PEEK):
        try:
            record = None if isinstance(item, ReadError) else parse_line(item[1])
        except ReadError:
            continue
        if record is not None:
            return record.time, record.serial, number, str(path)
    return datetime.max.replace(tzinfo=UTC), 0, number, str(path)


@attrs.frozen
class AuditRecord:
    """One line: its type, the event it belongs to, and its raw fields."""

    kind: bytes
    node: bytes
    time: datetime
    stamp: str
    serial: int
    fields: tuple[tuple[bytes, bytes], ...]
    size: int


def parse_line(line: bytes, /) -> AuditRecord | None:
    """Parse a line; None for a record that is not about a command.

    Raises:
        ReadError: when it is not a record of the audit log; the message repeats none of it.

    """
    head = _HEAD.match(line)
    if head is None:
        raise ReadError("not a record of an audit log")
    kind = _TYPES.get(head["kind"], head["kind"])
    if kind not in _WANTED:
        return None
    try:
        time = datetime.fromtimestamp(int(head["seconds"]), UTC) + timedelta(milliseconds=int(head["millis"]))
    except (ValueError, OverflowError, OSError):
        raise ReadError("the record's time is not valid") from None
    words = line[head.end() :].replace(b"\x1d", b" ").split()
    pairs = [word.partition(b"=") for word in words]
    if kind == b"EXECVE" and not all(mark for _, mark, _ in pairs):
        raise ReadError("the record is damaged: a field without a value")
    fields = tuple((name, value) for name, mark, value in pairs if mark)
    node, stamp, serial = head["node"] or b"", head["stamp"].decode(), int(head["serial"])
    return AuditRecord(kind, node, time, stamp, serial, fields, len(line))


def decode(value: bytes, /) -> bytes:
    """Decode an untrusted text, which is quoted or in hex.

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
        lengths: of arguments that are logged in pieces, in logged characters.
        place: of its first record.
        broken: a record of it could not be read completely.

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
        """Add a record.

        Raises:
            ReadError: when a part of it is damaged; the rest was added.

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
                self.title = decode(value)
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
            number, piece = int(argument["number"]), int(argument["piece"] or 0)
            pieces = self.pieces.setdefault(number, {})
            if piece not in pieces:
                pieces[piece] = decode(value)
                self.logged[number] = self.logged.get(number, 0) + len(value.strip(b'"'))
        elif name == b"argc" or (length := _LENGTH.fullmatch(name)):
            if not re.fullmatch(rb"\d{1,12}", value):
                raise ReadError("the record is damaged: a length is not a number")
            if name == b"argc":
                self.argc = int(value)
            elif length:
                self.lengths[int(length["number"])] = int(value)

    @property
    def is_execve(self) -> bool:
        """Whether its system call starts a program, and succeeded."""
        call = self.syscall or {}
        named = call.get(b"SYSCALL", b"") in {b"execve", b"execveat"}
        numbered = call.get(b"syscall", b"-") in _EXECVE_CALLS.get(call.get(b"arch", b""), ())
        return call.get(b"success") == b"yes" and (named or numbered)

    def whole(self, number: int) -> bool:
        """Tell whether every piece of an argument has arrived."""
        pieces = self.pieces.get(number, {})
        if len(pieces) > 1 and number not in self.lengths:
            return False
        return bool(pieces) and max(pieces) == len(pieces) - 1 and self.logged[number] >= self.lengths.get(number, 0)

    @property
    def has_all_arguments(self) -> bool:
        """Whether every argument has arrived, with all its pieces."""
        count = len(self.pieces)
        if self.broken or self.argc != count or (count and max(self.pieces) != count - 1):
            return False
        return all(self.whole(number) for number in self.pieces)

    @property
    def finished(self) -> bool:
        """Whether the event is complete: PROCTITLE is written last, and EOE only to plug-ins."""
        return self.ended and self.has_execve and self.syscall is not None and self.has_all_arguments
