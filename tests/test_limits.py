# SPDX-License-Identifier: Apache-2.0
"""Hostile input costs no more than the limits say, each of which is an argument."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from builders import token_request
from k8stokendetect import AuditLog, ConfigError, ReadError, read
from k8stokendetect.commands.exec_events import PENDING_EVENTS
from k8stokendetect.convert.nesting import MAX_NESTING
from k8stokendetect.convert.yaml import MOST_ALIASES
from k8stokendetect.detectors.states import MAX_KEYS
from k8stokendetect.engine.memory import WINDOW
from k8stokendetect.engine.reorder import MAX_WAITING
from k8stokendetect.envelopes.unknown import DEEPEST, MOST_VALUES
from k8stokendetect.input.damage import MOST_TRIES
from k8stokendetect.reading.window import KEPT


def outcome(content: bytes, **limits: Any) -> tuple[int, list[str]]:
    """Return how many events were read, and the reasons of the errors."""
    items = list(AuditLog(content, **limits).stream())
    errors = [item.reason for item in items if isinstance(item, ReadError)]
    return len(items) - len(errors), errors


def nested(times: int) -> bytes:
    """Return an event in so many records of a shipper, each a text in the next."""
    record = json.dumps(token_request())
    for _ in range(times):
        record = json.dumps({"log": record})
    return record.encode()


def subscription(events: list[dict[str, Any]]) -> bytes:
    """Return what a CloudWatch subscription delivers."""
    payload = {
        "messageType": "DATA_MESSAGE",
        "logGroup": "/aws/eks/c/cluster",
        "logEvents": [{"id": "1", "timestamp": 1, "message": json.dumps(event)} for event in events],
    }
    data = base64.b64encode(gzip.compress(json.dumps(payload).encode())).decode()
    return json.dumps({"awslogs": {"data": data}}).encode()


def test_wrappers_nest_as_deep_as_the_limit() -> None:
    """Eight by default; one more is an error that names the limit."""
    assert outcome(nested(8)) == (1, [])
    assert outcome(nested(9)) == (0, ["wrapped more than 8 times, the limit max_nesting"])
    assert outcome(nested(9), max_nesting=9) == (1, [])
    assert outcome(nested(2), max_nesting=1) == (0, ["wrapped more than 1 times, the limit max_nesting"])


def test_a_file_that_decompresses_without_end_is_left() -> None:
    """After 64 MiB the ratio counts; whole records before it are read, and the error names the limit."""
    line = json.dumps(token_request()).encode() + b"\n"
    bomb = gzip.compress(line + (b" " * (1 << 20) + b"\n") * 66 + line, 1)
    events, errors = outcome(bomb)
    assert events == 1
    assert "more than 200 times its size, the limit max_ratio" in errors[0]
    assert outcome(bomb, max_ratio=1032) == (2, [])
    assert outcome(gzip.compress(line * 2000), max_ratio=1) == (2000, []), "a short log of equal calls is no bomb"


def test_a_message_of_equal_events_is_no_bomb() -> None:
    """Up to 1 MiB the ratio does not count; beyond, and beyond the longest record, it is an error."""
    assert outcome(subscription([token_request()] * 500), max_ratio=1) == (500, [])
    events, errors = outcome(subscription([token_request()] * 5000), max_ratio=2)
    assert (events, [error.rpartition("(")[2] for error in errors]) == (0, ["limit max_ratio)"])
    events, errors = outcome(subscription([token_request()] * 500), max_record=100_000)
    assert (events, [error.rpartition("(")[2] for error in errors]) == (0, ["limit max_record)"])


@pytest.mark.parametrize("name", ["max_record", "max_nesting", "max_ratio", "max_members"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_a_limit_below_one_is_refused(name: str, value: float) -> None:
    """Nothing could be read."""
    arguments: dict[str, Any] = {name: value}
    with pytest.raises(ConfigError, match=f"{name} is {value}: nothing could be read"):
        read(b"", **arguments)


def test_the_page_names_every_limit() -> None:
    """docs/limits.md says the values that the code has."""
    page = (Path(__file__).parents[1] / "docs" / "limits.md").read_text(encoding="utf-8")
    rows = {line.split("|")[1].strip(): line.split("|")[2].strip() for line in page.splitlines() if line[:1] == "|"}
    values = {
        "depth of a record": f"{MAX_NESTING} levels",
        "aliases": f"{MOST_ALIASES}",
        "around an event in a record of an unknown": f"{DEEPEST}",
        "values of a record of an unknown": f"{MOST_VALUES:,}",
        "tried in vain": f"{MOST_TRIES}",
        "events that wait": f"{MAX_WAITING:,}",
        "skipped requests": f"{KEPT // 2**20} MiB",
        "findings and events": f"{WINDOW:,}",
        "tokens, callers and accounts": f"{MAX_KEYS:,}",
        "commands of a host's log": f"{PENDING_EVENTS:,}",
    }

    for name, value in values.items():
        (found,) = (shown for row, shown in rows.items() if name in row)
        assert found == value, name
