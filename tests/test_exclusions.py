# SPDX-License-Identifier: Apache-2.0
"""Conformance of every exclusion that ships: each fact bears weight, each has its proof, price and source."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import attrs
import pytest

from builders import body, changed, token_request
from k8stokendetect import (
    DEFAULT_EXCLUSIONS,
    Actor,
    Component,
    ConfigError,
    Exclusion,
    Provenance,
    Tally,
    detect,
    parse_event,
)
from k8stokendetect.detectors import BUILTIN, OPTIONAL
from k8stokendetect.detectors.base import is_excludable
from k8stokendetect.events import PLATFORMS, TOKEN_SUBRESOURCE
from k8stokendetect.exclusions import OPTIONAL_EXCLUSIONS, TokenShape, find_exclusion, kubernetes, verdict
from k8stokendetect.exclusions.base import matches
from k8stokendetect.identity import CREDENTIAL_ID, POD_NAME, ServiceAccount

ALL = DEFAULT_EXCLUSIONS + OPTIONAL_EXCLUSIONS
EVERY = pytest.mark.parametrize("exclusion", ALL, ids=lambda exclusion: exclusion.id)
Record = dict[str, Any]


def example(exclusion: Exclusion) -> Record:
    """Build from an exclusion's own data the event it is about: every fact holds, and the body was logged."""
    component = exclusion.component
    actor, shape = component.actor, component.token or TokenShape()
    username = actor.username[0].replace("*", "x1")
    account = ServiceAccount.of_username(username)
    groups = [*actor.groups, *(account.groups if account else ()), "system:authenticated"]
    extra = {CREDENTIAL_ID: [f"{actor.credential or ('JTI' if account else 'X509SHA256')}=ab"]}
    if actor.in_pod:
        extra[POD_NAME] = ["pod-1"]
    own = account.namespace if component.own_namespace and account else None
    namespace = own or component.namespaces[0].replace("*", "prod")
    record = token_request(
        username,
        f"{namespace}/{component.names[0].replace('*', 'payments-sa')}",
        groups=() if actor.groups_not_logged else tuple(dict.fromkeys(groups)),
        level="Request",
        requestObject=body(
            seconds=min(600, shape.longest or 600),
            audiences=shape.audiences or None,
            bound={"kind": shape.bound_kind, "name": "o", "uid": "u"} if shape.bound_kind else None,
        ),
    )
    record["user"]["extra"] = extra
    record["annotations"]["authorization.k8s.io/reason"] = actor.reason or ""
    if actor.user_agents:
        record["userAgent"] = f"{actor.user_agents[0]}v1.36.2 (linux/amd64)"
    if actor.inside:
        record["sourceIPs"] = ["10.0.0.2"]
    return record


def judge(exclusion: Exclusion, record: Record, platform: Any = None) -> bool:
    """Tell whether the exclusion excuses the event."""
    judged = verdict(
        exclusion, parse_event(record, platform=platform or next(iter(exclusion.component.platforms), None))
    )
    return judged is not None and judged.excludes


Mutation = Callable[[Record], object]


def without(group: str) -> Mutation:
    """Return a change that takes one group from the caller."""
    return lambda e: e["user"]["groups"].remove(group)


