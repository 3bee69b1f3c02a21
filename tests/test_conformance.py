# SPDX-License-Identifier: Apache-2.0
"""The detectors and envelopes that ship pass the suites that others' have to pass."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from hypothesis import given, settings
from hypothesis import strategies as st

import cloudtrail
from k8stokendetect import K8sTokenDetectError, ReadError, detect, testing
from k8stokendetect.convert.redaction import redact
from k8stokendetect.convert.structure import plain
from k8stokendetect.convert.times import format_time
from k8stokendetect.detectors import BUILTIN, OPTIONAL, KeyedDetector, TokenRequest, UnusualOrigin
from k8stokendetect.envelopes import ENVELOPES, Envelope
from k8stokendetect.envelopes import azure as azure_envelope
from k8stokendetect.envelopes import bigquery as bigquery_envelope
from k8stokendetect.envelopes import cloudtrail as cloudtrail_envelope
from k8stokendetect.envelopes import cloudwatch as cloudwatch_envelope
from k8stokendetect.envelopes import elastic as elastic_envelope
from k8stokendetect.envelopes import entra as entra_envelope
from k8stokendetect.envelopes import flat as flat_envelope
from k8stokendetect.envelopes import gcp as gcp_envelope
from k8stokendetect.envelopes import native as native_envelope
from k8stokendetect.envelopes import ocsf as ocsf_envelope
from k8stokendetect.envelopes import rows as rows_envelope
from k8stokendetect.envelopes import shippers as shippers_envelope
from k8stokendetect.envelopes.lines import object_ref
from k8stokendetect.testing import (
    DetectorConformance,
    EnvelopeConformance,
    attack,
    log,
    request,
    service_account_user,
    token_request,
    use_of,
)
from k8stokendetect.testing.harness import Harness
from k8stokendetect.testing.laws import check_event
from paths import resolve
from strategies import audit_events, damaged_events
from wrappings import azure, cloudwatch, elastic, gcp, ocsf, shippers, tables

SHIPPED = (*BUILTIN, *OPTIONAL)
RBAC = "rbac.authorization.k8s.io"
MINT = token_request()
REFUSED = token_request(code=403)
KUBELET = token_request(
    "system:node:n1",
    groups=["system:nodes", "system:authenticated"],
    bound={"kind": "Pod", "apiVersion": "v1", "name": "web-1", "uid": "0f6c"},
    credential=f"X509SHA256={64 * 'a'}",
    user_agent="kubelet/v1.36.2 (linux/amd64) kubernetes/98b3519",
    annotations={"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": ""},
)
BOB = {"username": "bob", "groups": ["system:authenticated"]}
OPAQUE = {"kind": "Secret", "apiVersion": "v1", "type": "Opaque"}
SECRET = OPAQUE | {"type": "kubernetes.io/service-account-token"}
MAY_MINT = {
    "kind": "ClusterRole",
    "rules": [{"apiGroups": [""], "resources": ["serviceaccounts/token"], "verbs": ["*"]}],
}
MAY_READ = {"kind": "ClusterRole", "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}
CUT = log([MINT]).partition(b'"objectRef"')[0]


def minute(number: int) -> str:
    """Return a time so many minutes after eight."""
    return f"2026-11-23T{20 + number // 60}:{number % 60:02}:00Z"


def role(body: Any) -> dict[str, Any]:
    """Return the event of a created role."""
    options: dict[str, Any] = {"namespace": None, "name": "r", "api_group": RBAC, "level": "Request"}
    return request("create", "clusterroles", requestObject=body, **options)


def of_pod(number: int, ip: str) -> dict[str, Any]:
    """Return a request with the token of a pod."""
    return request(user=service_account_user("prod/web", "JTI=1", pod="web-1"), ip=ip, time=minute(number))


def usual(agent: str) -> list[dict[str, Any]]:
    """Return thirty mints by alice from one place, and one with this client."""
    mints = [token_request(time=minute(number)) for number in range(30)]
    return [*mints, token_request(time=minute(31), user_agent=agent)]


def manager(number: int, credential: str, name: str = "job-controller") -> dict[str, Any]:
    """Return a mint by the controller manager with one of its certificates."""
    target, used = f"kube-system/{name}", f"X509SHA256={64 * credential}"
    return token_request("system:kube-controller-manager", target, credential=used, time=minute(number))


def execution(*words: str, code: int = 101) -> dict[str, Any]:
    """Return an exec of a command."""
    uri = "/api/v1/namespaces/prod/pods/web-1/exec?" + urlencode([("command", word) for word in words])
    return request("get", "pods/exec", name="web-1", code=code, requestURI=uri)


def read_by_exec(number: int) -> dict[str, Any]:
    """Return an exec into that pod that reads its token."""
    return execution("cat", MOUNTED) | {"requestReceivedTimestamp": minute(number), "stageTimestamp": minute(number)}


def signing(body: Any = None, verb: str = "create", resource: str = "certificatesigningrequests") -> dict[str, Any]:
    """Return a signing request, or what was done to it."""
    group: dict[str, Any] = {"namespace": None, "name": "x", "api_group": "certificates.k8s.io"}
    group["time"] = minute(0 if verb == "create" else 1)
    return request(verb, resource, level="Request" if body else "Metadata", requestObject=body, **group)


def approval(body: Any = None) -> dict[str, Any]:
    """Return its approval."""
    return signing(body, "update", "certificatesigningrequests/approval")


def subject(name: str) -> dict[str, Any]:
    """Return a signing request's body, as far as it is read."""
    content = b"\x06\x03\x55\x04\x03\x0c" + bytes([len(name)]) + name.encode()
    block = "-----BEGIN CERTIFICATE REQUEST-----\n" + base64.b64encode(content).decode()
    text = base64.b64encode(f"{block}\n-----END CERTIFICATE REQUEST-----\n".encode()).decode()
    return {"spec": {"request": text, "signerName": "kubernetes.io/kube-apiserver-client", "username": "alice"}}


