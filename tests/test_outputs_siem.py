# SPDX-License-Identifier: Apache-2.0
"""ECS and OCSF documents: valid by the published schemas, small, whatever a finding holds; and our own, read back."""

from __future__ import annotations

import contextlib
import copy
import functools
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import attrs
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import token_request
from k8stokendetect import Evidence, Finding, ReadError, Rule, Severity, User, detect, parse_event
from k8stokendetect.commands import detect_commands
from k8stokendetect.convert.structure import plain
from k8stokendetect.detectors import BUILTIN, OPTIONAL
from k8stokendetect.events import PLATFORMS, BoundObjectRef
from k8stokendetect.findings import EventRef
from k8stokendetect.incidents import Alert, Incident, Incidents, alerts, incidents
from k8stokendetect.outputs.ecs import to_ecs, to_ecs_line
from k8stokendetect.outputs.native import finding_of, to_alert_line, to_incident_line, to_line
from k8stokendetect.outputs.ocsf import to_ocsf, to_ocsf_line
from k8stokendetect.outputs.size import LONGEST_DOCUMENT, one_line
from k8stokendetect.outputs.values import TACTICS, TECHNIQUES
from recordings import DATA, METADATA, METADATA_1_27, REQUEST_RESPONSE, few_of
from siem_schemas import ecs_errors, ecs_fields, empty, leaves, ocsf_errors

EXAMPLES = DATA.parents[1] / "examples"
RECORDINGS = [METADATA, METADATA_1_27, REQUEST_RESPONSE]
FORMS = {"ecs": (to_ecs, ecs_errors), "ocsf": (to_ocsf, ocsf_errors)}
YEAR_2 = datetime(2, 1, 1)  # noqa: DTZ001 - without a zone, as Hypothesis wants it
SEEN = datetime(2026, 11, 25, 12, tzinfo=UTC)


@functools.cache
def recorded(path: Path) -> tuple[Finding, ...]:
    """Return twenty findings of each kind in a recording, of all detectors, also what is set aside."""
    detectors = [cls() for cls in (*BUILTIN, *OPTIONAL)]
    return tuple(few_of(detect(path, detectors=detectors, exclusions=_every(), keep_excluded=True), 20))


def _every() -> Any:
    from k8stokendetect.exclusions import DEFAULT_EXCLUSIONS, OPTIONAL_EXCLUSIONS  # noqa: PLC0415 - long names

    return (*DEFAULT_EXCLUSIONS, *OPTIONAL_EXCLUSIONS)


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.name)
@pytest.mark.parametrize("form", FORMS)
def test_every_recorded_finding_is_valid(path: Path, form: str) -> None:
    """In both forms, and no two of them the same; by the published schemas, of which a third of each rule is asked."""
    to_document, errors = FORMS[form]
    documents = [to_document(finding) for finding in recorded(path)]
    texts = {json.dumps(document) for document in documents}

    assert len(texts) == len({finding.fingerprint for finding in recorded(path)}) > 100
    documents = [to_document(finding) for finding in sorted(recorded(path), key=lambda one: one.rule.id)[::3]]
    assert [error for document in documents for error in errors(document)] == []
    assert [place for document in documents for place in empty(document)] == []


def test_a_document_of_each_rule_was_validated() -> None:
    """The recordings make most rules fire; those that they leave out are named here."""
    fired = {finding.rule.id for path in RECORDINGS for finding in recorded(path)}
    assert {cls.rule.id for cls in (*BUILTIN, *OPTIONAL)} - fired == {
        "audit-annotation-forged",
        "forged-token",
        "read-token-used",
        "second-control-plane-credential",
        "system-identity-issued",
        "token-read-by-exec",
        "token-right-granted",
        "unknown-token-used",
        "unreadable-token-request",
        "web-identity-unusual-origin",
        "web-identity-without-mint",
        "minted-token-exchanged",
        "cloud-act-after-exchange",
    }


