# SPDX-License-Identifier: Apache-2.0
"""What is found in the labelled recordings, beside what a list of user names finds; `python tests/scores.py` writes it.

The table stands in tests/data/README.md and docs/how-we-know.md. Every number comes from joining labels with events.
"""

from __future__ import annotations

import fnmatch
import functools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from k8stokendetect import Severity, detect
from k8stokendetect.testing import corpus

PAGE: Final = Path(__file__).parent / "data/README.md"
PAGES: Final = (PAGE, Path(__file__).parents[1] / "docs/how-we-know.md")
BEGIN, END = "<!-- scores: written by tests/scores.py -->\n", "<!-- end of scores -->\n"

USERNAME_LIST: Final = (
    "system:kube-controller-manager system:kube-scheduler system:node:* system:serviceaccount:kube-system:* eks:* "
    "aksService aks-service masterclient nodeclient system:gke-controller-manager "
    "system:serviceaccount:tigera-operator:* system:serviceaccount:calico-system:*"
).split()


def by_username_list(record: Mapping[str, Any]) -> bool:
    """Judge as the common kind of rule does: the call, and a list of user names; no stage, code or groups."""
    username = record["user"].get("username", "")
    return bool(username) and not any(fnmatch.fnmatchcase(username, pattern) for pattern in USERNAME_LIST)


@attrs.frozen
class Score:
    """How many requests there are of each kind, and how many of them are reported.

    Arguments:
        there: by kind.
        reported: by kind; of refused calls, those that are reported as if a token had been issued.

    """

    there: Counter[str]
    reported: Counter[str]

    def row(self, *cells: str) -> str:
        """Write it as a row of the table."""
        counts = [f"{self.reported[kind]} of {self.there[kind]}" for kind in KINDS]
        return f"| {' | '.join((*cells, *counts))} |\n"


USE: Final = "malicious use"
KINDS: Final = ("malicious mint", "benign mint", "refused call", USE)


def kind_of(label: corpus.Label) -> str:
    """Return which of the kinds a request is; empty for none of them."""
    if label.resource == "serviceaccounts/token" and label.verb == "create":
        if label.mints:
            return "malicious mint" if label.malicious else "benign mint"
        return "refused call"
    return USE if label.kind == "token-use" and label.malicious else ""


def found(recording: corpus.Recording, /) -> tuple[Sequence[corpus.Label], Sequence[corpus.Label]]:
    """Return the labels of what `token-request` reports, and of what any rule reports above informational."""
    findings = list(detect(recording.events))
    return (
        recording.labels_of(finding for finding in findings if finding.rule.id == "token-request"),
        recording.labels_of(finding for finding in findings if finding.severity > Severity.INFORMATIONAL),
    )


@functools.cache
def scores(name: str) -> dict[str, Score]:
    """Score a recording with the default rules, and with a list of user names."""
    recording = corpus.load(name)
    mints, uses = found(recording)
    there, ours, theirs = Counter(map(kind_of, recording.labels)), Counter[str](), Counter[str]()
    ours.update(kind for label in mints if (kind := kind_of(label)) != USE)
    ours.update(kind for label in uses if (kind := kind_of(label)) == USE)
    named = {id(label): label for record, label in recording.labelled() if label and by_username_list(record)}
    theirs.update(kind for label in named.values() if (kind := kind_of(label)) != USE)
    return {"`detect`": Score(there, ours), "list of user names": Score(there, theirs)}


def table() -> str:
    """Return the table."""
    head = ("recording", "", *(f"{kind}s" for kind in KINDS))
    rows = [
        score.row(name, what)
        for name in corpus.names()
        if corpus.load(name).labels
        for what, score in scores(name).items()
    ]
    return f"| {' | '.join(head)} |\n|{'---|' * len(head)}\n{''.join(rows)}"


def written(page: str) -> str:
    """Return the page with the table as it is now."""
    return re.sub(f"{re.escape(BEGIN)}.*{re.escape(END)}", lambda _: BEGIN + table() + END, page, flags=re.DOTALL)


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(written(path.read_text(encoding="utf-8")), encoding="utf-8")