def node_mint(name: str, number: int) -> dict[str, Any]:
    """Return a kubelet's mint."""
    node = {"username": f"system:node:{name}", "groups": ["system:nodes", "system:authenticated"]}
    return token_request(node, "kube-system/kube-proxy", time=minute(number), userAgent="kubelet/v1.36.2 (linux/amd64)")


def foreign(number: int, jti: str = "JTI=x") -> dict[str, Any]:
    """Return a request with a token that is bound to no pod."""
    return request(user=service_account_user("prod/ci", jti), time=minute(number)) | {"auditID": f"{jti} {number}"}


COVERED = [
    one
    for number in range(20)
    for one in (
        token_request("alice", "prod/ci", issued=f"JTI={number}", time=minute(number)) | {"auditID": f"mint {number}"},
        foreign(number, f"JTI={number}"),
    )
]
NODE_MINTS = [node_mint("worker-1", 3 * number) for number in range(21)]
MOUNTED = "/var/run/secrets/kubernetes.io/serviceaccount/token"
WITH_ID = request(user=service_account_user("kube-system/coredns", "JTI=1"), time=minute(0))
WITHOUT_ID = request(user=service_account_user("prod/web"), time=minute(1))

AT = datetime(2026, 11, 23, 21, 44, tzinfo=UTC)
CLOUD_MINT = token_request(audiences=["sts.amazonaws.com"], time=AT - timedelta(seconds=30))
EXCHANGE = cloudtrail.web_identity(AT)
OWN: dict[str, Any] = {"ip": "198.51.100.10", "user_agent": cloudtrail.BOTO}
ORDINARY = [
    cloudtrail.web_identity(AT - timedelta(hours=hour), session=f"botocore-session-{hour}", **OWN)
    for hour in range(30, 0, -1)
]


def kubelet(hour: int, account: str = "prod/payments-sa") -> dict[str, Any]:
    """Return a kubelet's mint so many hours after a day before."""
    name = account.partition("/")[2]
    uri = KUBELET["requestURI"].replace(KUBELET["objectRef"]["name"], name)
    event = {**KUBELET, "objectRef": {**KUBELET["objectRef"], "name": name}, "requestURI": uri}
    time = format_time(AT - timedelta(hours=24.5 - hour))
    return {**event, "requestReceivedTimestamp": time, "stageTimestamp": time, "auditID": f"k-{hour}-{account}"}


