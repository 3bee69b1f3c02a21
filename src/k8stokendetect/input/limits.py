# SPDX-License-Identifier: Apache-2.0
"""What hostile input may cost: `Limits`, and decompression that keeps them."""

from __future__ import annotations

import gzip
import io
from typing import Final

import attrs

from k8stokendetect.errors import ConfigError, ReadError
from k8stokendetect.input.gunzip import Gunzip

GZIP: Final = b"\x1f\x8b"
_SMALL: Final = 1024 * 1024
"""Bytes that a message may decompress to whatever the ratio: equal events compress well."""


@attrs.frozen
class Limits:
    """How long, how deep and how compressed a record may be, and how many files an archive may hold.

    Arguments:
        record: longest record in bytes, decompressed. Kubernetes requests are limited to 3 MiB, lists at level
            RequestResponse are larger, and a message may hold thousands of events.
        nesting: how many wrappers may stand around one event.
        ratio: so many times its size may come out of compressed data. Audit logs compress 10 to 40 times, gzip at
            most 1,032 times (zlib.net/zlib_tech.html).
        members: how many files the archives of one source may hold together.

    Raises:
        ConfigError: when a limit is below 1.

    """

    record: int = 64 * 1024 * 1024
    nesting: int = 8
    ratio: float = 200
    members: int = 10_000

    def __attrs_post_init__(self) -> None:
        for field in ("record", "nesting", "ratio", "members"):
            name, limit = f"max_{field}", getattr(self, field)
            if not limit >= 1:
                raise ConfigError(f"{name} is {limit}: nothing could be read")


DEFAULT: Final = Limits()


def decompress(data: bytes, limits: Limits) -> bytes:
    """Decompress one gzip payload, of one member or many.

    Raises:
        ReadError: when it is damaged, or larger than the limits allow.

    """
    longest = int(min(limits.record, max(_SMALL, limits.ratio * len(data))))
    file, parts, size = Gunzip(io.BytesIO(data).read), [], 0
    try:
        while size <= longest and (part := file.read(longest + 1 - size)):
            parts.append(part)
            size += len(part)
    except (gzip.BadGzipFile, EOFError):
        raise ReadError("compressed data in a wrapper, whose gzip is damaged") from None
    if size > longest:
        name = "max_record" if longest == limits.record else "max_ratio"
        raise ReadError(f"compressed data in a wrapper, larger than {longest} bytes when decompressed (limit {name})")
    return b"".join(parts)
