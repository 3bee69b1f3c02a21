# SPDX-License-Identifier: Apache-2.0
"""The Sigma rules: valid, convertible, and on recorded logs the same requests as the detectors, or a named superset."""

from __future__ import annotations

import copy
import functools
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from click.testing import CliRunner
from sigma.backends.elasticsearch.elasticsearch_esql import ESQLBackend
from sigma.backends.elasticsearch.elasticsearch_lucene import LuceneBackend
from sigma.backends.kusto.kusto import KustoBackend
from sigma.backends.splunk.splunk import SplunkBackend

import sigma_runner as runner
from builders import body, token_request
from builders import changed as changed_exclusion
from k8stokendetect import DEFAULT_EXCLUSIONS, ConfigError, Exclusion, detect, parse_event, sigma
from k8stokendetect.cli.app import sigma as command
from k8stokendetect.detectors import BUILTIN, OPTIONAL
from k8stokendetect.exclusions import OPTIONAL_EXCLUSIONS, verdict
from k8stokendetect.sigma.forms import FORMS, JOINS, NOT_IN_SIGMA
from k8stokendetect.sigma.short import CLIENTS, SHORT
from k8stokendetect.testing import request
from recordings import METADATA, Request, records

MANAGER = "system:kube-controller-manager"
"""Its exclusion asks for `no other group`, which Sigma cannot express: with `strict` each of its mints is reported."""

FORMS_OF_RULES = [(name, form) for name in runner.SINGLE for form in sigma.FORM_NAMES]


@attrs.frozen
class Differs:
    """How a rule differs from its detector on the recordings, by form.

    Arguments:
        more: the most requests in a recording that it flags and the detector does not report.
        why: why it flags these.
        elsewhere: the rules that flag what it misses.

    """

    more: int = 0
    why: str = ""
    elsewhere: tuple[str, ...] = ()


CASE = "calls to `ServiceAccounts` and `Token`: Sigma ignores case"
COUNTED = f"refused strangers, and components that fail as they do, which the detector counts; {CASE}"
DIFFERS: dict[tuple[str, str], Differs] = {
    ("token-request", "strict"): Differs(41, f"the mints of {MANAGER}"),
    ("token-request-privileged-target", "strict"): Differs(41, f"the mints of {MANAGER}"),
    ("token-request-uri", "short"): Differs(7, COUNTED, ("token-request-denied",)),
    ("token-request-uri", "full"): Differs(11, COUNTED),
    ("token-request-uri", "strict"): Differs(11, COUNTED),
    ("token-request-lookalike", "short"): Differs(elsewhere=("token-request",)),
    ("token-request-lookalike", "strict"): Differs(elsewhere=("token-request",)),
    ("token-request-denied", "short"): Differs(9, COUNTED, ("not found",)),
    ("token-request-denied", "full"): Differs(48, COUNTED),
    ("token-request-denied", "strict"): Differs(48, COUNTED),
    **{
        (name, form): value
        for form in sigma.FORM_NAMES
        for name, value in {
            "token-request-unbound": Differs(1, "a mint for itself whose binding was not logged"),
            "token-in-audit-log": Differs(79, "every answer with a token, where the detector speaks once an hour"),
            "legacy-token-secret": Differs(elsewhere=("legacy-token-secret.filled",)),
            "token-right-granted": Differs(3, "bindings that the API server makes at its start"),
        }.items()
    },
}


@functools.cache
def reported(recording: str) -> dict[str, set[Request]]:
    """Return by rule the requests that the detectors report with the exclusions that ship."""
    found = defaultdict(set)
    for finding in detect(runner.RECORDINGS[recording]):
        found[finding.rule.id].add(Request.of(finding))
    return found


@functools.cache
def rule(name: str, form: sigma.FormName = "short") -> str:
    """Return a rule in one of its forms, with the exclusions that ship."""
    return sigma.rule_for(name, form=form)


@functools.cache
def joined(recording: str, text: str) -> frozenset[Request]:
    """Return the requests of the events that a correlation joins."""
    events = records(runner.RECORDINGS[recording])
    return frozenset(Request.of(events[place]) for place in runner.joined(runner.RECORDINGS[recording], text))


