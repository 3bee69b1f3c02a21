# SPDX-License-Identifier: Apache-2.0
"""Our own side of the comparison: every built-in detector and exclusion, findings written as JSON lines.

python benchmarks/ours.py LOG FINDINGS
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from k8stokendetect import Tally, detect, read
from k8stokendetect.outputs.native import to_line


def scan(log: Path, findings: Path) -> Tally:
    """Write the findings of a log, one a line; damage raises."""
    tally = Tally()
    with findings.open("w", encoding="ascii") as out:
        out.writelines(to_line(finding) + "\n" for finding in detect(read(log), tally=tally))
    return tally


def main() -> None:
    """Scan one log and say what was found."""
    log, findings = sys.argv[1:]
    tally = scan(Path(log), Path(findings))
    print(json.dumps({"events": tally.events, "hits": dict(tally.findings), "excluded": tally.excluded.total()}))


if __name__ == "__main__":
    main()
