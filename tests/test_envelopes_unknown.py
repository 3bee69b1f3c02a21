# SPDX-License-Identifier: Apache-2.0
"""The last resort: an event is found wherever an unknown record holds it, once; what is not found is told."""

from __future__ import annotations

import base64
import gzip
import json
from collections import Counter
from typing import Any

import pytest

from builders import token_request
from k8stokendetect import ReadError, detect, read
from k8stokendetect.envelopes import unwrap
from k8stokendetect.envelopes.unknown import DEEPEST, UNKNOWN
from k8stokendetect.errors import K8sTokenDetectError
from recordings import METADATA, few

EVENT = token_request()
TEXT = json.dumps(EVENT)
BODY = {"timeUnixNano": "1", "body": {"stringValue": TEXT}}


def otlp(*attributes: tuple[str, str]) -> dict[str, Any]:
    """Return a request of OpenTelemetry's exporter."""
    pairs = [{"key": key, "value": {"stringValue": value}} for key, value in attributes]
    return {"resourceLogs": [{"resource": {"attributes": pairs}, "scopeLogs": [{"logRecords": [BODY]}]}]}


WRAPPED: dict[str, Any] = {
    "object": {"json": EVENT, "log": {"file": {"path": "/var/log/audit.log"}}},
    "text": {"event": {"original": TEXT}},
    "deep": {"a": {"b": [{"c": {"d": [[TEXT]]}}]}},
    "bare string": json.dumps(TEXT),
    "base64": {"payload": base64.b64encode(TEXT.encode()).decode()},
    "gzip in base64": {"payload": base64.b64encode(gzip.compress(TEXT.encode())).decode()},
    "twice escaped": {"a": json.dumps({"b": TEXT})},
    "text and object": {"full_log": TEXT, "data": EVENT},
    "text and its beginning": {"short": TEXT[:100], "full": TEXT},
    "cut text and object": {"full_log": TEXT[:300], "data": EVENT},
    "a prefix in a text": {"MESSAGE": f"Nov 12 10:00:00 cp1 kube-apiserver[7]: {TEXT}"},
    "a CRI line in a text": {"m": f"2026-11-20T10:00:00.1Z stdout F {TEXT}"},
    "two lines in a text": {"m": f"I1112 10:00:00.000001       1 server.go:12] started\n{TEXT}\n"},
    "OTLP": otlp(),
    "journald": {"MESSAGE": TEXT, "__REALTIME_TIMESTAMP": "1", "_SYSTEMD_UNIT": "k3s.service"},
    "journald, not UTF-8": {"MESSAGE": list(TEXT.encode()), "_SYSTEMD_UNIT": "k3s.service"},
    "a known wrapper inside": {"detail": {"records": [{"category": "kube-audit", "properties": {"log": TEXT}}]}},
}


@pytest.mark.parametrize("name", WRAPPED)
def test_an_event_is_found_once(name: str) -> None:
    """Whatever holds it: as an object or as text, in whichever encoding, with or without a copy."""
    record = WRAPPED[name]
    line = record if isinstance(record, str) else json.dumps(record)
    events = list(read(line.encode()))
    assert [event.audit_id for event in events] == [EVENT["auditID"]]
    caveats = [caveat for finding in detect(line.encode()) for caveat in finding.caveats]
    assert any(UNKNOWN in caveat for caveat in caveats) or name == "bare string"


def test_every_copy_is_left_out_of_its_own_row_only() -> None:
    """Two rows of a list with one audit id are two events, as an attacker may choose them."""
    other = EVENT | {"requestURI": "/healthz", "verb": "get"}
    (one, two) = read(json.dumps({"rows": [{"a": other}, {"a": EVENT}]}).encode())
    assert (one.verb, two.verb) == ("get", "create")


@pytest.mark.parametrize("beside", [{"json": EVENT}, {"text": TEXT}], ids=["object", "text"])
def test_what_a_client_wrote_beside_an_event_hides_nothing(beside: dict[str, Any]) -> None:
    """Shippers copy the name of the client's agent, which may look like an event with the audit id that it chose."""
    forged = EVENT | {"verb": "get", "requestURI": "/healthz", "objectRef": None}
    for agent in (json.dumps(forged), TEXT + " "):
        events = list(read(json.dumps(beside | {"user_agent": {"original": agent}}).encode(), on_error=lambda _: None))
        assert "create" in [event.verb for event in events]


