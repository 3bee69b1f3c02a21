# SPDX-License-Identifier: Apache-2.0
"""Every detector that ships on the recordings, and what each of the two rules says; see also test_conformance."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest

from builders import body, token_request
from k8stokendetect import (
    ConfigError,
    Detector,
    Event,
    Evidence,
    Finding,
    KeyedDetector,
    Rule,
    Severity,
    Signal,
    detect,
    parse_event,
)
from k8stokendetect.convert.redaction import redact
from k8stokendetect.convert.structure import plain
from k8stokendetect.detectors import BUILTIN, OPTIONAL, TokenRequest, TokenRequestURI
from k8stokendetect.engine.watchers import Watchers
from k8stokendetect.findings import bounded
from paths import resolve
from recordings import METADATA, METADATA_1_27, REQUEST_RESPONSE, few, records

SHIPPED = (*BUILTIN, *OPTIONAL)
EVERY = pytest.mark.parametrize("cls", SHIPPED, ids=lambda cls: cls.rule.id)
LOGS = (METADATA, METADATA_1_27, REQUEST_RESPONSE)
RARE = {
    "token-right-granted",
    "unreadable-token-request",
    "forged-token",
    "read-token-used",
    "second-control-plane-credential",
    "token-read-by-exec",
    "unknown-token-used",
    "system-identity-issued",
    "audit-annotation-forged",
    "web-identity-unusual-origin",
    "web-identity-without-mint",
    "minted-token-exchanged",
    "cloud-act-after-exchange",
}
"""Nothing of the kind was recorded: their own tests show that they fire."""


@functools.cache
def recorded(path: Path) -> list[dict[str, Any]]:
    """Return a part of a recording; of the pod that moved, all that it did."""
    moved = "system:serviceaccount:default:web"
    return [*few(path, 5), *(one for one in records(path) if one["user"].get("username") == moved)]


@functools.cache
def recorded_findings(cls: type[Detector]) -> list[tuple[dict[str, Any], Finding]]:
    """Run a detector over a part of everything that was recorded."""
    found = []
    for path in LOGS:
        log = {(r["auditID"], r["stage"], parse_event(r).time): r for r in recorded(path)}
        findings = detect(recorded(path), detectors=[cls()], exclusions=())
        found += [
            (log[finding.event.audit_id, finding.event.stage, finding.event.time], finding) for finding in findings
        ]
    return found


@EVERY
def test_it_says_what_it_is(cls: type[Detector]) -> None:
    """Beside its prose: the advisory's technique is named where a token is minted, and where to read on."""
    rule = cls.rule

    assert rule.techniques
    assert rule.tactics
    if rule.id.startswith("token-request"):
        assert "T1552.007" in rule.techniques
        assert "credential-access" in rule.tactics
    assert rule.references
    assert all(reference.startswith("https://") for reference in rule.references)


@EVERY
def test_it_fires_and_stays_silent(cls: type[Detector]) -> None:
    """On the recordings: for some events, and never for all that it watches, but where a signal says it all."""
    watchers = Watchers([cls()])
    watched = [record for path in LOGS for record in recorded(path) if any(watchers.of(parse_event(record)))]

    assert len(recorded_findings(cls)) < max(len(watched), 1) or cls.rule.id == "overlong-audit-id"
    assert (len(recorded_findings(cls)) > 0) is (cls.rule.id not in RARE)


@EVERY
def test_its_evidence_resolves(cls: type[Detector]) -> None:
    """Each path leads in the (redacted) event to just that value."""
    for record, finding in recorded_findings(cls):
        assert finding.evidence
        for item in finding.evidence:
            there = resolve(item.path, redact(record)[0])
            assert plain(item.value) == bounded(there), item.path
            assert item.why


ISSUED = "annotations['authentication.kubernetes.io/issued-credential-id']"
SPEC = "requestObject.spec"


