# SPDX-License-Identifier: Apache-2.0
"""Runs Lucene queries on audit events with Lucene's own parser, through Java (Debian: liblucene8-java)."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

NAMES = ("core", "queryparser", "analyzers-common", "queries", "sandbox")
JARS = [jar for name in NAMES for jar in sorted(Path("/usr/share/java").glob(f"lucene-{name}-8.*.jar"))[-1:]]
MISSING = "" if shutil.which("javac") and len(JARS) == len(NAMES) else "needs a JDK and Debian's liblucene8-java"
"""Why this cannot run here; empty if it can."""


def values(event: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the fields of an event as Elasticsearch indexes them: the elements of a list are values of one field."""
    if isinstance(event, dict):
        for name, item in event.items():
            yield from values(item, f"{path}.{name}" if path else name)
    elif isinstance(event, list):
        for item in event:
            yield from values(item, path)
    elif event is not None:
        yield path, event


def found(
    folder: Path, documents: Iterable[Mapping[str, Any]], queries: Sequence[str], *, texts: str = "$.^"
) -> list[set[int]]:
    """Return for each query the places of the documents that match.

    Arguments:
        folder: for files that Java reads.
        documents: of objects, lists, texts and numbers.
        queries: each on one line.
        texts: a regular expression for the names of fields that are analysed texts; others are keywords or numbers.

    """
    is_text = re.compile(texts).fullmatch
    with (folder / "documents").open("w", encoding="utf-8") as file:
        for place, document in enumerate(documents):
            for name, value in values(document):
                kind = "l" if isinstance(value, int) and not isinstance(value, bool) else "t" if is_text(name) else "k"
                line = str(value).replace("\n", " ").replace("\r", " ")
                if len(line.encode()) < 32_766:  # Lucene's longest term; Elasticsearch has `ignore_above` for it
                    file.write(f"{place}\t{kind}\t{name}\t{line}\n")
    (folder / "queries").write_text("\n".join(queries) + "\n", encoding="utf-8")
    command = ["java", "-cp", ":".join(map(str, JARS)), str(Path(__file__).with_name("LuceneRunner.java"))]
    result = subprocess.run(  # noqa: S603 - our own program
        [*command, str(folder / "documents"), str(folder / "queries")], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return [set(map(int, line.split())) for line in result.stdout.split("\n")[: len(queries)]]