def mutations(exclusion: Exclusion) -> dict[str, Mutation]:
    """Name for every fact of an exclusion a change of its example after which that fact does not hold."""
    component = exclusion.component
    actor, shape = component.actor, component.token or TokenShape()
    account = ServiceAccount.of_username(actor.username[0].replace("*", "x1"))
    changes: dict[str, Mutation] = {
        "username": lambda e: e["user"].update(username="x" + e["user"]["username"]),
        "impersonated": lambda e: e.update(impersonatedUser=e["user"]),
        "odd URI": lambda e: e.update(requestURI=e["requestURI"] + "?dryRun=All"),
        "no target": lambda e: e["objectRef"].update(name=""),
        "refused": lambda e: e["responseStatus"].update(code=403),
    }
    required = [*actor.groups, *(account.groups if account and not actor.groups_not_logged else ())]
    for group in required:
        changes[f"group {group}"] = without(group)
    if "system:masters" not in actor.groups:
        changes["system:masters"] = lambda e: e["user"]["groups"].append("system:masters")
    if actor.only_groups:
        changes["only_groups"] = lambda e: e["user"]["groups"].append("devs")
    if actor.groups_not_logged:
        changes["groups_not_logged"] = lambda e: e["user"].update(groups=["system:authenticated"])
    if actor.user_agents:
        changes["user_agents"] = lambda e: e.update(userAgent="curl/8.5.0")
        changes["user_agents absent"] = lambda e: e.pop("userAgent")
    if actor.credential or account:
        other = "JTI" if actor.credential == "X509SHA256" else "X509SHA256"
        changes["credential"] = lambda e: e["user"]["extra"].update({CREDENTIAL_ID: [f"{other}=ab"]})
    if actor.in_pod:
        changes["in_pod"] = lambda e: e["user"]["extra"].pop(POD_NAME)
    if actor.inside:
        changes["inside"] = lambda e: e.update(sourceIPs=["10.0.0.2", "203.0.113.9"])
    if actor.reason is not None:
        changes["reason"] = lambda e: e["annotations"].update({"authorization.k8s.io/reason": "RBAC: allowed by x"})
    if actor.certificate:
        changes["certificate: a uid"] = lambda e: e["user"].update(uid="7")
        changes["certificate: an extra"] = lambda e: e["user"]["extra"].update(arn=["arn:aws:iam::1:role/x"])
        changes["certificate: a token"] = lambda e: e["user"]["extra"].update({CREDENTIAL_ID: ["JTI=ab"]})
    if account:
        changes["legacy token"] = lambda e: e["annotations"].update({"authentication.k8s.io/legacy-token": "x"})
    if "*" not in component.namespaces:
        changes["namespaces"] = lambda e: retarget(e, namespace="prod")
    if "*" not in component.names:
        changes["names"] = lambda e: retarget(e, name="payments-sa")
    if component.own_namespace:
        changes["own_namespace"] = lambda e: retarget(e, namespace=component.namespaces[1])
    spec: Callable[[Record], Record] = lambda e: e["requestObject"]["spec"]  # noqa: E731
    if shape.bound_kind is not None:
        bound = None if shape.bound_kind else {"kind": "Pod", "name": "p"}
        changes["bound_kind"] = lambda e: spec(e).update(boundObjectRef=bound)
        changes["another bound_kind"] = lambda e: spec(e).update(boundObjectRef={"kind": "Node", "name": "p"})
    if shape.audiences is not None:
        changes["audiences"] = lambda e: spec(e).update(audiences=["other.example"])
        changes["other audiences"] = lambda e: spec(e).update(audiences=None if shape.audiences else ["x"])
    if shape.longest is not None:
        longest = shape.longest
        changes["longest"] = lambda e: spec(e).update(expirationSeconds=longest + 1)
    if component.token:
        changes["body cut away"] = lambda e: e.pop("requestObject")
        changes["body cut away by AKS"] = lambda e: e.update(requestObject="skipped-too-big-size-object")
        changes["body truncated"] = lambda e: (
            e.pop("requestObject"),
            e.update(level="Metadata"),
            e["annotations"].update({"audit.k8s.io/truncated": "true"}),
        )
    if component.token and component.if_unseen == "report":
        changes["if_unseen"] = lambda e: (e.pop("requestObject"), e.update(level="Metadata"))
    return changes


def retarget(record: Record, **parts: str) -> None:
    """Aim the request elsewhere, with a URI that says so."""
    record["objectRef"].update(parts)
    ref = record["objectRef"]
    record["requestURI"] = f"/api/v1/namespaces/{ref['namespace']}/serviceaccounts/{ref['name']}/token"


@EVERY
def test_its_example_is_excused(exclusion: Exclusion) -> None:
    """With every proof in place, and only then."""
    assert judge(exclusion, example(exclusion))


@EVERY
def test_every_fact_bears_weight(exclusion: Exclusion) -> None:
    """Change one fact of the example, and it is reported."""
    for fact, change in mutations(exclusion).items():
        record = copy.deepcopy(example(exclusion))
        change(record)

        assert not judge(exclusion, record), fact


@EVERY
def test_no_fact_goes_untested(exclusion: Exclusion) -> None:
    """Each field of Actor and TokenShape that an entry sets has a change above that breaks it."""
    tested = " ".join(mutations(exclusion))
    for part, bare in (
        (exclusion.component.actor, Actor(username="nobody")),
        (exclusion.component.token, TokenShape()),
    ):
        for name, fact in attrs.asdict(part, recurse=False).items() if part else ():
            if fact != getattr(bare, name) and name != "groups":
                assert name in tested