def _alerts(path: Path) -> tuple[Alert, ...]:
    groups = Incidents()
    return tuple(alerts(recorded(path), groups))


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.name)
@pytest.mark.parametrize("form", FORMS)
def test_every_recorded_alert_and_incident_is_valid(path: Path, form: str) -> None:
    """A mint is one document, with all the rules that reported it; an incident another."""
    to_document, errors = FORMS[form]
    found: list[Alert | Incident] = [*_alerts(path), *incidents(recorded(path))]
    documents = [to_document(item) for item in found]

    assert len({json.dumps(document) for document in documents}) == len(found)
    assert [error for document in documents for error in errors(document)] == []
    assert [place for document in documents for place in empty(document)] == []
    assert max(len(one_line(document)) for document in documents) <= LONGEST_DOCUMENT


def test_an_alert_is_joined_with_its_findings_its_mint_and_its_incident() -> None:
    """By ids, in every form."""
    use = next(one for one in _alerts(METADATA) if len(one.rules) > 1 and one.mint and one.incident)
    native, ecs, ocsf = json.loads(to_alert_line(use)), to_ecs(use)["k8stokendetect"], to_ocsf(use)["unmapped"]

    assert use.mint is not None
    for document in (native, ecs, ocsf):
        assert document["id"] == use.id
        assert document["incident"] == use.incident
        assert document["findings"] == [finding.fingerprint for finding in use.findings]
        assert [rule["id"] for rule in document["rules"]] == [rule.id for rule in use.rules]
    assert ecs["mint"] == ocsf["mint"] == native["mint"]["request_id"] == use.mint.request_id
    assert to_ecs(use)["event"]["id"] == to_ocsf(use)["metadata"]["uid"] == use.fingerprint
    assert (to_ecs(use)["rule"]["id"], to_ocsf(use)["finding_info"]["types"][0]) == (use.rules[0].id,) * 2


def test_an_incident_says_who_did_what_and_what_to_do() -> None:
    """The worst alert first."""
    incident = incidents(recorded(METADATA))[0]
    native, ecs, ocsf = json.loads(to_incident_line(incident)), to_ecs(incident), to_ocsf(incident)

    assert native["title"] == ecs["message"] == ocsf["message"] == incident.title
    assert native["id"] == ecs["event"]["id"] == ocsf["metadata"]["uid"] == incident.id
    assert (ecs["event"]["kind"], ecs["event"]["dataset"]) == ("alert", "k8stokendetect.incident")
    assert (ocsf["class_uid"], ocsf["type_uid"], ocsf["metadata"]["profiles"]) == (2005, 200501, ["incident"])
    for document in (native, ecs["k8stokendetect"], ocsf["unmapped"]):
        assert document["alerts"][0]["severity"] == str(incident.severity)
        assert document["advice"][0]["command"] == incident.advice[0].command
        assert document["number_of_findings"] == len(incident.findings)


def flooded(text: str, number: int) -> Finding:
    """Return a finding in which everything that a client can choose is long."""
    many = tuple(f"{text}{n}" for n in range(20))
    ref = EventRef(
        audit_id=text, verb=text, code=200, user=text, groups=many, impersonating=text, source_ips=many,
        user_agent=text, resource=text, namespace=text, name=text, request_uri=text, reason=text, audiences=many,
        bound_to=BoundObjectRef(text, text, text, text), minted_credential=text, used_credential=text, origin=text,
        cluster=text, account=text, region=text, time=SEEN,
    )  # fmt: skip
    nested: Any = text
    for _ in range(50):
        nested = {text: [nested, text]}
    evidence = (Evidence(text, nested, text), *(Evidence(f"{n}", {text: [text] * 50}, text) for n in range(number)))
    related = tuple(attrs.evolve(ref, audit_id=f"{n}") for n in range(number))
    return Finding(
        rule=BUILTIN[0].rule, severity=Severity.HIGH, summary=text, event=ref, evidence=evidence, related=related,
        caveats=(text,) * number, key=text,
    )  # fmt: skip


