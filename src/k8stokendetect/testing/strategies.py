# SPDX-License-Identifier: Apache-2.0
"""Hypothesis strategies: JSON values, audit events as an API server writes them, and damaged ones."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from k8stokendetect.testing.builders import FIELDS, token_request

MARKS: Final = "\x00\x1b\x85\u2028\u202e\n\r\t\"'\\/%é中"
"""What breaks terminals, lines, JSON and paths."""

Record = dict[str, Any]


@functools.cache
def texts() -> st.SearchStrategy[str]:
    """Draw short texts, often of characters that break something."""
    return st.text(st.characters(codec="utf-8"), max_size=12) | st.text(st.sampled_from(MARKS + "abc"), max_size=6)


@functools.cache
def names() -> st.SearchStrategy[str]:
    """Draw names of Kubernetes objects."""
    return st.from_regex(r"[a-z0-9]([-a-z0-9]{0,6}[a-z0-9])?", fullmatch=True)


@functools.cache
def json_values() -> st.SearchStrategy[Any]:
    """Draw any JSON value, a few levels deep."""
    plain = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | _floats() | texts()
    return st.recursive(
        plain,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts(), inner, max_size=3),
        max_leaves=8,
    )


def _floats() -> st.SearchStrategy[float]:
    return st.floats(allow_nan=False, allow_infinity=False)


@functools.cache
def usernames() -> st.SearchStrategy[str]:
    """Draw names of users: people, system components, nodes, service accounts, and any text at all."""
    return st.one_of(
        texts(),
        st.sampled_from(["", "alice", "system:kube-controller-manager", "system:node:n1", "system:anonymous"]),
        st.builds("system:serviceaccount:{}:{}".format, names(), names()),
    )


@functools.cache
def groups() -> st.SearchStrategy[list[str]]:
    """Draw the groups of a user."""
    known = ["system:authenticated", "system:nodes", "system:masters", "system:serviceaccounts", "devs"]
    return st.lists(st.sampled_from(known) | names().map("system:serviceaccounts:{}".format), unique=True, max_size=4)


@functools.cache
def users() -> st.SearchStrategy[Record]:
    """Draw the `user` of an event; each part may be missing."""
    keys = ["authentication.kubernetes.io/credential-id", "authentication.kubernetes.io/pod-name", "arn", "x"]
    values = st.lists(st.sampled_from(["JTI=1", "X509SHA256=ab"]) | texts(), min_size=1, max_size=2)
    extra = st.dictionaries(st.sampled_from(keys), values, max_size=2)
    return st.fixed_dictionaries(
        {}, optional={"username": usernames(), "uid": texts(), "groups": groups(), "extra": extra}
    )


@functools.cache
def uris() -> st.SearchStrategy[str]:
    """Draw request URIs: of token requests, some of them odd, and any text."""
    queries = st.sampled_from(["", "/", "?", "?dryRun=All", "?x=1"])
    return texts() | st.builds("/api/v1/namespaces/{}/serviceaccounts/{}/token{}".format, names(), names(), queries)


@functools.cache
def token_request_bodies() -> st.SearchStrategy[Record]:
    """Draw bodies of token requests, at times malformed."""
    bound = st.fixed_dictionaries({"kind": st.sampled_from(["Pod", "Secret"]), "name": names()})
    specs = st.fixed_dictionaries(
        {},
        optional={
            "audiences": st.none() | st.lists(texts(), max_size=2),
            "expirationSeconds": st.integers(0, 2**40),
            "boundObjectRef": st.none() | bound,
        },
    )
    return st.fixed_dictionaries({"kind": st.just("TokenRequest"), "spec": specs})


@functools.cache
def audit_events() -> st.SearchStrategy[Record]:
    """Draw audit events of requests of any kind; every field but two may be missing."""
    times = st.datetimes().map(lambda moment: moment.isoformat() + "Z")
    keys = ["authentication.kubernetes.io/issued-credential-id", "authorization.k8s.io/reason", "x"]
    return st.fixed_dictionaries(
        {"auditID": texts(), "verb": st.sampled_from(["create", "create", "get", "list", ""])},
        optional={
            "kind": st.just("Event"),
            "apiVersion": st.sampled_from(["audit.k8s.io/v1", "audit.k8s.io/v1beta1"]),
            "level": st.sampled_from(["Metadata", "Request", "RequestResponse"]),
            "stage": st.sampled_from(["RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"]),
            "requestURI": uris(),
            "user": users(),
            "impersonatedUser": users(),
            "authenticationMetadata": st.fixed_dictionaries({}, optional={"impersonationConstraint": texts()}),
            "sourceIPs": st.lists(st.ip_addresses().map(str), max_size=2),
            "userAgent": texts() | st.sampled_from(["kubelet/v1.36.2 (linux/amd64)", "kubectl/v1"]),
            "objectRef": st.fixed_dictionaries(
                {"resource": st.sampled_from(["serviceaccounts", "pods"])},
                optional={"subresource": st.just("token"), "namespace": names() | texts(), "name": names() | texts()},
            ),
            "responseStatus": st.fixed_dictionaries(
                {},
                optional={
                    "code": st.sampled_from([200, 201, 401, 403, 404]),
                    "reason": texts(),
                    "metadata": st.just({}),
                },
            ),
            "requestObject": token_request_bodies() | json_values(),
            "responseObject": token_request_bodies() | json_values(),
            "requestReceivedTimestamp": times,
            "stageTimestamp": times,
            "annotations": st.dictionaries(st.sampled_from(keys), texts(), max_size=2),
        },
    )


@st.composite
def damaged_events(draw: st.DrawFn) -> Record:
    """Draw an audit event of which one field holds any JSON value, or is gone."""
    event = dict(draw(audit_events()))
    field = draw(st.sampled_from(FIELDS))
    if draw(st.booleans()):
        event.pop(field, None)
    else:
        event[field] = draw(json_values())
    return event


@functools.cache
def token_requests() -> st.SearchStrategy[Record]:
    """Draw whole audit events of token requests, by anybody, answered in any way, at every level."""
    return st.builds(
        token_request,
        usernames(),
        st.builds("{}/{}".format, names(), names()),
        groups=groups(),
        code=st.sampled_from([201, 201, 400, 401, 403, 404, 409, 422]),
        audiences=st.none() | st.lists(texts(), max_size=2),
        expiration_seconds=st.none() | st.integers(600, 2**32),
        bound=st.none() | st.fixed_dictionaries({"kind": st.sampled_from(["Pod", "Secret", "Node"]), "name": names()}),
        credential=st.none() | st.sampled_from(["JTI=1", "X509SHA256=ab"]),
        ip=st.ip_addresses().map(str),
        level=st.sampled_from(["Metadata", "Request", "RequestResponse"]),
    )


@st.composite
def damaged(draw: st.DrawFn, records: Sequence[Any]) -> Any:
    """Draw one of these records, of which one value, at any depth, is any JSON, or gone; they are not changed."""
    root = {"": copy.deepcopy(draw(st.sampled_from(records)))}
    node: Any = root
    while True:
        keys = list(node) if isinstance(node, Mapping) else list(range(len(node)))
        key = draw(st.sampled_from(keys))
        inner = node[key]
        if node is root or (isinstance(inner, dict | list) and inner and draw(st.integers(0, 3))):
            if not (isinstance(inner, dict | list) and inner):
                return draw(json_values())
            node = inner
            continue
        if isinstance(node, dict) and draw(st.booleans()):
            del node[key]
        else:
            node[key] = draw(json_values())
        return root[""]


__tracebackhide__ = True  # pytest shows the message, not these lines


def for_any(strategy: st.SearchStrategy[Any], check: Callable[[Any], None], examples: int) -> None:
    """Call a check with so many values of a strategy; raises what it raises."""

    def law(drawn: Any) -> None:
        check(drawn)

    bounded = settings(
        max_examples=max(1, examples),
        deadline=None,
        report_multiple_bugs=False,
        phases=[Phase.reuse, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    bounded(given(strategy)(law))()