@EVERY
def test_it_applies_on_its_platforms_only(exclusion: Exclusion) -> None:
    """A provider's identity is excused on that provider, and unknown is not a platform."""
    for platform in (*PLATFORMS, None):
        event = parse_event(example(exclusion), platform=platform)
        judged = verdict(exclusion, event)

        assert (judged is not None) is (not (on := exclusion.component.platforms) or platform in on)


@EVERY
def test_it_says_what_it_costs_and_how_we_know(exclusion: Exclusion) -> None:
    """Provenance, `because` and `hides` are there, and it covers every rule about minting."""
    assert all(item.source and item.checked >= date(2026, 11, 1) for item in exclusion.component.provenance)
    assert exclusion.because.endswith(".")
    assert exclusion.hides.endswith(".")
    assert exclusion.rules is None


def test_ids_are_unique_and_can_be_found() -> None:
    """An id is a name on the command line and in `excluded_by`."""
    assert len(ALL) == len({exclusion.id for exclusion in ALL})
    assert list(ALL) == [find_exclusion(exclusion.id) for exclusion in ALL]


@pytest.mark.parametrize("bodies", [True, False], ids=["body logged", "level Metadata"])
def test_unseen_bodies_are_excused_only_where_the_entry_says_so(*, bodies: bool) -> None:
    """At level Metadata an entry without `if_unseen="exclude"` reports."""
    for exclusion in ALL:
        record = example(exclusion)
        if not bodies:
            del record["requestObject"]
            record["level"] = "Metadata"

        assert judge(exclusion, record) is (
            bodies or (of := exclusion.component).token is None or of.if_unseen == "exclude"
        )


SA = ("system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated")
NOT_EXCLUDED = [
    ("masterclient", ("system:masters", "system:authenticated"), "aks", "the admin certificate that people download"),
    ("kubernetes-admin", ("system:masters", "system:authenticated"), None, "the admin certificate of kubeadm"),
    ("kubernetes-admin", ("kubeadm:cluster-admins", "system:authenticated"), None, "the same since kubeadm 1.29"),
    ("system:admin", ("system:masters", "system:authenticated"), None, "k3s, OpenShift: a person or a deployer"),
    ("system:kube-scheduler", ("system:authenticated",), None, "has no right to mint and never does"),
    ("system:apiserver", ("system:masters", "system:authenticated"), None, "the API server never calls it"),
    ("system:anonymous", ("system:unauthenticated",), None, "nobody"),
    ("eks:addon-manager", ("system:authenticated",), "eks", "cluster-admin, and no evidence that it mints"),
    ("eks:node-manager", (), "eks", "no evidence that it mints"),
    ("eks:evil", ("system:authenticated",), "eks", "aws-auth maps any role to such a name"),
    ("aks-service", ("system:masters", "system:authenticated"), "aks", "stands in a published rule only"),
    ("acsService", ("system:masters", "system:authenticated"), "aks", "stands in a published rule only"),
    ("nodeclient", ("system:nodes", "system:authenticated"), "aks", "not the name of a node"),
    ("system:gke-controller-manager", (), "gke", "stands in a published rule only"),
    ("system:addon-manager", ("system:masters",), "gke", "no evidence that it mints"),
    ("system:serviceaccount:gke-managed-system:agent", (), "gke", "stands in a published rule only"),
    ("system:serviceaccount:kube-system:some-addon", SA, None, "kube-system is where a stolen pod is worth most"),
    ("system:serviceaccount:kube-system:generic-garbage-collector", SA, None, "controllers do not mint themselves"),
    ("system:serviceaccount:kube-system:gke-metadata-server", SA, "gke", "which identity it mints with is not known"),
    (
        "system:serviceaccount:tigera-operator:tigera-operator",
        ("system:serviceaccounts", "system:serviceaccounts:tigera-operator", "system:authenticated"),
        None,
        "the operator may grant the right, and never mints",
    ),
    ("system:k3s-controller", ("system:authenticated",), None, "has no right to mint"),
    ("system:rke2-controller", ("system:authenticated",), None, "every agent holds its certificate: off by default"),
]


@pytest.mark.parametrize(("username", "groups", "platform", "why"), NOT_EXCLUDED, ids=lambda value: str(value)[:40])
@pytest.mark.parametrize("target", ["kube-system/clusterrole-aggregation-controller", "prod/payments-sa"])
def test_who_is_not_excluded(username: str, groups: tuple[str, ...], platform: Any, why: str, target: str) -> None:
    """Names that other people's rules excuse, each with the reason why ours do not."""
    record = token_request(username, target, groups=groups)
    record["user"]["extra"] = {POD_NAME: ["pod-1"]} if "serviceaccount" in username else {}
    findings = list(detect(record, platform=platform, detectors=["token-request"]))

    assert len(findings) == 1, why


