# SPDX-License-Identifier: Apache-2.0
"""Hypothesis strategies: JSON values, audit events as the API server writes them, and damaged ones."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

MARKS = "\x00\x1b\x85\u2028\u202e\n\r\t\"'\\/%é中"

texts = st.text(st.characters(codec="utf-8"), max_size=12) | st.text(st.sampled_from(MARKS + "abc"), max_size=6)
names = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,6}[a-z0-9])?", fullmatch=True)

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)

FIELDS = (
    "kind apiVersion level auditID stage requestURI verb user impersonatedUser authenticationMetadata sourceIPs "
    "userAgent objectRef responseStatus requestObject responseObject requestReceivedTimestamp stageTimestamp "
    "annotations"
).split()

times = st.datetimes().map(lambda moment: moment.isoformat() + "Z")
usernames = st.one_of(
    texts,
    st.sampled_from(["", "alice", "system:kube-controller-manager", "system:node:n1", "system:anonymous"]),
    st.builds("system:serviceaccount:{}:{}".format, names, names),
)
groups = st.lists(
    st.sampled_from(["system:authenticated", "system:nodes", "system:masters", "system:serviceaccounts", "devs"])
    | names.map("system:serviceaccounts:{}".format),
    unique=True,
    max_size=4,
)
users = st.fixed_dictionaries(
    {},
    optional={
        "username": usernames,
        "uid": texts,
        "groups": groups,
        "extra": st.dictionaries(
            st.sampled_from(
                ["authentication.kubernetes.io/credential-id", "authentication.kubernetes.io/pod-name", "arn", "x"]
            ),
            st.lists(st.sampled_from(["JTI=1", "X509SHA256=ab"]) | texts, min_size=1, max_size=2),
            max_size=2,
        ),
    },
)
uris = st.one_of(
    texts,
    st.builds(
        "/api/v1/namespaces/{}/serviceaccounts/{}/token{}".format,
        names,
        names,
        st.sampled_from(["", "/", "?", "?dryRun=All", "?x=1"]),
    ),
)
specs = st.fixed_dictionaries(
    {},
    optional={
        "audiences": st.none() | st.lists(texts, max_size=2),
        "expirationSeconds": st.integers(0, 2**40),
        "boundObjectRef": st.none()
        | st.fixed_dictionaries({"kind": st.sampled_from(["Pod", "Secret"]), "name": names}),
    },
)
token_requests = st.fixed_dictionaries({"kind": st.just("TokenRequest"), "spec": specs})

audit_events: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"auditID": texts, "verb": st.sampled_from(["create", "create", "get", "list", ""])},
    optional={
        "kind": st.just("Event"),
        "apiVersion": st.sampled_from(["audit.k8s.io/v1", "audit.k8s.io/v1beta1"]),
        "level": st.sampled_from(["Metadata", "Request", "RequestResponse"]),
        "stage": st.sampled_from(["RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"]),
        "requestURI": uris,
        "user": users,
        "impersonatedUser": users,
        "authenticationMetadata": st.fixed_dictionaries({}, optional={"impersonationConstraint": texts}),
        "sourceIPs": st.lists(st.ip_addresses().map(str), max_size=2),
        "userAgent": texts | st.sampled_from(["kubelet/v1.36.2 (linux/amd64)", "kubectl/v1"]),
        "objectRef": st.fixed_dictionaries(
            {"resource": st.sampled_from(["serviceaccounts", "pods"])},
            optional={"subresource": st.just("token"), "namespace": names | texts, "name": names | texts},
        ),
        "responseStatus": st.fixed_dictionaries(
            {}, optional={"code": st.sampled_from([200, 201, 401, 403, 404]), "reason": texts, "metadata": st.just({})}
        ),
        "requestObject": token_requests | json_values,
        "responseObject": token_requests | json_values,
        "requestReceivedTimestamp": times,
        "stageTimestamp": times,
        "annotations": st.dictionaries(
            st.sampled_from(["authentication.kubernetes.io/issued-credential-id", "authorization.k8s.io/reason", "x"]),
            texts,
            max_size=2,
        ),
    },
)


@st.composite
def damaged_events(draw: st.DrawFn) -> dict[str, Any]:
    """Draw an audit event of which one field holds any JSON value, or is gone."""
    event = dict(draw(audit_events))
    field = draw(st.sampled_from(FIELDS))
    if draw(st.booleans()):
        event.pop(field, None)
    else:
        event[field] = draw(json_values)
    return event


JWT = (
    "eyJhbGciOiJSUzI1NiIsImtpZCI6ImEifQ."  # {"alg":"RS256","kid":"a"}
    "eyJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQ6cHJvZDpwYXltZW50cy1zYSJ9."
    "c2lnbmF0dXJlLW9mLW5vLXVzZQ"
)
"""Made up for the tests: no key ever signed it."""
