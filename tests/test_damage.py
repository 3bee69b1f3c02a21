# SPDX-License-Identifier: Apache-2.0
"""Damaged records: each gives an Event or one ReadError, and nothing else happens."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.targets import check
from k8stokendetect import Event, ReadError, Tally, detect, read
from recordings import METADATA, REQUEST_RESPONSE, records
from strategies import json_values
from test_wrappers import WRAPPINGS

SAMPLES = Path(__file__).parents[2] / "shared" / "samples"
LINES = [
    json.dumps(record, separators=(",", ":")).encode()
    for path in (METADATA, REQUEST_RESPONSE)
    for record in records(path)
    if record.get("objectRef", {}).get("subresource") == "token"
]
VALUES: tuple[Any, ...] = (None, True, 7, -1.5, "", "x", [], ["x"], {}, {"x": 1}, "\ud800", 10**30)


def _cut(line: bytes, chance: random.Random) -> bytes:
    return line[: chance.randrange(1, len(line))]


def _flip(line: bytes, chance: random.Random) -> bytes:
    """Change up to eight bytes, into any but the one that ends a line."""
    changed = bytearray(line)
    for _ in range(chance.randrange(1, 9)):
        changed[chance.randrange(len(line))] = chance.choice([b for b in range(256) if b != ord("\n")])
    return bytes(changed)


def _drop(line: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(line) - 1)
    return line[:start] + line[start + chance.randrange(1, 40) :]


def _double(line: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(line) - 1)
    return line[:start] + line[start : start + 20] + line[start:]


def _recode(line: bytes, chance: random.Random) -> bytes:
    encoding = chance.choice(["utf-16-le", "utf-16-be", "utf-32-be", "cp037"])
    return line.decode("utf-8-sig").encode(encoding).replace(b"\n", b"")


def _swap(line: bytes, chance: random.Random) -> bytes:
    """Give one value, at any depth, another type, or drop its key."""
    record = json.loads(line)
    node: Any = record
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        key = chance.choice(keys)
        if isinstance(node[key], dict | list) and node[key] and chance.random() < 0.7:
            node = node[key]
            continue
        if chance.random() < 0.2:
            del node[key]
        else:
            node[key] = chance.choice(VALUES)
        return json.dumps(record, separators=(",", ":")).encode()


DAMAGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (_cut, _flip, _drop, _double, _recode, _swap, _swap)


def variants(number: int) -> list[bytes]:
    """Return the same damaged lines in every run."""
    chance = random.Random(20261123)  # noqa: S311 - no secret
    return [chance.choice(DAMAGES)(chance.choice(LINES), chance) for _ in range(number)]


@pytest.mark.parametrize("number", [1000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_damaged_lines_give_an_event_or_an_error_each(number: int) -> None:
    """One by one, and all in one file: none is dropped, none costs its neighbour.

    A line in another encoding is read alone only: a file has one.
    """
    damaged = variants(number)
    alone = [list(read(line).stream()) for line in damaged]
    together = list(read(b"\n".join([LINES[0], *damaged])).stream())[1:]

    assert {len(items) for items in alone} == {1}
    assert all(isinstance(items[0], Event | ReadError) for items in alone)
    pairs = zip(damaged, alone, together, strict=True)
    assert not [1 for line, (item,), other in pairs if type(item) is not type(other) and b"\0" not in line]
    events = sum(isinstance(item, Event) for item in together)
    assert 0 < events < number == len(together)


EVENTS = [json.loads(line) for line in LINES[:2]]
MINTS = [json.loads(line) for line in LINES if b'"code":201' in line]


OF_COLUMNS = {"tables: parquet", "tables: arrow", "tables: feather"}
PREFIXED = {"unknown: kubectl logs --prefix"}


def compare(seed: int, number: int, name: str) -> None:
    """Damage lines of a form, each with one mint: every line is counted, and no mint is silent whose bytes show it."""
    chance = random.Random(f"{seed} {name}")  # noqa: S311 - no secret
    written = [WRAPPINGS[name]([chance.choice(MINTS)]) for _ in range(number)]
    if name in OF_COLUMNS:  # nothing shows in them when they are cut
        for content in written:
            check(chance.choice((_cut, _flip, _drop, _double))(content, chance))
        return
    damages = DAMAGES if written[0][:1] in (b"{", b"[") and name not in PREFIXED else DAMAGES[:-2]
    damaged = [chance.choice(damages)(content.rstrip(b"\n"), chance) for content in written]
    for content in damaged:
        check(content)
    tally, errors = Tally(), list[Any]()
    list(detect(b"\n".join([LINES[0], *damaged]), on_error=errors.append, tally=tally))
    assert all(isinstance(error, ReadError) for error in errors)
    if all(content.count(b"\n") == 1 for content in written):
        assert tally.events + tally.unreadable + tally.skipped + tally.unproven > number, name
    for content in written:
        end = content.rfind(b"/token", 0, len(content) * 9 // 10) + len(b"/token") + 9
        shown = content[: chance.randrange(end, len(content))] if end > len(content) // 10 else content
        found = list(detect(shown, exclusions=(), on_error=errors.append))
        assert found or b"/token" not in shown, (name, shown)


@pytest.mark.parametrize("name", sorted(WRAPPINGS))
def test_damage_in_every_form(name: str) -> None:
    """Some lines of each."""
    compare(1, 3, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(WRAPPINGS))
def test_much_damage_in_every_form(name: str) -> None:
    """20,000 records in all."""
    compare(2, 20_000 // len(WRAPPINGS), name)


@st.composite
def damaged_wrappers(draw: st.DrawFn) -> bytes:
    """Draw a wrapping of two events, of which a value at any depth is any JSON, a text is cut, or bytes are broken."""
    content: bytes = WRAPPINGS[draw(st.sampled_from(sorted(WRAPPINGS)))](EVENTS)
    how = draw(st.sampled_from(["value", "cut", "bytes"]))
    if how == "cut":
        return content[: draw(st.integers(1, len(content)))]
    if how == "bytes":
        at = draw(st.integers(0, len(content)))
        return content[:at] + draw(st.binary(max_size=6)) + content[at + draw(st.integers(0, 6)) :]
    line, *rest = content.split(b"\n", 1)
    try:
        record = json.loads(line)
    except ValueError:
        return draw(st.binary(max_size=30)) + content
    node: Any = {"": record}
    root = node
    while True:
        key = draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
        if isinstance(node[key], dict | list) and node[key] and draw(st.integers(0, 3)):
            node = node[key]
            continue
        if draw(st.booleans()) and isinstance(node[key], str):
            node[key] = node[key][: draw(st.integers(0, len(node[key])))]
        else:
            node[key] = draw(json_values)
        return b"\n".join([json.dumps(root[""]).encode(), *rest])


@given(damaged_wrappers())
def test_damaged_wrappers_give_events_or_errors(content: bytes) -> None:
    """Whatever is broken in whichever wrapper: no other exception, nothing silently dropped."""
    check(content)


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the public samples are not on this machine")
def test_the_public_samples_read() -> None:
    """No exception; what could not be understood is counted (a sample's test fixture, invalid JSON, wrong types)."""
    tallies = {path.name: check(path.read_bytes()) for path in SAMPLES.iterdir() if path.suffix != ".txt"}
    not_understood = {name: tally.unreadable for name, tally in tallies.items() if tally.unreadable}
    assert not_understood == {
        "elastic_eks_audit_edge_cases.jsonl": 4,
        "ocsf_eks_mapped_v1.5.json": 1,
    }
    assert all(tally.events for name, tally in tallies.items() if name not in not_understood)
