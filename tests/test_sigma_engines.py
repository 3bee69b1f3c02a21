# SPDX-License-Identifier: Apache-2.0
"""The rules executed: each engine finds the same requests, and the table in the documentation says how many."""

from __future__ import annotations

import functools
import importlib
from pathlib import Path
from typing import Any

import duckdb
import pytest
from sigma.exceptions import SigmaFeatureNotSupportedByBackendError
from sigma.plugins import InstalledSigmaPlugins

import sigma_engines as engines
import sigma_lucene as lucene
import sigma_runner as runner
import sigma_table as table
from k8stokendetect import sigma
from recordings import Request, records

CASE = ("token-request-uri", "token-request-denied")
"""The rules that also flag calls to `ServiceAccounts` and `Token` where an engine ignores case."""


@functools.cache
def detectors() -> engines.Found:
    """Return what the detectors report."""
    return engines.of_detectors()


@functools.cache
def sqlite() -> engines.Found:
    """Return what the first engine finds, with which the others are compared."""
    return engines.in_sqlite()


def check(name: str, found: engines.Found, *, ignores_case: bool = True) -> None:
    """Compare with SQLite, request by request, and with the column in the documentation."""
    for rule, requests in found.items():
        if rule in CASE and not ignores_case:
            assert requests <= sqlite()[rule]
            assert {*map(_resource, sqlite()[rule] - requests)} == {"ServiceAccounts/token", "serviceaccounts/Token"}
        else:
            assert requests == sqlite()[rule], rule
    assert table.counted(name, found, detectors()) == table.documented()[name], HOW


HOW = "Is that intended? Then run `python tests/sigma_table.py`, and say why in the commit."


def _resource(item: tuple[str, Request]) -> str:
    recording, request = item
    event = next(event for event in records(runner.RECORDINGS[recording]) if Request.of(event) == request)
    return f"{event['objectRef']['resource']}/{event['objectRef']['subresource']}"


def test_sqlite() -> None:
    """With the correlations; and the first column is what the detectors report."""
    check("SQLite", sqlite())
    assert table.documented()["detector"] == table.detected(detectors())
    assert table.is_in_the_docs(), HOW


def test_duckdb() -> None:
    """Its `=` minds case; with one of the correlations: of the other the backend writes what DuckDB cannot read."""
    check("DuckDB", engines.in_duckdb(), ignores_case=False)
    with pytest.raises(duckdb.ParserException):
        runner.duck_joined(duckdb.connect(), sigma.rule_for("minted-token-used"))


def test_splunk() -> None:
    """What `--for splunk` writes, by the rules of Splunk's search language; with the correlations."""
    check("Splunk", engines.in_splunk())


@pytest.mark.slow
@pytest.mark.skipif(bool(lucene.MISSING), reason=lucene.MISSING)
def test_lucene(tmp_path: Path) -> None:
    """What `--for elastic` writes, on documents as Elastic's integration indexes them; keywords mind case."""
    check("Lucene", engines.in_lucene(tmp_path), ignores_case=False)


@pytest.mark.slow
@pytest.mark.skipif(bool(lucene.MISSING), reason=lucene.MISSING)
def test_lucene_runs_the_full_form(tmp_path: Path) -> None:
    """No filter of it is dead: it finds what SQLite finds with the full form."""
    wanted = engines.in_sqlite("full")
    for rule, requests in engines.in_lucene(tmp_path, "full").items():
        assert requests == wanted[rule] if rule not in CASE else requests < wanted[rule], rule


@pytest.mark.slow  # over a minute
@pytest.mark.skipif(bool(engines.without_kql()), reason=engines.without_kql() or "-")
def test_kusto() -> None:
    """What `--for sentinel` writes, on rows of AKSAudit; with the correlations, which we write ourselves."""
    check("Kusto", engines.in_kusto())


@pytest.mark.slow
@pytest.mark.skipif(bool(engines.without_kusto()), reason=engines.without_kusto() or "-")
def test_kusto_has_nothing_to_say() -> None:
    """Microsoft's own language service knows every name and every type; and it does speak."""
    rules = engines.sentinel()

    assert engines.diagnostics([rule["query"] for rule in rules.values()]) == [[]] * len(rules)
    assert engines.diagnostics(['AKSAudit | where toint(ResponseStatus["code"]) in~ ("401")']) != [[]]


@pytest.mark.slow
@pytest.mark.spark
def test_spark() -> None:
    """Spark SQL, by pySigma's backend for Databricks."""
    session: Any = pytest.importorskip("pyspark.sql").SparkSession
    databricks: Any = pytest.importorskip("sigma.backends.databricks")
    for rule in runner.CORRELATIONS:
        with pytest.raises(NotImplementedError):
            databricks.DatabricksBackend().convert(runner.collection(sigma.rule_for(rule)))
    spark = session.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
    try:
        check("Spark SQL", engines.in_spark(spark))
    finally:
        spark.stop()


BACKENDS = set(
    "carbon_black databricks elastalert eql esql kusto log_scale logpoint lucene net_witness open_search_ppl "
    "opensearch_lucene panther qradar-aql-community quickwit secops splunk splunk_spl2 sqlite varpulis victoria_logs "
    "duckdb golang_expr sumologic_cse".split()
)
"""pySigma's names of those that convert. Others know the fields of endpoints alone, or no pySigma from 1.4 on; the one
for Loki is AGPL, which we do not install."""

NO_COMPARISON = "panther"
"""Has no `gt`: it converts the rules without numbers."""


def backends() -> dict[str, Any]:
    """Return the installed backends by their names."""
    found: dict[str, Any] = dict(InstalledSigmaPlugins.autodiscover().backends)
    return found | {"duckdb": importlib.import_module("sigma_backend_duckdb").DuckDBBackend}  # not in pySigma's folder


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the backends' own
def test_backends_convert() -> None:
    """Every short rule in every backend; with the extra `backends` at least 22 of them."""
    installed = backends()
    if missing := BACKENDS - {*installed}:
        pytest.skip(f"not installed: {', '.join(sorted(missing))}")
    converted: dict[str, set[str]] = {}
    for name in BACKENDS:
        converted[name] = set()
        for rule in runner.SINGLE:
            try:
                assert installed[name]().convert(runner.collection(sigma.rule_for(rule)))
            except SigmaFeatureNotSupportedByBackendError:
                continue
            converted[name].add(rule)

    every = {name for name, done in converted.items() if done == {*runner.SINGLE}}
    assert every == BACKENDS - {NO_COMPARISON}
    assert len(every) == 23
