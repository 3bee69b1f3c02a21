# SPDX-License-Identifier: Apache-2.0
"""Arrow tables: typed columns, and every finding back through pyarrow, Polars and DuckDB, by way of a Parquet file."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import duckdb
import polars as pl
import pyarrow as pa
import pytest
from pyarrow import parquet

from k8stokendetect import ConfigError, Evidence, Finding, ReadError, Rule, Severity, detect
from k8stokendetect.cluster import Cluster
from k8stokendetect.convert.structure import plain
from k8stokendetect.detectors import BUILTIN, OPTIONAL
from k8stokendetect.events import BoundObjectRef
from k8stokendetect.findings import EventRef
from k8stokendetect.incidents import Incidents, alerts, incidents
from k8stokendetect.outputs.arrow import ALERT_SCHEMA, FINDING_SCHEMA, INCIDENT_SCHEMA, findings_of, to_arrow
from recordings import DATA, METADATA, REQUEST_RESPONSE

EXAMPLES = DATA.parents[1] / "examples"
RULE = Rule("acme.x", "X", Severity.LOW)
SEEN = datetime(2026, 11, 25, 12, 0, 0, 123456, UTC)


@functools.cache
def recorded(path: Path) -> tuple[Finding, ...]:
    """Return every finding of a recording, also what is set aside."""
    return tuple(detect(path, detectors=[cls() for cls in (*BUILTIN, *OPTIONAL)], keep_excluded=True))


def odd() -> list[Finding]:
    """Return findings that hold everything they can, and nothing that they need not."""
    full = EventRef(
        audit_id="a\0b", time=SEEN, verb="create", code=201, user="Ω", groups=("a", "b"), more_groups=1,
        impersonating="root", source_ips=("192.0.2.7",), audiences=("",), expiration_seconds=10**30,
        bound_to=BoundObjectRef("Pod", "v1", "web", ""), expires=SEEN, minted_credential="JTI=1", platform="eks",
        cluster="c", account="123456789012", region="eu-west-1",
    )  # fmt: skip
    values: list[Any] = [None, True, 7, 1.5, "7", "null", "", ["a", 1], {"a": {"b": []}}, SEEN, ("a",)]
    evidence = tuple(Evidence(f"{n}", value, "") for n, value in enumerate(values))
    return [
        Finding(rule=RULE, severity=Severity.HIGH, summary="", event=EventRef(audit_id="")),
        Finding(
            rule=RULE, severity=Severity.LOW, summary="x", event=full, evidence=evidence, related=(full,) * 2,
            caveats=("c",), excluded_by="kubelet", key="k", count=3, last=SEEN, enable="e",
        ),
    ]  # fmt: skip


def json_form(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings with their evidence as JSON has it."""
    return [
        attrs.evolve(one, evidence=tuple(attrs.evolve(item, value=plain(item.value)) for item in one.evidence))
        for one in findings
    ]


READERS: dict[str, Callable[[str], Any]] = {
    "pyarrow": parquet.read_table,
    "pyarrow rows": lambda path: parquet.read_table(path).to_pylist(),
    "polars": pl.read_parquet,
    "polars rows": lambda path: pl.read_parquet(path).to_dicts(),
    "duckdb": lambda path: duckdb.sql(f"select * from '{path}'"),  # noqa: S608 - our own file
}
WRITERS: dict[str, Callable[[pa.Table, str], Any]] = {
    "pyarrow": parquet.write_table,
    "polars": lambda table, path: pl.DataFrame(table).write_parquet(path),
    "duckdb": lambda table, path: duckdb.from_arrow(table).write_parquet(path),
}


@pytest.mark.parametrize(
    ("writer", "reader"),
    [*(("pyarrow", reader) for reader in READERS), ("polars", "pyarrow"), ("duckdb", "pyarrow")],
)
def test_findings_come_back(writer: str, reader: str, tmp_path: Path) -> None:
    """Equal to what was written but for JSON's types in the evidence, whichever library wrote and read the file."""
    findings = [*odd(), *recorded(REQUEST_RESPONSE)]
    path = str(tmp_path / "findings.parquet")
    WRITERS[writer](to_arrow(findings), path)
    back = list(findings_of(READERS[reader](path), rules=[RULE]))

    assert back == json_form(findings)
    assert [one.fingerprint for one in back] == [one.fingerprint for one in findings]


def test_a_whole_recording_comes_back() -> None:
    """With all of its findings."""
    findings = recorded(METADATA)
    assert list(findings_of(to_arrow(findings))) == json_form(findings)
    assert len(findings) > 400


