# SPDX-License-Identifier: Apache-2.0
"""Reads documents, JSON or YAML, from the sources of a cluster's objects, each with its origin."""

from __future__ import annotations

import codecs
import gzip
import json
import os
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final, TypeAlias

import msgspec

from k8stokendetect.cluster.client_objects import is_client_object
from k8stokendetect.convert.yaml import read_documents
from k8stokendetect.errors import ConfigError, OnReadError, ReadError
from k8stokendetect.input.sources import check_source, name_of

Source: TypeAlias = str | os.PathLike[str] | bytes | Mapping[str, Any] | Sequence[Any] | IO[bytes] | Any
"""A path, content as bytes, a file that is open in binary mode; or objects that were read already: mappings as
`json.load` gives them, objects of the official client (`V1ClusterRole`, `V1ClusterRoleList`), lists of them."""

_LOOKS_LIKE_JSON: Final = re.compile(rb'\s*(\{\s*["}]|\[)')
_SPACE: Final = re.compile(r"\s*")
_GZIP: Final = b"\x1f\x8b"


def documents(sources: tuple[Source, ...], on_error: OnReadError, /) -> Iterator[tuple[Any, str | None]]:
    """Yield every document and its origin; a source that cannot be read is reported, and the others are read.

    Raises:
        ConfigError: when an argument is not a source; before anything is read.

    """
    if not sources:
        raise ConfigError("a cluster is loaded from at least one source")
    for source in sources:
        if not is_client_object(source):
            check_source(source, "a cluster's objects", (bytes, bytearray, Mapping, list, tuple))
    for source in sources:
        if isinstance(source, Mapping | list | tuple) or is_client_object(source):
            yield source, None
            continue
        name = _name(source)
        number = 1
        try:
            for number, document in enumerate(_parsed(content_of(source)), 1):
                yield document, _place(name, number)
        except ReadError as error:
            on_error(ReadError(error.reason, name))


def _name(source: Any) -> str | None:
    if isinstance(source, str | os.PathLike):
        return os.fsdecode(source)
    return None if isinstance(source, bytes | bytearray) else name_of(source)


def _place(name: str | None, number: int) -> str | None:
    if number == 1:
        return name
    return f"{name}, document {number}" if name else f"document {number}"


def content_of(source: Any, /) -> bytes:
    """Return the text of a source, decompressed, as UTF-8; raises ReadError when it cannot be read."""
    try:
        if isinstance(source, str | os.PathLike):
            content: Any = Path(os.fsdecode(source)).read_bytes()
        else:
            content = source if isinstance(source, bytes | bytearray) else source.read()
    except (OSError, ValueError) as error:
        raise ReadError(f"cannot be read: {getattr(error, 'strerror', None) or type(error).__name__}") from None
    if not isinstance(content, bytes | bytearray):
        raise ReadError("the file is open in text mode")
    return _plain(bytes(content))


def _plain(content: bytes) -> bytes:
    """Decompress gzip, and convert the UTF-16 that PowerShell writes to UTF-8."""
    try:
        if content.startswith(_GZIP):
            content = gzip.decompress(content)
        if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return content.decode("utf-16").encode()
    except (OSError, EOFError, zlib.error):
        raise ReadError("its gzip is damaged") from None
    except UnicodeError:
        raise ReadError("neither UTF-8 nor UTF-16") from None
    return content.removeprefix(codecs.BOM_UTF8)


def _parsed(content: bytes) -> Iterator[Any]:
    if not content.strip():
        raise ReadError("it is empty")
    if not _LOOKS_LIKE_JSON.match(content):
        number = 0
        for number, document in enumerate(read_documents(content), 1):  # noqa: B007 - counted
            yield document
        if not number:
            raise ReadError("it is empty")
        return
    try:
        document = msgspec.json.decode(content)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        yield from _one_after_the_other(content)
    else:
        yield document


def _one_after_the_other(content: bytes) -> Iterator[Any]:
    """Read concatenated JSON values, as `kubectl … >> file` writes them."""
    decoder = json.JSONDecoder()
    try:
        text = content.decode()
    except UnicodeError:
        raise ReadError("neither UTF-8 nor UTF-16") from None
    at = _end_of_space(text, 0)
    while at < len(text):
        try:
            document, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            line = text.count("\n", 0, at) + 1
            raise ReadError(f"not JSON, in the value that begins in line {line}") from None
        yield document
        at = _end_of_space(text, end)


def _end_of_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at