@pytest.mark.parametrize(
    ("rule", "paths"),
    [
        ("token-request", [ISSUED, "responseStatus.code", f"{SPEC}.expirationSeconds", f"{SPEC}.audiences"]),
        ("token-request-uri", ["requestURI", "objectRef.namespace", "objectRef.name", "responseStatus.code"]),
        ("token-request-cloud-audience", [f"{SPEC}.audiences"]),
        ("token-request-long-lived", [f"{SPEC}.expirationSeconds"]),
    ],
)
def test_the_evidence_is_what_made_the_rule_fire(rule: str, paths: list[str]) -> None:
    """Who called, and from where, is the request's own: `Finding.event` has it, and outputs print it once."""
    record = token_request(requestObject=body(seconds=864000, audiences=("vault",)))
    (finding,) = detect(record, detectors=[rule])

    assert paths == [item.path for item in finding.evidence]


def test_rule_ids_are_unique() -> None:
    """An id names one rule, and says what the class is called."""
    assert len(SHIPPED) == len({cls.rule.id for cls in SHIPPED})
    for cls in SHIPPED:
        assert cls.__name__.lower() == cls.rule.id.replace("-", "")
        assert cls.__module__.rpartition(".")[2] == cls.rule.id.replace("-", "_")


PLAIN_SUMMARY = "alice minted a token for prod/payments-sa from 192.0.2.7 with kubectl/v1.36.2"
LONG_CLIENT = PLAIN_SUMMARY.replace("kubectl/v1.36.2", "x" * 100 + "…")
NAMELESS = PLAIN_SUMMARY.replace("alice", "an unknown caller").replace("prod/payments-sa", "an unnamed service account")


@pytest.mark.parametrize(
    ("fields", "summary"),
    [
        ({}, PLAIN_SUMMARY),
        (
            {"impersonatedUser": {"username": "bob"}},
            "alice, impersonating bob, minted a token for prod/payments-sa from 192.0.2.7 with kubectl/v1.36.2",
        ),
        ({"sourceIPs": None, "userAgent": None}, "alice minted a token for prod/payments-sa"),
        (
            {"requestObject": body(seconds=600, audiences=("vault",), bound={"kind": "Pod", "name": "p"})},
            f"{PLAIN_SUMMARY}: asked for 600 s, audience vault, bound to Pod p",
        ),
        (
            {"requestObject": body(), "userAgent": "x" * 500},
            f"{LONG_CLIENT}: asked for 3600 s, the API server's audience, not bound",
        ),
        ({"objectRef": None, "user": None}, NAMELESS),
    ],
)
def test_token_request_says_who_did_what_to_whom(fields: dict[str, Any], summary: str) -> None:
    """One sentence: who, through whom, for which service account, from where, on which terms."""
    record = {key: value for key, value in (token_request() | fields).items() if value is not None}
    (finding,) = TokenRequest().inspect(parse_event(record))

    assert summary == finding.summary
    assert finding.severity == Severity.MEDIUM


def test_token_request_says_what_was_not_logged() -> None:
    """The body at level Metadata, groups, a time; and what 3607 seconds really mean."""
    bare = token_request(user={"username": "alice"}, requestReceivedTimestamp=None, stageTimestamp=None)
    pod = token_request(requestObject=body(seconds=3607, bound={"kind": "Pod", "name": "p"}))
    secret = token_request(requestObject=body(seconds=3607, bound={"kind": "Secret", "name": "p"}))

    (finding,) = TokenRequest().inspect(parse_event(bare))
    assert finding.caveats == (
        "lifetime, audience and binding are not known: the request body was not logged (level Metadata)",
        "when it happened is not known: no timestamp was logged",
        "the caller's groups are not known: they were not logged",
    )
    (finding,) = TokenRequest().inspect(parse_event(pod))
    assert len(finding.caveats) == 1
    assert "valid for up to a year" in finding.caveats[0]
    (finding,) = TokenRequest().inspect(parse_event(secret))
    assert finding.caveats == ()


@pytest.mark.parametrize(("seconds", "caveats"), [(3606, 0), (3607, 1), (3608, 0), (7200, 0)])
def test_only_3607_seconds_are_said_to_be_a_year(seconds: int, caveats: int) -> None:
    """The kubelet asks for just that number; a longer lifetime is what it says."""
    record = token_request(level="Request", requestObject=body(seconds=seconds, bound={"kind": "Pod", "name": "p"}))
    (finding,) = detect(record, detectors=["token-request"])

    assert caveats == sum("valid for up to a year" in caveat for caveat in finding.caveats)