@pytest.mark.parametrize(
    "label",
    [
        {"category": "guard", "properties": {"log": TEXT}},
        {"logStream": "authenticator-1", "messageType": "DATA_MESSAGE", "logEvents": [{"message": TEXT}]},
        {"logStreamName": "kube-scheduler-1", "timestamp": 1, "message": TEXT},
        {"LogMessage": {"x": TEXT}, "PodName": "kube-apiserver-1", "PodNamespace": "kube-system"},
        {"logName": "x", "insertId": "y", "resource": {}, "jsonPayload": {"a": {"b": TEXT}}},
        {"class_uid": 1001, "category_uid": 1, "metadata": {}, "raw_data": TEXT},
    ],
)
def test_content_decides_not_the_label(label: dict[str, Any]) -> None:
    """What is labelled as another log and holds an audit event is read."""
    log = read(json.dumps(label).encode())
    assert [event.audit_id for event in log] == [EVENT["auditID"]]
    assert log.skipped == 0


def test_what_speaks_of_an_event_and_is_none_is_an_error() -> None:
    """Not skipped: somebody has to look."""
    errors: list[K8sTokenDetectError] = []
    log = read(b'{"category": "guard", "properties": {"log": "auditID is lost"}}', on_error=errors.append)
    assert list(log) == []
    assert (len(errors), log.skipped) == (1, 0)


def test_nobodys_pod_is_believed_in_an_unknown_wrapper() -> None:
    """OpenTelemetry's attributes name the pod that printed a line."""
    printed = otlp(("k8s.pod.name", "web-1"), ("k8s.namespace.name", "shop"))
    log = read(json.dumps(printed).encode())
    assert (list(log), log.unproven) == ([], 1)
    own = otlp(("k8s.pod.name", "kube-apiserver-cp1"), ("k8s.namespace.name", "kube-system"))
    assert len(list(read(json.dumps(own).encode()))) == 1


def test_what_a_kubernetes_object_holds_is_no_log() -> None:
    """A ConfigMap may hold anything."""
    with pytest.raises(ReadError, match="not an audit event"):
        list(read([{"kind": "ConfigMap", "apiVersion": "v1", "metadata": {}, "data": {"x": TEXT}}]))


def test_what_journalctl_left_out_is_told() -> None:
    """It writes null for a field of more than 4 KiB (man journalctl, --all)."""
    (inner,) = unwrap({"MESSAGE": None, "_SYSTEMD_UNIT": "k3s.service"})
    assert isinstance(inner.record, ReadError)
    assert "--all" in inner.record.reason


def test_the_search_has_limits_and_says_so() -> None:
    """What lies deeper is an error, not silence."""
    record: dict[str, Any] = {"x": TEXT}
    for _ in range(DEEPEST + 1):
        record = {"x": record}
    (inner,) = unwrap(record)
    assert isinstance(inner.record, ReadError)
    assert "deeper than 32 levels" in inner.record.reason


def test_an_unknown_record_reveals_the_path_of_a_token() -> None:
    """Where its form is not understood, a call to serviceaccounts/token is a finding nevertheless."""
    record = {"request": "POST /api/v1/namespaces/prod/serviceaccounts/web/token", "status": "201"}
    (finding,) = detect([record], on_error=lambda _: None)
    assert (finding.rule.id, finding.event.target) == ("unreadable-token-request", "prod/web")


@pytest.mark.parametrize("key", ["json", "x.y", "MESSAGE"])
def test_the_recording_in_an_unknown_wrapper_gives_the_native_findings(key: str) -> None:
    """As object or as text; with one caveat more."""
    lines = [json.dumps(record).encode() for record in few(METADATA, 3)]
    native = Counter((one.rule.id, one.event.audit_id, one.severity) for one in detect(b"\n".join(lines)))
    held = b"\n".join(
        json.dumps({key: line.decode() if key == "MESSAGE" else json.loads(line)}).encode() for line in lines
    )
    assert Counter((one.rule.id, one.event.audit_id, one.severity) for one in detect(held)) == native