def test_the_columns_are_typed() -> None:
    """Also in a table of nothing; times are in UTC to the microsecond, and nothing is a text that is none."""
    time = pa.timestamp("us", tz="UTC")
    event = FINDING_SCHEMA.field("event").type
    expected = {"code": pa.int64(), "time": time, "expires": time, "groups": pa.list_(pa.string()), "user": pa.string()}

    assert to_arrow([]).schema == FINDING_SCHEMA
    assert {name: event.field(name).type for name in expected} == expected
    assert set(attrs.fields_dict(EventRef)) < {field.name for field in event}
    assert event.field("bound_to").type.field("uid").type == pa.string()
    assert FINDING_SCHEMA.field("related").type == pa.list_(event)
    assert ALERT_SCHEMA.field("mint").type == event
    assert (FINDING_SCHEMA.field("time").type, INCIDENT_SCHEMA.field("first_seen").type) == (time, time)


def test_a_table_says_what_our_json_says() -> None:
    """Every name of it is a column, of findings, alerts and incidents; these name their findings by fingerprint."""
    findings = recorded(METADATA)
    cluster = Cluster.load(EXAMPLES / "attack-cluster.json")
    together = list(alerts(findings, Incidents()))
    attacks = incidents(detect(EXAMPLES / "attack.log"), cluster=cluster)
    assert attacks[0].access
    for items, schema in ((findings, FINDING_SCHEMA), (together, ALERT_SCHEMA), (attacks, INCIDENT_SCHEMA)):
        table = to_arrow(items)
        assert table.schema == schema
        assert table.num_rows == len(items)
        for item in items:
            assert item.to_dict().keys() <= set(schema.names)
    rows = to_arrow(attacks).to_pylist()
    assert rows[0]["findings"] == [one.fingerprint for one in attacks[0].findings]
    assert rows[0]["access"][0] == attacks[0].access[0].to_dict()
    assert rows[0]["advice"] == [step.to_dict() for step in attacks[0].advice]
    mints = [row for row in to_arrow(together).to_pylist() if row["mint"]]
    assert mints
    assert all(row["mint"]["minted_credential"] for row in mints if row["event"]["used_credential"])


def test_a_table_is_queried_by_type() -> None:
    """In Polars and DuckDB, without a cast."""
    table = to_arrow(recorded(METADATA))
    frame = pl.DataFrame(table)
    late = frame.filter(pl.col("time") > SEEN.replace(year=2020), pl.col("event").struct.field("code") == 201)
    sql = "select count(*) from findings where time > timestamptz '2020-01-01' and event.code = 201"
    connection = duckdb.connect()
    connection.register("findings", table)
    ((count,),) = connection.execute(sql).fetchall()

    assert 0 < len(late) == count < len(frame)
    assert frame["evidence"].dtype == pl.List(
        pl.Struct({"path": pl.String, "value": pl.String, "is_json": pl.Boolean, "why": pl.String})
    )


def test_half_a_surrogate_pair_costs_a_character_and_no_finding() -> None:
    """Arrow has none; what is read back is told to be another."""
    ref = EventRef(audit_id="x\ud800", user="bob")
    table = to_arrow([Finding(rule=RULE, severity=Severity.LOW, summary="\ud800y", event=ref)])

    assert (table["summary"][0].as_py(), table["event"][0].as_py()["audit_id"]) == ("\ufffdy", "x\ufffd")
    with pytest.raises(ReadError, match="its fingerprint does not match"):
        next(findings_of(table, rules=[RULE]))


def test_a_row_that_is_no_finding_is_an_error() -> None:
    """That says where."""
    (row,) = to_arrow(odd()[:1]).to_pylist()
    with pytest.raises(ReadError, match=r"\$\.summary"):
        next(findings_of([row | {"summary": 7}]))
    with pytest.raises(ReadError, match="its fingerprint does not match"):
        next(findings_of([row | {"fingerprint": "0"}]))


def test_a_table_holds_one_kind() -> None:
    """Whatever comes first."""
    findings = odd()
    for items in ([findings[0], *incidents(findings)], ["finding"]):
        with pytest.raises(ConfigError, match="to_arrow takes findings, alerts or incidents, all of the same kind"):
            to_arrow(items)  # type: ignore[arg-type]


def test_without_pyarrow_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "k8stokendetect.outputs.arrow")

    with pytest.raises(ConfigError, match=r"pip install 'k8stokendetect\[arrow\]'"):
        importlib.import_module("k8stokendetect.outputs.arrow")