@settings(max_examples=6, deadline=None)
@given(
    st.sampled_from(["x", "\0", "\U0001f600", "\ud800", '"', "\x7f"]),
    st.sampled_from([1, 300, 3000]),
    st.integers(0, 30),
)
def test_no_document_is_larger_than_64_kib(char: str, length: int, number: int) -> None:
    """Whatever a client sends, in every form, of alerts, findings and incidents; and what was cut is counted."""
    finding = flooded(char * length, number)
    many = [attrs.evolve(finding, key=f"{n}") for n in range(3)]
    alert, (incident,) = Alert.of(many, "an id"), incidents(many)
    lines = [to_line(finding), to_alert_line(alert), to_incident_line(incident)]
    for to_document, errors in FORMS.values():
        documents = [to_document(item) for item in (finding, alert, incident)]
        lines += map(one_line, documents)
        assert [error for document in documents for error in errors(document)] == []

    assert max(map(len, lines)) <= LONGEST_DOCUMENT
    assert length < 3000 or all(json.loads(line)["left_out"] for line in lines[:2])
    says_it_is_cut = pytest.raises(ReadError, match="not a whole finding")
    with says_it_is_cut if "left_out" in json.loads(lines[0]) else contextlib.nullcontext():
        assert finding_of(lines[0]).evidence == finding_of(finding.to_dict()).evidence


def test_a_large_incident_counts_what_it_leaves_out() -> None:
    """A thousand alerts: the first hundred are named, the worst first."""
    base = finding_about()
    found = [attrs.evolve(base, event=attrs.evolve(base.event, audit_id=f"{n}")) for n in range(1000)]
    worst = attrs.evolve(base, severity=Severity.CRITICAL, event=attrs.evolve(base.event, audit_id="worst"))
    (incident,) = incidents([*found, worst])
    native, ecs, ocsf = json.loads(to_incident_line(incident)), to_ecs(incident), to_ocsf(incident)

    for document, name in (
        (native, "alerts"),
        (ecs["k8stokendetect"], "alerts"),
        (ocsf["unmapped"], "unmapped.alerts"),
    ):
        listed = {one["list"]: one["count"] for one in document["left_out"]}
        assert document["alerts"][0]["severity"] == "critical"
        assert sum(count for list_, count in listed.items() if list_.endswith(name)) + len(document["alerts"]) == 1001
    assert not ecs_errors(ecs) + ocsf_errors(ocsf)


BREAKS: list[tuple[str, Callable[[dict[str, Any]], Any]]] = [
    ("ecs", lambda d: d["event"].update(kind="alarm")),
    ("ecs", lambda d: d["event"].update(type=["creation"])),
    ("ecs", lambda d: d["event"].update(severity="high")),
    ("ecs", lambda d: d["source"].update(ip="kube-master")),
    ("ecs", lambda d: d["related"].update(user="alice")),
    ("ecs", lambda d: d.update(level="high")),
    ("ecs", lambda d: d.pop("@timestamp")),
    ("ecs", lambda d: d["rule"].update(name=None)),
    ("ocsf", lambda d: d.update(severity_id=7)),
    ("ocsf", lambda d: d.update(class_uid=2001)),
    ("ocsf", lambda d: d.update(time="2026-11-23")),
    ("ocsf", lambda d: d.pop("finding_info")),
    ("ocsf", lambda d: d["finding_info"].pop("uid")),
    ("ocsf", lambda d: d["evidences"][0]["src_endpoint"].update(ip="kube-master")),
    ("ocsf", lambda d: d["evidences"][0].update(peer="10.0.0.1")),
    ("ocsf", lambda d: d["observables"][0].update(type_id=777)),
    ("ocsf", lambda d: d.update(status=None)),
    ("ocsf", lambda d: d.update(cloud={"provider": "AWS"})),
    ("ocsf", lambda d: d["metadata"].update(profiles=["cloud"])),
]


@pytest.mark.parametrize(("form", "damage"), BREAKS, ids=[f"{form}-{n}" for n, (form, _) in enumerate(BREAKS)])
def test_the_validators_can_fail(form: str, damage: Callable[[dict[str, Any]], Any]) -> None:
    """One value broken is one that they name."""
    to_document, errors = FORMS[form]
    document = copy.deepcopy(to_document(recorded(METADATA)[0]))
    assert errors(document) == []
    damage(document)
    assert errors(document)


def finding_about(**fields: Any) -> Finding:
    """Make the finding of a token request."""
    (finding, *_) = detect(token_request(**fields), exclusions=(), detectors=["token-request"])
    return finding


