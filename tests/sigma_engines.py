# SPDX-License-Identifier: Apache-2.0
"""The rules in the languages of products, run on the recordings as these products hold them."""

from __future__ import annotations

import configparser
import functools
import importlib.util
import json
import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import sigma_lucene as lucene
import sigma_runner as runner
import spl
from k8stokendetect import detect, sigma
from k8stokendetect.convert import yaml
from k8stokendetect.sigma.sentinel import ARRIVED
from recordings import Request, records

Found = dict[str, set[tuple[str, Request]]]
"""By rule: the recording and the request."""

COLUMNS = {
    "RequestReceivedTime": "datetime",
    "RequestUri": "string",
    "AuditId": "string",
    "UserAgent": "string",
    "Verb": "string",
    "Level": "string",
    "Stage": "string",
    "User": "dynamic",
    "ObjectRef": "dynamic",
    "ResponseStatus": "dynamic",
    "Annotations": "dynamic",
    "RequestObject": "dynamic",
    "ResponseObject": "dynamic",
    "SourceIps": "dynamic",
}
"""The columns of AKSAudit that our rules name, and their types.

learn.microsoft.com/azure/azure-monitor/reference/tables/aksaudit.
"""

TEXTS = r"kubernetes\.audit\.(user\.groups|sourceIPs|annotations\..*|responseStatus\.message)"
"""The fields that Elastic's integration analyses: its fields.yml, see `sigma.pipelines`."""


def without_kql() -> str:
    """Say why KQL cannot run here; empty if it can."""
    return "" if importlib.util.find_spec("duckdb_kql") else "needs duckdb-kql"


@functools.cache
def without_kusto() -> str:
    """Say why Kusto's language service cannot run here; empty if it can."""
    node = shutil.which("node")
    script = "require.resolve('@kusto/language-service-next/bridge.min')"
    there = node and not subprocess.run([node, "-e", script], capture_output=True, check=False).returncode  # noqa: S603 - node
    return "" if there else "needs node and @kusto/language-service-next in NODE_PATH"


def of_detectors() -> Found:
    """Return what the detectors report."""
    found: Found = defaultdict(set)
    for name, path in runner.RECORDINGS.items():
        for finding in detect(path):
            found[finding.rule.id].add((name, Request.of(finding)))
    return found


def in_sqlite(form: sigma.FormName = "short") -> Found:
    """Return what SQLite finds, correlations as well."""
    found: Found = defaultdict(set)
    for name, path in runner.RECORDINGS.items():
        for rule in runner.SINGLE:
            places = runner.flagged(runner.loaded(path), sigma.rule_for(rule, form=form))
            found[rule] |= {(name, request) for request in runner.requests_at(path, places)}
        for rule in runner.CORRELATIONS:
            places = runner.joined(path, sigma.rule_for(rule, form=form))
            found[rule] |= {(name, request) for request in runner.requests_at(path, places)}
    return found


def in_duckdb() -> Found:
    """Return what DuckDB finds, with the correlation of which its backend writes valid SQL."""
    found: Found = defaultdict(set)
    for name, path in runner.RECORDINGS.items():
        base = runner.duck_table(records(path))
        for rule in runner.SINGLE:
            places = runner.duck_flagged(base, sigma.rule_for(rule))
            found[rule] |= {(name, request) for request in runner.requests_at(path, places)}
        places = runner.duck_joined(base, sigma.rule_for("legacy-token-secret.filled"))
        found["legacy-token-secret.filled"] |= {(name, request) for request in runner.requests_at(path, places)}
    return found


@functools.cache
def every_event() -> tuple[tuple[str, dict[str, Any]], ...]:
    """Return the events of all recordings, each with the name of its recording."""
    return tuple((name, event) for name, path in runner.RECORDINGS.items() for event in records(path))


def _at(places: Iterable[int]) -> set[tuple[str, Request]]:
    return {(name, Request.of(event)) for name, event in (every_event()[place] for place in places)}


