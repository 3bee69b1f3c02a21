# SPDX-License-Identifier: Apache-2.0
"""The short form of the rules and filters, which is the default: what every backend converts and every engine runs.

A filter asks for a component's name, one proof of it and the target. What it leaves out, and what that costs, is said
in the YAML. No `exists`, `null` or list of conditions with a negation among them: Lucene's parser reads a `NOT` within
an `OR` as a demand on the whole, Kusto's `isnull` is never true of a text, and ten of pySigma's backends have neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import attrs

from k8stokendetect import detectors
from k8stokendetect.detectors import token_right as right
from k8stokendetect.detectors.token_request_lookalike import RESERVED
from k8stokendetect.detectors.token_request_uri import STANDARD_NAMESPACES, STANDARD_SERVICE_ACCOUNTS
from k8stokendetect.exclusions.base import AUTHENTICATED, Exclusion
from k8stokendetect.exclusions.kubernetes import KUBELET_CLIENTS
from k8stokendetect.identity import (
    ADMISSION,
    FORGES_ANNOTATIONS,
    LEGACY_TOKEN,
    SERVICE_ACCOUNT_PREFIX,
    SERVICE_ACCOUNTS_GROUP,
)
from k8stokendetect.sigma.forms import FORMS
from k8stokendetect.sigma.terms import (
    CODE,
    CREATE,
    GROUPS,
    SUCCEEDED,
    URI,
    USERNAME,
    Form,
    Selection,
    Terms,
    literal,
    one_or_list,
    slug,
)

ANY: Final = "?*"
"""A value of at least one character: backends without `exists` have it, and a lone `*` fits an empty text in Kusto."""

MINTED: Final[dict[str, Selection]] = {"selection": {**CREATE, CODE: 201}}
"""The API server answers a TokenRequest with 201, and nothing else that is 2xx (measured on 1.27 to 1.36)."""

ONLY_201: Final = (
    "a mint counts when its answer was logged as 201: one whose answer is missing, or an error after the token was "
    "issued, is not flagged, although its event names the issued credential"
)

CLIENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "kube-controller-manager": ("kube-controller-manager/", "k3s/", "kubelite/", "microshift/"),
    "cloud-controller-manager-user": ("cloud-controller-manager/",),
}
"""By component that has no group of its own: its user agents, which begin with the name of the executable.

k8s.io/client-go rest/config.go DefaultKubernetesUserAgent; which binaries contain the controller manager is said at
`exclusions.kubernetes.KUBELET_CLIENTS`.
"""

_KUBELETS: Final = ("kubel", "k3s/", "microshift/")
"""How `KUBELET_CLIENTS` begin: the first is kubelet, kubelet.exe, kubelite. A liar can name any of these."""

TOGETHER: Final[Mapping[str, str]] = dict.fromkeys(("calico-node", "calico-node-windows", "canal"), "calico")
"""Filters that are one, by exclusion: with the same proof, and of software of which a cluster has one variant.