def test_an_ecs_alert_says_who_did_what_to_whom() -> None:
    """In the fields that Elastic's own views and rules join on."""
    document = to_ecs(finding_about(issued="JTI=1", impersonatedUser={"username": "root"}))

    assert (document["user"]["name"], document["user"]["effective"]["name"]) == ("alice", "root")
    assert document["user"]["target"]["name"] == "system:serviceaccount:prod:payments-sa"
    assert document["source"] == {"address": "192.0.2.7", "ip": "192.0.2.7"}
    assert document["event"]["kind"] == "alert"
    assert (document["event"]["outcome"], document["event"]["type"]) == ("success", ["allowed"])
    assert (document["event"]["severity"], document["event"]["risk_score"]) == (47, 47.0)
    assert document["threat"]["technique"]["subtechnique"]["id"] == ["T1552.007"]
    assert document["threat"]["tactic"]["id"] == ["TA0006"]
    assert document["orchestrator"]["namespace"] == "prod"
    assert document["orchestrator"]["resource"] == {"type": "serviceaccounts", "name": "payments-sa"}
    assert set(document["related"]["user"]) == {"alice", "root", "system:serviceaccount:prod:payments-sa"}
    assert document["k8stokendetect"]["event"]["minted_credential"] == "JTI=1"
    assert document["http"]["request"]["id"] == token_request()["auditID"]


def test_an_ocsf_finding_says_who_did_what_to_whom() -> None:
    """As evidence, observables and resources, with what to do."""
    finding = finding_about(issued="JTI=1")
    document = to_ocsf(finding)
    values = {item["value"]: item["type"] for item in document["observables"]}

    assert (document["type_uid"], document["activity_id"], document["is_alert"]) == (200401, 1, True)
    assert document["time"] == 1795470225581
    assert document["finding_info"]["uid"] == finding.fingerprint
    assert document["evidences"][0]["actor"]["user"]["name"] == "alice"
    assert document["evidences"][0]["api"]["operation"] == "create"
    assert document["resources"][0] | {"namespace": "prod", "name": "payments-sa"} == document["resources"][0]
    assert document["remediation"]["desc"] == finding.rule.response
    assert (values["alice"], values["192.0.2.7"], values["JTI=1"]) == ("User Name", "IP Address", "User Credential ID")
    assert document["finding_info"]["attacks"][0]["sub_technique"]["uid"] == "T1552.007"


@pytest.mark.parametrize(
    ("code", "outcome", "kind"), [(201, "success", "allowed"), (403, "failure", "denied"), (None, "unknown", "info")]
)
def test_the_outcome_is_the_answer(code: int | None, outcome: str, kind: str) -> None:
    """Where none was logged it is not known."""
    event = attrs.evolve(finding_about().event, code=code, minted_credential=None)
    told = to_ecs(attrs.evolve(finding_about(), event=event))["event"]
    assert (told["outcome"], told["type"]) == (outcome, [kind])


def test_what_an_exclusion_set_aside_is_no_alert() -> None:
    """It is carried, with the exclusion's name."""
    aside = attrs.evolve(finding_about(), excluded_by="kubelet")
    ecs, ocsf = to_ecs(aside), to_ocsf(aside)

    assert (ecs["event"]["kind"], ecs["tags"]) == ("event", ["excluded"])
    assert ecs["k8stokendetect"]["excluded_by"] == ocsf["unmapped"]["excluded_by"] == "kubelet"
    assert (ocsf["status_id"], ocsf["is_alert"]) == (3, False)
    assert ecs_errors(ecs) + ocsf_errors(ocsf) == []


def test_related_requests_are_carried() -> None:
    """The mint of a token whose use is reported."""
    use = next(finding for finding in recorded(METADATA) if finding.rule.id == "minted-token-used")
    mint = use.related[0]

    assert to_ecs(use)["k8stokendetect"]["related"][0]["minted_credential"] == mint.minted_credential
    assert to_ocsf(use)["evidences"][1]["api"]["request"]["uid"] == mint.audit_id
    assert ["data" in evidence for evidence in to_ocsf(use)["evidences"]][:2] == [True, False]
    assert to_ocsf(use)["finding_info"]["related_events"][0]["uid"] == mint.audit_id
    assert {use.event.user, mint.user} <= set(to_ecs(use)["related"]["user"])


