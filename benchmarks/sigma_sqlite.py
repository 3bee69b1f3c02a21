# SPDX-License-Identifier: Apache-2.0
"""The two rules as Sigma, turned into SQL by pySigma, run by SQLite on the events of the file.

    python benchmarks/sigma_sqlite.py LOG FINDINGS

Events are loaded as the tools around this backend do it: parsed one by one, flattened, put into a table in memory. Only
the fields that the rules name are kept, and the table is emptied now and then, which favours this peer.
"""

from __future__ import annotations

import importlib
import json
import re
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

import orjson
from sigma.collection import SigmaCollection

from predicate import SIGMA

FIELDS: Final = (
    "auditID",
    "verb",
    "requestURI",
    "userAgent",
    "user.username",
    "user.groups",
    "objectRef.resource",
    "objectRef.subresource",
    "objectRef.namespace",
    "objectRef.name",
    "responseStatus.code",
)
BATCH: Final = 100_000
"""Maximum number of events in the table at once."""


def _rows(log: Path) -> Iterator[tuple[Any, ...]]:
    none: dict[str, Any] = {}
    with log.open("rb") as lines:
        for line in lines:
            event = orjson.loads(line)
            user, ref = event["user"], event.get("objectRef", none)
            yield (
                event["auditID"],
                event["verb"],
                event["requestURI"],
                event.get("userAgent"),
                user["username"],
                " ".join(user["groups"]),
                ref.get("resource"),
                ref.get("subresource"),
                ref.get("namespace"),
                ref.get("name"),
                event.get("responseStatus", none).get("code"),
            )


def scan(log: Path, findings: Path) -> tuple[int, Counter[str]]:
    """Write one line for each rule that an event meets; return how many events there were and how many hits by rule."""
    rules = SigmaCollection.from_yaml(SIGMA)
    backend: Any = importlib.import_module("sigma.backends.sqlite").sqliteBackend()
    queries = [(rule.title, backend.convert(SigmaCollection([rule]))[0]) for rule in rules.rules]
    table = sqlite3.connect(":memory:")
    table.create_function("REGEXP", 2, lambda pattern, text: bool(re.search(pattern, text or "")), deterministic=True)
    table.execute(f"CREATE TABLE logs ({', '.join(f'`{field}`' for field in FIELDS)})")
    insert = f"INSERT INTO logs VALUES ({', '.join('?' * len(FIELDS))})"  # noqa: S608 - placeholders only
    rows, events, hits = _rows(log), 0, Counter[str]()
    with findings.open("w", encoding="utf-8") as out:
        while batch := list(islice(rows, BATCH)):
            events += len(batch)
            table.executemany(insert, batch)
            for rule, query in queries:
                for row in table.execute(query):
                    hits[rule] += 1
                    out.write(json.dumps([rule, *row]) + "\n")
            table.execute("DELETE FROM logs")
    table.close()
    return events, hits


def main() -> None:
    """Scan one log and say what was found."""
    log, findings = sys.argv[1:]
    events, hits = scan(Path(log), Path(findings))
    print(json.dumps({"events": events, "hits": hits}))


if __name__ == "__main__":
    main()