LOOKALIKES = {
    "a node's name without the group": ("system:node:worker-9", ("system:authenticated",), "kubelet", {}),
    "a node with another client": ("system:node:worker-9", ("system:nodes",), "kubelet", {"userAgent": "curl/8"}),
    "kube-controller-manager outside kube-system": (
        "system:kube-controller-manager",
        ("system:authenticated",),
        "kube-controller-manager",
        {},
    ),
}


@pytest.mark.parametrize("case", LOOKALIKES)
def test_a_near_miss_is_evidence(case: str) -> None:
    """The name fits and a proof does not: the finding says which exclusion it resembles and what is wrong."""
    username, groups, near, fields = LOOKALIKES[case]
    (finding,) = detect(token_request(username, groups=groups) | fields, detectors=["token-request"])
    notes = [item.why for item in finding.evidence] + list(finding.caveats)

    assert any(note.startswith(f"named like exclusion {near}, yet reported: ") for note in notes)


def test_forged_proofs_of_the_client_do_not_help() -> None:
    """User agent, Audit-ID, X-Forwarded-For and an impersonated name are the client's choice: none excuses anybody."""
    record = token_request(
        "alice",
        "kube-system/generic-garbage-collector",
        userAgent="kube-controller-manager/v1.36.2 (linux/amd64) kubernetes/98b3519",
        sourceIPs=["127.0.0.1", "192.0.2.7"],
        impersonatedUser={"username": "system:kube-controller-manager", "groups": ["system:authenticated"]},
    )
    assert len(list(detect(record, detectors=["token-request"]))) == 1


def test_an_impersonating_system_component_is_reported() -> None:
    """Not even kube-controller-manager is excused while it acts as somebody else."""
    record = example(kubernetes.KUBE_CONTROLLER_MANAGER) | {"impersonatedUser": {"username": "alice"}}
    (finding,) = detect(record, detectors=["token-request"])

    assert "system:kube-controller-manager, impersonating alice, minted" in finding.summary


def test_gke_has_its_own_weaker_form() -> None:
    """Records without groups: excused on GKE only, and not where the record has groups after all."""
    bare = token_request("system:node:gke-1", groups=(), userAgent="kubelet/v1.36.2")
    grouped = token_request("system:node:gke-1", groups=("system:authenticated",), userAgent="kubelet/v1.36.2")

    def excused(record: Record, platform: Any) -> set[str | None]:
        findings = detect(record, platform=platform, keep_excluded=True, detectors=["token-request"])
        return {finding.excluded_by for finding in findings}

    assert {"gke-kubelet"} == excused(bare, "gke")
    assert {None} == excused(bare, None)
    assert {None} == excused(grouped, "gke")


