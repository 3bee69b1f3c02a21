# SPDX-License-Identifier: Apache-2.0
"""AWS Lambda behind a CloudWatch Logs subscription: findings to standard output, memory in a file.

Package it with `k8stokendetect`, set the handler to `lambda_handler.lambda_handler`, and subscribe it to the log group
`/aws/eks/CLUSTER/cluster`. Set STATE_FILE to a path on an EFS mount: without it, the memory of detectors lasts only as
long as the execution environment. Set the function's reserved concurrency to 1, since a memory has one writer, and set
an on-failure destination: Lambda tries an asynchronous invocation three times, then drops it.
"""

import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import attrs

from k8stokendetect import ConfigError, Finding, KeyedDetector, Tally, detect
from k8stokendetect.detectors import BUILTIN
from k8stokendetect.outputs.native import to_line


class Store(Protocol):
    """Where the memory lives between invocations: a file, an object in S3, an item in DynamoDB."""

    def load(self) -> Mapping[str, Any]:
        """Return what was saved last; empty at first."""

    def save(self, state: Mapping[str, Any]) -> None:
        """Save a JSON document, completely or not at all."""


@attrs.frozen
class FileStore:
    """A file that is replaced in one step."""

    path: Path

    def load(self) -> Mapping[str, Any]:
        """Return what was saved last; empty at first."""
        state: Mapping[str, Any] = json.loads(self.path.read_bytes()) if self.path.exists() else {}
        return state

    def save(self, state: Mapping[str, Any]) -> None:
        """Save a JSON document, completely or not at all."""
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(state), encoding="utf-8")
        new.replace(self.path)


@attrs.frozen
class Handler:
    """Examines the payload of one invocation; findings are delivered before the memory is saved.

    A `deliver` that raises fails the invocation and leaves the memory as it was: Lambda tries again.
    """

    store: Store
    deliver: Callable[[Finding], object]
    report: Callable[[object], object]

    def __call__(self, event: Mapping[str, Any], _context: object = None) -> dict[str, int]:
        """Return how many events were read, how many findings delivered, how many records were unreadable."""
        detectors = [cls() for cls in BUILTIN]
        keyed = [detector for detector in detectors if isinstance(detector, KeyedDetector)]
        self._restore(keyed)
        tally = Tally()
        # In a list: a payload that is a string is refused, and never opened as a path.
        for finding in detect([event], detectors=detectors, platform="eks", on_error=self.report, tally=tally):
            self.deliver(finding)
        self.store.save({detector.rule.id: detector.state() for detector in keyed})
        return {"events": tally.events, "findings": tally.findings.total(), "unreadable": tally.unreadable}

    def _restore(self, keyed: Sequence[KeyedDetector[Any]]) -> None:
        """Restore the saved memory; if it is damaged or from another release, say so and start afresh."""
        try:
            saved = self.store.load()
        except ValueError as error:
            self.report(f"no memory was restored: {error}")
            return
        for detector in keyed:
            if detector.rule.id in saved:
                try:
                    detector.restore(saved[detector.rule.id])
                except ConfigError as error:
                    self.report(f"no memory was restored: {error}")


lambda_handler = Handler(
    FileStore(Path(os.environ.get("STATE_FILE", f"{tempfile.gettempdir()}/k8stokendetect.json"))),
    lambda finding: print(to_line(finding)),
    lambda error: print(json.dumps({"error": str(error)}), file=sys.stderr),
)