@pytest.mark.parametrize("recording", runner.RECORDINGS)
def test_sigma_flags_what_the_detector_reports(recording: str) -> None:
    """Every form of every rule: the same requests, or the difference that stands in the table, and no other."""
    path = runner.RECORDINGS[recording]
    for name, form in FORMS_OF_RULES:
        expected = DIFFERS.get((name, form), Differs())
        ours, theirs = reported(recording)[name], runner.flagged_requests(path, rule(name, form))
        assert len(theirs - ours) <= expected.more, (name, form)
        for missed in ours - theirs:
            assert any(missed in flagged_by(recording, other, form) for other in expected.elsewhere), (name, form)


def flagged_by(recording: str, name: str, form: sigma.FormName) -> set[Request]:
    """Return what a rule or correlation flags; `not found`: the recorded calls that were answered 404."""
    path = runner.RECORDINGS[recording]
    if name == "not found":
        return {Request.of(event) for event in records(path) if event["responseStatus"].get("code") == 404}
    return (
        set(joined(recording, rule(name, form)))
        if name in runner.CORRELATIONS
        else runner.flagged_requests(path, rule(name, form))
    )


def test_every_difference_in_the_table_is_there() -> None:
    """A row that no recording needs any more is out of date."""
    for (name, form), expected in DIFFERS.items():
        found = [
            (runner.flagged_requests(path, rule(name, form)), reported(recording)[name])
            for recording, path in runner.RECORDINGS.items()
        ]
        assert max(len(theirs - ours) for theirs, ours in found) == expected.more, (name, form)
        assert any(ours - theirs for theirs, ours in found) == bool(expected.elsewhere), (name, form)


def test_the_short_form_reports_exactly_the_mints_of_the_detector() -> None:
    """On every recording: the short rule about mints is the detector, request by request."""
    numbers = {}
    for recording, path in runner.RECORDINGS.items():
        ours = reported(recording)["token-request"]
        assert runner.flagged_requests(path, rule("token-request")) == ours
        numbers[recording] = len(ours)
    assert numbers == {"1.36": 87, "bodies": 6, "1.27": 82, "kubelets": 21}


def test_what_strict_adds_is_the_controller_manager() -> None:
    """The mints beyond `token-request` are the controller manager's, and all of them."""
    events = {Request.of(record): record for record in records(METADATA)}
    more = runner.flagged_requests(METADATA, rule("token-request", "strict")) - reported("1.36")["token-request"]

    assert {events[request]["user"]["username"] for request in more} == {MANAGER}


@pytest.mark.parametrize("recording", runner.RECORDINGS)
def test_missing_fields_do_not_silence(recording: str) -> None:
    """A backend that leaves comparisons with missing fields unknown, as ES|QL does, flags the same."""
    path = runner.RECORDINGS[recording]
    for name, form in FORMS_OF_RULES:
        text = rule(name, form)
        assert runner.flagged_requests(path, text, bare=True) == runner.flagged_requests(path, text), (name, form)


def test_a_mint_joined_with_its_uses() -> None:
    """The correlation joins every use that the detector reports with its mint, and only `strict` joins others."""
    uses, mints = reported("1.36")["minted-token-used"], reported("1.36")["token-request"]

    assert len(uses) == 47
    assert uses < joined("1.36", rule("minted-token-used", "strict"))
    for form in ("short", "full"):
        assert uses <= joined("1.36", rule("minted-token-used", form)) <= uses | mints


