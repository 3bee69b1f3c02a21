# SPDX-License-Identifier: Apache-2.0
"""The two rules as SQL, run by DuckDB over the file with a thread for each core.

python benchmarks/sql.py LOG FINDINGS THREADS
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import duckdb

from predicate import SQL


def scan(log: Path, findings: Path, threads: int) -> Counter[str]:
    """Write one line for each rule that an event meets; return how many by rule."""
    connection = duckdb.connect(config={"threads": threads})
    connection.execute("SET VARIABLE log = ?", [str(log)])
    rows = connection.execute(SQL).fetchall()
    findings.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return Counter(row[0] for row in rows)


def main() -> None:
    """Scan one log and say what was found."""
    log, findings, threads = sys.argv[1:]
    print(json.dumps({"hits": scan(Path(log), Path(findings), int(threads))}))


if __name__ == "__main__":
    main()
