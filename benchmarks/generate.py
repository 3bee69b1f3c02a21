# SPDX-License-Identifier: Apache-2.0
"""Writes a synthetic audit log, the same for the same arguments.

    python benchmarks/generate.py --size 1GiB --share 0.02 --level Metadata --wrapper native --mix busy --out audit.log

The first `BLOCK` events are made one by one (`mix.py`, `setup_mix.py`). They are written again and again with fresh
audit ids, times and token ids, which makes files of gigabytes in seconds.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import json
import random
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

from mix import CREDENTIAL, ISSUED, KUBECTL, START, STEP, Generator
from setup_mix import SetUpGenerator

__all__ = ["MIXES", "WRAPPERS", "lines", "size_of", "write"]

UNITS: Final = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
RESOURCE_ID: Final = "/SUBSCRIPTIONS/S/RESOURCEGROUPS/R/PROVIDERS/MICROSOFT.CONTAINERSERVICE/MANAGEDCLUSTERS/C"
MIXES: Final[dict[str, type[Generator]]] = {"busy": Generator, "set-up": SetUpGenerator}
"""What makes the events: a busy cluster's, or those of one that is set up and full of operators."""

BLOCK: Final = 20_000
"""Number of different events, about 23 MB at level Metadata."""


class Template(NamedTuple):
    """An event with `%(…)b` for all that differs when it is written again.

    Attributes:
        text: of the event, JSON.
        issues: a token is issued.
        followed: the token is one that a person minted: later uses carry its id.

    """

    text: bytes
    issues: bool
    followed: bool


def _template(event: dict[str, Any], minted: str) -> Template:
    issues = ISSUED in event["annotations"]
    followed = issues and event["userAgent"] == KUBECTL
    extra = event["user"].get("extra", {})
    if not issues and extra.get(CREDENTIAL) == [minted]:
        extra[CREDENTIAL] = ["\0used\0"]
    if issues:
        event["annotations"][ISSUED] = "JTI=\0issued\0"
    event["auditID"] = "\0audit\0"
    event["requestReceivedTimestamp"] = "\0second\0.\0received\0" + "000Z"
    event["stageTimestamp"] = "\0second\0.\0answered\0" + "000Z"
    pieces = json.dumps(event, separators=(",", ":")).encode().replace(b"%", b"%%").split(rb"\u0000")
    return Template(
        b"".join(b"%%(%b)b" % piece if at % 2 else piece for at, piece in enumerate(pieces)), issues, followed
    )


def _templates(seed: int, share: float, level: str, mix: str) -> Iterator[Template]:
    """Make `BLOCK` templates as they are asked for, then yield them again and again."""
    generator = MIXES[mix](seed, share, level)
    made: list[Template] = []
    while len(made) < BLOCK:
        event = generator.event()
        made.append(_template(event, generator.minted[1] if generator.minted else ""))
        yield made[-1]
    while True:
        yield from made


def lines(
    seed: int, share: float, level: str, mix: str = "busy", change: Callable[[bytes], bytes] = lambda text: text
) -> Iterator[bytes]:
    """Yield events without end, each as the API server writes it, without the line end.

    Arguments:
        seed: the same seed gives the same log.
        share: which part of all, from 0 to 1, are token requests.
        level: of the audit policy.
        mix: a key of `MIXES`.
        change: applied to an event's text before ids and times are filled in; they hold nothing that JSON escapes.

    """
    chance = random.Random(seed + 1)  # noqa: S311 - no secret
    changed: dict[bytes, bytes] = {}
    fields = {b"used": b"", b"issued": b""}
    step, second = STEP // timedelta(milliseconds=1), -1
    for number, template in enumerate(_templates(seed, share, level, mix), 1):
        now, milliseconds = divmod(number * step, 1000)
        if now != second:
            second = now
            fields[b"second"] = (START + timedelta(seconds=now)).isoformat()[:19].encode()
        fields[b"received"], fields[b"answered"] = b"%03d" % milliseconds, b"%03d" % (milliseconds + 4)
        fields[b"audit"] = _uuid(chance)
        if template.issues:
            fields[b"issued"] = _uuid(chance)
            if template.followed:
                fields[b"used"] = b"JTI=" + fields[b"issued"]
        text = changed.get(template.text)
        if text is None:
            text = changed[template.text] = change(template.text)
        yield text % fields


def _uuid(chance: random.Random) -> bytes:
    bits = chance.randbytes(16).hex()
    return f"{bits[:8]}-{bits[8:12]}-{bits[12:16]}-{bits[16:20]}-{bits[20:]}".encode()