@pytest.mark.parametrize("ref", [None, {"resource": "serviceaccounts", "name": "x"}, {"resource": "x"}], ids=repr)
def test_a_mint_whose_target_was_not_logged_is_still_found(ref: Any) -> None:
    """The annotation alone says that a token was issued; a detector that watches must see such an event."""
    findings = detect(token_request(objectRef=ref), exclusions=(), detectors=["token-request"])

    assert len(list(findings)) == 1


def test_a_body_that_was_cut_away_is_said_to_be() -> None:
    """The caller chooses how large a request is."""
    for fields in ({"level": "Request"}, {"annotations": {"audit.k8s.io/truncated": "true"}}):
        (finding,) = TokenRequest().inspect(parse_event(token_request() | fields))
        assert any("the request body was cut away" in caveat for caveat in finding.caveats)


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, b"x", [object()], {"a": b"x"}], ids=["object", "set", "bytes", "list", "dict"]
)
def test_evidence_is_what_json_can_hold(value: Any) -> None:
    """Refused where it is made, not where it is written."""
    with pytest.raises(ConfigError, match=r"evidence user\.username: \w+ is not a JSON value"):
        Evidence("user.username", value, "x")


@pytest.mark.parametrize(
    ("target", "options", "severity"),
    [
        ("prod/payments-sa", {}, Severity.LOW),
        ("kube-system/generic-garbage-collector", {}, None),
        ("kube-system/some-addon", {}, Severity.LOW),
        ("default/default", {}, None),
        ("default/web", {}, Severity.LOW),
        ("prod/default", {}, Severity.LOW),
        ("prod/payments-sa", {"standard_namespaces": {"prod"}}, Severity.LOW),
        ("prod/payments-sa", {"standard_namespaces": {"prod"}, "standard_service_accounts": {"payments-sa"}}, None),
        ("kube-system/generic-garbage-collector", {"standard_namespaces": ()}, Severity.LOW),
    ],
)
def test_uri_targets_outside_the_standard_ones(target: str, options: Any, severity: Severity | None) -> None:
    """Standard is Kubernetes' own, or what the constructor says."""
    findings = list(TokenRequestURI(**options).inspect(parse_event(token_request(target=target))))

    assert [severity] * (severity is not None) == [finding.severity for finding in findings]


@pytest.mark.parametrize(
    ("fields", "fires"),
    [
        ({"stage": "RequestReceived", "responseStatus": None, "annotations": None}, False),
        ({"stage": "ResponseStarted", "responseStatus": {"code": 401}, "user": {}, "annotations": None}, False),
        ({"responseStatus": {"code": 403}, "annotations": None}, True),
        ({"verb": "get", "responseStatus": {"code": 405}, "annotations": None}, True),
        ({"requestURI": None}, True),
        ({"objectRef": {"resource": "serviceaccounts", "namespace": "prod", "name": "x"}}, False),
        ({"objectRef": {"resource": "serviceaccounts", "subresource": "token"}, "requestURI": None}, True),
    ],
)
def test_any_answered_call_to_the_subresource(fields: dict[str, Any], *, fires: bool) -> None:
    """Also one that failed; not the request before its answer, a refused stranger's, nor other resources."""
    assert fires is bool(list(TokenRequestURI().inspect(parse_event(token_request(**fields)))))


def test_an_odd_uri_is_medium_also_for_a_standard_target() -> None:
    """The oddity is said in the summary, the raw URI is in the evidence."""
    record = token_request(target="kube-system/generic-garbage-collector", query="?dryRun=All")
    (finding,) = TokenRequestURI().inspect(parse_event(record))

    assert finding.severity == Severity.MEDIUM
    assert finding.summary.endswith("through an odd URI: dryRun (it mints a working token all the same)")
    assert record["requestURI"] in [item.value for item in finding.evidence]


