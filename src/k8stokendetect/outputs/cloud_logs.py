# SPDX-License-Identifier: Apache-2.0
"""What each cloud has to log, as text or as JSON lines."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Final

import attrs

from k8stokendetect.audit_policy import CloudLog
from k8stokendetect.clouds import Cloud
from k8stokendetect.outputs.size import one_line

_CLOUDS: Final[dict[Cloud, str]] = {"aws": "AWS", "azure": "Azure", "google": "Google Cloud"}


def to_text(logs: Sequence[CloudLog], /) -> Iterator[str]:
    """Yield lines about logs, cloud by cloud: what each shows, whether it is on by default, how to have it."""
    for index, (cloud, together) in enumerate(itertools.groupby(logs, key=lambda log: log.cloud)):
        if index:
            yield ""
        yield f"{_CLOUDS[cloud]}: to follow a token out of the cluster"
        for log in together:
            yield f"  {log.name}"
            yield f"    shows: {log.shows}"
            yield f"    by default: {log.default}"
            yield from (f"    switch on: {line}" for line in log.enable)
            yield f"    see what is on: {log.check}"
            yield from (f"    limit: {line}" for line in log.limits)
            yield from (f"    source: {line}" for line in log.sources)


def to_lines(logs: Sequence[CloudLog], /) -> Iterator[str]:
    """Yield a line of JSON for each log, with the field `cloud`; in printable ASCII, without the line end."""
    for log in logs:
        yield one_line(attrs.asdict(log))
