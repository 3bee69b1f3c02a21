# SPDX-License-Identifier: Apache-2.0
"""Schemas of the tables on Spark: findings, with the names of the native JSON line, and errors."""

from __future__ import annotations

from typing import Any, Final

_EVENT: Final = (
    "struct<request_id string, audit_id string, stage string, time timestamp, verb string, code int, user string, "
    "groups array<string>, more_groups int, impersonating string, source_ips array<string>, more_source_ips int, "
    "user_agent string, "
    "resource string, namespace string, name string, target string, request_uri string, reason string, "
    "audiences array<string>, more_audiences int, "
    "bound_to struct<kind string, apiVersion string, name string, uid string>, expiration_seconds bigint, "
    "expires timestamp, minted_credential string, used_credential string, origin string, platform string, "
    "cluster string, account string, region string, "
    "cloud struct<cloud string, error string, kind string, used string, issued string, role string, "
    "session_name string, issuer string, audience string, pod_uid string, expires timestamp, read_only boolean>>"
)

FINDING: Final = (
    "rule_id string, title string, severity string, techniques array<string>, summary string, actor string, "
    f"target string, event {_EVENT}, evidence array<struct<path string, value string, why string>>, "
    f"related array<{_EVENT}>, caveats array<string>, excluded_by string, fingerprint string, key string, "
    "count int, last timestamp, enable string"
)
"""The columns of a finding, as `outputs.native` names them; an evidence value that is not text is written as JSON."""

ERROR: Final = "origin string, reason string, path string, rule_id string"
"""A record that could not be read, or a detector that raised (`rule_id`)."""

TALLY: Final = (
    "events bigint, cloud_events bigint, findings map<string,bigint>, excluded map<string,bigint>, "
    "duplicates bigint, unreadable bigint, "
    "skipped bigint, unproven bigint, undecided bigint, dropped array<string>, failures bigint"
)
"""A part of a `Tally`, of one task or of one cluster in one batch: their sum accounts for everything that was read."""

ROUTED: Final = "cluster string, moment bigint, tie string, kind string, payload binary"
"""A row from the first half to its cluster: an event (pickled), the text of a use, whose `tie` is its origin, or what
goes into the result as it is."""

SAID: Final = "kind string, document string"
"""A finding, an error or a tally as JSON."""


def tables(said: Any, /) -> Any:
    """Return the JSON that the second half wrote as typed columns: those of a finding, `line`, `error` and `tally`."""
    from pyspark.sql import functions as sf  # noqa: PLC0415 - an extra

    finding = sf.when(sf.col("kind") == "finding", sf.col("document"))
    error = sf.when(sf.col("kind") == "error", sf.col("document"))
    tally = sf.when(sf.col("kind") == "tally", sf.col("document"))
    typed = said.select(
        sf.from_json(finding, FINDING).alias("finding"),
        finding.alias("line"),
        sf.from_json(error, ERROR).alias("error"),
        sf.from_json(tally, TALLY).alias("tally"),
    )
    return typed.select("finding.*", "line", "error", "tally")