So each may mint for the accounts of the others, of which a cluster that runs it has none.
"""

_MOST_NAMES: Final = 4
"""Of targets in a filter; beyond them the namespace alone is asked for."""

NOT_RECEIVED: Final[Mapping[str, Selection]] = {"filter_main_received": {"stage": "RequestReceived"}}
ANSWERED: Final = "selection and not filter_main_received"


NOT_FOUND: Final[Mapping[str, Any]] = {CODE: 404}

_FULL: Final = {form.detector: form for form in FORMS}


def _short(detector: type[detectors.Detector], /, **changes: Any) -> Form:
    """Return the full form of a detector with some parts replaced."""
    return attrs.evolve(_FULL[detector], **changes)


def _minted(detector: type[detectors.Detector], name: str = "", what: Selection | None = None, **more: Any) -> Form:
    """Return the short form of a rule about mints, with at most one further selection."""
    selections = MINTED | ({name: what} if what else {})
    return _short(
        detector,
        selections=selections,
        condition=" and ".join(selections),
        left_out=(ONLY_201, *more.pop("left_out", ())),
        **more,
    )


def _full_selection(detector: type[detectors.Detector], name: str) -> Selection:
    """Return a selection of the full form without its `exists`, which only a negation needs."""
    selection = _FULL[detector].selections[name]
    if isinstance(selection, list):
        return [_unguarded(terms) for terms in selection]
    return _unguarded(selection)


def _unguarded(terms: Terms) -> Terms:
    return {key: value for key, value in terms.items() if not key.endswith("|exists")}


SHORT: Final[tuple[Form, ...]] = (
    _minted(detectors.TokenRequest),
    _short(
        detectors.TokenRequestURI,
        selections={
            "selection": _full_selection(detectors.TokenRequestURI, "selection"),
            **NOT_RECEIVED,
            "filter_main_standard": {
                "objectRef.namespace": sorted(STANDARD_NAMESPACES),
                "objectRef.name": sorted(STANDARD_SERVICE_ACCOUNTS),
                f"{URI}|startswith": "/api/v1/namespaces/",
                f"{URI}|endswith": "/token",
            },
            "odd_uri": [{f"{URI}|contains": ["%", "//"]}, {URI: "*/token*/token"}],
        },
        condition=f"{ANSWERED} and not (filter_main_standard and not odd_uri)",
        left_to={"token-request-denied": "calls of components that were refused"},
    ),
    _minted(detectors.TokenRequestImpersonated, "selection_assumed", {"impersonatedUser.username": ANY}),
    _minted(
        detectors.TokenRequestLookalike,
        left_out=(
            (
                "a caller is a look-alike by its name, groups and, as a node, client: one that has the component's "
                "group and lacks another proof is left to token-request"
            ),
        ),
    ),
    _minted(
        detectors.TokenRequestPrivilegedTarget,
        "selection_powerful",
        _full_selection(detectors.TokenRequestPrivilegedTarget, "selection_powerful"),
    ),
    _minted(detectors.TokenRequestCloudAudience, "selection_audience", {"requestObject.spec.audiences": ANY}),
    _minted(
        detectors.TokenRequestLongLived,
        "selection_lifetime",
        _full_selection(detectors.TokenRequestLongLived, "selection_lifetime"),
    ),
    _minted(
        detectors.TokenRequestUnbound,
        "selection_workload",
        {f"{USERNAME}|startswith": SERVICE_ACCOUNT_PREFIX},
        wider=f"{_FULL[detectors.TokenRequestUnbound].wider}; and those that impersonate somebody",
    ),
    _short(
        detectors.TokenRequestDenied,
        selections={
            "selection_call": CREATE,
            "selection_code": {f"{CODE}|gte": 400, f"{CODE}|lt": 500},
            "later": {CODE: 429},
        },
        condition="all of selection_* and not later",
        not_found=True,
    ),
    _FULL[detectors.TokenInAuditLog],
    _short(
        detectors.LegacyTokenSecret,
        selections={
            "selection_use": {f"annotations.{LEGACY_TOKEN}": ANY},
            "selection_made": _full_selection(detectors.LegacyTokenSecret, "selection_made"),
        },
    ),
    _short(
        detectors.AuditAnnotationForged,
        selections={
            "selection": {
                "objectRef.resource": sorted(ADMISSION),
                "objectRef.name": sorted(FORGES_ANNOTATIONS),
                "verb": ["create", "update", "patch"],
            },
            "selection_code": SUCCEEDED,
            "filter_main_status": {"objectRef.subresource": ANY},
        },
        condition="selection and selection_code and not filter_main_status",
    ),
    _short(
        detectors.TokenReadByExec,
        selections={"selection": _full_selection(detectors.TokenReadByExec, "selection"), **NOT_RECEIVED},
        condition=ANSWERED,
    ),
    _short(
        detectors.TokenRightGranted,
        selections={
            **_FULL[detectors.TokenRightGranted].selections,
            "selection": {"objectRef.resource": sorted(right.RBAC), "verb": sorted(set(right.DONE) - {"delete"})},
            "selection_code": SUCCEEDED,
        },
        condition="selection and selection_code and (role or binding or built_in)",
    ),
)
"""By detector, in the order of the full forms."""


def short_filter(exclusion: Exclusion, kind: str, /) -> tuple[str, Terms] | None:
    """Return the name and the selection of an exclusion's filter; None where a user name is all it could ask for.

    Without a group or client to ask for, the names of all targets are what narrows it.

    Arguments:
        exclusion: whose callers it takes out.
        kind: `main` or `optional`, as SigmaHQ tells them apart.

    """
    component = exclusion.component
    user = dict(_one_of(USERNAME, component.actor.username))
    proofs = dict(_proofs(exclusion))
    if not proofs and "*" in component.names:
        return None
    target: dict[str, Any] = {}
    if "*" not in component.namespaces:
        target |= _one_of("objectRef.namespace", component.namespaces)
    if "*" not in component.names and (len(component.names) <= _MOST_NAMES or not proofs):
        target |= _one_of("objectRef.name", component.names)
    if component.token and component.if_unseen == "report" and component.token.bound_kind:
        target["requestObject.spec.boundObjectRef.kind"] = literal(component.token.bound_kind)
    name = TOGETHER.get(exclusion.id, exclusion.id)
    return f"filter_{kind}_{slug(name)}", {**user, **proofs, **target}


def both(one: Terms, other: Terms, /) -> Terms | None:
    """Return one filter for what two fit, and for a mix of them; None where their proofs differ."""
    if one.keys() != other.keys() or any(one[key] != other[key] for key in one if key not in _WHO_AND_FOR_WHOM):
        return None
    return {key: one_or_list(list(dict.fromkeys((*_listed(one[key]), *_listed(other[key]))))) for key in one}


_WHO_AND_FOR_WHOM: Final = (USERNAME, "objectRef.namespace", "objectRef.name")


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _proofs(exclusion: Exclusion) -> Iterator[tuple[str, Any]]:
    """Yield a group, and the client where one is known."""
    actor = exclusion.component.actor
    groups = [group for group in actor.groups if group != AUTHENTICATED]
    if not groups and actor.username[0].startswith(SERVICE_ACCOUNT_PREFIX) and not actor.groups_not_logged:
        groups = [SERVICE_ACCOUNTS_GROUP]
    if groups:
        yield f"{GROUPS}|contains", literal(groups[0])
    agents = actor.user_agents or CLIENTS.get(exclusion.component.id, ())
    agents = _KUBELETS if agents == KUBELET_CLIENTS else agents
    if agents:
        yield "userAgent|startswith", one_or_list([literal(agent) for agent in agents])


def _one_of(field: str, patterns: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Yield one condition for texts that are alike in where their star stands, which is at the end or nowhere."""
    if all(pattern.endswith("*") for pattern in patterns):
        yield f"{field}|startswith", one_or_list([literal(pattern[:-1]) for pattern in patterns])
    else:
        yield field, one_or_list(["*".join(map(literal, pattern.split("*"))) for pattern in patterns])


def short_lookalike(exclusions: Iterable[Exclusion], /) -> tuple[Mapping[str, Selection], str]:
    """Return selections and a condition for callers with a reserved name and not the group that goes with it.

    Names of components that have no group of their own say nothing here: `token-request` looks at their client.
    """
    names = {name for one in exclusions for name in one.component.actor.username if name.startswith(RESERVED)}
    known = sorted(name for name in names if "*" not in name and not name.startswith(SERVICE_ACCOUNT_PREFIX))
    return {
        "selection_reserved": {f"{USERNAME}|startswith": list(RESERVED)},
        "filter_main_node": {
            f"{USERNAME}|startswith": "system:node:",
            f"{GROUPS}|contains": "system:nodes",
            "userAgent|startswith": list(_KUBELETS),
        },
        "filter_main_account": {
            f"{USERNAME}|startswith": SERVICE_ACCOUNT_PREFIX,
            f"{GROUPS}|contains": SERVICE_ACCOUNTS_GROUP,
        },
        "filter_main_known": {USERNAME: [*known, "system:anonymous"]},
    }, "selection_reserved and not 1 of filter_main_*"
