# SPDX-License-Identifier: Apache-2.0
"""The Sigma rules: valid, convertible, and on recorded logs the same requests as the detectors, or a named superset."""

from __future__ import annotations

import copy
import functools
import json
from collections import defaultdict
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import attrs
import pytest
from click.testing import CliRunner
from sigma.backends.elasticsearch.elasticsearch_esql import ESQLBackend
from sigma.backends.elasticsearch.elasticsearch_lucene import LuceneBackend
from sigma.backends.kusto.kusto import KustoBackend
from sigma.backends.splunk.splunk import SplunkBackend
from sigma.collection import SigmaCollection
from sigma.data import mitre_attack
from sigma.validation import SigmaValidator
from sigma.validators.core import validators

import sigma_runner as runner
from builders import body, token_request
from builders import changed as changed_exclusion
from k8stokendetect import DEFAULT_EXCLUSIONS, ConfigError, Exclusion, detect, parse_event, sigma
from k8stokendetect.cli.app import sigma as command
from k8stokendetect.detectors import BUILTIN, OPTIONAL
from k8stokendetect.exclusions import OPTIONAL_EXCLUSIONS, verdict
from k8stokendetect.sigma.forms import FORMS, JOINS, NOT_IN_SIGMA
from k8stokendetect.testing import request
from recordings import METADATA, METADATA_1_27, REQUEST_RESPONSE, Request, records

RECORDINGS = {"1.36": METADATA, "bodies": REQUEST_RESPONSE, "1.27": METADATA_1_27}

MANAGER = "system:kube-controller-manager"
"""Its exclusion asks for `no other group`, which Sigma cannot express: no filter, each of its mints is reported."""

CASE = "calls to `ServiceAccounts` and `Token`: Sigma does not look at letter case"

COUNTED = "refused strangers, and components that fail as they do, which the detector counts"
WIDER: dict[str, dict[str, tuple[int, int, str]]] = {
    "1.36": {
        "token-request": (87, 24, f"the mints of {MANAGER}"),
        "token-request-uri": (130, 11, f"{COUNTED}; an account whose name begins with `token`, and {CASE}"),
        "token-request-impersonated": (10, 0, ""),
        "token-request-lookalike": (6, 0, ""),
        "token-request-privileged-target": (6, 24, f"the mints of {MANAGER}"),
        "token-request-cloud-audience": (0, 0, ""),
        "token-request-long-lived": (0, 0, ""),
        "token-request-unbound": (14, 1, "a mint for itself whose binding was not logged"),
        "token-request-denied": (58, 9, f"{COUNTED}; {CASE}"),
        "token-in-audit-log": (0, 0, ""),
        "legacy-token-secret": (2, 0, ""),
        "token-read-by-exec": (0, 0, ""),
        "audit-annotation-forged": (0, 0, ""),
        "token-right-granted": (0, 3, "bindings that the API server makes at its start"),
    },
    "bodies": {
        "token-request": (6, 24, f"the mints of {MANAGER}"),
        "token-request-uri": (7, 0, ""),
        "token-request-impersonated": (0, 0, ""),
        "token-request-lookalike": (0, 0, ""),
        "token-request-privileged-target": (0, 24, f"the mints of {MANAGER}"),
        "token-request-cloud-audience": (1, 0, ""),
        "token-request-long-lived": (0, 0, ""),
        "token-request-unbound": (2, 0, ""),
        "token-request-denied": (0, 0, ""),
        "token-in-audit-log": (1, 79, "every answer with a token, where the detector speaks once an hour"),
        "legacy-token-secret": (0, 0, ""),
        "token-read-by-exec": (0, 0, ""),
        "audit-annotation-forged": (0, 0, ""),
        "token-right-granted": (0, 0, ""),
    },
    "1.27": {
        "token-request": (82, 21, f"the mints of {MANAGER}"),
        "token-request-uri": (127, 10, f"{COUNTED}; an account whose name begins with `token`, and {CASE}"),
        "token-request-impersonated": (8, 0, ""),
        "token-request-lookalike": (6, 0, ""),
        "token-request-privileged-target": (6, 21, f"the mints of {MANAGER}"),
        "token-request-cloud-audience": (0, 0, ""),
        "token-request-long-lived": (0, 0, ""),
        "token-request-unbound": (14, 1, "a mint for itself whose binding was not logged"),
        "token-request-denied": (59, 9, f"{COUNTED}; {CASE}"),
        "token-in-audit-log": (0, 0, ""),
        "legacy-token-secret": (2, 0, ""),
        "token-read-by-exec": (0, 0, ""),
        "audit-annotation-forged": (0, 0, ""),
        "token-right-granted": (0, 3, "bindings that the API server makes at its start"),
    },
}
"""By recording and rule: how many requests the detector reports, how many more Sigma flags, and why."""

