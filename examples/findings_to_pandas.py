# SPDX-License-Identifier: Apache-2.0
"""Turn findings into a pandas frame, and count who minted tokens for whom.

Install `k8stokendetect[examples]`; run `python findings_to_pandas.py examples/attack.log`, or import `to_frame` in a
notebook.
"""

import sys
from collections.abc import Iterable

import pandas as pd

from k8stokendetect import Finding, Severity, detect

COLUMNS = ["rule", "severity", "time", "actor", "impersonating", "target", "address", "summary", "fingerprint"]


def to_frame(findings: Iterable[Finding]) -> pd.DataFrame:
    """Return one row per finding: severities in order, times with a zone, all columns even without findings."""
    frame = pd.DataFrame.from_records([_row(finding) for finding in findings], columns=COLUMNS)
    frame["severity"] = pd.Categorical(frame["severity"], [str(severity) for severity in Severity], ordered=True)
    frame["time"] = pd.to_datetime(frame["time"], utc=True)
    return frame


def _row(finding: Finding) -> tuple[object, ...]:
    event = finding.event
    return (
        finding.rule.id,
        str(finding.severity),
        event.time,
        event.user,
        event.impersonating or "",
        event.target or "",
        event.source_ips[-1] if event.source_ips else "",
        finding.summary,
        finding.fingerprint,
    )


def by_actor_and_target(frame: pd.DataFrame) -> pd.DataFrame:
    """Count findings: one row per actor, one column per target."""
    return pd.crosstab(frame["actor"], frame["target"])


if __name__ == "__main__":
    mints = to_frame(detect(sys.argv[1], detectors=["token-request"]))
    print(by_actor_and_target(mints).T.to_string())
    print(mints.groupby("severity", observed=True).size().to_string())