MINTED = [kubelet(hour, f"prod/app-{hour % 3}") for hour in range(-3, 24)]
CLUSTER = [cloudtrail.web_identity(AT - timedelta(hours=1), f"prod/app-{number}", **OWN) for number in range(3)]
STOLEN = cloudtrail.web_identity(AT - timedelta(minutes=50), "prod/unused")
EXAMPLES: dict[str, tuple[Sequence[Any], Sequence[Any]]] = {
    "token-request": ([MINT, KUBELET], [REFUSED, request(), request("create", "serviceaccounts", name="x")]),
    "token-request-uri": ([MINT, REFUSED], [token_request(target="kube-system/generic-garbage-collector"), request()]),
    "token-request-impersonated": ([token_request(impersonatedUser=BOB)], [MINT, request(impersonatedUser=BOB)]),
    "token-request-lookalike": ([token_request("system:node:worker-9")], [KUBELET, MINT]),
    "token-request-privileged-target": ([token_request(target="kube-system/job-controller")], [MINT]),
    "token-request-cloud-audience": (
        [token_request(audiences=["sts.amazonaws.com"])],
        [MINT, token_request(level="Request")],
    ),
    "token-request-long-lived": ([token_request(expiration_seconds=90_000)], [token_request(expiration_seconds=3600)]),
    "token-request-unbound": ([token_request(service_account_user("web/a", "JTI=1"), "web/b")], [MINT]),
    "token-request-denied": ([REFUSED], [MINT, request(code=403)]),
    "minted-token-used": ([attack(), [MINT, use_of(MINT)]], [MINT, use_of(MINT), [MINT, use_of(REFUSED)]]),
    "second-control-plane-credential": (
        [[manager(0, "a"), manager(1, "b", "node-controller")]],
        [[manager(0, "a"), manager(1, "a", "node-controller")]],
    ),
    "unusual-origin": ([usual("curl/8")], [usual(MINT["userAgent"]), MINT]),
    "token-in-audit-log": ([token_request(level="RequestResponse")], [MINT, token_request(level="Request")]),
    "legacy-token-secret": (
        [request("create", "secrets", name="s", level="Request", requestObject=SECRET)],
        [request("create", "secrets", name="s", level="Request", requestObject=OPAQUE), request("list", "secrets")],
    ),
    "token-read-by-exec": (
        [execution("cat", MOUNTED), execution("sh", "-c", f"head {MOUNTED}|base64", code=403)],
        [execution("id"), execution("cat", MOUNTED.replace("token", "ca.crt")), MINT],
    ),
    "system-identity-issued": (
        [[signing(), approval()], approval(subject("system:kube-scheduler")), [*NODE_MINTS, node_mint("evil", 61)]],
        [NODE_MINTS, signing(), approval(), [signing(), approval() | {"user": BOB}], approval(subject("bob"))],
    ),
    "unknown-token-used": (
        [[*COVERED, foreign(40)]],
        [[*COVERED, foreign(40, "JTI=3")], [*COVERED[2:], foreign(40)], foreign(0)],
    ),
    "token-right-granted": ([role(MAY_MINT)], [role(MAY_READ), MINT]),
    "unreadable-token-request": ([CUT], [MINT, log([request()])[:200]]),
    "overlong-audit-id": (
        [request() | {"auditID": "x" * 2000}, log([request() | {"auditID": "x" * 2000}])[:1000]],
        [MINT, request() | {"auditID": "x" * 64}, log([request()])[:200]],
    ),
    "audit-annotation-forged": (
        [request("create", "validatingadmissionpolicies", namespace=None, name="audit.k8s.io")],
        [request("create", "validatingadmissionpolicies", namespace=None, name="require-labels")],
    ),
    "web-identity-unusual-origin": ([[*ORDINARY, EXCHANGE]], [ORDINARY, [EXCHANGE]]),
    "web-identity-without-mint": (
        [[*MINTED, *CLUSTER, STOLEN, kubelet(24)]],
        [[*MINTED, *CLUSTER], [*CLUSTER, STOLEN]],
    ),
    "minted-token-exchanged": (
        [[CLOUD_MINT, EXCHANGE], [EXCHANGE, CLOUD_MINT]],
        [[EXCHANGE], [CLOUD_MINT, cloudtrail.web_identity(AT, "prod/other")], [KUBELET, EXCHANGE]],
    ),
    "cloud-act-after-exchange": (
        [[CLOUD_MINT, EXCHANGE, cloudtrail.call(EXCHANGE, "s3", "GetObject")]],
        [[EXCHANGE, cloudtrail.call(EXCHANGE, "iam", "CreateUser")]],
    ),
    "forged-token": ([[WITH_ID, WITHOUT_ID]], [WITH_ID, WITHOUT_ID]),
    "pod-token-moved": (
        [[of_pod(0, "10.0.1.5"), of_pod(1, "203.0.113.9"), of_pod(2, "10.0.1.5")]],
        [[of_pod(0, "10.0.1.5"), of_pod(1, "10.0.1.5")]],
    ),
    "read-token-used": (
        [[of_pod(0, "10.0.1.5"), read_by_exec(1), of_pod(2, "203.0.113.9")]],
        [
            [of_pod(0, "10.0.1.5"), of_pod(2, "203.0.113.9")],
            [of_pod(0, "10.0.1.5"), read_by_exec(1), of_pod(2, "10.0.1.5")],
        ],
    ),
}
"""What each rule's table in docs/detectors.md says that it finds, and a near miss."""


def test_every_detector_that_ships_has_examples() -> None:
    """And none is left over."""
    assert set(EXAMPLES) == {cls.rule.id for cls in SHIPPED}


LEGACY_USE = {"authentication.k8s.io/legacy-token": "system:serviceaccount:dev:builder"}
LEGACY_USES = (audit_events | damaged_events()).map(lambda record: record | {"annotations": LEGACY_USE})