def test_what_an_exclusion_may_never_be() -> None:
    """Without a proof, for everybody, for people with all rights, without a price: each is refused when it is made."""
    good = kubernetes.CALICO_NODE
    bad: list[tuple[str, dict[str, Any]]] = [
        ("username alone", {"actor": Actor(username="alice")}),
        ("username alone", {"actor": Actor(username="alice", groups=("system:authenticated",))}),
        ("username alone", {"actor": Actor(username="alice", user_agents=("kubelet/",))}),
        ("matches everybody", {"actor": Actor(username="*", groups=("devs",))}),
        ("system:anonymous", {"actor": Actor(username="system:*", groups=("devs",))}),
        ("system:unauthenticated", {"actor": Actor(username="bob", groups=("system:unauthenticated",))}),
        ("system:masters", {"actor": Actor(username="bob", groups=("system:masters",))}),
        ("groups_not_logged", {"actor": Actor(username="bob", groups_not_logged="no")}),
        (
            "groups_not_logged",
            {"actor": Actor(username="bob", groups_not_logged="no"), "platforms": frozenset({"gke", "eks"})},
        ),
        ("every namespace", {"actor": Actor(username="system:serviceaccount:*:deployer")}),
        ("username alone", {"actor": Actor(username="bob", groups=("system:authenticated",), only_groups=True)}),
        ("no wildcards", {"rules": ("*",)}),
        ("rules is empty", {"rules": ()}),
        ("hides is empty", {"hides": " "}),
        ("namespaces is not a tuple of strings", {"namespaces": "team-*"}),
        ("names is not a tuple of strings", {"names": ["x"]}),
        ("rules is not a tuple of strings", {"rules": ("",)}),
        ("if_unseen is not one of", {"if_unseen": "Report"}),
        ("expires is not a date", {"expires": "2026-12-31"}),
        ("expires is not a date", {"expires": datetime(2026, 12, 31, tzinfo=UTC)}),
        ("platforms is not a frozenset", {"platforms": ("eks",)}),
        ("actor is not an Actor", {"actor": "bob"}),
        ("token is not a TokenShape", {"token": {}}),
        ("provenance is not a tuple of Provenance", {"provenance": ("x",)}),
        ("own_namespace is not true or false", {"own_namespace": 1}),
        ("because is empty", {"because": ""}),
        ("provenance is empty", {"provenance": ()}),
        ("namespaces is empty", {"namespaces": ()}),
        ("unknown platform", {"platforms": frozenset({"ekz"})}),
    ]
    for message, change in bad:
        with pytest.raises(ConfigError, match=message):
            changed(good, **change)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (Actor, {"username": "a", "groups": "devs"}, "groups is not a tuple of strings"),
        (Actor, {"username": 7}, "username is not a tuple of strings"),
        (Actor, {"username": "a", "credential": "x509"}, "credential is not one of"),
        (Actor, {"username": "a", "in_pod": "yes"}, "in_pod is not true or false"),
        (Actor, {"username": "a", "reason": 1}, "reason is not a string"),
        (TokenShape, {"longest": "1h"}, "longest is not a number of seconds"),
        (TokenShape, {"longest": True}, "longest is not a number of seconds"),
        (TokenShape, {"audiences": "vault"}, "audiences is not a tuple of strings"),
        (Provenance, {"source": "x", "checked": "2026"}, "checked is not a date"),
    ],
)
def test_wrong_types_are_refused_when_they_are_made(kind: Any, options: dict[str, Any], message: str) -> None:
    """In Python as in TOML: a lone string would be read letter by letter, and `*` among them matches everything."""
    with pytest.raises(ConfigError, match=message):
        kind(**options)


@pytest.mark.parametrize(
    ("glob", "text", "fits"),
    [
        ("a", "a", True),
        ("a", "ab", False),
        ("*", "", False),
        ("*", "x", True),
        ("system:node:*", "system:node:", False),
        ("system:node:*", "system:node:w\n1", True),
        ("a*b", "ab", False),
        ("a*b", "axb", True),
        ("a*a", "a", False),
        ("a*a", "aa", False),
        ("*b*", "abc", True),
        ("*b*", "bc", False),
        ("a*bc*d", "axbcd", False),
        ("a*bc*d", "axbcyd", True),
        ("[ab]*", "ax", False),
        ("*-*-*-*-*x", "-" * 20_000, False),
    ],
)
def test_patterns(glob: str, text: str, *, fits: bool) -> None:
    """`*` is one or more characters, nothing else is special, and hostile names cost no time."""
    assert matches(glob, text) is fits


EKS_USER = {
    "username": "system:kube-controller-manager",
    "uid": "aws-iam-authenticator:1:A",
    "groups": ["system:authenticated"],
}


@pytest.mark.parametrize(
    "user",
    [
        EKS_USER | {"extra": {"arn": ["arn:aws:sts::1:assumed-role/x/y"], "accessKeyId": ["A"]}},
        EKS_USER | {"uid": "oidc-user-7"},
        {
            "username": "system:kube-controller-manager",
            "groups": ["system:authenticated"],
            "extra": {"oidc/sub": ["m"]},
        },
    ],
    ids=["aws-auth", "uid", "extra"],
)
def test_a_controller_manager_by_name_only_is_reported(user: dict[str, Any]) -> None:
    """The aws-auth ConfigMap and OIDC can yield this name; a client certificate gives neither uid nor extra."""
    record = token_request(target="kube-system/clusterrole-aggregation-controller", user=user)
    for platform in (None, "eks"):
        assert len(list(detect(record, platform=platform, detectors=["token-request"]))) == 1