def test_a_time_is_in_utc_and_never_invented() -> None:
    """Where none was logged, `observed` stands where the schema must have one, and nowhere else."""
    finding = finding_about()
    east = attrs.evolve(finding.event, time=datetime(2026, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))))
    none = attrs.evolve(finding, event=attrs.evolve(finding.event, time=None))

    assert to_ecs(attrs.evolve(finding, event=east))["@timestamp"] == "2026-01-01T00:00:00Z"
    assert to_ocsf(attrs.evolve(finding, event=east))["time"] == 1767225600000
    assert to_ecs(none, observed=SEEN)["@timestamp"] == "2026-11-25T12:00:00Z"
    assert to_ocsf(none, observed=SEEN)["time"] == 1795608000000
    assert (to_ecs(none)["@timestamp"], to_ocsf(none)["time"]) == ("1970-01-01T00:00:00Z", 0)
    assert "time" not in to_ecs(none, observed=SEEN)["k8stokendetect"]["event"]
    assert "first_seen_time" not in to_ocsf(none, observed=SEEN)["finding_info"]
    assert to_ecs(finding, observed=SEEN)["@timestamp"] == "2026-11-23T21:43:45.581827Z"


def test_techniques_have_their_names() -> None:
    """Every one of ours, and its whole; the parent of a part is another technique."""
    for cls in (*BUILTIN, *OPTIONAL):
        for technique in cls.rule.techniques:
            assert {technique, technique.partition(".")[0]} <= TECHNIQUES.keys()
        assert set(cls.rule.tactics) <= TACTICS.keys()


texts = st.text() | st.sampled_from(["", "\0", "\ud800", "\x7f", "fe80::1%eth0", "::ffff:10.0.0.1", "x" * 3000, " a/b"])
odd_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts | st.datetimes() | st.builds(User, texts),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.dictionaries(texts | st.integers() | st.none() | st.datetimes(), inner, max_size=3)
    ),
    max_leaves=6,
)
lists = st.lists(texts, max_size=2).map(tuple)
refs = st.builds(
    EventRef,
    audit_id=texts,
    stage=texts,
    time=st.none() | st.datetimes(YEAR_2) | st.datetimes(YEAR_2).map(lambda time: time.replace(tzinfo=UTC)),
    verb=texts | st.just("create"),
    code=st.none() | st.integers(-1, 600) | st.just(2**70),
    user=texts,
    impersonating=st.none() | texts,
    groups=lists,
    more_groups=st.integers(0, 9),
    source_ips=st.lists(texts | st.ip_addresses().map(str), max_size=2).map(tuple),
    more_source_ips=st.integers(0, 9),
    user_agent=texts,
    resource=texts | st.sampled_from(["serviceaccounts/token", "secrets", "pods/exec"]),
    namespace=texts | st.just("prod"),
    name=texts | st.just("sa"),
    request_uri=texts,
    reason=st.none() | texts,
    audiences=lists,
    more_audiences=st.integers(0, 9),
    bound_to=st.none() | st.builds(BoundObjectRef, texts, texts, texts, texts),
    expiration_seconds=st.none() | st.integers(-(2**70), 2**70),
    expires=st.none() | st.datetimes(YEAR_2),
    minted_credential=st.none() | texts,
    used_credential=st.none() | texts,
    origin=st.none() | texts,
    platform=st.none() | st.sampled_from(PLATFORMS),
    cluster=st.none() | texts,
    account=st.none() | texts,
    region=st.none() | texts,
)
rules = st.builds(
    Rule,
    st.sampled_from(["acme.x", "token-request"]),
    texts.filter(str.strip),
    st.sampled_from(Severity),
    texts,
    st.lists(st.sampled_from(["T1552.007", "T1552", "T9999.001"]), max_size=3).map(tuple),
    st.lists(texts | st.sampled_from(["impact", "command-and-control"]), max_size=2).map(tuple),
    st.lists(texts, max_size=2).map(tuple),
    response=texts,
)
any_finding = st.builds(
    Finding,
    rule=rules,
    severity=st.sampled_from(Severity),
    summary=texts,
    event=refs,
    evidence=st.lists(st.builds(Evidence, texts, odd_values, texts), max_size=2).map(tuple),
    related=st.lists(refs, max_size=2).map(tuple),
    caveats=st.lists(texts, max_size=2).map(tuple),
    excluded_by=st.none() | texts,
    key=texts,
)


