# SPDX-License-Identifier: Apache-2.0
"""What `detect()` finds in each recording, one line a finding; `python tests/snapshots.py` writes the files anew.

A recording has two files, so that a review sees at once whether a change touches what is reported. A line that stands
twice is two findings. Rewrite them only for an intended change, read `git diff tests/data/snapshots`, and say why in
the commit.
"""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from k8stokendetect import Finding, detect
from recordings import DATA

Part = Literal["reported", "excluded"]

PARTS: tuple[Part, ...] = ("reported", "excluded")
RECORDINGS = sorted(path for path in DATA.glob("*.gz") if ".labels." not in path.name)
SNAPSHOTS = DATA / "snapshots"


@functools.cache
def findings(recording: Path) -> tuple[Finding, ...]:
    """Run the default detectors and exclusions, and keep what was excluded."""
    return tuple(detect(recording, keep_excluded=True))


def current(recording: Path, part: Part) -> Counter[str]:
    """Count the lines of what is found now."""
    return Counter(
        line(finding) for finding in findings(recording) if bool(finding.excluded_by) is (part != "reported")
    )


def line(finding: Finding) -> str:
    """Write rule, severity, the exclusion and the auditID, which the client may have chosen."""
    fields = (finding.rule.id, finding.severity.name.lower(), finding.excluded_by)
    return " ".join((*filter(None, fields), json.dumps(finding.event.audit_id)[1:-1]))


def file_of(recording: Path, part: Part) -> Path:
    """Return where the snapshot is kept."""
    return SNAPSHOTS / f"{recording.name.partition('.log')[0].removesuffix('.jsonl.gz')}.{part}.txt"


def kept(recording: Path, part: Part) -> Counter[str]:
    """Count the lines of the committed snapshot."""
    return Counter(file_of(recording, part).read_text(encoding="utf-8").splitlines())


def difference(before: Counter[str], now: Counter[str]) -> str:
    """Say in words what was added and what was removed; empty when nothing was."""
    return "\n".join((*_listed("added", now - before), *_listed("removed", before - now)))


def _listed(what: str, lines: Counter[str]) -> Iterator[str]:
    if lines:
        yield f"{lines.total()} {what}:"
        yield from (f"  {text}" for text in sorted(lines.elements()))


def rewrite() -> None:
    """Write the snapshot of every recording."""
    SNAPSHOTS.mkdir(exist_ok=True)
    for old in SNAPSHOTS.glob("*.txt"):
        old.unlink()
    for recording in RECORDINGS:
        for part in PARTS:
            text = "".join(f"{text}\n" for text in sorted(current(recording, part).elements()))
            file_of(recording, part).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    rewrite()
