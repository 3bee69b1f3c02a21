# SPDX-License-Identifier: Apache-2.0
"""Writes a day's audit log: recorded requests again and again, with fresh ids and times, and one recorded attack.

    python benchmarks/day.py --size 400MiB --out audit.log

The ordinary requests are those of tests/data that are labelled benign: kubelets, controllers, people, two operators.
The attack is that of examples/attack.log. The same size gives the same log.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from generate import size_of
from k8stokendetect.convert.times import format_time, parse_time

ROOT: Final = Path(__file__).parents[1]
START: Final = datetime(2026, 11, 23, tzinfo=UTC)
DAY: Final = timedelta(days=1)
OPERATORS: Final = ("external-secrets:external-secrets", "cert-manager:cert-manager")
SET_UP: Final = range(600)
ATTACKS: Final = range(3400, 5000)
"""Lines of the recording: somebody sets the cluster up, and attacks, between which the operators work."""

_TIMES: Final = ("requestReceivedTimestamp", "stageTimestamp")
_FRESH: Final = re.compile(rb'(?<=JTI=)[0-9a-f-]{36}|(?<="auditID":")[^"]+|(?<=Timestamp":")[^"]+')
_NAMES: Final = uuid.UUID("6fd86033-3878-44b0-9228-3e55dcb01608")


def _lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).split(b"\n") if line]


def ordinary() -> list[dict[str, Any]]:
    """Return the recorded requests of an ordinary time, in their order."""
    labels = _lines(ROOT / "tests/data/metadata.labels.jsonl.gz")
    malicious = {label["auditID"] for label in labels if label["malicious"]}
    return [
        record
        for number, record in enumerate(_lines(ROOT / "tests/data/metadata.log.gz"))
        if record["auditID"] not in malicious
        and number not in SET_UP
        and (number not in ATTACKS or record["user"].get("username", "").endswith(OPERATORS))
    ]


def day(size: int, /) -> Iterator[bytes]:
    """Yield the lines of a day that have about so many bytes together."""
    records = ordinary()
    first = min(parse_time(record[_TIMES[0]]) for record in records)
    block = "".join(json.dumps(record, separators=(",", ":")) + "\n" for record in records).encode()
    times = max(1, round(size / len(block)))
    attack = (ROOT / "examples/attack.log").read_bytes()
    began = parse_time(json.loads(attack.split(b"\n", 1)[0])[_TIMES[0]])
    pieces = list(_FRESH.finditer(block))
    for number in range(times):
        shift = START + DAY / times * number - first
        yield _again(block, pieces, number, shift)
        if START + DAY / times * number <= began < START + DAY / times * (number + 1):
            yield attack


def _again(block: bytes, pieces: list[re.Match[bytes]], number: int, shift: timedelta) -> bytes:
    """Return the block with fresh ids and later times; one id stays one id."""
    fresh: dict[bytes, bytes] = {}
    parts, end = [], 0
    for piece in pieces:
        old = piece[0]
        if old not in fresh:
            if piece.string[piece.start() - 12 : piece.start()].endswith(b'Timestamp":"'):
                fresh[old] = format_time(parse_time(old.decode()) + shift).encode()
            else:
                fresh[old] = str(uuid.uuid5(_NAMES, f"{number} {old.decode()}")).encode()
        parts += [block[end : piece.start()], fresh[old]]
        end = piece.end()
    return b"".join((*parts, block[end:]))


def main() -> None:
    """Write one log."""
    parser = argparse.ArgumentParser(description="Write a day's audit log with one attack.")
    parser.add_argument("--size", default="400MiB")
    parser.add_argument("--out", type=Path, default=Path("audit.log"))
    arguments = parser.parse_args()
    with arguments.out.open("wb") as file:
        file.writelines(day(size_of(arguments.size)))


if __name__ == "__main__":
    main()
