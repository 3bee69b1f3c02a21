# SPDX-License-Identifier: Apache-2.0
"""Many ECS and OCSF documents in one index: one type a field, no field too many, every text found, alerts in Kibana."""

from __future__ import annotations

import fnmatch
import functools
import ipaddress
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import attrs
import pytest
import yaml

import sigma_lucene as lucene
from k8stokendetect import ConfigError, Evidence, Finding, Severity, detect
from k8stokendetect.cluster import Cluster
from k8stokendetect.detectors import BUILTIN, OPTIONAL
from k8stokendetect.exclusions import DEFAULT_EXCLUSIONS, OPTIONAL_EXCLUSIONS
from k8stokendetect.findings import EventRef
from k8stokendetect.incidents import Alert, Incident, Incidents, alerts, incidents
from k8stokendetect.outputs.ecs import to_ecs
from k8stokendetect.outputs.ocsf import to_ocsf
from k8stokendetect.outputs.size import LONGEST_KEYWORD
from recordings import DATA, METADATA, METADATA_1_27, REQUEST_RESPONSE, few_of
from siem_schemas import OCSF, ocsf_errors, ocsf_schema

EXAMPLES = DATA.parents[1] / "examples"
SEEN = datetime(2026, 11, 25, 12, tzinfo=UTC)
FORMS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "ecs": lambda item: to_ecs(item, observed=SEEN),
    "ocsf 1.5.0": to_ocsf,
    "ocsf 1.8.0": lambda item: to_ocsf(item, version="1.8.0"),
}


@functools.cache
def items() -> tuple[Alert | Finding | Incident, ...]:
    """Return findings, alerts and incidents of all kinds in the recordings, also set aside, and some of a cloud."""
    found: list[Alert | Finding | Incident] = []
    for path in (METADATA, METADATA_1_27, REQUEST_RESPONSE):
        detectors = [cls() for cls in (*BUILTIN, *OPTIONAL)]
        exclusions = (*DEFAULT_EXCLUSIONS, *OPTIONAL_EXCLUSIONS)
        findings = few_of(detect(path, detectors=detectors, exclusions=exclusions, keep_excluded=True), 10)
        cluster = Cluster.load(EXAMPLES / "attack-cluster.json")
        found += [*findings, *alerts(findings, Incidents()), *incidents(findings, cluster=cluster)]
        ref = attrs.evolve(findings[0].event, platform="gke", cluster="c", account="a", region="r")
        there = attrs.evolve(findings[0], event=ref)
        found += [there, *incidents([there])]
    return tuple(found)


@functools.cache
def documents(form: str) -> tuple[dict[str, Any], ...]:
    """Return the documents of all of them."""
    return tuple(map(FORMS[form], items()))


