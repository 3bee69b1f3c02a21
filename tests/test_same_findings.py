# SPDX-License-Identifier: Apache-2.0
"""The same bytes give the same findings, with and without the prefilter, wherever a read ends, after any damage."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import msgspec
import pytest

from builders import token_request
from k8stokendetect import Tally, detect
from k8stokendetect.detectors import BUILTIN, Detector
from recordings import METADATA, REQUEST_RESPONSE, records
from test_damage import DAMAGES
from test_detector_minted_token_used import pods, use
from test_skipping import PART, Everything

Damage = Callable[[bytes, random.Random], bytes]


def write(record: Any) -> bytes:
    """Write a record as Go does."""
    return json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode()


def timely(number: int, record: dict[str, Any]) -> dict[str, Any]:
    """Return an event of the same minute as all others: what is read later than that is the engine's matter."""
    return record | {"requestReceivedTimestamp": f"2026-11-23T21:43:{number % 40:02}.{number:06}Z"}


CHOSEN = (*PART, *records(METADATA)[:200], *records(REQUEST_RESPONSE)[::4])
NATIVE = [write(timely(number, record)) for number, record in enumerate(CHOSEN)]
EVENTS = [line.decode() for line in NATIVE]


def wrapped(chance: random.Random) -> bytes:
    """Write a line of a wrapper with one event, or a few."""
    some = [chance.choice(EVENTS) for _ in range(3)]
    forms: list[Any] = [
        {"timestamp": 1, "message": some[0], "logStreamName": "kube-apiserver-audit-1"},
        {"log": some[0] + "\n", "stream": "stdout", "time": "2026-11-23T21:43:45Z"},
        {"records": [{"category": "kube-audit", "properties": {"log": text}, "resourceId": "/x"} for text in some]},
        {"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": list(map(json.loads, some))},
        list(map(json.loads, some)),
    ]
    return write(chance.choice(forms))


def log(chance: random.Random, lines: int) -> bytes:
    """Write a log of which about half the lines are damaged, in bytes that JSON, a wrapper or a file may lose."""
    written = []
    for _ in range(lines):
        line = chance.choice(NATIVE) if chance.random() < 0.7 else wrapped(chance)
        if chance.random() < 0.5:
            line = chance.choice(DAMAGES)(line, chance)
        written.append(line + (b"" if chance.random() < 0.03 else b"\n"))
    return b"".join(written)


class Pieces(io.RawIOBase):
    """Gives a content in pieces of any size, as a pipe does."""

    def __init__(self, content: bytes, chance: random.Random, most: int) -> None:
        self._rest = io.BytesIO(content)
        self._chance = chance
        self._most = most

    def readable(self) -> bool:
        """Tell that it is."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """Return the next piece."""
        return self._rest.read(min(size, self._chance.randrange(1, self._most)))


def outcome(source: Any, *more: Detector) -> tuple[set[str], set[str], int]:
    """Return what is found, which errors there are, and how many records were counted."""
    errors: list[Any] = []
    tally = Tally()
    found = detect(source, detectors=[*(cls() for cls in BUILTIN), *more], on_error=errors.append, tally=tally)
    # A watch is logged at two stages under one time; which of the two is reported, or both, is no difference.
    staged = {
        msgspec.json.encode(attrs.evolve(one, event=attrs.evolve(one.event, stage="", origin=None))).decode()
        for one in found
    }
    place = "<stream>" if hasattr(source, "read") else "<bytes>"
    reported = {str(error).removeprefix(place) for error in errors}
    return staged, reported, tally.events + tally.unreadable + tally.skipped


def compare(seeds: Iterator[int] | range, lines: int) -> None:
    """Read many damaged logs in every way."""
    for seed in seeds:
        chance = random.Random(seed)  # noqa: S311 - no secret
        content = log(chance, lines)
        found, errors, count = outcome(content)
        everything, all_errors, all_count = outcome(content, Everything())
        places = [{one.replace("<bytes>", "<stream>") for one in items} for items in (found, everything)]
        assert found == everything, seed
        assert errors <= all_errors, seed  # a field of a wrong type is not seen in an event that nobody wants
        assert count == all_count, seed
        for most in (2, 700, 1 << 16):
            cut = outcome(Pieces(content, chance, most))
            assert ({one.replace("<bytes>", "<stream>") for one in cut[0]}, *cut[1:]) == (places[0], errors, count), (
                seed
            )


def test_damaged_logs_give_the_same_in_every_way() -> None:
    """Some of each kind of damage."""
    compare(range(10), 30)


@pytest.mark.slow
def test_many_damaged_logs_give_the_same_in_every_way() -> None:
    """30,000 lines."""
    compare(range(1000, 2000), 30)


LEGACY = (
    b'2026-11-23T21:43:45.581827Z AUDIT: id="8" stage="ResponseComplete" ip="192.0.2.7" method="create" user="mallory" '
    b'groups="\\"system:authenticated\\"" as="<self>" asgroups="<lookup>" user-agent="curl/8" namespace="prod" '
    b'uri="/api/v1/namespaces/prod/serviceaccounts/payments-sa/token" response="201"'
)


@pytest.mark.parametrize("between", [0, 1, 1500])
def test_json_then_text_then_json(between: int) -> None:
    """Wherever blocks are cut."""
    noise = [write(pods(auditID=f"n{number}")) for number in range(between)]
    content = b"\n".join([write(token_request("m1")), *noise, LEGACY, *noise, write(token_request("m3")), b""])
    found, errors, count = outcome(content)
    assert not errors
    assert count == 3 + 2 * between
    assert all(f'"user":"{name}"' in "".join(found) for name in ("m1", "mallory", "m3"))


def test_names_that_are_escaped_or_repeated_change_nothing() -> None:
    """Whoever rewrites a log may write the same in another way."""
    lines = [write(use()), write(token_request()), write(use(auditID="later"))]
    plain = outcome(b"\n".join(lines))
    for old, new in (
        (b'"objectRef"', b'"\\u006fbjectRef"'),
        (b"JTI=", b"\\u004aTI="),
        (b'"verb"', b'"verb":"get","verb"'),
        (b'":', b'" : '),
        (b'"userAgent"', b'"n":123456789012345678901234567890,"userAgent"'),
        (b'"userAgent"', b'"x":null,"userAgent"'),
    ):
        assert outcome(b"\n".join(line.replace(old, new) for line in lines)) == plain