@settings(max_examples=60)
@given(any_finding)
def test_whatever_a_finding_holds_the_documents_are_valid(finding: Finding) -> None:
    """Odd types, lone surrogates, NUL: valid, one line of printable ASCII, and nothing is empty.

    Evidence is text: an index refuses a document in which a field has another type than before.
    """
    evidence = to_ecs(finding)["k8stokendetect"].get("evidence", [])
    assert all(isinstance(value, str) for item in evidence for value in item.values())
    for to_document, to_document_line, errors in (
        (to_ecs, to_ecs_line, ecs_errors),
        (to_ocsf, to_ocsf_line, ocsf_errors),
    ):
        document, line = to_document(finding), to_document_line(finding)
        assert errors(document) == []
        assert [*empty(document)] == []
        assert all(" " <= char <= "~" for char in line)
        assert json.loads(line) == document


def json_form(finding: Finding) -> Finding:
    """Return a finding with its evidence as JSON has it."""
    evidence = tuple(attrs.evolve(item, value=plain(item.value)) for item in finding.evidence)
    return attrs.evolve(finding, evidence=evidence)


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.name)
def test_our_own_lines_are_read_back(path: Path) -> None:
    """Every recorded finding, equal to what was written but for JSON's types in the evidence."""
    for finding in recorded(path):
        assert finding_of(to_line(finding)) == json_form(finding)


@settings(max_examples=60)
@given(any_finding)
def test_any_finding_is_read_back(finding: Finding) -> None:
    """Its own rule given, whatever it holds; written again it is the same line."""
    finding = attrs.evolve(finding, event=_utc(finding.event), related=tuple(map(_utc, finding.related)), evidence=())
    assert finding_of(to_line(finding), rules=[finding.rule]) == finding
    assert to_line(finding_of(to_line(finding), rules=[finding.rule])) == to_line(finding)
    assert finding_of(json.loads(to_line(finding)), rules=[finding.rule]) == finding


def _utc(ref: EventRef) -> EventRef:
    return attrs.evolve(ref, time=ref.time.replace(tzinfo=UTC)) if ref.time else ref


def test_of_an_unknown_rule_only_its_head_is_read_back() -> None:
    """The prose is not in the line, and the finding's severity stands for the rule's."""
    rule = Rule("acme.x", "X", Severity.LOW, "Prose.", ("T1552.007",), response="Do.")
    finding = attrs.evolve(finding_about(), rule=rule, severity=Severity.HIGH, evidence=())

    assert finding_of(to_line(finding)).rule == Rule("acme.x", "X", Severity.HIGH, techniques=("T1552.007",))
    assert finding_of(to_line(finding), rules=[rule]) == finding


def test_the_key_is_written_where_there_is_one() -> None:
    """Two findings of one rule about one request differ by it, and so do their fingerprints."""
    finding = attrs.evolve(finding_about(), key="a", evidence=())
    assert finding_of(to_line(finding)) == finding
    assert "key" not in json.loads(to_line(finding_about()))


def test_a_count_is_written_where_it_is_more_than_one() -> None:
    """In every form, with the time of the last request, and read back from our own."""
    finding = attrs.evolve(finding_about(), count=3, last=datetime(2026, 11, 23, 13, tzinfo=UTC), evidence=())
    assert finding_of(to_line(finding)) == finding
    assert (
        to_ecs(finding)["k8stokendetect"] | {"count": 3, "last": "2026-11-23T13:00:00Z"}
        == to_ecs(finding)["k8stokendetect"]
    )
    document = to_ocsf(finding)
    assert (document["count"], document["finding_info"]["last_seen_time"]) == (3, document["end_time"])
    assert ocsf_errors(document) == []
    assert not {"count", "last"} & json.loads(to_line(finding_about())).keys()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("", "not a JSON object"),
        ("[" * 100_000, "not a JSON object"),
        ("[]", "not a JSON object"),
        (b"\xff", "not a JSON object"),
        ({"severity": "urgent"}, "not a known severity"),
        ({"summary": 7}, r"expected a string, got a number @ \$\.summary"),
        (
            {"event": {"audit_id": "x", "source_ips": "10.0.0.1"}},
            r"expected a list of strings, got a string @ \$\.event",
        ),
        ({"rule_id": "A B"}, "rule id 'A B' is not"),
        ({"evidence": [{"path": "x", "why": "y"}]}, r"required field missing @ \$\.evidence\[0\]\.value"),
        ({"summary": "changed", "actor": "x", "fingerprint": "0"}, "its fingerprint does not match"),
        ({"event": {"audit_id": "other"}}, "its fingerprint does not match"),
    ],
)
def test_what_is_no_finding_is_an_error(line: Any, reason: str) -> None:
    """That names the place."""
    if isinstance(line, dict):
        line = json.loads(to_line(finding_about())) | line
    with pytest.raises(ReadError, match=reason):
        finding_of(line)