def of_elastic(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event as Elastic's integration indexes it: see its ingest pipeline."""
    audit = dict(event)
    if "annotations" in audit:
        audit["annotations"] = {key.replace(".", "_"): value for key, value in audit["annotations"].items()}
    for body in ("requestObject", "responseObject"):
        if body in audit:
            audit[body] = {key: value for key, value in audit[body].items() if key != "metadata"}
    return {"kubernetes": {"audit": audit}}


def kibana(form: sigma.FormName = "short") -> dict[str, dict[str, Any]]:
    """Return the rules that Kibana imports, by their ids here."""
    text = sigma.write_for("elastic", form=form).files["k8stokendetect.ndjson"]
    return _by_rule({rule["rule_id"]: rule for rule in map(json.loads, text.splitlines())})


def sentinel(form: sigma.FormName = "short") -> dict[str, dict[str, Any]]:
    """Return the analytics rules that Sentinel imports, by their ids here."""
    files = sigma.write_for("sentinel", form=form).files
    texts = [text for name, text in files.items() if name.endswith(".yaml")]
    rules = [rule for text in texts for rule in yaml.read_documents(text.encode())]
    return _by_rule({rule["id"]: rule for rule in rules})


def _by_rule(found: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {rule: found[id_] for rule in sigma.RULES if (id_ := str(sigma.rule_id(rule))) in found}


def in_lucene(folder: Path, form: sigma.FormName = "short") -> Found:
    """Return what Kibana's rules find in Elastic's documents."""
    rules = kibana(form)
    documents = (of_elastic(event) for _, event in every_event())
    places = lucene.found(folder, documents, [rule["query"] for rule in rules.values()], texts=TEXTS)
    return {rule: _at(here) for rule, here in zip(rules, places, strict=True)}


def of_aks(event: Mapping[str, Any]) -> list[Any]:
    """Return an event as a row of AKSAudit, in the order of `COLUMNS`."""
    keys = {"RequestReceivedTime": "requestReceivedTimestamp", "RequestUri": "requestURI", "AuditId": "auditID"}
    keys |= {"SourceIps": "sourceIPs"}
    values = {name: event.get(keys.get(name, name[0].lower() + name[1:])) for name in COLUMNS}
    return [
        json.dumps(values[name]) if COLUMNS[name] == "dynamic" and values[name] is not None else values[name]
        for name in COLUMNS
    ]


def in_kusto(form: sigma.FormName = "short") -> Found:
    """Return what Sentinel's rules find in AKSAudit, run by duckdb-kql, which knows no `ingestion_time()`."""
    kql: Any = importlib.import_module("duckdb_kql")
    types = {"string": "VARCHAR", "dynamic": "JSON", "datetime": "TIMESTAMP"}
    base = kql.connect()
    columns = ", ".join(f"{key} {types[kind]}" for key, kind in COLUMNS.items())
    base.execute(f"CREATE TABLE AKSAudit (Place BIGINT, {columns})")
    rows = [[place, *of_aks(event)] for place, (_, event) in enumerate(every_event())]
    base.executemany(f"INSERT INTO AKSAudit VALUES ({', '.join('?' * (len(COLUMNS) + 1))})", rows)  # noqa: S608 - placeholders only
    found: Found = {}
    for rule, document in sentinel(form).items():
        assert document["query"].count(f"\n{ARRIVED}\n") == 1
        query = document["query"].replace(f"{ARRIVED}\n", "")
        if rule in runner.CORRELATIONS:
            pairs = kql.kql(base, f"{query}\n| project Place, FirstAuditId, FirstTime").fetchall()
            places = {place for place, *_ in pairs}
            mints = {(id_, time.isoformat(timespec="microseconds")) for _, id_, time in pairs}
            places |= {
                place
                for place, (_, event) in enumerate(every_event())
                if (event["auditID"], Request.of(event).received.removesuffix("Z")) in mints
            }
        else:
            places = {place for (place,) in kql.kql(base, f"{query}\n| project Place").fetchall()}
        found[rule] = _at(places)
    return found


def in_spark(session: Any, form: sigma.FormName = "short") -> Found:
    """Return what Spark SQL finds, by pySigma's backend for Databricks, in columns with underscores."""
    backend: Any = importlib.import_module("sigma.backends.databricks").DatabricksBackend(sigma.pipeline("databricks"))
    names, values = runner.rows(event for _, event in every_event())
    fields = ["place BIGINT"]
    fields += [
        f"{re.sub(r'[^A-Za-z0-9]', '_', key)} {'BIGINT' if runner.NUMBERS.fullmatch(key) else 'STRING'}"
        for key in names
    ]
    rows = [(place, *row) for place, row in enumerate(values)]
    session.createDataFrame(rows, ", ".join(fields)).createOrReplaceTempView("logs")
    session.table("logs").cache()
    found: Found = {}
    for rule in runner.SINGLE:
        (condition,) = backend.convert(runner.collection(sigma.rule_for(rule, form=form)))
        places = {row.place for row in session.sql(f"SELECT place FROM logs WHERE {condition}").collect()}  # noqa: S608 - pySigma's
        found[rule] = _at(places)
    return found


def savedsearches() -> dict[str, dict[str, str]]:
    """Return the stanzas of savedsearches.conf, by their rules' ids here: keys and values, lines joined."""
    text = sigma.write_for("splunk").files["savedsearches.conf"].replace(" \\\n", "\n\\")
    parser = configparser.RawConfigParser(delimiters=("=",), comment_prefixes=())
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # keep case
    parser.read_string(re.sub(r"\n\\", "\n ", text))
    titles = {runner.documents(sigma.rule_for(rule))[-1]["title"]: rule for rule in sigma.RULES}
    return {titles[name]: dict(parser[name]) for name in parser.sections()}


def in_splunk() -> Found:
    """Return what the searches find, evaluated as Splunk documents them."""
    found: Found = defaultdict(set)
    stanzas = savedsearches()
    for name, path in runner.RECORDINGS.items():
        events = []
        for event in records(path):
            values: dict[str, list[Any]] = defaultdict(list)
            for field, value in spl.fields(event):
                values[field].append(value)
            events.append(values)
        for rule in runner.SINGLE:
            test = spl.search(stanzas[rule]["search"].removeprefix("`kubernetes_audit` ").removeprefix("| "))
            places = {place for place, event in enumerate(events) if test(event)}
            found[rule] |= {(name, request) for request in runner.requests_at(path, places)}
        times = [datetime.fromisoformat(event["requestReceivedTimestamp"]).timestamp() for event in records(path)]
        for rule in runner.CORRELATIONS:
            places = spl.correlate(stanzas[rule]["search"].replace("`kubernetes_audit` ", ""), events, times)
            found[rule] |= {(name, request) for request in runner.requests_at(path, places)}
    return found


def diagnostics(queries: list[str]) -> list[list[str]]:
    """Return what Microsoft's Kusto language service says about queries of AKSAudit."""
    schema = f"({', '.join(f'{name}: {kind}' for name, kind in COLUMNS.items())})"
    script = Path(__file__).with_name("kusto_check.cjs")
    result = subprocess.run(  # noqa: S603 - our own program
        [str(shutil.which("node")), str(script), schema],
        input="\n".join(map(json.dumps, queries)),
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in result.stdout.splitlines()]