ELSEWHERE = {
    "token-request-lookalike": ("token-request", "aksService: no filter excuses it, so each of its mints is reported"),
    "legacy-token-secret": ("legacy-token-secret.filled", "a Secret whose type was not logged: only the join tells"),
}
"""What one request in the recordings needs another Sigma rule for: the rule, and why."""


@functools.cache
def reported(recording: str) -> dict[str, set[Request]]:
    """Return by rule the requests that the detectors report with the exclusions that ship."""
    found = defaultdict(set)
    for finding in detect(RECORDINGS[recording]):
        found[finding.rule.id].add(Request.of(finding))
    return found


@functools.cache
def rule(name: str) -> str:
    """Return a rule as it ships."""
    return sigma.rule_for(name)


@functools.cache
def joined(recording: str, text: str) -> frozenset[Request]:
    """Return the requests of the events that a correlation joins."""
    events = records(RECORDINGS[recording])
    return frozenset(Request.of(events[place]) for place in runner.joined(RECORDINGS[recording], text))


@pytest.mark.parametrize("name", runner.SINGLE)
@pytest.mark.parametrize("recording", RECORDINGS)
def test_sigma_flags_what_the_detector_reports(recording: str, name: str) -> None:
    """The same requests, or more for the reason that stands in the table; what is missing another rule flags."""
    path = RECORDINGS[recording]
    ours, theirs = reported(recording)[name], runner.flagged_requests(path, rule(name))
    number, more, why = WIDER[recording][name]
    other, _ = ELSEWHERE.get(name, (name, ""))
    elsewhere = (
        joined(recording, rule(other)) if other in runner.CORRELATIONS else runner.flagged_requests(path, rule(other))
    )

    assert len(ours) == number
    assert len(theirs - ours) == more
    assert bool(more) == bool(why)
    assert ours - theirs <= elsewhere
    assert len(ours - theirs) == (1 if name in ELSEWHERE and ours else 0)


def test_what_is_wider_is_what_the_table_says() -> None:
    """The mints beyond `token-request` are the controller manager's, and all of them."""
    events = {Request.of(record): record for record in records(METADATA)}
    more = runner.flagged_requests(METADATA, rule("token-request")) - reported("1.36")["token-request"]

    assert {events[request]["user"]["username"] for request in more} == {MANAGER}


@pytest.mark.parametrize("name", ["token-request", "token-request-privileged-target"])
@pytest.mark.parametrize("recording", RECORDINGS)
def test_with_the_weaker_filter_they_are_equal(recording: str, name: str) -> None:
    """A site that accepts the controller manager's filter without its unsaid proofs gets exactly the detector's."""
    text = sigma.rule_for(name, weaker=["kube-controller-manager"])

    assert runner.flagged_requests(RECORDINGS[recording], text) == reported(recording)[name]


@pytest.mark.parametrize("name", runner.SINGLE)
@pytest.mark.parametrize("recording", RECORDINGS)
def test_missing_fields_do_not_silence(recording: str, name: str) -> None:
    """A backend that leaves comparisons with missing fields unknown, as ES|QL does, flags the same."""
    path = RECORDINGS[recording]

    assert runner.flagged_requests(path, rule(name), bare=True) == runner.flagged_requests(path, rule(name))


def test_a_mint_joined_with_its_uses() -> None:
    """The correlation joins every use that the detector reports, and with the weaker filter no other, with its mint."""
    uses, mints = reported("1.36")["minted-token-used"], reported("1.36")["token-request"]
    weaker = sigma.rule_for("minted-token-used", weaker=["kube-controller-manager"])

    assert len(uses) == 47
    assert uses < joined("1.36", rule("minted-token-used"))
    assert uses <= joined("1.36", weaker) <= uses | mints


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

    assert not runner.flagged(runner.table([KUBELET, bound]), rule("token-request"))
    assert not list(detect([KUBELET, bound], detectors=["token-request"]))