def _in_string(before: bytes, after: bytes) -> Callable[[bytes], bytes]:
    """Return what puts an event, as text, into a string between two texts."""
    return lambda text: before + json.dumps(text.decode())[1:-1].encode() + after


def native(seed: int, share: float, level: str, mix: str) -> Iterator[tuple[bytes, int]]:
    """Write what the API server writes."""
    return ((line, 1) for line in lines(seed, share, level, mix, lambda text: text + b"\n"))


def event_hub(seed: int, share: float, level: str, mix: str) -> Iterator[tuple[bytes, int]]:
    """Write Azure's messages, fifty records each."""
    change = _in_string(
        b'{"category":"kube-audit","operationName":"Microsoft.ContainerService/managedClusters/diagnosticLogs/Read",'
        b'"properties":{"log":"',
        b'\\n","stream":"stdout","pod":"kube-apiserver-7d"},"resourceId":"%b","time":"%%(second)b.%%(answered)b000Z"}'
        % RESOURCE_ID.encode(),
    )
    records = lines(seed, share, level, mix, change)
    while True:
        yield b'{"records":[' + b",".join(islice(records, 50)) + b"]}\n", 50


def cloudwatch(seed: int, share: float, level: str, mix: str) -> Iterator[tuple[bytes, int]]:
    """Write CloudWatch log events, one a line."""
    change = _in_string(b'{"timestamp":1,"message":"', b'","logStreamName":"kube-apiserver-audit-0a1b"}\n')
    return ((line, 1) for line in lines(seed, share, level, mix, change))


def subscription(seed: int, share: float, level: str, mix: str) -> Iterator[tuple[bytes, int]]:
    """Write what a CloudWatch subscription hands to a Lambda function, a hundred events a message."""
    records = lines(seed, share, level, mix, _in_string(b'{"id":"1","timestamp":1,"message":"', b'"}'))
    head = b'{"messageType":"DATA_MESSAGE","owner":"123456789012","logGroup":"/aws/eks/prod/cluster",'
    head += b'"logStream":"kube-apiserver-audit-0a1b","logEvents":['
    while True:
        payload = head + b",".join(islice(records, 100)) + b"]}"
        data = base64.b64encode(gzip.compress(payload, 6, mtime=0)).decode()
        yield json.dumps({"awslogs": {"data": data}}, separators=(",", ":")).encode() + b"\n", 100


WRAPPERS: Final[dict[str, Callable[[int, float, str, str], Iterator[tuple[bytes, int]]]]] = {
    "native": native,
    "event-hub": event_hub,
    "cloudwatch": cloudwatch,
    "subscription": subscription,
}
"""What writes each form: pieces of a file, and how many events each holds."""


class Written(NamedTuple):
    """How much was written."""

    size: int
    events: int


def write(
    path: Path,
    size: int,
    *,
    seed: int = 7,
    share: float = 0.02,
    level: str = "Metadata",
    wrapper: str = "native",
    mix: str = "busy",
    most: int | None = None,
) -> Written:
    """Write a log of at least so many bytes.

    Arguments:
        path: where to; `.gz` is compressed as the API server's log rotation does it.
        size: in bytes, before the compression of `.gz`.
        seed: the same seed gives the same log.
        share: which part of all, from 0 to 1, are token requests.
        level: of the audit policy.
        wrapper: a key of `WRAPPERS`.
        mix: a key of `MIXES`.
        most: stop after so many events.

    """
    written = count = 0
    with gzip.GzipFile(path, "wb", 6, mtime=0) if path.suffix == ".gz" else path.open("wb", buffering=1 << 20) as file:
        for piece, held in WRAPPERS[wrapper](seed, share, level, mix):
            file.write(piece)
            written += len(piece)
            count += held
            if written >= size or (most is not None and count >= most):
                break
    return Written(written, count)


def size_of(text: str) -> int:
    """Parse `300MiB` or `1GiB`."""
    return int(float(text[:-3]) * UNITS[text[-3:]])


def main() -> None:
    """Write one log."""
    parser = argparse.ArgumentParser(description="Write a synthetic audit log.")
    parser.add_argument("--size", default="64MiB")
    parser.add_argument("--share", type=float, default=0.02)
    parser.add_argument("--level", default="Metadata", choices=["Metadata", "Request", "RequestResponse"])
    parser.add_argument("--wrapper", default="native", choices=list(WRAPPERS))
    parser.add_argument("--mix", default="busy", choices=list(MIXES))
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("audit.log"))
    arguments = parser.parse_args()
    write(
        arguments.out,
        size_of(arguments.size),
        seed=arguments.seed,
        share=arguments.share,
        level=arguments.level,
        wrapper=arguments.wrapper,
        mix=arguments.mix,
    )


if __name__ == "__main__":
    main()