GOOD_RULE = Rule("acme.rule", "A title", Severity.HIGH)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"id": "Not An Id"}, "rule id 'Not An Id'"),
        ({"id": ""}, "rule id ''"),
        ({"title": " "}, "title is empty"),
        ({"severity": "high"}, "severity 'high' is not a Severity"),
        ({"techniques": ("1552",)}, "'1552' is not an ATT&CK technique"),
        ({"techniques": (1552,)}, "techniques is not a tuple of strings"),
        ({"references": "https://attack.mitre.org"}, "references is not a tuple of strings"),
    ],
)
def test_a_malformed_rule_is_refused(options: dict[str, Any], message: str) -> None:
    """When it is made, not when it fires."""
    with pytest.raises(ConfigError, match=message):
        attrs.evolve(GOOD_RULE, **options)


def test_a_malformed_detector_is_refused_when_its_class_is_defined() -> None:
    """Without a rule, with something else in its place, or watching a plain string."""

    def inspect(_: Detector, __: Event) -> Iterator[Finding]:
        yield from ()

    for members, message in (
        ({}, "has no rule"),
        ({"rule": "token-request"}, "rule is not a Rule"),
        ({"rule": GOOD_RULE, "watches": "serviceaccounts/token"}, "watches is not a frozenset"),
        ({"rule": GOOD_RULE, "watches": frozenset({1})}, "watches is not a frozenset"),
        ({"rule": GOOD_RULE, "watches": frozenset()}, r"\{'\*'\} watches everything"),
        ({"rule": GOOD_RULE}, "watches is not a frozenset"),
        ({"rule": GOOD_RULE, "watches": None}, "watches is not a frozenset"),
        ({"rule": GOOD_RULE, "watches": frozenset({"serviceaccounts/*"})}, "name resources one by one"),
        ({"rule": GOOD_RULE, "watches": frozenset({"serviceaccount/token"})}, "did you mean 'serviceaccounts/token'"),
        ({"rule": GOOD_RULE, "watches": frozenset({"create clusterole"})}, "did you mean 'clusterroles'"),
        ({"rule": GOOD_RULE, "watches": frozenset({"craete secrets"})}, "did you mean 'create'"),
        ({"rule": GOOD_RULE, "watches": frozenset({"pod"})}, "did you mean 'pods'"),
        (
            {"rule": GOOD_RULE, "wacthes": frozenset({"pods"})},
            "attribute 'wacthes' does nothing; did you mean 'watches'",
        ),
    ):
        with pytest.raises(ConfigError, match=message):
            type("Broken", (Detector,), {"inspect": inspect, **members})
    with pytest.raises(ConfigError, match="defines neither inspect nor matches and describe"):
        type("Broken", (Detector,), {"rule": GOOD_RULE, "watches": frozenset({"pods"})})
    with pytest.raises(ConfigError, match="attribute 'rememberfor' does nothing; did you mean 'remember_for'"):
        type("Broken", (KeyedDetector,), {"rule": GOOD_RULE, "rememberfor": timedelta(1)})


def test_custom_resources_and_signals_may_be_watched() -> None:
    """A custom resource with its group; one of no group is taken for what it is, if it is near nothing built in."""
    watches = frozenset(
        {"widgets.example.com", "update widgets.example.com/status", "gadgets", "*", Signal.LEGACY_TOKEN}
    )

    def matches(_: Detector, __: Event) -> bool:
        return True

    def describe(detector: Detector, event: Event) -> Finding:
        return detector.finding(event, "seen")

    members = {"rule": GOOD_RULE, "watches": watches, "matches": matches, "describe": describe}
    made: Any = type("Custom", (Detector,), members)
    assert made.watches == watches


def test_a_base_class_for_detectors_needs_no_rule() -> None:
    """As long as it is abstract; its subclasses do, and may inherit one."""

    class Base(Detector):
        """Shares something."""

    class Concrete(Base):
        rule = GOOD_RULE
        watches = frozenset({"*"})

        def inspect(self, event: Any, /) -> Iterator[Finding]:
            yield self.finding(event, "seen")

    class Heir(Concrete):
        """Has its parent's rule."""

    assert [finding.summary for finding in detect(token_request(), detectors=[Heir()])] == ["seen"]
    with pytest.raises(TypeError, match="abstract"):
        Base()