@pytest.mark.parametrize("bare", [False, True])
def test_each_proof_bears_weight(bare: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """Change one fact and it is reported, by Sigma as by the library, with missing fields false or unknown."""
    events = [changed(KUBELET, change) for change in CHANGES.values()]
    found = runner.flagged(runner.table(events), rule("token-request"), bare=bare)

    assert [name for place, name in enumerate(CHANGES) if place not in found] == []


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
        userAgent=f"{next(iter(actor.user_agents), '')}x",
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
    """What the exclusion sets aside its filter does, too, where a weaker one was asked for; else it is reported."""
    platform = min(exclusion.component.platforms) if exclusion.component.platforms else None
    event = of_exclusion(exclusion)
    judged = verdict(exclusion, attrs.evolve(parse_event(event), platform=platform))
    assert judged
    assert judged.excludes, judged.failed
    text = sigma.rule_for("token-request", exclusions=[exclusion], platform=platform)
    weaker = sigma.rule_for("token-request", exclusions=[exclusion], platform=platform, weaker=[exclusion.id])
    base = runner.table([event])

    assert not runner.flagged(base, weaker)
    assert bool(runner.flagged(base, text)) == (f"No filter for {exclusion.id}:" in text)
    stranger = runner.table([changed(event, {"user.username": "alice"}), changed(event, {"user.groups": ["g"]})])
    assert runner.flagged(stranger, weaker) == {0, 1}


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


def test_the_metadata_is_the_detectors_own() -> None:
    """Title, text, level, tags, references and false positives come from the rule; nothing is written twice."""
    by_id = {cls.rule.id: cls.rule for cls in BUILTIN}
    for name, document in documents():
        assert document["status"] == "experimental"
        assert (document["author"], document["date"]) == ("k8stokendetect", date(2026, 11, 25))
        assert document.get("logsource", {"product": "kubernetes", "service": "audit"}) == {
            "product": "kubernetes",
            "service": "audit",
        }
        if name not in by_id or document.get("level") == "informational":
            continue
        own = by_id[name]
        assert document["title"] == own.title
        assert document["id"] == str(sigma.rule_id(name))
        assert document["description"].split() == own.description.split()
        assert document["level"] == str(own.severity)
        assert document["references"] == list(own.references)
        assert document["tags"] == [f"attack.{tag.lower()}" for tag in (*own.tactics, *own.techniques)]
        assert [text.lower() for text in document["falsepositives"]] == [text.lower() for text in own.false_positives]


def test_ids_never_change() -> None:
    """A SIEM knows a rule by its UUID: these were released."""
    assert str(sigma.rule_id("token-request")) == "e6f2e570-7255-5b13-8c38-0a61016e159e"
    assert str(sigma.rule_id("minted-token-used")) == "cf855efd-996a-5fe8-8986-bf40e0de2665"
    ids = [document["id"] for _, document in documents()]
    assert len(ids) == len(set(ids))


TECHNIQUES = "T1078.004 T1098 T1098.006 T1550.001 T1552.001 T1552.007".split()
TACTICS = {
    "TA0003": "persistence",
    "TA0004": "privilege-escalation",
    "TA0006": "credential-access",
    "TA0008": "lateral-movement",
}
"""As attack.mitre.org has them; pySigma would fetch all of ATT&CK over the network."""


@pytest.fixture
def _attack(tmp_path: Path) -> Iterator[None]:
    """Give pySigma the ATT&CK objects above as a STIX bundle."""

    def item(kind: str, name: str, **more: str) -> dict[str, Any]:
        return {"type": kind, "name": name, "external_references": [_reference(name)], **more}

    def _reference(name: str) -> dict[str, str]:
        return {"source_name": "mitre-attack", "external_id": name}

    objects = [item("attack-pattern", name) for name in TECHNIQUES]
    objects += [item("x-mitre-tactic", name, x_mitre_shortname=short) for name, short in TACTICS.items()]
    file = tmp_path / "attack.json"
    file.write_text(json.dumps({"objects": objects}), encoding="utf-8")
    mitre_attack.set_cache_dir(str(tmp_path / "cache"))
    mitre_attack.set_url(str(file))
    yield
    mitre_attack._get_cache().close()  # noqa: SLF001 - there is no other way to end its connection


@pytest.mark.usefixtures("_attack")
def test_the_validators_have_nothing_to_say() -> None:
    """All that pySigma ships but D3FEND's, which downloads a list to judge tags that no rule has."""
    chosen = [validator for name, validator in validators.items() if name != "d3_fendtag"]
    rules = SigmaCollection.merge([SigmaCollection.from_yaml(rule(name)) for name in sigma.RULES])

    assert len(chosen) == len(validators) - 1 >= 25
    judge: Any = SigmaValidator(chosen)
    assert [str(issue) for issue in judge.validate_rules(rules.rules)] == []
    assert not rules.errors


BACKENDS = {"Splunk": SplunkBackend, "Lucene": LuceneBackend, "ES|QL": ESQLBackend, "Kusto": KustoBackend}


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_backends_convert(backend: str) -> None:
    """Every rule of single events to one query that names its fields."""
    for name in runner.SINGLE:
        (query,) = BACKENDS[backend]().convert(runner.collection(rule(name)))
        assert any(word in query for word in ("serviceaccounts", "secrets", "eyJ", "validatingadmissionpolicies"))


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
    text = " ".join(rule("token-request").replace("#", " ").split())

    assert "No filter for kube-controller-manager: Sigma cannot express that the caller has no other group" in text
    assert "No filter for exclusions of other platforms, which an event does not name: eks-cloud" in text
    assert "openshift-controller-managers" not in sigma.rule_for("token-request", platform="openshift").split("#")[-1]
    for form in FORMS:
        shown = " ".join(rule(form.detector.rule.id).replace("#", " ").split())
        assert all(what in shown for what in (form.wider, form.lost, *form.left_to.values()))


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
    assert runner.flagged(runner.table(events), rule("token-right-granted")) == {0, 1, 2, 4}
    assert runner.flagged(values, rule("token-right-granted")) == {0, 1, 2}


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
    assert runner.flagged(base, rule("token-request-long-lived")) == {0, 1}
    assert runner.flagged(base, rule("token-request-cloud-audience")) == {2}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rule": "token-requst"}, "unknown rule 'token-requst'; did you mean 'token-request'"),
        ({"rule": "token-request", "exclusions": ["kubelt"]}, "unknown exclusion 'kubelt'"),
        ({"rule": "token-request", "platform": "mars"}, "unknown platform 'mars'"),
        ({"rule": "token-request", "weaker": ["flux"]}, "weaker: 'flux' is not one of the exclusions"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    """Each is an error that names it."""
    with pytest.raises(ConfigError, match=message):
        sigma.rule_for(arguments.pop("rule"), **arguments)


def test_export_names_a_file_for_each_rule() -> None:
    """As SigmaHQ names its own, none twice; the texts are those of `rule_for`."""
    files = dict(sigma.export())

    assert len(files) == len(sigma.RULES)
    assert files["kubernetes_audit_token_request.yml"] == rule("token-request")
    assert "kubernetes_audit_legacy_token_secret_filled.yml" in files


def test_texts_of_a_site_are_written_safely() -> None:
    """A quote, a star and a control character in an exclusion are what they are, also to the parser."""
    kubelet = next(one for one in DEFAULT_EXCLUSIONS if one.id == "kubelet")
    odd = changed_exclusion(
        kubelet, id="o'dd: #", actor=attrs.evolve(kubelet.component.actor, user_agents=("a'b*", 'c\u2028\t"d\\'))
    )
    text = sigma.rule_for("token-request", exclusions=[odd])
    good = [changed(KUBELET, {"userAgent": client}) for client in ("a'b*", 'c\u2028\t"d\\e')]
    bad = [changed(KUBELET, {"userAgent": client}) for client in ("a'bx", "a", 'c\u2028\t"dx')]

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
    arguments = ["--out", str(tmp_path / "rules"), "--platform", "aks", "--enable", "flux", "--weaker", "aks-service"]
    result = CliRunner().invoke(command, arguments)

    assert (result.exit_code, result.stdout) == (0, "")
    assert f"rules written: {len(sigma.RULES)}" in result.stderr
    text = (tmp_path / "rules" / "kubernetes_audit_token_request.yml").read_text(encoding="utf-8")
    assert text == sigma.rule_for(
        "token-request", exclusions=(*DEFAULT_EXCLUSIONS, "flux"), platform="aks", weaker=["aks-service"]
    )
    assert "filter_main_flux" in text
    assert "filter_main_aks_service" in text


@pytest.mark.parametrize("arguments", [["unusual-origin"], ["nothing"], ["--enable", "nobody"], ["--weaker", "flux"]])
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
    assert runner.flagged(runner.table(events), rule("token-read-by-exec")) == {0, 1}
