# SPDX-License-Identifier: Apache-2.0
"""In a row that carries an event's text, no `key=value` of a client's choosing changes what is found."""

from __future__ import annotations

import ast
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import cloudtrail
from builders import token_request
from k8stokendetect import detect, envelopes, read
from k8stokendetect.envelopes import unwrap, whole

TIME = datetime(2026, 11, 23, 21, 0, tzinfo=UTC)
KEYS = ("_raw", "message", "log")


def _words() -> list[str]:
    """Return what the wrappers know by name: every text in their source that could be a key, or a value."""
    trees = [ast.parse(path.read_text("utf-8")) for path in Path(envelopes.__file__).parent.glob("*.py")]
    texts = {node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    words = {word for text in texts if isinstance(text, str) for word in text.split() if len(text) < 400}
    return sorted(word for word in words if re.fullmatch(r"@?[\w.:-]{2,40}", word))


WORDS = _words()
PAIRS = st.dictionaries(
    st.sampled_from(WORDS),
    st.sampled_from([*WORDS, "1", "6003", "{", "{auditID:1}", "audit.k8s.io/v1", "2026-11-23T21:00:00Z"]),
    max_size=6,
)


def row(key: str, pairs: dict[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return an event whose user agent holds these pairs, and a row with its text and what was taken out of it."""
    agent = " ".join(f"{name}={value}" for name, value in pairs.items())
    event = token_request("alice", "prod/payments-sa", userAgent=f"kubectl/v1.31 {agent}")
    return event, {**pairs, key: json.dumps(event), "sourcetype": "kube:audit"}


def test_words() -> None:
    """The names that wrappers look at are among them."""
    assert {"auditID", "eventSource", "CloudTrailEvent", "digestS3Object", "protoPayload", "class_uid"} <= set(WORDS)
    assert {"kubernetes.pod_name", "k8s.pod.name", "kubernetes"} <= set(WORDS)


@pytest.mark.parametrize(
    "agent",
    [
        "eventSource=sts.amazonaws.com eventName=GetCallerIdentity eventTime=2026-11-23T21:00:00Z eventID=e",
        "eventType=AwsCloudTrailInsight eventVersion=1",
        "digestS3Object=x logFiles=y",
        "CloudTrailEvent=x",
        "Type=AADServicePrincipalSignInLogs Id=1 TimeGenerated=2026-11-23T21:00:00Z",
        "AppId=1 ServicePrincipalId=2 CorrelationId=3",
        "category=ServicePrincipalSignInLogs properties=x",
        "kind=EventList apiVersion=audit.k8s.io/v1",
        "insertId=1 logName=projects/x/logs/cloudaudit protoPayload=x",
        "kubernetes.audit.auditID=1 kubernetes.audit.verb=get",
        "auditID=1 requestURI=/healthz verb=get level=Metadata stage=RequestReceived user=x",
        "x.verb=get x.user.username=eve x.objectRef.resource=pods x.requestURI=/api",
        "log={auditID msg={audit.k8s.io/v1",
    ],
)
@pytest.mark.parametrize("key", KEYS)
def test_agents_that_looked_like_something_else(agent: str, key: str) -> None:
    """The event is found, and nothing else."""
    pairs = dict(pair.split("=", 1) for pair in agent.split())
    pairs.pop(key, None)
    event, made = row(key, pairs)
    for record in (made, {"preview": False, "result": made}):
        log = json.dumps(record).encode() + b"\n"
        assert [finding.rule.id for finding in detect(log, detectors=["token-request"])] == ["token-request"]
        assert [inner.record for inner in unwrap(record)] == [event]


@given(PAIRS, st.sampled_from(KEYS))
@example({"class_uid": "6003", "kind": "Event", "apiVersion": "v1"}, "_raw")
def test_no_pair_takes_an_event_away(pairs: dict[str, str], key: str) -> None:
    """Whatever the wrappers know by name."""
    event, made = row(key, {name: value for name, value in pairs.items() if name != key})
    assert [(inner.record, inner.context.pods) for inner in unwrap(made)] == [(event, frozenset())]


@given(PAIRS, st.sampled_from(KEYS))
@example({"auditID": "1"}, "_raw")
def test_no_pair_takes_a_call_in_a_cloud_away(pairs: dict[str, str], key: str) -> None:
    """The same in a row of CloudTrail's."""
    pairs = {name: value for name, value in pairs.items() if name != key}
    agent = " ".join(f"{name}={value}" for name, value in pairs.items())
    record = cloudtrail.web_identity(TIME + timedelta(seconds=40), user_agent=f"aws-cli {agent}")
    (inner,) = unwrap({**pairs, key: json.dumps(record)})
    assert (inner.cloud, inner.record, inner.context.pods) == ("aws", record, frozenset())


def test_a_pod_is_still_not_believed() -> None:
    """The row says whose output it is, whichever wrapper its other keys look like."""
    _, made = row("_raw", {"kind": "EventList", "apiVersion": "audit.k8s.io/v1"})
    made["source"] = "/var/log/containers/evil_prod_main-0.log"
    log = read(json.dumps(made).encode())
    assert list(log) == []


def test_an_event_in_its_own_form_needs_no_text() -> None:
    """A shipper that keeps the line next to the event that it decoded; and what is the whole record is no row."""
    event, _ = row("log", {})
    (inner,) = unwrap({**event, "log": json.dumps(event)})
    assert (inner.place, inner.is_event) == ("", True)
    assert whole.texts_of({"log": "{}"}) == {}
