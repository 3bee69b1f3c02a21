# SPDX-License-Identifier: Apache-2.0
"""The loop that one would write without the library: orjson on every line, then the two rules.

python benchmarks/plain.py LOG FINDINGS FORM
"""

from __future__ import annotations

import base64
import gzip
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import orjson

from predicate import rules_met


def _subscription(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    payload = orjson.loads(gzip.decompress(base64.b64decode(record["awslogs"]["data"])))
    return (orjson.loads(event["message"]) for event in payload["logEvents"])


UNWRAP: Final[dict[str, Callable[[dict[str, Any]], Iterator[dict[str, Any]]]]] = {
    "native": lambda record: iter((record,)),
    "event-hub": lambda record: (orjson.loads(item["properties"]["log"]) for item in record["records"]),
    "cloudwatch": lambda record: iter((orjson.loads(record["message"]),)),
    "subscription": _subscription,
}
"""The audit events in a record of each form."""


def scan(log: Path, findings: Path, form: str) -> tuple[int, Counter[str]]:
    """Write one line for each rule that an event meets; return how many events there were and how many hits by rule."""
    events, hits = 0, Counter[str]()
    unwrap = UNWRAP[form]
    with gzip.open(log) if log.suffix == ".gz" else log.open("rb") as lines, findings.open("wb") as out:
        for line in lines:
            for event in unwrap(orjson.loads(line)):
                events += 1
                for rule in rules_met(event):
                    hits[rule] += 1
                    out.write(
                        orjson.dumps([rule, event["auditID"], event["user"]["username"], event["objectRef"]]) + b"\n"
                    )
    return events, hits


def main() -> None:
    """Scan one log and say what was found."""
    log, findings, form = sys.argv[1:]
    events, hits = scan(Path(log), Path(findings), form)
    print(json.dumps({"events": events, "hits": hits}))


if __name__ == "__main__":
    main()