def values(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every field with a value of it, as an index sees them: objects, too, and the elements of lists."""
    if isinstance(value, list):
        for item in value:
            assert not isinstance(item, list)
            yield from values(item, path)
        return
    yield path, value
    if isinstance(value, dict):
        for key, item in value.items():
            yield from values(item, f"{path}.{key}" if path else key)


@pytest.mark.parametrize("form", FORMS)
def test_a_field_has_one_type(form: str) -> None:
    """In all documents of a form: an index refuses the document in which it has another than before.

    And there are few of them, as docs/siem.md says: an index takes a thousand (`index.mapping.total_fields.limit`).
    """
    types: dict[str, set[str]] = defaultdict(set)
    for document in documents(form):
        for name, value in values(document):
            types[name].add(type(value).__name__)

    assert {name: kinds for name, kinds in types.items() if len(kinds) > 1} == {}
    assert 100 < len(types) < 400
    assert max(name.count(".") for name in types) < 6


@pytest.mark.parametrize("form", FORMS)
def test_a_client_names_no_field(form: str) -> None:
    """Whatever it writes into names, lists and objects of a request."""
    names = []
    for text in ("x", "x.y-chosen"):
        ref = EventRef(audit_id=text, user=text, groups=(text,), audiences=(text,), name=text, resource=text)
        evidence = (Evidence(text, {text: {text: [{text: 1}]}}, text), Evidence(text, [{text: text}], text))
        finding = Finding(
            rule=BUILTIN[0].rule, severity=Severity.HIGH, summary=text, event=ref, evidence=evidence, related=(ref,)
        )
        found = [FORMS[form](item) for item in (finding, Alert.of([finding]), *incidents([finding]))]
        assert text in json.dumps(found)
        names.append({name for document in found for name, _ in values(document)})

    assert names[0] == names[1]


def test_a_number_fits_an_index() -> None:
    """A request may ask for any lifetime: no document is refused for a number that no `long` can hold."""
    for number in (2**63, 10**30, -(10**30)):
        ref = EventRef(audit_id="x", expiration_seconds=number, code=number)
        finding = Finding(rule=BUILTIN[0].rule, severity=Severity.HIGH, summary="x", event=ref)
        for form in FORMS.values():
            numbers = [value for _, value in values(form(finding)) if isinstance(value, int)]
            assert all(-(2**63) <= value < 2**63 for value in numbers)


def units(text: str) -> int:
    """Return the length of a text as Java has it."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


@pytest.mark.parametrize("char", ["x", '"', "\n", "\U0001f600", "\ud800"])
def test_every_text_is_found(char: str) -> None:
    """A keyword of more than 1,024 characters is in no index: texts are cut, and counted, but for the message."""
    long = char * 5000
    ref = EventRef(audit_id="x", user_agent=char * 512)
    evidence = (Evidence(long, long, long), Evidence("a", [long], "b"), Evidence("a", char * 400, "b"))
    finding = Finding(
        rule=BUILTIN[0].rule, severity=Severity.HIGH, summary=char * 1100, event=ref, evidence=evidence, caveats=(long,)
    )
    document = to_ecs(finding)
    texts = dict(values({key: value for key, value in document.items() if key != "message"}))

    assert document["message"] == char * 1100
    assert max(units(value) for value in texts.values() if isinstance(value, str)) <= LONGEST_KEYWORD == 1024
    (counted,) = document["k8stokendetect"]["left_out"]
    assert counted == {"list": "text", "count": 5}
    assert "(cut: 5000 characters, sha256 " in document["k8stokendetect"]["evidence"][0]["path"]
    assert document["k8stokendetect"]["evidence"][2]["value"] == char * 400


def test_in_the_recordings_our_own_prose_is_found() -> None:
    """No rule, advice or caveat is cut; where a text was, it is counted."""
    cut = [document for document in documents("ecs") if "left_out" in document["k8stokendetect"]]
    longest = Counter[str]()
    for document in documents("ecs"):
        for name, value in values(document):
            if isinstance(value, str) and name != "message":
                longest[name] = max(longest[name], units(value))
                assert ("(cut: " in value) <= (
                    name.rpartition(".")[2] in {"value", "user_agent", "original", "command"}
                )

    assert max(longest.values()) <= LONGEST_KEYWORD
    assert len(cut) < len(documents("ecs")) / 50


EXTERNAL_ALERTS = "event.kind:alert AND NOT event.module:(endgame OR endpoint OR cloud_defend)"
"""The query of Elastic's prebuilt rule "External Alerts", from KQL to Lucene: the operators in capitals.

https://github.com/elastic/detection-rules/blob/14cf530f0d2177023092449cd9d9348b4a8884c2/rules/promotions/external_alerts.toml
"""
INDICES = "apm-*-transaction* traces-apm* auditbeat-* filebeat-* logs-* packetbeat-* winlogbeat-*".split()
SEVERITIES = {"low": 21, "medium": 47, "high": 73, "critical": 99}
"""Its `severity_mapping` of `event.severity`; what it does not map becomes medium."""


@pytest.mark.skipif(bool(lucene.MISSING), reason=lucene.MISSING)
def test_kibana_makes_an_alert_of_each_of_ours(tmp_path: Path) -> None:
    """And of nothing that is excluded; with our severity, our risk score and our message for its name."""
    queries = [EXTERNAL_ALERTS, *(f"event.severity:{score}" for score in SEVERITIES.values())]
    found, *by_severity = lucene.found(tmp_path, documents("ecs"), queries, texts="message")
    excluded = {place for place, item in enumerate(items()) if not isinstance(item, Incident) and item.excluded_by}

    assert excluded
    assert found == set(range(len(items()))) - excluded
    assert sum(map(len, by_severity)) == len(items())
    for name, places in zip(SEVERITIES, by_severity, strict=True):
        told = {str(items()[place].severity) for place in places}
        assert told == ({"low", "informational"} if name == "low" else {name})
    for document in documents("ecs"):
        assert (
            document["event"]["risk_score"]
            == {"informational": 1.0, **SEVERITIES}[document["k8stokendetect"]["severity"]]
        )
        assert document["message"]


def test_kibana_looks_at_when_a_document_came() -> None:
    """Its `timestamp_override` is `event.ingested`, of the last two minutes: an old request is found now."""
    assert {document["event"]["ingested"] for document in documents("ecs")} == {"2026-11-25T12:00:00Z"}
    east = to_ecs(items()[0], observed=SEEN.astimezone(timezone(timedelta(hours=2))))
    assert east["event"]["ingested"] == "2026-11-25T12:00:00Z"
    assert "ingested" not in to_ecs(items()[0])["event"]


def test_filebeat_writes_where_kibana_looks() -> None:
    """Into a data stream for which Elasticsearch has a template; a pipeline gives the time at which it came."""
    config = yaml.safe_load((EXAMPLES / "filebeat.yml").read_text(encoding="utf-8"))
    output = config["output.elasticsearch"]
    pipeline = json.loads((EXAMPLES / "elastic-pipeline.json").read_text(encoding="utf-8"))

    assert [pattern for pattern in INDICES if fnmatch.fnmatch(output["index"], pattern)] == ["logs-*"]
    assert output["index"].count("-") == 2  # type, dataset and namespace of a data stream
    assert (config["setup.template.enabled"], config["setup.ilm.enabled"]) == (False, False)
    assert output["pipeline"] == "k8stokendetect"
    assert pipeline["processors"] == [{"set": {"field": "event.ingested", "copy_from": "_ingest.timestamp"}}]


BY_NAME = {
    "date": "@timestamp *.timestamp *_timestamp *.not_after *.not_before *.accessed created *.created *.installed "
    "*.creation_date *.ctime *.mtime ingested *.ingested *.start *.end",
    "ip": "ip *.ip *_ip",
    "float": "*.score.* *_score*",
    "object": "location *.location *structured_data *exports *imports",
}
"""What the template of `logs-*-*` makes of a field by its name; all other texts are keywords. A part of it:

https://github.com/elastic/elasticsearch/blob/main/x-pack/plugin/core/template-resources/src/main/resources/ecs@mappings.json
"""


def test_no_name_of_ours_asks_for_another_type() -> None:
    """In a data stream, a field of a certain name is a date, an address or a number."""
    for document in documents("ecs"):
        for name, value in values(document):
            for kind, patterns in BY_NAME.items():
                if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns.split()):
                    assert _is_of(kind, value), f"{name}: {value!r} becomes {kind}"


