# SPDX-License-Identifier: Apache-2.0
"""What a request did, in plain words: `read secret prod/db`; and how bad that kind of request is."""

from __future__ import annotations

from typing import Final

from k8stokendetect.events import TOKEN_SUBRESOURCE
from k8stokendetect.findings import EventRef
from k8stokendetect.incidents.cloud import done_in_cloud, weight_in_cloud
from k8stokendetect.words import NAMELESS_ACCOUNT, account_or_user, named

_VERBS: Final = {
    "get": ("read", "read"),
    "list": ("list", "listed"),
    "watch": ("watch", "watched"),
    "create": ("create", "created"),
    "update": ("change", "changed"),
    "patch": ("change", "changed"),
    "delete": ("delete", "deleted"),
    "deletecollection": ("delete", "deleted"),
    "approve": ("approve", "approved"),
}
"""A verb to try, and as what was done; any other verb stands there as it is."""

_SUBRESOURCES: Final = {
    "pods/exec": ("run a command in", "ran a command in"),
    "pods/attach": ("attach to", "attached to"),
    "pods/portforward": ("forward a port of", "forwarded a port of"),
    "pods/log": ("read the log of", "read the log of"),
    "pods/ephemeralcontainers": ("put a debug container into", "put a debug container into"),
    "pods/eviction": ("evict", "evicted"),
    "pods/proxy": ("reach through the API server", "reached through the API server"),
    "services/proxy": ("reach through the API server", "reached through the API server"),
    "nodes/proxy": ("reach through the API server", "reached through the API server"),
    "certificatesigningrequests/approval": ("approve", "approved"),
}
"""What is done with a subresource, by its name in RBAC's notation."""

_REVIEWS: Final = {
    "selfsubjectaccessreviews": ("ask what it may do", "asked what it may do"),
    "selfsubjectrulesreviews": ("ask what it may do", "asked what it may do"),
    "selfsubjectreviews": ("ask who it is", "asked who it is"),
    "subjectaccessreviews": ("ask what another may do", "asked what another may do"),
    "localsubjectaccessreviews": ("ask what another may do", "asked what another may do"),
    "tokenreviews": ("have a token checked", "had a token checked"),
}
"""Requests that create nothing: they ask (https://kubernetes.io/docs/reference/kubernetes-api/authorization-resources/)."""

_READS: Final = frozenset({"get", "list", "watch"})
_MANY: Final = frozenset({"list", "watch", "deletecollection"})

_RIGHTS: Final = frozenset(
    {
        *("roles", "clusterroles", "rolebindings", "clusterrolebindings"),
        *("mutatingwebhookconfigurations", "validatingwebhookconfigurations"),
        *("mutatingadmissionpolicies", "certificatesigningrequests/approval", "nodes/proxy"),
    }
)
"""Who changes these may give rights away, or take everybody's (https://kubernetes.io/docs/concepts/security/rbac-good-practices/)."""

_INSIDE: Final = frozenset({"pods/exec", "pods/attach", "pods/ephemeralcontainers", "pods/proxy", "services/proxy"})
_WORKLOADS: Final = frozenset(
    "pods deployments daemonsets statefulsets replicasets replicationcontrollers jobs cronjobs".split()
)


FAILED: Final = 500
"""From this HTTP status on, the server failed; below it, it refused."""


def done(ref: EventRef, /) -> str:
    """Say what a request did: `listed the secrets in prod`; or tried: `tried to read secret prod/db (refused, 403)`.

    The caller is not named. A request whose answer was not logged says so.
    """
    if ref.cloud is not None:
        return done_in_cloud(ref, ref.cloud)
    if ref.mints_token:
        return f"minted a token for {ref.token_account or NAMELESS_ACCOUNT}{_as_whom(ref)}"
    if ref.succeeded:
        return f"{_phrase(ref, past=True)}{_as_whom(ref)}"
    outcome = (
        "answer not logged" if ref.code is None else f"{'failed' if ref.code >= FAILED else 'refused'}, {ref.code}"
    )
    return f"tried to {_phrase(ref, past=False)}{_as_whom(ref)} ({outcome})"


def what(ref: EventRef, /) -> str:
    """Name what a request was about: `secret prod/db`, `the secrets in prod`, `all secrets`."""
    resource = named(ref.resource.partition("/")[0])
    if not resource:
        return named(ref.request_uri.partition("?")[0]) or "a path that was not logged"
    namespace, name = named(ref.namespace), named(ref.name)
    path = "/".join(part for part in (namespace, name) if part)
    if name:
        return f"{_one(resource)} {path}"
    if ref.verb in _MANY:
        return f"the {resource} in {namespace}" if namespace else f"all {resource}"
    return f"a {_one(resource)} in {namespace}" if namespace else f"a {_one(resource)}"


def weight(ref: EventRef, /) -> int:
    """Return how bad a request of this kind is where it succeeds: from 0, asking, to 6, giving rights."""
    if ref.cloud is not None:
        return weight_in_cloud(ref, ref.cloud)
    return _weight(ref, ref.resource.partition("/")[0])


def _weight(ref: EventRef, resource: str) -> int:
    if ref.resource in _RIGHTS and ref.verb not in _READS:
        return 6
    if resource == "secrets":
        return 5
    if ref.resource in _INSIDE:
        return 4
    if resource in _REVIEWS:
        return 0
    if ref.verb in _READS:
        return 1
    return 3 if resource in _WORKLOADS else 2


def _phrase(ref: EventRef, *, past: bool) -> str:
    if ref.resource == TOKEN_SUBRESOURCE and ref.verb == "create":
        return f"{'asked for' if past else 'mint'} a token for {ref.token_account or NAMELESS_ACCOUNT}"
    if ref.resource in _REVIEWS and ref.verb == "create":
        return _REVIEWS[ref.resource][past]
    if ref.resource in _SUBRESOURCES:
        return f"{_SUBRESOURCES[ref.resource][past]} {what(ref)}"
    verb = _VERBS[ref.verb][past] if ref.verb in _VERBS else named(ref.verb) or "an unknown verb"
    if ref.verb not in _VERBS:
        verb = f"{'sent' if past else 'send'} {verb} to"
    subresource = named(ref.resource.partition("/")[2])
    return f"{verb} the {subresource} of {what(ref)}" if subresource else f"{verb} {what(ref)}"


def _as_whom(ref: EventRef) -> str:
    if ref.impersonating is None:
        return ""
    return f", impersonating {named(account_or_user(ref.impersonating)) or 'somebody'}"


def _one(resource: str) -> str:
    """Return the singular of a resource: `secret`, `ingress`, `networkpolicy`."""
    for plural, single in (("ies", "y"), ("sses", "ss"), ("xes", "x"), ("ches", "ch")):
        if resource.endswith(plural):
            return resource.removesuffix(plural) + single
    return resource[:-1] if resource.endswith("s") and not resource.endswith("ss") else resource
