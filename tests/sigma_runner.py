# SPDX-License-Identifier: Apache-2.0
"""Runs Sigma rules on audit events: pySigma writes the SQL, SQLite or DuckDB executes it."""

from __future__ import annotations

import functools
import importlib
import json
import re
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import yaml
from sigma.collection import SigmaCollection

from k8stokendetect import DEFAULT_EXCLUSIONS, sigma
from k8stokendetect.events import PLATFORMS
from k8stokendetect.exclusions import OPTIONAL_EXCLUSIONS
from recordings import DATA, METADATA, METADATA_1_27, REQUEST_RESPONSE, Request, records

CORRELATIONS = ("minted-token-used", "legacy-token-secret.filled")
SINGLE = tuple(rule for rule in sigma.RULES if rule not in CORRELATIONS)
RECORDINGS = {
    "1.36": METADATA,
    "bodies": REQUEST_RESPONSE,
    "1.27": METADATA_1_27,
    "kubelets": DATA / "real-node.log.gz",
}
NUMBERS = re.compile(r"(.*\.code|.*Seconds)")
"""The fields that are numbers."""


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


def rows(events: Iterable[dict[str, Any]]) -> tuple[list[str], list[list[Any]]]:
    """Return the fields that a rule may ask for, and their values in each event."""
    names = sorted(_asked_for())
    found = [dict(flat(event)) for event in events]
    return names, [[row.get(name) for name in names] for row in found]


class Base(sqlite3.Connection):
    """A database in memory that is closed when nobody refers to it any more; from Python 3.13 on that must be said."""

    def __del__(self) -> None:
        self.close()


def table(events: Iterable[dict[str, Any]]) -> sqlite3.Connection:
    """Load events into a table `logs` of SQLite."""
    names, values = rows(events)
    base = sqlite3.connect(":memory:", factory=Base, check_same_thread=False)  # any thread may collect it
    base.create_function("REGEXP", 2, lambda pattern, text: bool(re.search(pattern, text or "")), deterministic=True)
    base.create_function("BARE", 2, lambda value, _: value, deterministic=True)
    base.execute(f"CREATE TABLE logs ({', '.join(f'`{name}` COLLATE NOCASE' for name in names)})")
    base.executemany(f"INSERT INTO logs VALUES ({', '.join('?' * len(names))})", values)  # noqa: S608 - placeholders only
    return base


def duck_table(events: Iterable[dict[str, Any]]) -> duckdb.DuckDBPyConnection:
    """Load events into a table `logs` of DuckDB, whose first column is the event's place."""
    import pyarrow as pa  # noqa: PLC0415 - slow to import, and only this needs it

    names, values = rows(events)
    columns: dict[str, Any] = {"place": list(range(len(values)))}
    for name, column in zip(names, zip(*values, strict=True), strict=True):
        kind = pa.int64() if NUMBERS.fullmatch(name) else pa.string()
        columns[name] = pa.array(column, kind)
    columns["timestamp"] = pa.array(columns["requestReceivedTimestamp"]).cast(pa.timestamp("us", "UTC"))
    base = duckdb.connect()
    base.register("given", pa.table(columns))
    base.execute("CREATE TABLE logs AS SELECT * FROM given")
    return base


@functools.cache
def _asked_for() -> frozenset[str]:
    found = {"requestReceivedTimestamp"}
    every = DEFAULT_EXCLUSIONS + OPTIONAL_EXCLUSIONS
    texts = [sigma.rule_for(rule, form=form) for rule in sigma.RULES for form in sigma.FORM_NAMES]
    texts += [sigma.rule_for("token-request", form="full", exclusions=every, platform=one) for one in PLATFORMS]
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


def duck_flagged(base: duckdb.DuckDBPyConnection, text: str) -> set[int]:
    """Return the places of the events that a rule flags in DuckDB, by pySigma's backend for it."""
    backend: Any = importlib.import_module("sigma_backend_duckdb").DuckDBBackend()
    found = set()
    for query in backend.convert(collection(text)):
        found |= {place for (place,) in base.execute(query.replace("SELECT *", "SELECT place", 1)).fetchall()}
    return found


def duck_joined(base: duckdb.DuckDBPyConnection, text: str) -> set[int]:
    """Return the places of the events that a correlation joins in DuckDB, by pySigma's backend for it."""
    backend: Any = importlib.import_module("sigma_backend_duckdb").DuckDBBackend()
    (query,) = backend.convert(collection(text))
    rows = base.execute(query.replace("COUNT(DISTINCT", "list(place) AS places, COUNT(DISTINCT", 1))
    names = [column[0] for column in rows.description]
    return {place for row in rows.fetchall() for place in row[names.index("places")]}


@functools.cache
def loaded(path: Path) -> sqlite3.Connection:
    """Return a recording as a table of SQLite."""
    return table(records(path))


def requests_at(path: Path, places: Iterable[int]) -> set[Request]:
    """Return the requests at some places of a recording."""
    events = records(path)
    return {Request.of(events[place]) for place in places}


def flagged_requests(path: Path, text: str, *, bare: bool = False) -> set[Request]:
    """Return the requests of a recording that a rule flags."""
    return requests_at(path, flagged(loaded(path), text, bare=bare))


def joined(path: Path, text: str) -> set[int]:
    """Return the places of the events of a recording that a correlation joins."""
    base = _of_one_value(path)
    (query,) = queries(text)
    rows = base.execute(f"SELECT event_ids FROM ({query})")  # noqa: S608 - pySigma's own text
    return {int(str(item).rpartition(":")[2]) - 1 for (ids,) in rows for item in json.loads(ids)}


@functools.cache
def _of_one_value(path: Path) -> sqlite3.Connection:
    return table(first_of_lists(record) for record in records(path))
