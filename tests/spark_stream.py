# SPDX-License-Identifier: Apache-2.0
"""A stream as a program of its own, to be killed: `spark_stream.py LOGS CHECKPOINT FINDINGS`."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from k8stokendetect import Detector, Event, Finding, Rule, Severity, spark
from k8stokendetect.detectors import BUILTIN, OPTIONAL

RULES: Final = [cls.rule.id for cls in (*BUILTIN, *OPTIONAL)]


class Broken(Detector):
    """Raises on every token request."""

    rule = Rule("acme.broken", "Broken", Severity.LOW)
    watches = frozenset({"serviceaccounts/token"})

    def matches(self, event: Event, /) -> bool:
        """Raise."""
        raise RuntimeError(event.verb)

    def describe(self, event: Event, /) -> Finding:
        """Say nothing."""
        return self.finding(event, "")


def quicken(session: Any) -> None:
    """Leave out what makes large logs quicker and small ones slower."""
    session.conf.set("spark.sql.shuffle.partitions", "2")
    session.conf.set("spark.sql.adaptive.enabled", "false")
    session.conf.set("spark.sql.codegen.wholeStage", "false")


def start(session: Any, logs: Path, checkpoint: Path, found: Path) -> Any:
    """Start the stream: a file a batch, findings and errors as JSON lines."""
    log = session.readStream.format("text").option("maxFilesPerTrigger", 1).load(str(logs))
    rows = spark.detect(log, detectors=RULES, patience=timedelta(milliseconds=1))
    writer = rows.where("tally is null").select("line", "error").writeStream.format("json").option("path", str(found))
    return writer.option("checkpointLocation", str(checkpoint)).trigger(processingTime="0 seconds").start()


def main() -> None:
    """Run until somebody kills this, five minutes at most."""
    logs, checkpoint, found = map(Path, sys.argv[1:])
    session = spark.session(cores=2)
    quicken(session)
    start(session, logs, checkpoint, found).awaitTermination(timeout=300)


if __name__ == "__main__":
    main()
