# SPDX-License-Identifier: Apache-2.0
"""Runs Sigma rules on recorded audit logs: pySigma writes the SQL, SQLite executes it."""

from __future__ import annotations

import functools
import importlib
import json
import re
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from sigma.collection import SigmaCollection

from k8stokendetect import DEFAULT_EXCLUSIONS, sigma
from k8stokendetect.events import PLATFORMS
from k8stokendetect.exclusions import OPTIONAL_EXCLUSIONS
from recordings import Request, records

CORRELATIONS = ("minted-token-used", "legacy-token-secret.filled")
SINGLE = tuple(rule for rule in sigma.RULES if rule not in CORRELATIONS)


def flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the fields of an event: names joined by dots, a list as its JSON, what is empty not at all."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from flat(item, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        if value:
            yield path, json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    elif value is not None:
        yield path, value


def first_of_lists(record: dict[str, Any]) -> dict[str, Any]:
    """Return an event whose `user.extra` has texts, as a field of one value shows it: what a join needs."""
    user = record["user"]
    extra = {name: values[0] for name, values in user.get("extra", {}).items()}
    return record | {"user": user | {"extra": extra}}


def table(events: Iterable[dict[str, Any]]) -> sqlite3.Connection:
    """Load events into a table `logs`, one column for each field that a rule may ask for."""
    rows = [dict(flat(event)) for event in events]
    names = sorted(_asked_for())
    base = sqlite3.connect(":memory:")
    base.create_function("REGEXP", 2, lambda pattern, text: bool(re.search(pattern, text or "")), deterministic=True)
    base.create_function("BARE", 2, lambda value, _: value, deterministic=True)
    base.execute(f"CREATE TABLE logs ({', '.join(f'`{name}` COLLATE NOCASE' for name in names)})")
    places = ", ".join("?" * len(names))
    base.executemany(f"INSERT INTO logs VALUES ({places})", ([row.get(name) for name in names] for row in rows))  # noqa: S608 - placeholders only
    return base


@functools.cache
def _asked_for() -> frozenset[str]:
    found = {"requestReceivedTimestamp"}
    every = DEFAULT_EXCLUSIONS + OPTIONAL_EXCLUSIONS
    texts = [sigma.rule_for(rule) for rule in sigma.RULES]
    for platform in PLATFORMS:
        weaker = [one.id for one in every]
        texts.append(sigma.rule_for("token-request", exclusions=every, platform=platform, weaker=weaker))
    for text in texts:
        found |= set(re.findall(r"^\s+(?:- )?([A-Za-z]+(?:\.[A-Za-z0-9./-]+)*)(?:\|\w+)*:", text, re.MULTILINE))
    return frozenset(found)


@functools.cache
def documents(text: str) -> tuple[dict[str, Any], ...]:
    """Return the documents of a rule; they are shared: copy one before changing it."""
    return tuple(yaml.load_all(text, yaml.CSafeLoader))


def collection(text: str) -> SigmaCollection:
    """Return a rule as pySigma has it; its own reader is the same, and ten times slower."""
    return SigmaCollection.from_dicts([dict(document) for document in documents(text)])


@functools.cache
def queries(text: str) -> tuple[str, ...]:
    """Return the SQL of a rule."""
    backend: Any = importlib.import_module("sigma.backends.sqlite").sqliteBackend()
    backend.timestamp_field = "requestReceivedTimestamp"
    return tuple(backend.convert(collection(text)))


def flagged(base: sqlite3.Connection, text: str, *, bare: bool = False) -> set[int]:
    """Return the places of the events that a rule flags.

    Arguments:
        base: a table of events.
        text: the rule.
        bare: leave a negated comparison with a missing field unknown, as other backends do; this one makes it false.

    """
    found = set()
    for query in queries(text):
        sql = query.replace("SELECT *", "SELECT rowid", 1)
        found |= {row - 1 for (row,) in base.execute(sql.replace("COALESCE(", "BARE(") if bare else sql)}
    return found


@functools.cache
def loaded(path: Path) -> sqlite3.Connection:
    """Return a recording as a table."""
    return table(records(path))


def flagged_requests(path: Path, text: str, *, bare: bool = False) -> set[Request]:
    """Return the requests of a recording that a rule flags."""
    events = records(path)
    return {Request.of(events[place]) for place in flagged(loaded(path), text, bare=bare)}


def joined(path: Path, text: str) -> set[int]:
    """Return the places of the events of a recording that a correlation joins."""
    base = _of_one_value(path)
    (query,) = queries(text)
    rows = base.execute(f"SELECT event_ids FROM ({query})")  # noqa: S608 - pySigma's own text
    return {int(str(item).rpartition(":")[2]) - 1 for (ids,) in rows for item in json.loads(ids)}


@functools.cache
def _of_one_value(path: Path) -> sqlite3.Connection:
    return table(first_of_lists(record) for record in records(path))