def _is_of(kind: str, value: Any) -> bool:
    if kind == "date":
        return datetime.fromisoformat(value).tzinfo is not None
    return bool(ipaddress.ip_address(value)) if kind == "ip" else isinstance(value, float) and kind == "float"


def test_an_index_of_another_name_has_a_template() -> None:
    """There a text that looks like a date makes a date field, which refuses all other texts, as some evidence would."""
    template = json.loads((EXAMPLES / "index-template.json").read_text(encoding="utf-8"))["template"]["mappings"]
    named = dict(values(template["properties"]))
    dates = {name.replace(".properties", "")[: -len(".type")] for name, kind in named.items() if kind == "date"}
    looks: dict[str, set[bool]] = defaultdict(set)
    for document in documents("ecs"):
        for name, value in values(document):
            if isinstance(value, str):
                looks[name].add(bool(re.match(r"\d{4}-\d\d-\d\dT", value)))

    assert looks["k8stokendetect.evidence.value"] == {True, False}
    assert template["date_detection"] is False
    (texts,) = template["dynamic_templates"]
    assert texts["texts"]["mapping"] == {"type": "keyword", "ignore_above": LONGEST_KEYWORD}
    assert dates == {"@timestamp", "event.ingested", "event.start", "event.end"}
    assert all(looks[name] == {True} for name in dates)


def test_a_document_uses_nothing_that_its_schema_calls_old() -> None:
    """In OCSF 1.8, the id of a credential has another place than in 1.5."""
    for version in ("1.5.0", "1.8.0"):
        for document in documents(f"ocsf {version}"):
            schema = ocsf_schema(OCSF[document["class_uid"]], version, is_cloud=True)
            assert [*old(document, schema, schema)] == []
    used = next(item for item in items() if isinstance(item, Finding) and item.event.used_credential)
    id_ = used.event.used_credential
    user = to_ocsf(used)["evidences"][0]["actor"]["user"]
    later = to_ocsf(used, version="1.8.0")
    user_later = later["evidences"][0]["actor"]["user"]

    assert (user["credential_uid"], "programmatic_credentials" in user) == (id_, False)
    assert user_later["programmatic_credentials"][0]["uid"] == id_
    assert "credential_uid" not in user_later
    assert {one["name"] for one in later["observables"] if one["value"] == id_} == {
        "evidences[0].actor.user.programmatic_credentials[0].uid"
    }
    with pytest.raises(ConfigError, match=r"OCSF 2\.0 is not one of 1\.5\.0, 1\.8\.0"):
        to_ocsf(used, version="2.0")  # type: ignore[arg-type]


def old(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> Iterator[str]:
    """Yield the names of deprecated attributes of a document."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    if isinstance(value, list):
        for item in value:
            yield from old(item, schema.get("items", {}), root)
    elif isinstance(value, dict):
        for key, item in value.items():
            part = schema.get("properties", {}).get(key, {})
            if part.get("deprecated"):
                yield key
            yield from old(item, part, root)


def test_documents_of_the_later_version_are_valid() -> None:
    """A part of them: tests/test_outputs_siem.py has those of 1.5."""
    assert [error for document in documents("ocsf 1.8.0")[::10] for error in ocsf_errors(document)] == []