# What is changed at a mint that a filter excuses, and so has to be reported: each proof bears weight.
KUBELET = token_request(
    "system:node:worker-1",
    groups=("system:nodes", "system:authenticated"),
    userAgent="kubelet/v1.36.2 (linux/amd64) kubernetes/98b3519",
)
KUBELET["annotations"]["authorization.k8s.io/reason"] = ""
KUBELET["user"]["extra"] = {"authentication.kubernetes.io/credential-id": ["X509SHA256=ab12"]}
PLAIN = "/api/v1/namespaces/prod/serviceaccounts/payments-sa/token"
CHANGES: dict[str, dict[str, Any]] = {
    "another name": {"user.username": "alice"},
    "no name after the prefix": {"user.username": "system:node:"},
    "without the group": {"user.groups": ["system:authenticated"]},
    "without groups": {"user.groups": None},
    "a group that ends like it": {"user.groups": ["oidc:system:nodes"]},
    "a group that begins like it": {"user.groups": ["system:nodes-of-mine"]},
    "a member of system:masters": {"user.groups": ["system:nodes", "system:masters"]},
    "another client": {"userAgent": "kubectl/v1.36.2"},
    "no client": {"userAgent": None},
    "a token as the credential": {"user.extra": {"authentication.kubernetes.io/credential-id": ["JTI=ab12"]}},
    "allowed by a binding": {"annotations.reason": "RBAC: allowed by ClusterRoleBinding"},
    "impersonated": {"impersonatedUser": {"username": "bob"}},
    "a dry run": {"requestURI": f"{PLAIN}?dryRun=All"},
    "a query that ends like a path": {"requestURI": f"{PLAIN}?a=/token"},
    "a last slash": {"requestURI": f"{PLAIN}/"},
    "an encoded letter": {"requestURI": PLAIN.replace("token", "%74oken")},
    "no URI": {"requestURI": None},
    "a body that was cut": {"annotations.truncated": "true"},
    "a body that was not logged though the level says so": {"level": "Request"},
    "not bound": {"level": "Request", "requestObject": body()},
    "bound to a Secret": {"level": "Request", "requestObject": body(bound={"kind": "Secret", "name": "s"})},
}
KEYS = {"reason": "authorization.k8s.io/reason", "truncated": "audit.k8s.io/truncated"}