def test_a_controller_manager_without_its_extra_is_reported() -> None:
    """A form that carries no extra cannot show that a certificate was used; the finding says so."""
    event = parse_event(example(kubernetes.KUBE_CONTROLLER_MANAGER))
    assert list(detect([event], detectors=["token-request"])) == []
    (finding,) = detect([attrs.evolve(event, lost=frozenset({"extra"}))], detectors=["token-request"])
    assert any("this form of the log carries no extra" in caveat for caveat in finding.caveats)


def test_a_node_credential_that_probes_is_shown() -> None:
    """A refused call is no component's doing, though the Node authorizer allowed what NodeRestriction refused."""
    record = example(kubernetes.KUBELET)
    record["responseStatus"]["code"] = 403
    record["annotations"].pop("authentication.kubernetes.io/issued-credential-id")

    assert [f.rule.id for f in detect(record)] == ["token-request-uri", "token-request-denied"]


def test_an_exclusion_expires_in_the_time_of_the_event() -> None:
    """Not by the clock of the machine that reads an old log."""
    mint_day = date(2026, 11, 23)
    for last, excused in ((mint_day, True), (date(2026, 11, 22), False)):
        exclusion = attrs.evolve(kubernetes.KUBELET, expires=last)
        assert judge(exclusion, example(exclusion)) is excused
    undated = example(kubernetes.KUBELET)
    del undated["requestReceivedTimestamp"], undated["stageTimestamp"]
    assert not judge(attrs.evolve(kubernetes.KUBELET, expires=mint_day), undated)


def test_no_exclusion_reports_everybody() -> None:
    """`exclusions=()` is the way to see what the exclusions cost."""
    tally = Tally()
    findings = list(detect(example(kubernetes.KUBELET), exclusions=(), tally=tally, detectors=["token-request"]))

    assert (len(findings), tally.excluded.total()) == (1, 0)


def test_provenance_is_a_value() -> None:
    """Exclusions compare by value, so that a copy of one is the same exclusion."""
    source = Provenance(source="x", checked=date(2026, 11, 24))
    assert attrs.evolve(source) == source
    assert attrs.evolve(kubernetes.KUBELET) == kubernetes.KUBELET


def test_exclusions_reach_every_rule_about_minting_and_no_other() -> None:
    """Those that watch token requests, but not those about who impersonates, an origin, a use, or what was refused."""
    not_reached = {
        "token-request-impersonated",
        "token-request-denied",
        "minted-token-used",
        "unusual-origin",
        "second-control-plane-credential",
        "system-identity-issued",
        "minted-token-exchanged",
        "web-identity-without-mint",
        "cloud-act-after-exchange",
    }
    shipped = (*BUILTIN, *OPTIONAL)
    about_minting = {
        cls.rule.id for cls in shipped if any(str(watch).endswith(TOKEN_SUBRESOURCE) for watch in cls.watches)
    }

    assert about_minting - not_reached == {cls.rule.id for cls in shipped if is_excludable(cls)}
    assert not_reached < about_minting


def test_no_exclusion_reports_every_rule() -> None:
    """A controller manager's mint for a controller: its target is reported, too, and counted where it is excluded."""
    record = example(kubernetes.KUBE_CONTROLLER_MANAGER)
    retarget(record, name="clusterrole-aggregation-controller")
    tally = Tally()

    assert not list(detect(record, tally=tally))
    assert tally.excluded == {"kube-controller-manager": 2}
    assert [f.rule.id for f in detect(record, exclusions=())] == ["token-request", "token-request-privileged-target"]


def test_an_exclusion_of_ones_own_reaches_every_rule() -> None:
    """One entry is enough for a deployer that mints for another account: the mint, its URI, its missing binding."""
    deployer = Actor(username="system:serviceaccount:ci:deployer")
    source = Provenance(source="us", checked=date(2026, 11, 24))
    component = Component(id="acme", actor=deployer, namespaces=("prod",), provenance=(source,))
    exclusion = Exclusion(component=component, because="It deploys.", hides="What it mints.")
    groups = ("system:serviceaccounts", "system:serviceaccounts:ci", "system:authenticated")
    record = token_request(deployer.username[0], groups=groups)
    tally = Tally()

    assert {"token-request", "token-request-uri", "token-request-unbound"} == {f.rule.id for f in detect(record)}
    assert not list(detect(record, exclusions=[exclusion], tally=tally))
    assert tally.excluded == {"acme": 3}
    narrowed = attrs.evolve(exclusion, rules=("token-request",))
    rest = {finding.rule.id for finding in detect(record, exclusions=[narrowed])}
    assert {"token-request-uri", "token-request-unbound"} == rest
