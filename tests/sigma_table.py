# SPDX-License-Identifier: Apache-2.0
"""The table of what each engine finds with our Sigma rules; `python tests/sigma_table.py` writes it into the docs.

It needs the extras `test`, `engines` and `spark`, Java, Debian's liblucene8-java, and writes the columns of the engines
that are there. A row is a rule on a recording; a recording on which nobody finds anything has none.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sigma_engines as engines
import sigma_lucene as lucene
import sigma_runner as runner
from k8stokendetect import sigma

PAGE = Path(__file__).parents[1] / "docs" / "sigma-engines.md"
ENGINES = ("SQLite", "DuckDB", "Spark SQL", "Lucene", "Kusto", "Splunk")
BEGIN, END = "<!-- written by tests/sigma_table.py -->\n", "<!-- up to here -->\n"

IMPERSONATED, MINTED_USED, FILLED = "token-request-impersonated", "minted-token-used", "legacy-token-secret.filled"
REASONS = {
    "a": "pySigma's backend for DuckDB (0.1.4) writes no valid SQL for a correlation with aliases.",
    "b": "pySigma's backend for Databricks writes no correlations.",
    "c": "A Lucene query looks at one document, so it cannot join two.",
    "d": "AKSAudit has no column for `impersonatedUser`.",
}
CANNOT = {
    ("DuckDB", MINTED_USED): "a",
    **{("Spark SQL", rule): "b" for rule in runner.CORRELATIONS},
    **{("Lucene", rule): "c" for rule in runner.CORRELATIONS},
    ("Kusto", IMPERSONATED): "d",
}
"""Why an engine does not run a rule: each has a test."""

Key = tuple[str, str]
"""A rule and a recording."""


def counted(engine: str, found: engines.Found, ours: engines.Found) -> dict[Key, str]:
    """Return the cells of an engine: how many of our detector's requests it finds, and how many more."""
    cells = {}
    for rule in sigma.RULES:
        for recording in runner.RECORDINGS:
            reported = {item for item in ours[rule.removesuffix(".filled")] if item[0] == recording}
            flagged = {item for item in found.get(rule, ()) if item[0] == recording}
            more = len(flagged - reported)
            text = f"{len(flagged & reported)}{f' + {more}' if more else ''}"
            cells[rule, recording] = CANNOT.get((engine, rule), text)
    return cells


def detected(ours: engines.Found) -> dict[Key, str]:
    """Return the cells of our detectors."""
    found = {rule: ours[rule.removesuffix(".filled")] for rule in sigma.RULES}
    return counted("", found, ours)


def written(columns: dict[str, dict[Key, str]]) -> str:
    """Return the table and its notes."""
    names = ["rule", "recording", *columns]
    lines = [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    for rule in sigma.RULES:
        for recording in runner.RECORDINGS:
            cells = [column[rule, recording] for column in columns.values()]
            if not {*cells} <= {"0", *REASONS}:
                lines.append(f"| {' | '.join([f'`{rule}`', recording, *cells])} |")
    nothing = [rule for rule in sigma.RULES if not any(line.startswith(f"| `{rule}` |") for line in lines)]
    lines += ["", f"Nobody finds anything with {' and '.join(f'`{rule}`' for rule in nothing)}.", ""]
    lines += [f"- {letter}: {why}" for letter, why in REASONS.items()]
    return "\n".join(lines) + "\n"


def documented() -> dict[str, dict[Key, str]]:
    """Return the columns of the table in the documentation by their names; without a row a cell is 0, or a reason."""
    lines = [line for line in _table().splitlines() if line.startswith("| ")]
    _, _, *names = [name.strip() for name in lines[0].strip("|").split("|")]
    none = {
        name: {
            (rule, recording): CANNOT.get((name, rule), "0") for rule in sigma.RULES for recording in runner.RECORDINGS
        }
        for name in names
    }
    for line in lines[1:]:
        rule, recording, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        for name, cell in zip(names, cells, strict=True):
            none[name][rule.strip("`"), recording] = cell
    return none


def _table() -> str:
    return PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]


def is_in_the_docs() -> bool:
    """Whether the table in the documentation is what is written of its own cells: no row is missing or too many."""
    return written(documented()) == _table().strip("\n") + "\n"


def _spark() -> engines.Found:
    session: Any = __import__("pyspark.sql", fromlist=["SparkSession"]).SparkSession
    spark = session.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
    try:
        return engines.in_spark(spark)
    finally:
        spark.stop()


def _lucene() -> engines.Found:
    assert not lucene.MISSING, lucene.MISSING
    with tempfile.TemporaryDirectory() as folder:
        return engines.in_lucene(Path(folder))


def rewrite() -> None:
    """Run every engine that is there, and write the table."""
    runs: dict[str, Callable[[], engines.Found]] = {
        "SQLite": engines.in_sqlite,
        "DuckDB": engines.in_duckdb,
        "Spark SQL": _spark,
        "Lucene": _lucene,
        "Kusto": engines.in_kusto,
        "Splunk": engines.in_splunk,
    }
    ours = engines.of_detectors()
    columns = {"detector": detected(ours)}
    for name in ENGINES:
        try:
            columns[name] = counted(name, runs[name](), ours)
        except (ImportError, AssertionError) as error:
            print(f"{name}: not run, kept as it was: {error}", file=sys.stderr)  # noqa: T201 - a script
            columns[name] = documented()[name]
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{written(columns)}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


if __name__ == "__main__":
    rewrite()
