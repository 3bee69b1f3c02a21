# SPDX-License-Identifier: Apache-2.0
"""Compares Spark with plain `detect` on one log of several files: throughput, growth with the cores, equal findings.

    python benchmarks/spark.py FOLDER [1GiB]

Each measurement is a process of its own; the time is that of `detect`, the start of Java not in it. The processor's
time is that of all processes, Java and Python, from /proc (Linux): it is the same on a machine that has other work.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from generate import size_of, write
from k8stokendetect import detect
from k8stokendetect.outputs.native import finding_of

FILES: Final = 4
WAYS: Final = ("detect", "empty 1", "empty 2", "batch 1", "batch 2", "stream 1", "stream 2")


def split(folder: Path, size: int) -> Path:
    """Write a log and cut it into files of whole lines."""
    whole, logs = folder / "whole.log", folder / "logs"
    if logs.exists():
        return logs
    logs.mkdir(parents=True)
    wanted = write(whole, size).size // FILES
    with whole.open("rb") as source:
        for number in range(FILES):
            with (logs / f"{number}.log").open("wb") as part:
                part.writelines(source.readlines(wanted if number < FILES - 1 else -1))
    whole.unlink()
    return logs


def measure(way: str, logs: Path) -> dict[str, Any]:
    """Run one way; return seconds and a name for all that was found."""
    name, *options = way.split()
    if name == "detect":
        start, used = time.perf_counter(), processor_seconds()
        found = [(finding.fingerprint, finding.summary) for finding in detect(str(logs))]
        seconds, used = time.perf_counter() - start, processor_seconds() - used
        return {"seconds": seconds, "processor": used, "found": sorted(found)}
    from k8stokendetect import spark  # noqa: PLC0415 - Java need not be there

    session = spark.session(cores=int(options[0]))
    session.sparkContext.setLogLevel("OFF")
    spark.detect(session.createDataFrame([("{}",)], "value string")).collect()  # starts the Python workers
    start, used = time.perf_counter(), processor_seconds()
    if name == "empty":
        rows: Sequence[Any] = _empty(session.read.text(str(logs)))
    elif name == "batch":
        rows = spark.findings(spark.detect(session.read.text(str(logs)))).collect()
    else:
        rows = _stream(spark, session, logs)
    seconds, used = time.perf_counter() - start, processor_seconds() - used
    session.stop()
    findings = [finding_of(row.line) for row in rows if row.line]
    found = sorted((finding.fingerprint, finding.summary) for finding in findings)
    return {"seconds": seconds, "processor": used, "found": found}


def processor_seconds() -> float:
    """Return the processor's time that this process and those below it have used."""
    parents: dict[int, int] = {}
    used: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        parents[int(path.parent.name)] = int(fields[1])
        used[int(path.parent.name)] = sum(map(int, fields[11:15]))  # its own, and that of children which have ended
    below, found = [os.getpid()], 0
    while below:
        process = below.pop()
        found += used.get(process, 0)
        below += [child for child, parent in parents.items() if parent == process]
    return found / os.sysconf("SC_CLK_TCK")


def _empty(log: Any) -> Sequence[Any]:
    """Hand all rows to a function that does nothing with them: what any work in Python costs at least."""

    def nothing(batches: Iterator[Any]) -> Iterator[Any]:
        for batch in batches:
            yield batch.slice(0, 0)

    rows: list[Any] = log.selectExpr("cast(value as binary) line").mapInArrow(nothing, "line binary").collect()
    return rows


def _stream(spark: Any, session: Any, logs: Path) -> Sequence[Any]:
    """Run a stream, a file a batch, until all is read; the size of the checkpoint goes to standard error."""
    checkpoint = logs.with_name(f"checkpoint-{time.time_ns()}")
    log = session.readStream.format("text").option("maxFilesPerTrigger", 1).load(str(logs))
    found = spark.findings(spark.detect(log)).select("line")
    query = found.writeStream.format("memory").queryName("found").option("checkpointLocation", str(checkpoint))
    query.trigger(availableNow=True).start().awaitTermination()
    size = sum(path.stat().st_size for path in checkpoint.rglob("*") if path.is_file())
    print(json.dumps({"checkpoint_bytes": size}), file=sys.stderr)
    rows: list[Any] = session.sql("select * from found").collect()
    return rows


def main() -> None:
    """Measure all ways and print a table."""
    if sys.argv[1] == "--way":
        print(json.dumps(measure(sys.argv[2], Path(sys.argv[3]))))
        return
    folder = Path(sys.argv[1])
    logs = split(folder, size_of(sys.argv[2] if len(sys.argv) > 2 else "1GiB"))  # noqa: PLR2004 - given
    size = sum(path.stat().st_size for path in logs.iterdir())
    expected = None
    print("| way | s | MiB/s | processor s | findings | the same |\n|---|---|---|---|---|---|")
    for way in WAYS:
        command = [sys.executable, "-W", "ignore", __file__, "--way", way, str(logs)]
        answer = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - ourselves
        (folder / f"{way.replace(' ', '-')}.err").write_text(answer.stderr, encoding="utf-8")
        result = json.loads(answer.stdout.splitlines()[-1])
        expected = expected or result["found"]
        same = "yes" if result["found"] == expected else "-" if way.startswith("empty") else "NO"
        rate = size / result["seconds"] / (1 << 20)
        numbers = f"{result['seconds']:.1f} | {rate:.0f} | {result['processor']:.1f}"
        print(f"| {way} | {numbers} | {len(result['found'])} | {same} |", flush=True)


if __name__ == "__main__":
    main()
