# SPDX-License-Identifier: Apache-2.0
"""What a client writes into a request never makes its event look like a pod's output; what a shipper says does."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from builders import token_request
from k8stokendetect import detect, read
from k8stokendetect.envelopes.origin import DOUBTED

PATH = "/var/log/containers/evil_prod_main-0a1b.log"
STREAM = f"evil_prod_main-{'a1' * 32}"


def mint(agent: str) -> dict[str, Any]:
    """Return a mint whose client calls itself so."""
    return token_request("alice", "prod/payments-sa", userAgent=agent)


def text(agent: str) -> str:
    """Return the same as a line."""
    return json.dumps(mint(agent))


def table(row: dict[str, str]) -> bytes:
    """Return a CSV file with one row."""
    made = io.StringIO()
    writer = csv.DictWriter(made, list(row))
    writer.writeheader()
    writer.writerow(row)
    return made.getvalue().encode()


def flat(agent: str) -> dict[str, str]:
    """Return a mint as columns."""
    return {
        "auditID": "1",
        "verb": "create",
        "user.username": "alice",
        "objectRef.resource": "serviceaccounts",
        "objectRef.subresource": "token",
        "requestURI": "/api/v1/namespaces/b/serviceaccounts/a/token",
        "userAgent": agent,
    }


def elastic(agent: str) -> dict[str, Any]:
    """Return a document of Elastic's integration."""
    return {"kubernetes": {"audit": mint(agent), "pod": {"name": "evil"}}}


ROWS: dict[str, tuple[str, Callable[[str], Any]]] = {
    **{
        f"{form} {key}": (f"kubectl {key}=evil", made)
        for key in ("kubernetes.pod_name", "kubernetes_pod_name", "kubernetes_pod_name_s", "k8s.pod.name")
        for form, made in (
            ("pairs", lambda agent, key=key: {"_raw": text(agent), key: "evil"}),
            ("event", lambda agent, key=key: {**mint(agent), key: "evil"}),
            ("columns", lambda agent, key=key: {**flat(agent), key: "evil"}),
        )
    },
    "CSV": ("kubernetes_pod_name=evil", lambda agent: table({"_raw": text(agent), "kubernetes_pod_name": "evil"})),
    "CSV columns": ("kubernetes_pod_name=evil", lambda agent: table({**flat(agent), "kubernetes_pod_name": "evil"})),
    "objects": (
        "kubernetes.pod_name=evil kubernetes.namespace_name=prod",
        lambda agent: {"message": text(agent), "kubernetes": {"pod_name": "evil", "namespace_name": "prod"}},
    ),
    "next to the node": (
        "kubernetes.pod_name=evil",
        lambda agent: {"message": text(agent), "kubernetes": {"pod_name": "evil", "host": "cp-1"}},
    ),
    "appended to the API server": (
        "kubernetes.pod_name=evil",
        lambda agent: {
            "message": text(agent),
            "kubernetes": {"pod_name": ["kube-apiserver-cp-1", "evil"], "namespace_name": "kube-system"},
        },
    ),
    "next to the API server": (
        "kubernetes.pod_name=evil",
        lambda agent: {
            "message": text(agent),
            "kubernetes": {"pod_name": "kube-apiserver-cp-1", "namespace_name": "kube-system"},
            "kubernetes.pod_name": "evil",
        },
    ),
    "percent": ("kubernetes.pod_name=%65vil", lambda agent: {"_raw": text(agent), "kubernetes.pod_name": "evil"}),
    "odd": ("k8s.pod.name=a<b", lambda agent: {"_raw": text(agent).replace("<", "\\u003c"), "k8s.pod.name": "a<b"}),
    "source": (f"source={PATH}", lambda agent: {"_raw": text(agent), "source": PATH}),
    "file": (f"file={PATH}", lambda agent: {"message": text(agent), "file": PATH}),
    "fields": (
        "k8s.pod.name=evil",
        lambda agent: {"event": text(agent), "time": 1, "fields": {"k8s.pod.name": "evil"}},
    ),
    "Loki": ("pod=evil", lambda agent: {"streams": [{"stream": {"pod": "evil"}, "values": [["1", text(agent)]]}]}),
    "Loki's file": (
        f"filename={PATH}",
        lambda agent: {"streams": [{"stream": {"filename": PATH}, "values": [["1", text(agent)]]}]},
    ),
    "Loki's metadata": (
        "pod=evil",
        lambda agent: {"streams": [{"stream": {"job": "a"}, "values": [["1", text(agent), {"pod": "evil"}]]}]},
    ),
    "logcli": ("pod=evil", lambda agent: {"line": text(agent), "labels": {"pod": "evil"}}),
    "Datadog": ("pod_name:evil", lambda agent: {"message": text(agent), "tags": ["pod_name:evil"]}),
    "CloudWatch": (f"logStream={STREAM}", lambda agent: {"message": text(agent), "logStream": STREAM, "timestamp": 1}),
    "Elastic": ("kubernetes.pod.name=evil", elastic),
    "Elastic's hit": ("kubernetes.pod.name=evil", lambda agent: {"_source": elastic(agent)}),
    "Elastic's fields": (
        "kubernetes.pod.name=evil",
        lambda agent: {
            **{f"kubernetes.audit.{key}": value for key, value in mint(agent).items()},
            "kubernetes.pod.name": "evil",
        },
    ),
    "unknown": ("k8s.pod.name=evil", lambda agent: {"a": {"b": text(agent)}, "attributes": {"k8s.pod.name": "evil"}}),
    "OTLP": (
        "k8s.pod.name=evil",
        lambda agent: {
            "a": {"b": text(agent)},
            "resource": {"attributes": [{"key": "k8s.pod.name", "value": {"stringValue": "evil"}}]},
        },
    ),
    "another key of Azure's": (
        "LogMessage=x PodName=y",
        lambda agent: {
            "category": "kube-audit",
            "properties": {"log": text(agent)},
            "LogMessage": "x",
            "PodName": "y",
        },
    ),
    "another column of Azure's": (
        "log_s=x",
        lambda agent: {"category": "kube-audit", "properties": {"log": text(agent)}, "log_s": "x"},
    ),
}


