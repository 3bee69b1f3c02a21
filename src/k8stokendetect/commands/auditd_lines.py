# SPDX-License-Identifier: Apache-2.0
"""Where the lines of a Linux audit log come from: files, rotated files in their order, gzip, streams and bytes."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeAlias

from k8stokendetect.commands.auditd import parse_line
from k8stokendetect.errors import ConfigError, ReadError
from k8stokendetect.input.limits import DEFAULT
from k8stokendetect.input.sources import files_in, name_of, opened
from k8stokendetect.input.streams import BinaryFile, ByteStream

AuditdItem: TypeAlias = "os.PathLike[str] | bytes | BinaryFile"
AuditdSource: TypeAlias = "str | AuditdItem | Iterable[AuditdItem]"
"""A path (a file, a gzip file, a folder of rotated files), bytes (content), an open binary file, or a list of such."""

Line: TypeAlias = tuple[str, bytes]
"""Its place, such as `audit.log:12`, and what stands there."""

LONGEST_LINE: Final = 64 * 1024
"""Bytes; auditd's records have at most 8,970 (MAX_AUDIT_MESSAGE_LENGTH of audit-userspace's libaudit.h)."""

_ROTATED: Final = re.compile(r"\.(\d{1,9})(?:\.gz)?$")

_PEEK: Final = 1000
"""So many lines are looked at to learn when a file begins."""


def check(source: Any, /) -> None:
    """Refuse what is no source.

    Raises:
        ConfigError: as said.

    """
    if isinstance(source, io.TextIOBase):
        raise ConfigError("the file is open in text mode: open it with 'rb'")
    if isinstance(source, str | os.PathLike) and not os.fspath(source):
        raise ConfigError("the path is empty")
    if not isinstance(source, str | os.PathLike | Iterable) and not hasattr(source, "read"):
        raise ConfigError(f"cannot read an audit log from {type(source).__name__}")


def lines_of(source: Any, /) -> Iterator[Line | ReadError]:
    """Yield the lines of a source, with a ReadError for whatever cannot be read; empty lines are none."""
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
                kind = type(item).__name__
                yield ReadError(f"cannot read an audit log from {kind} in a list: give bytes or a Path")


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
    """Yield lines; one that is too long to be a record is passed over and reported."""
    try:
        stream = ByteStream(source, lambda _: None, DEFAULT.ratio)
    except ReadError as error:
        yield error.at(name)
        return
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
        yield ReadError(f"{stream.failure}; what comes after is not read", place)


def _age(path: Path) -> tuple[datetime, int, int, str]:
    """When the first record of a file was written that says something about a command; `audit.log.2` is before `.1`."""
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
