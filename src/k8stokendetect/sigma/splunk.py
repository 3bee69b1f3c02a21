# SPDX-License-Identifier: Apache-2.0
"""Writes an app for Splunk: saved searches, the macro that says where the log is, and how it is to be read.

Settings: savedsearches.conf.spec, macros.conf.spec, props.conf.spec and limits.conf.spec of Splunk 10.2.3,
github.com/jewnix/splunk-spec-files@0586377c.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

SOURCETYPE: Final = "kube:apiserver-audit"
"""As Splunk's own collector for Kubernetes names it: github.com/signalfx/splunk-otel-collector-chart."""

_MACRO: Final = "`kubernetes_audit`"
_LEVELS: Final = {"informational": 1, "low": 2, "medium": 3, "high": 4, "critical": 5}
_LONGEST: Final = 4 << 20
"""Bytes of an event: above what the API server takes as headers (1 MiB) and as a body (3 MiB)."""

_EACH_ONCE: Final = {
    "cron_schedule": "*/5 * * * *",
    "dispatch.earliest_time": "-1h",
    "dispatch.latest_time": "now",
    "dispatch.index_earliest": "-5m@m",  # of the time of indexing: each event is looked at once, also if it is late
    "dispatch.index_latest": "@m",
}
_JOINED: Final = {"cron_schedule": "7 * * * *", "dispatch.earliest_time": "-7d", "dispatch.latest_time": "now"}
"""A correlation over a week, every hour; what it has found is not reported again within that week."""


def files(rules: Iterable[tuple[dict[str, Any], str]], index: str, sourcetype: str, /) -> Iterator[tuple[str, str]]:
    """Yield the names and texts of the files.

    Arguments:
        rules: Sigma documents with their queries.
        index: where the log is; empty for the indexes that a user's role searches by default.
        sourcetype: of the log.

    """
    yield "savedsearches.conf", "\n".join(_stanza(document, query) for document, query in rules)
    where = f'index="{index}" ' if index else ""
    yield "macros.conf", f'[kubernetes_audit]\ndefinition = {where}sourcetype="{sourcetype}"\n'
    yield "props.conf", f"[{sourcetype}]\nKV_MODE = json\nTRUNCATE = 0\n"
    limits = f"[kv]\nlimit = 0\nmaxchars = {_LONGEST}\nmaxcols = 0\n\n[spath]\nextraction_cutoff = {_LONGEST}\n"
    yield "limits.conf", limits


def _stanza(document: dict[str, Any], query: str) -> str:
    """Write a scheduled search that is switched off."""
    values = {
        "description": " ".join(document["description"].split()),
        "search": re.sub(r"\n+", r" \\\n", _searching(query)),
        "enableSched": 1,
        "disabled": 1,
        "realtime_schedule": 0,  # no run is skipped
        **(_JOINED if "correlation" in document else _EACH_ONCE),
        "counttype": "number of events",
        "relation": "greater than",
        "quantity": 0,
        "alert.severity": _LEVELS[document["level"]],
        "alert.track": 1,
        "alert.expires": "7d",
    }
    if "correlation" in document:
        values |= {
            "alert.digest_mode": 0,
            "alert.suppress": 1,
            "alert.suppress.fields": ",".join(document["correlation"]["group-by"]),
            "alert.suppress.period": "7d",
        }
    return "\n".join([f"[{document['title']}]", *(f"{key} = {value}" for key, value in values.items()), ""])


def _searching(query: str) -> str:
    """Begin each search of a query with our macro: the only one, or those within a `multisearch`."""
    if query.startswith("| multisearch"):
        return query.replace("[ search ", f"[ search {_MACRO} ")
    return f"{_MACRO} {query.lstrip()}"
