# SPDX-License-Identifier: Apache-2.0
"""Tables of every kind: CSV, YAML, columns, data frames, rows of queries."""

from __future__ import annotations

import builtins
import csv
import io
import json
import random
import sqlite3
import sys
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8stokendetect import ReadError, Tally, detect, read
from k8stokendetect.convert.jsonlike import as_json, as_record, is_json
from k8stokendetect.envelopes import bigquery, rows
from k8stokendetect.reading.tables import delimiter_of
from k8stokendetect.testing import token_request
from strategies import json_values
from wrappings import flat, gcp, tables

MINTS = [token_request(f"bob{number}", target=f"prod/sa{number}") for number in range(3)]
ALL = tables.WRAPPINGS | tables.GOOGLE
INSIGHTS = tables.table(map(tables.insights_row, MINTS), quoting=csv.QUOTE_ALL)


def outcome(source: Any, **options: Any) -> tuple[list[tuple[str, str | None]], list[str]]:
    """Return who minted, with where it stood, and the errors."""
    errors: list[ReadError] = []
    events = list(read(source, on_error=errors.append, **options))
    return [(event.user.username, event.origin) for event in events], [str(error) for error in errors]


@pytest.mark.parametrize("name", ALL)
def test_files_streams_and_bytes_read_the_same(name: str, tmp_path: Path) -> None:
    """A file is told by its content, a pipe by what it gives first."""
    content = ALL[name](MINTS)
    path = tmp_path / "export.bin"
    path.write_bytes(content)
    users = [user for user, _ in outcome(content)[0]]
    assert users == ["bob0", "bob1", "bob2"]
    for source in (path, io.BytesIO(content), Dribble(content), [path, path]):
        found, errors = outcome(source)
        assert not errors
        assert [user for user, _ in found] in (users, ["bob0", "bob0", "bob1", "bob1", "bob2", "bob2"], users * 2)


class Dribble(io.RawIOBase):
    """A pipe that gives a few bytes at a time."""

    def __init__(self, content: bytes) -> None:
        self._file = io.BytesIO(content)

    def read(self, size: int = -1, /) -> bytes:
        """Return seven bytes at most."""
        return self._file.read(min(size, 7) if size > 0 else 7)


def test_a_row_is_named_by_its_first_line() -> None:
    """Also where cells span lines."""
    content = tables.table(map(tables.indented_row, MINTS))
    height = content.count(b"\n") // 3
    assert [origin for _, origin in outcome(content)[0]] == [
        f"<bytes>:{number * height + 2}.message" for number in range(3)
    ]


def test_a_row_that_is_cut_costs_itself() -> None:
    """Wherever it is cut, and in whatever order; those after it are read."""
    header, *lines, _ = INSIGHTS.split(b"\r\n")
    for number in range(3):
        for end in range(10, len(lines[0]) - 1, 97):
            cut = [line[:end] if index == number else line for index, line in enumerate(lines)]
            found, errors = outcome(b"\r\n".join([header, *cut]) + b"\r\n")
            others = [f"bob{index}" for index in range(3) if index != number]
            assert [user for user, _ in found if user != f"bob{number}"] == others
            assert len(errors) == 1
            assert errors[0].startswith(f"<bytes>:{number + 2}: ")


def test_a_cut_row_still_shows_its_call() -> None:
    """Its doubled quotes hide nothing."""
    header, first, *_ = INSIGHTS.split(b"\r\n")
    content = header + b"\r\n" + first[: first.index(b"verb")]
    (finding,) = detect(content, on_error=lambda _: None)
    assert finding.rule.id == "unreadable-token-request"
    long = header + b"\r\n" + INSIGHTS.split(b"\r\n", 1)[1]
    found, errors = outcome(long, max_record=300)
    assert found == []
    assert errors == [f"<bytes>:{line}: record longer than 300 bytes, the limit max_record" for line in (2, 3, 4)]


def test_damaged_tables_lose_nothing_silently() -> None:
    """Rows are read or counted, and nothing but ReadErrors comes out."""
    chance = random.Random(7)  # noqa: S311 - no secret
    for _ in range(300):
        content = bytearray(INSIGHTS)
        for _ in range(chance.randrange(1, 4)):
            content[chance.randrange(len(content))] = chance.choice(b'",\n\r{}\\\0x')
        found, errors = outcome(bytes(content))
        assert len(found) + len(errors) >= 2
        assert len(found) <= 3