OTHERS = {"odd", "next to the API server", "appended to the API server", *(form for form in ROWS if "Azure" in form)}
"""No pod can have that name, or the row names none."""


def as_log(made: Any) -> bytes:
    """Return a row as a file."""
    return made if isinstance(made, bytes) else json.dumps(made).encode() + b"\n"


@pytest.mark.parametrize("form", ROWS)
def test_a_client_cannot_hide_behind_a_pods_name(form: str) -> None:
    """Where a tool took it out of the user agent."""
    agent, made = ROWS[form]
    log = read(as_log(made(agent)))
    assert (len(list(log)), log.unproven) == (1, 0)


@pytest.mark.parametrize("form", [form for form in ROWS if form not in OTHERS])
def test_a_pod_that_its_shipper_names_is_not_believed(form: str) -> None:
    """The same rows, if nothing of it is in the event: so the test above can fail."""
    log = read(as_log(ROWS[form][1]("kubectl")))
    assert (list(log), log.unproven) == ([], 1)


def test_a_pod_has_to_print_all_that_its_shipper_says_of_it() -> None:
    """One value that is not in the event is enough; names of nodes are none."""
    about = {"pod_name": "evil", "namespace_name": "prod", "docker_id": "0a1b2c", "host": "cp-1"}
    row = {"log": text("pod_name=evil namespace_name=prod"), "kubernetes": about}
    assert list(read(as_log(row))) == []
    row["log"] = text("evil in prod, x0A1B2C")
    assert list(read(as_log(row))) == []
    row["log"] = text("evil in\tprod, 0A1B2C")
    (event,) = read(as_log(row))
    assert event.lost == {DOUBTED}
    assert any(DOUBTED in caveat for finding in detect(as_log(row)) for caveat in finding.caveats)


def test_the_name_that_grep_writes_before_a_line_counts() -> None:
    """`grep -H`; not what a client writes into an event that is then cut off."""
    line = f"{PATH}:2026-11-23T21:00:00Z stdout F {text('kubectl')}\n"
    log = read(line.encode())
    assert (list(log), log.unproven) == ([], 1)

    event = json.dumps({"userAgent": f"x{line[:-2]}", **mint("")}, separators=(",", ":"))
    errors: list[object] = []
    log = read(f"{event[:-99]}\n".encode(), on_error=errors.append)
    assert (list(log), log.unproven, len(errors)) == ([], 0, 1)


def test_a_damaged_event_is_not_hidden_either() -> None:
    """It would be an unreadable TokenRequest."""
    whole = text("kubernetes.pod_name=evil")
    row = {"_raw": whole[: whole.index('"objectRef"')] + '"objectRef": tru', "kubernetes.pod_name": "evil"}
    assert "evil" in row["_raw"]
    errors: list[object] = []
    log = read(as_log(row), on_error=errors.append)
    assert (list(log), log.unproven, len(errors)) == ([], 0, 1)


def test_a_call_in_a_cloud_is_not_hidden() -> None:
    """Its user agent is a client's, too."""
    record = {
        "eventTime": "2026-11-23T21:00:00Z",
        "eventSource": "sts.amazonaws.com",
        "eventName": "GetCallerIdentity",
        "eventID": "e",
        "userAgent": "aws-cli k8s.pod.name=evil",
    }
    for row in ({"_raw": json.dumps(record), "k8s.pod.name": "evil"}, {**record, "k8s.pod.name": "evil"}):
        assert len(list(read(as_log(row)).cloud_events())) == 1