@settings(max_examples=100)
@given(audit_events | damaged_events() | testing.strategies.token_requests() | LEGACY_USES)
def test_no_event_makes_a_detector_break_a_law(record: dict[str, Any]) -> None:
    """One draw for all of them: none raises, and what it says is true, its own, and the same again."""
    for cls in SHIPPED:
        check_event(Harness(cls), record)


def as_read(record: dict[str, Any]) -> Any:
    """Return a record as the reader sees it: redacted, with a lost objectRef recovered from the URI."""
    clean = redact(record)[0]
    uri = clean.get("requestURI")
    ref = object_ref(uri) if clean.get("objectRef") is None and isinstance(uri, str) else None
    return clean if ref is None else {**clean, "objectRef": ref}


@settings(max_examples=50)
@given(st.lists(audit_events | damaged_events() | testing.strategies.token_requests(), max_size=6))
def test_no_events_make_a_detector_that_remembers_raise(records: list[dict[str, Any]]) -> None:
    """One draw for all of them, each event twice: there is something to remember, evidence is true, state is JSON."""
    remembering = [cls for cls in SHIPPED if issubclass(cls, KeyedDetector)]
    detectors = [UnusualOrigin(learn=1) if cls is UnusualOrigin else cls() for cls in remembering]
    errors: list[K8sTokenDetectError] = []
    for record in [*records, *records]:
        for finding in detect(record, detectors=[TokenRequest(), *detectors], exclusions=(), on_error=errors.append):
            for item in finding.evidence:
                assert plain(item.value) == resolve(item.path, as_read(record))
    assert not [error for error in errors if not isinstance(error, ReadError)]
    for detector in detectors:
        type(detector)().restore(json.loads(json.dumps(detector.state())))


class _Detector(DetectorConformance):
    max_examples = 2


for _cls in SHIPPED:
    _name = f"Test{_cls.__name__}"
    _reports, _ignores = EXAMPLES[_cls.rule.id]
    _members = {"detector": _cls, "reports": _reports, "ignores": _ignores, "__module__": __name__}
    globals()[_name] = type(_name, (_Detector,), _members)


IN_MILLISECONDS = frozenset({"requestReceivedTimestamp", "stageTimestamp"})
NOT_IN_CLOUD_LOGGING = frozenset(
    "apiVersion level stage requestURI user.uid user.groups user.extra impersonatedUser stageTimestamp "
    "responseStatus".split()
)
ENVELOPE_OF: dict[Any, Envelope] = {
    azure: azure_envelope,
    cloudwatch: cloudwatch_envelope,
    elastic: elastic_envelope,
    gcp: gcp_envelope,
    ocsf: ocsf_envelope,
    shippers: shippers_envelope,
}
"""The reader of each module of wrappings."""


def lost_by(module: Any, name: str) -> frozenset[str]:
    """Return what a wrapping does not carry, or changes, by its own documentation; empty fields aside."""
    bodies = {"requestObject", "responseObject"} if name == "ocsf v1.1" else {"annotations"}
    losses: dict[Any, Iterable[str]] = {
        azure: {"apiVersion", "impersonatedUser"} if name in azure.IN_COLUMNS else (),
        cloudwatch: IN_MILLISECONDS if "panther" in name else (),
        elastic: {"responseObject.metadata"},
        gcp: () if name in gcp.AS_LOGGED else NOT_IN_CLOUD_LOGGING,
        ocsf: {"apiVersion"} if "bloblang" in name else {"apiVersion", *bodies, *IN_MILLISECONDS},
    }
    return frozenset(losses.get(module, ()))


class _Envelope(EnvelopeConformance):
    max_examples = 3


for _module, _envelope in ENVELOPE_OF.items():
    for _wrapping, _wrap in _module.WRAPPINGS.items():
        _name = "Test" + "".join(word.capitalize() for word in re.findall(r"\w+", _wrapping))
        _members = {"envelope": _envelope, "wrap": staticmethod(_wrap), "loses": lost_by(_module, _wrapping)}
        globals()[_name] = type(_name, (_Envelope,), _members | {"__module__": __name__})


class TestRows(_Envelope):
    """Names and rows."""

    envelope = rows_envelope
    wrap = staticmethod(tables.WRAPPINGS["pandas split"])


class TestBigQuery(_Envelope):
    """Rows of a sink's table."""

    envelope = bigquery_envelope
    wrap = staticmethod(tables.GOOGLE["bq json"])
    loses = NOT_IN_CLOUD_LOGGING


OF_TABLES = {TestRows.envelope, TestBigQuery.envelope}


OF_CLOUDS = {cloudtrail_envelope, entra_envelope}


def test_every_envelope_is_tested() -> None:
    """But the native one, which wraps nothing, the flat one, which restores what it can, and those of clouds' logs."""
    others = {native_envelope, flat_envelope, *OF_TABLES, *OF_CLOUDS}
    assert {*ENVELOPE_OF.values(), *others} == set(ENVELOPES)