def test_a_header_decides_and_json_does_not_need_one() -> None:
    """JSON after a header is JSON; a sentence is no header; a second table may follow."""
    line = json.dumps(MINTS[0]).encode() + b"\n"
    header = INSIGHTS.split(b"\r\n")[0] + b"\n"
    assert outcome(header + line)[0] == [("bob0", "<bytes>:2")]
    assert len(outcome(b"message, and more of it: x\n" + line)[0]) == 1
    assert outcome(b"foo, bar\n" + line)[0] == [("bob0", "<bytes>:2")]
    other = tables.table(map(tables.kibana_row, MINTS))
    assert [user for user, _ in outcome(INSIGHTS + other + INSIGHTS)[0]] == ["bob0", "bob1", "bob2"] * 3
    assert outcome(header) == ([], [])
    (error,) = outcome(header + b'"x"\n')[1]
    assert error == "<bytes>:2: a row of 1 cells in a table of 5 columns"


@pytest.mark.parametrize(
    ("line", "delimiter"),
    [
        (b"_raw,_time\n", ","),
        (b'"TimeGenerated [UTC]"\t"AuditId"\t"Verb"\n', "\t"),
        (b"auditID;verb\n", ";"),
        (b"verb|user.username|objectRef.resource\n", "|"),
        (b"sep=;\r\n", ";"),
        (b"message\n", ","),
        (b"protopayload_auditlog_methodName,insertId\n", ","),
        (b"name,age\n", None),
        (b'{"auditID":"1","verb":"get"}\n', None),
        (b'2026-01-01T00:00:00Z stdout F {"auditID":"1"}\n', None),
        (b"I1123 10:00:00.000000 1 x.go:1] message, auditID\n", None),
        (b'2026-01-01T00:00:00Z AUDIT: id="1", auditID\n', None),
        (b'message,"\n', None),
        (b"\n", None),
        (b"\xff\xfe\x00", None),
    ],
)
def test_what_is_a_header(line: bytes, delimiter: str | None) -> None:
    """Names of an audit log's columns, and nothing else."""
    assert delimiter_of(line) == delimiter


def test_yaml_documents_are_read_one_by_one() -> None:
    """A damaged one costs itself and shows its call."""
    content = tables.yaml_entries(MINTS)
    assert [user for user, _ in outcome(content)[0]] == ["bob0", "bob1", "bob2"]
    broken = content.replace(b"principalEmail: bob1", b"principalEmail: bob1\n  - x")
    found, (error,) = outcome(broken)
    assert [user for user, _ in found] == ["bob0", "bob2"]
    assert "not YAML" in error
    (first, *_) = [finding for finding in detect(broken, on_error=lambda _: None) if "unreadable" in finding.rule.id]
    assert (first.event.user, str(first.event.target)) == ("bob1", "prod/sa1")
    for deep in (b"---\na: " + b"[" * 200, b"---\n" + b"- " * 2000 + b"x", b"---\na: &a [1]\nb: *c\n"):
        assert len(outcome(deep)[1]) == 1
    (error,) = outcome(b"---\n" + b"a: b\n" * 100, max_record=50)[1]
    assert "the limit max_record" in error