def test_filebeat_takes_the_lines_as_they_are() -> None:
    """The document at the root, our time, and our fingerprint as its id."""
    config = yaml.safe_load((DATA.parents[1] / "examples/filebeat.yml").read_text(encoding="utf-8"))
    ndjson = config["filebeat.inputs"][0]["parsers"][0]["ndjson"]

    assert ndjson == {"target": "", "overwrite_keys": True, "add_error_key": True}
    copied = config["processors"][0]["copy_fields"]["fields"][0]
    assert to_ecs(finding_about())["event"]["id"] == finding_about().fingerprint
    assert (copied["from"], copied["to"]) == ("event.id", "@metadata._id")


def in_the_cloud() -> Finding:
    """Return a finding about a request whose wrapper told where it was."""
    event = attrs.evolve(
        parse_event(token_request(), platform="eks"), cluster="prod-1", account="123456789012", region="eu-west-1"
    )
    return next(iter(detect(event, detectors=["token-request"])))


def test_where_it_happened_is_told() -> None:
    """Cluster, account and region, as far as the wrapper told them."""
    document = to_ecs(in_the_cloud())
    assert document["cloud"] == {"provider": "aws", "account": {"id": "123456789012"}, "region": "eu-west-1"}
    assert document["orchestrator"]["cluster"] == {"name": "prod-1"}
    assert not ecs_errors(document)
    account = {"uid": "123456789012", "type_id": 10, "type": "AWS Account"}
    for told in (to_ocsf(in_the_cloud()), to_ocsf(incidents([in_the_cloud()])[0])):
        assert "cloud" in told["metadata"]["profiles"]
        assert told["cloud"] == {"provider": "AWS", "account": account, "region": "eu-west-1"}
        assert not ocsf_errors(told)
    assert to_ocsf(in_the_cloud())["resources"][1] == {
        "type": "Kubernetes cluster",
        "uid": "prod-1",
        "name": "prod-1",
        "region": "eu-west-1",
    }
    assert "profiles" not in to_ocsf(finding_about())["metadata"]
    elsewhere = attrs.evolve(in_the_cloud(), event=attrs.evolve(in_the_cloud().event, platform="openshift"))
    assert to_ocsf(elsewhere)["cloud"]["provider"] == "Unknown"
    assert finding_of(to_line(in_the_cloud())).event == in_the_cloud().event


def test_a_command_on_a_host_is_no_request() -> None:
    """The documents are valid, and speak of no API server."""
    found = list(detect_commands(EXAMPLES / "host-audit.log"))
    assert found
    for finding in found:
        ecs, ocsf = to_ecs(finding), to_ocsf(finding)
        assert ecs_errors(ecs) == ocsf_errors(ocsf) == []
        assert "orchestrator" not in ecs
        assert ocsf["metadata"]["log_name"] == "Linux audit log"
        assert "kube-apiserver" not in str(ocsf["evidences"])


def test_every_field_of_the_list_is_one_that_we_write() -> None:
    """No field is validated that never occurs."""
    items: list[Finding | Incident] = [*recorded(METADATA), in_the_cloud(), *incidents(recorded(METADATA))]
    items += detect([EXAMPLES / "cloud/audit.log", EXAMPLES / "cloud/cloudtrail"])
    documents = [to_ecs(item, observed=SEEN) for item in items]
    written = {name for document in documents for name, _ in leaves(document)}
    assert set(ecs_fields()) <= written