def changed(event: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """Return the event with some fields replaced; None takes one away."""
    event = copy.deepcopy(event)
    for path, value in change.items():
        *steps, last = path.split(".")
        place = event
        for step in steps:
            place = place[step]
        place[KEYS.get(last, last)] = value
        if value is None:
            del place[last]
    return event


def test_the_kubelet_is_excused() -> None:
    """At Metadata, and with a body that is bound to a pod."""
    bound = changed(KUBELET, {"level": "Request", "requestObject": body(bound={"kind": "Pod", "name": "p"})})

    for form in sigma.FORM_NAMES:
        assert not runner.flagged(runner.table([KUBELET, bound]), rule("token-request", form))
    assert not list(detect([KUBELET, bound], detectors=["token-request"]))


@pytest.mark.parametrize("bare", [False, True])
def test_each_proof_bears_weight(bare: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """Change one fact and it is reported, by Sigma as by the library, with missing fields false or unknown."""
    events = [changed(KUBELET, change) for change in CHANGES.values()]
    found = runner.flagged(runner.table(events), rule("token-request", "full"), bare=bare)
    short = runner.flagged(runner.table(events), rule("token-request"))

    assert [name for place, name in enumerate(CHANGES) if place not in found] == []
    assert {name for place, name in enumerate(CHANGES) if place in short} == PROVED_IN_SHORT


PROVED_IN_SHORT = {
    *("another name", "without the group", "without groups", "another client", "no client"),
}
"""What the short form sees of these; the rest is what its comment says it costs."""


def of_exclusion(exclusion: Exclusion) -> dict[str, Any]:
    """Return a mint that an exclusion excuses, whichever of its proofs Sigma can say."""
    actor, shape = exclusion.component.actor, exclusion.component.token
    name = actor.username[0].replace("*", "x")
    account = (
        name.removeprefix("system:serviceaccount:").split(":") if name.startswith("system:serviceaccount:") else []
    )
    own = ["system:serviceaccounts", f"system:serviceaccounts:{account[0]}"] if account else []
    namespace = (
        account[0]
        if exclusion.component.own_namespace and account
        else exclusion.component.namespaces[0].replace("*", "prod")
    )
    event = token_request(
        name,
        f"{namespace}/{exclusion.component.names[0].replace('*', 'payments-sa')}",
        groups=(*actor.groups, *own),
        userAgent=f"{next(iter(actor.user_agents or CLIENTS.get(exclusion.component.id, ())), '')}x",
    )
    if actor.inside:
        event["sourceIPs"] = ["10.0.0.2"]
    if actor.groups_not_logged:
        del event["user"]["groups"]
    if actor.in_pod:
        event["user"]["extra"] = {"authentication.kubernetes.io/pod-name": ["p"]}
    if actor.reason is not None:
        event["annotations"]["authorization.k8s.io/reason"] = actor.reason
    if shape and exclusion.component.if_unseen == "report":
        bound = {"kind": shape.bound_kind, "name": "x"} if shape.bound_kind else None
        event |= {"level": "Request", "requestObject": body(audiences=shape.audiences or None, bound=bound)}
    return event


@pytest.mark.parametrize("exclusion", DEFAULT_EXCLUSIONS + OPTIONAL_EXCLUSIONS, ids=lambda exclusion: exclusion.id)
def test_a_filter_excuses_whom_its_exclusion_does(exclusion: Exclusion) -> None:
    """What the exclusion sets aside its filter does, too, in every form, unless a comment says that there is none."""
    platform = min(exclusion.component.platforms) if exclusion.component.platforms else None
    event = of_exclusion(exclusion)
    judged = verdict(exclusion, attrs.evolve(parse_event(event), platform=platform))
    assert judged
    assert judged.excludes, judged.failed
    base = runner.table([event])
    stranger = runner.table([changed(event, {"user.username": "alice"}), changed(event, {"user.groups": ["g"]})])
    for form in sigma.FORM_NAMES:
        text = sigma.rule_for("token-request", form=form, exclusions=[exclusion], platform=platform)
        assert bool(runner.flagged(base, text)) == (f"No filter for {exclusion.id}:" in text)
        assert 0 in runner.flagged(stranger, text)
        kind = "main" if exclusion.component.platforms or exclusion.id in MAIN else "optional"
        assert f"filter_{kind}_" in text or form != "full"
    full = sigma.rule_for("token-request", form="full", exclusions=[exclusion], platform=platform)
    assert runner.flagged(stranger, full) == {0, 1}


def test_a_name_alone_excludes_nobody() -> None:
    """Without a group or client to ask for, a short filter is narrowed to its targets, or not there."""
    eks = next(one for one in DEFAULT_EXCLUSIONS if one.id == "eks-cloud-controller-manager")
    text = sigma.rule_for("token-request", exclusions=[eks], platform="eks")
    assert all(f"            - {name}\n" in text for name in eks.component.names)
    anybody = attrs.evolve(eks, component=attrs.evolve(eks.component, names=("*",)))
    text = sigma.rule_for("token-request", exclusions=[anybody], platform="eks")
    assert "No filter for eks-cloud-controller-manager: in the short form its name would be the only proof." in text
    assert "filter_" not in text.partition("detection:")[2]


def calico(who: str, target: str) -> dict[str, Any]:
    """Return a mint by an account of Calico."""
    own = who.split("/", maxsplit=1)[0]
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{own}", "system:authenticated")
    return token_request(f"system:serviceaccount:{who.replace('/', ':')}", target, groups=groups)


def test_one_filter_for_the_variants_of_calico() -> None:
    """Each mints for Calico's own accounts and for nobody else's; other proofs are another filter."""
    excluded = [
        calico("calico-system/calico-node", "calico-system/calico-cni-plugin"),
        calico("calico-system/calico-node-windows", "calico-system/calico-cni-plugin-windows"),
        calico("kube-system/canal", "kube-system/canal"),
    ]
    reported = [
        calico("kube-system/canal", "kube-system/clusterrole-aggregation-controller"),
        calico("calico-system/calico-node", "prod/calico-node"),
        calico("prod/calico-node", "calico-system/calico-node"),
    ]
    text = rule("token-request")
    assert text.partition("detection:")[2].count("filter_optional_calico:") == 1
    assert "The filter filter_optional_calico also fits a mint by canal for the others" in text
    assert runner.flagged(runner.table([*excluded, *reported]), text) == {3, 4, 5}

    canal = next(one for one in DEFAULT_EXCLUSIONS if one.id == "canal")
    others = [one for one in DEFAULT_EXCLUSIONS if one is not canal]
    odd = changed_exclusion(canal, actor=attrs.evolve(canal.component.actor, user_agents=("canal/",)))
    text = sigma.rule_for("token-request", exclusions=[*others, odd])
    assert "filter_optional_calico_canal:" in text
    assert runner.flagged(runner.table(excluded), text) == {2}  # its client is another


MAIN = ("kubelet", "kube-controller-manager", "cloud-controller-manager", "cloud-controller-manager-user")
"""What SigmaHQ would call a main filter on every platform."""


def test_every_rule_has_a_form_or_a_reason() -> None:
    """No detector is forgotten, and none is said twice."""
    said = [form.detector for form in FORMS] + [join.detector for join in JOINS if not join.part[0]]

    assert sorted(cls.rule.id for cls in (*said, *NOT_IN_SIGMA)) == sorted(cls.rule.id for cls in (*BUILTIN, *OPTIONAL))
    for cls, why in NOT_IN_SIGMA.items():
        with pytest.raises(ConfigError, match=f"Sigma cannot express {cls.rule.id}: {why}"):
            sigma.rule_for(cls)


def documents() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every document of every rule."""
    for name in sigma.RULES:
        for document in runner.documents(rule(name)):
            yield name, document


def test_ids_never_change() -> None:
    """A SIEM knows a rule by its UUID: these were released."""
    assert str(sigma.rule_id("token-request")) == "e6f2e570-7255-5b13-8c38-0a61016e159e"
    assert str(sigma.rule_id("minted-token-used")) == "cf855efd-996a-5fe8-8986-bf40e0de2665"
    ids = [document["id"] for _, document in documents()]
    assert len(ids) == len(set(ids))


BACKENDS = {"Splunk": SplunkBackend, "Lucene": LuceneBackend, "ES|QL": ESQLBackend, "Kusto": KustoBackend}


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_backends_convert(backend: str) -> None:
    """Every rule of single events, in every form, to one query that names its fields."""
    for name, form in FORMS_OF_RULES:
        (query,) = BACKENDS[backend]().convert(runner.collection(rule(name, form)))
        assert any(word in query for word in ("serviceaccounts", "secrets", "eyJ", "validatingadmissionpolicies"))


def test_the_sizes_are_those_of_the_documentation() -> None:
    """Characters of the queries of `token-request`, short and in full."""
    page = (Path(__file__).parents[1] / "docs" / "sigma.md").read_text(encoding="utf-8")
    for form in ("short", "full"):
        for name in ("Splunk", "Lucene", "Kusto"):
            (query,) = BACKENDS[name]().convert(runner.collection(rule("token-request", form)))
            assert f" {len(query):,}" in page.replace("\n", " "), (form, name, len(query))


def test_which_backends_convert_correlations() -> None:
    """Splunk both; ES|QL only the one without aliases; Lucene and Kusto none."""
    converted = set()
    for backend, cls in BACKENDS.items():
        for name in runner.CORRELATIONS:
            try:
                (query,) = cls().convert(runner.collection(rule(name)))
            except NotImplementedError:
                continue
            assert "event_type_count" in query
            converted.add((backend, name))

    assert converted == {
        ("Splunk", "minted-token-used"),
        ("Splunk", "legacy-token-secret.filled"),
        ("ES|QL", "legacy-token-secret.filled"),
    }


def test_what_cannot_be_said_stands_in_a_comment() -> None:
    """Filters that are left out, exclusions of other platforms, and what a rule flags beyond the detector."""
    text = " ".join(rule("token-request", "strict").replace("#", " ").split())

    assert "No filter for kube-controller-manager: Sigma cannot express that the caller has no other group" in text
    assert "No filter for exclusions of other platforms, which an event does not name: eks-cloud" in text
    assert "openshift-controller-managers" not in sigma.rule_for("token-request", platform="openshift").split("#")[-1]
    for form in FORMS:
        shown = " ".join(rule(form.detector.rule.id, "full").replace("#", " ").split())
        assert all(what in shown for what in (form.wider, form.lost, *form.left_to.values()))
    for form in SHORT:
        shown = " ".join(rule(form.detector.rule.id).replace("#", " ").split())
        assert all(what in shown for what in (form.wider, form.lost, *form.left_to.values(), *form.left_out))


def write(resource: str, content: dict[str, Any], name: str = "r") -> dict[str, Any]:
    """Return the event of a role or binding that was made, at level Request; its id is its content."""
    return token_request(
        level="Request",
        auditID=json.dumps(content),
        objectRef={"resource": resource, "name": name, "apiGroup": "rbac.authorization.k8s.io"},
        requestObject=content,
        annotations=None,
    )


def role(*resources: str) -> dict[str, Any]:
    """Return the body of a role that may create these."""
    return {"rules": [{"apiGroups": [""], "resources": list(resources), "verbs": ["create"]}]}


def test_roles_that_grant_the_right() -> None:
    """A role that names the subresource, or a star, in both forms of a list; and a built-in role that is bound."""
    subjects = [{"kind": "User", "name": "bob"}]
    granting = [role("serviceaccounts/token"), role("*"), role("pods", "*/token")]
    refs = [{"kind": "ClusterRole", "name": name} for name in ("edit", "view")]
    events = [write("clusterroles", content) for content in (*granting, role("pods"))]
    events += [write("clusterrolebindings", {"roleRef": ref, "subjects": subjects}, ref["name"]) for ref in refs]
    ours = {finding.event.audit_id for finding in detect(events, detectors=["token-right-granted"])}
    elements = [{"rules": {"resources": content["rules"][0]["resources"][-1]}} for content in granting]
    values = runner.table(write("roles", content) for content in elements)

    assert [place for place, event in enumerate(events) if event["auditID"] in ours] == [0, 1, 2, 4]
    for form in sigma.FORM_NAMES:
        assert runner.flagged(runner.table(events), rule("token-right-granted", form)) == {0, 1, 2, 4}
        assert runner.flagged(values, rule("token-right-granted", form)) == {0, 1, 2}


def test_lifetimes_and_audiences() -> None:
    """Over a day, a year in disguise, and an audience asked for by name: as the detectors, at level Request."""
    asked = [
        body(seconds=86401),
        body(seconds=3607, bound={"kind": "Pod", "name": "p"}),
        body(audiences=("sts.amazonaws.com",)),
        body(),
        body(seconds=86400),
    ]
    events = [
        token_request(level="Request", requestObject=item, auditID=str(place)) for place, item in enumerate(asked)
    ]
    ours = detect(events, detectors=["token-request-long-lived", "token-request-cloud-audience"])
    base = runner.table(events)

    assert [(finding.rule.id, finding.event.audit_id) for finding in ours] == [
        ("token-request-long-lived", "0"),
        ("token-request-long-lived", "1"),
        ("token-request-cloud-audience", "2"),
    ]
    for form in sigma.FORM_NAMES:
        assert runner.flagged(base, rule("token-request-long-lived", form)) == {0, 1}
        assert runner.flagged(base, rule("token-request-cloud-audience", form)) == {2}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rule": "token-requst"}, "unknown rule 'token-requst'; did you mean 'token-request'"),
        ({"rule": "token-request", "exclusions": ["kubelt"]}, "unknown exclusion 'kubelt'"),
        ({"rule": "token-request", "platform": "mars"}, "unknown platform 'mars'"),
        ({"rule": "token-request", "form": "long"}, "unknown form 'long'; there are short, full, strict"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    """Each is an error that names it."""
    with pytest.raises(ConfigError, match=message):
        sigma.rule_for(arguments.pop("rule"), **arguments)


def test_export_names_a_file_for_each_rule() -> None:
    """None twice, one document a file: a correlation takes three; the texts are those of `rule_for`."""
    files = dict(sigma.export())

    assert len(files) == len(sigma.RULES) + 2 * len(runner.CORRELATIONS)
    assert files["kubernetes_audit_token_request.yml"] == rule("token-request")
    parts = [f"kubernetes_audit_minted_token_used_{part}.yml" for part in ("mint", "use")]
    three = [*parts, "correlation_kubernetes_audit_minted_token_used.yml"]
    assert "---\n".join(files[name] for name in three) == rule("minted-token-used")


def test_texts_of_a_site_are_written_safely() -> None:
    """A quote, a star and a control character in an exclusion are what they are, also to the parser."""
    kubelet = next(one for one in DEFAULT_EXCLUSIONS if one.id == "kubelet")
    odd = changed_exclusion(
        kubelet, id="o'dd: #", actor=attrs.evolve(kubelet.component.actor, user_agents=("a'b*", 'c\u2028\t"d\\'))
    )
    texts = [sigma.rule_for("token-request", form=form, exclusions=[odd]) for form in sigma.FORM_NAMES]
    good = [changed(KUBELET, {"userAgent": client}) for client in ("a'b*", 'c\u2028\t"d\\e')]
    bad = [changed(KUBELET, {"userAgent": client}) for client in ("a'bx", "a", 'c\u2028\t"dx')]

    for text in texts:
        assert runner.flagged(runner.table([*good, *bad]), text) == {2, 3, 4}


def test_the_command_prints_the_rules() -> None:
    """Named ones, or all, as documents of one YAML stream."""
    two = CliRunner().invoke(command, ["token-request", "token-request-uri"])
    every = CliRunner().invoke(command, [])

    assert (two.exit_code, every.exit_code) == (0, 0)
    assert two.stdout == f"{rule('token-request')}---\n{rule('token-request-uri')}"
    assert every.stdout.count("\ntitle: ") + 1 == every.stdout.count("---\n") + 1 == len(list(documents()))


def test_the_command_writes_files(tmp_path: Path) -> None:
    """A file for each rule, with the exclusions asked for."""
    arguments = ["--out", str(tmp_path / "rules"), "--platform", "aks", "--enable", "flux", "--full"]
    result = CliRunner().invoke(command, arguments)

    assert (result.exit_code, result.stdout) == (0, "")
    assert f"files written: {len(dict(sigma.export()))}" in result.stderr
    text = (tmp_path / "rules" / "kubernetes_audit_token_request.yml").read_text(encoding="utf-8")
    assert text == sigma.rule_for(
        "token-request", exclusions=(*DEFAULT_EXCLUSIONS, "flux"), platform="aks", form="full"
    )
    assert "filter_optional_flux" in text
    assert "filter_main_aks_service" in text


@pytest.mark.parametrize("arguments", [["unusual-origin"], ["nothing"], ["--enable", "nobody"]])
def test_the_command_refuses(arguments: list[str]) -> None:
    """What it cannot write is an error on standard error, and nothing is printed."""
    result = CliRunner().invoke(command, arguments)

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ")


def test_the_command_says_what_it_cannot_write(tmp_path: Path) -> None:
    """A folder below a file is an error, not a traceback."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    result = CliRunner().invoke(command, ["token-request", "--out", str(tmp_path / "file" / "rules")])

    assert result.exit_code == 2
    assert "cannot be written" in result.stderr


def test_a_command_that_reads_a_mounted_token_is_flagged() -> None:
    """As the detector reports it, at every answer."""
    path = "/api/v1/namespaces/shop/pods/web/exec?command=cat&command="
    uris = [f"{path}%2Fvar%2Frun%2Fsecrets%2Fkubernetes.io%2Fserviceaccount%2Ftoken", f"{path}%2Fetc%2Fhosts"]
    events = [request("get", "pods/exec", name="web", code=code, requestURI=uri) for uri in uris for code in (101, 403)]
    for form in sigma.FORM_NAMES:
        assert runner.flagged(runner.table(events), rule("token-read-by-exec", form)) == {0, 1}