def test_without_its_library_a_form_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for each file."""
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name in ("pyarrow", "yaml"):
            raise ModuleNotFoundError(name)
        return real(name, *rest)

    parquet, documents = tables.WRAPPINGS["parquet"](MINTS), tables.yaml_entries(MINTS)
    monkeypatch.setattr(builtins, "__import__", without)
    assert outcome(parquet)[1] == [
        "<bytes>: a Parquet file, which pyarrow reads: pip install 'k8stokendetect[parquet]'"
    ]
    (error,) = outcome(documents)[1]
    assert error.endswith("pip install 'k8stokendetect[cli]'")


@pytest.mark.parametrize("name", ["parquet", "arrow", "feather"])
def test_a_damaged_file_of_columns_is_an_error(name: str) -> None:
    """Whatever is wrong with it."""
    content = tables.WRAPPINGS[name](MINTS)
    for end in (8, len(content) // 2, len(content) - 3):
        found, errors = outcome(content[:end])
        assert (found, len(errors)) == ([], 1)
        assert "damaged" in errors[0]


def test_frames_and_queries_are_sources() -> None:
    """Of pyarrow, pandas, DuckDB and the DB-API; Polars, by the one method that is asked of it."""
    rows_ = [tables.whole(event) for event in MINTS]
    table = tables.arrow(rows_)
    connection = duckdb.connect()
    connection.register("log", table)
    lite = sqlite3.connect(":memory:")
    lite.execute("create table log (auditID, verb, requestURI, user, objectRef)")
    cells = [flat.cells(event) for event in MINTS]
    keys = ("auditID", "verb", "requestURI", "user", "objectRef")
    lite.executemany("insert into log values (?, ?, ?, ?, ?)", [[one[key] for key in keys] for one in cells])

    class Polars:
        def iter_rows(self, *, named: bool) -> Any:
            return iter(rows_ if named else ())

    sources = (
        *(table, table.to_batches(), table.to_pylist(), table.to_batches()[0], table.to_pandas(), Polars()),
        *(connection.sql("select * from log"), lite.execute("select * from log")),
        *(pd.json_normalize(MINTS), pd.json_normalize(MINTS).to_dict("records")),
    )
    for source in sources:
        found, errors = outcome(source)
        assert ([user for user, _ in found], errors) == (["bob0", "bob1", "bob2"], [])
    lite.close()


def test_values_that_json_does_not_have() -> None:
    """Times, ids, numbers, bytes, pairs and what is missing."""
    moment = datetime(2026, 11, 23, 21, 43, 45, 581827, UTC)
    row = token_request("bob") | {
        "requestReceivedTimestamp": pd.Timestamp(moment),
        "stageTimestamp": np.datetime64(moment.replace(tzinfo=None)),
        "auditID": uuid.UUID(int=7),
        "level": b"Metadata",
        "sourceIPs": np.array(["192.0.2.7"]),
        "responseStatus": {"code": np.int64(201)},
        "annotations": [("a", "b"), ("c", None)],
        "impersonatedUser": float("nan"),
        "requestObject": pd.NaT,
        "responseObject": pd.NA,
    }
    row["user"] = {"username": "bob", "groups": ("a",), "extra": [], "uid": uuid.UUID(int=8)}
    row["objectRef"] |= {"resourceVersion": None}
    (event,) = read([row])
    assert (event.time, event.stage_timestamp, event.code, event.source_ips) == (moment, moment, 201, ("192.0.2.7",))
    assert (event.audit_id, dict(event.annotations), event.user.groups) == (str(uuid.UUID(int=7)), {"a": "b"}, ("a",))
    assert as_json(Decimal(201)) == 201
    assert as_json(Decimal("1.5")) == 1.5
    assert is_json(token_request("bob"))
    assert not is_json({"a": [{"b": float("nan")}]})
    assert as_record({"a": None, 1: {"b": None}}) == {"a": None, "1": {}}


def test_what_cannot_be_converted_is_refused() -> None:
    """As any value of a wrong type."""
    for value in (object(), {1, 2}, lambda: None, sys):
        found, errors = outcome([token_request("bob") | {"userAgent": value}])
        assert (found, len(errors)) == ([], 1)


@given(json_values)
def test_json_stays_as_it_is(value: Any) -> None:
    """But for nulls in objects, and empty maps."""
    record = {"a": value}
    assert json.loads(json.dumps(as_record(record)))
    if is_json(record) and "null" not in json.dumps(value) and "[]" not in json.dumps(value):
        assert as_record(record) == record


SHAPES = st.fixed_dictionaries(
    {},
    optional={
        key: json_values | st.just([]) | st.lists(st.dictionaries(st.sampled_from(["name", "f", "v"]), json_values))
        for key in ("columns", "fields", "schema", "rows", "data", "values", "ResultSet", "protopayload_auditlog")
    },
)


@given(SHAPES)
def test_any_answer(record: dict[str, Any]) -> None:
    """Nothing raises, and what is recognised is answered for."""
    for envelope in (rows, bigquery):
        if envelope.recognises(record):
            assert list(envelope.events(record))


def test_a_row_that_does_not_fit_is_an_error() -> None:
    """The others are read; a table without rows holds rightly nothing."""
    answer = json.loads(tables.WRAPPINGS["pandas split"](MINTS))
    answer["data"][1] = answer["data"][1][:-1]
    found, (error,) = outcome(json.dumps(answer).encode())
    assert [user for user, _ in found] == ["bob0", "bob2"]
    assert error == "<bytes>:1.data[1]: a row that does not fit its columns"
    tally = Tally()
    list(detect(json.dumps(answer | {"data": []}).encode(), tally=tally))
    assert (tally.events, tally.skipped, tally.unreadable) == (0, 1, 0)


def test_a_row_of_bigquery_keeps_what_the_entry_says() -> None:
    """Platform, cluster, project, and the refusal: `granted` may be text, and is null where it is not granted."""
    refused = token_request("bob", code=403)
    for event, code in ((MINTS[0], 201), (refused, 403)):
        row = tables.sink_row(gcp.entry(event))
        (read_event,) = read([row])
        assert (read_event.platform, read_event.cluster, read_event.account) == ("gke", gcp.CLUSTER, gcp.PROJECT)
        assert read_event.code == code
        infos = [{"granted": "true" if code == 201 else None, "permission": "x"}]
        texts = row | {
            "protopayload_auditlog": {**row["protopayload_auditlog"], "authorizationInfo": json.dumps(infos)}
        }
        assert next(iter(read([texts]))).code == code
