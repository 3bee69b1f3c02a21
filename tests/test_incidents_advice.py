# SPDX-License-Identifier: Apache-2.0
"""What an incident advises: which command ends which token, whose right to take away, what to look after."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from builders import body, token_request
from k8stokendetect import DEFAULT_EXCLUSIONS, Detector, Finding, Rule, Severity, detect
from k8stokendetect.incidents import Incident, alerts, incidents
from k8stokendetect.outputs.ecs import to_ecs_line
from k8stokendetect.outputs.native import to_line
from k8stokendetect.outputs.ocsf import to_ocsf_line
from k8stokendetect.outputs.report import to_report
from k8stokendetect.outputs.text import to_text
from k8stokendetect.outputs.tree import to_tree
from k8stokendetect.testing import request, service_account_user, use_of, user_of
from k8stokendetect.words import named

REASON = "authorization.k8s.io/reason"
RECREATE = (
    "End every token of prod/payments-sa, then restart its pods: "
    "kubectl -n prod get serviceaccount payments-sa -o yaml | kubectl replace --force -f -"
)


def advice(*events: dict[str, Any], **options: Any) -> tuple[str, ...]:
    """Return the advice of the only incident that is found in some events."""
    (incident,) = incidents(detect(list(events), **options))
    return tuple(map(str, incident.advice))


def bound(kind: str, name: str = "web-1", **fields: Any) -> dict[str, Any]:
    """Return a mint whose token ends with an object; its body was logged."""
    reference = {"kind": kind, "apiVersion": "v1", "name": name, "uid": "u"}
    return token_request(**{"level": "Request", "requestObject": body(bound=reference)} | fields)


def allowed_by(binding: str, name: str, role: str = "minter") -> dict[str, Any]:
    """Return a mint with the API server's reason to allow it."""
    mint = token_request()
    reason = f'RBAC: allowed by {binding} {json.dumps(name)} of ClusterRole "{role}" to User "alice"'
    return mint | {"annotations": mint["annotations"] | {REASON: reason}}


@pytest.mark.parametrize(
    ("kind", "command"),
    [
        ("Pod", "kubectl -n prod delete pod web-1"),
        ("Secret", "kubectl -n prod delete secret web-1"),
        ("Node", "kubectl delete node web-1"),
    ],
)
def test_a_bound_token_ends_with_its_object(kind: str, command: str) -> None:
    """The binding stands in the request's body; a Node is in no namespace."""
    assert advice(bound(kind)) == (f"End the token of prod/payments-sa that is bound to {kind} web-1: {command}",)


@pytest.mark.parametrize(
    "mint",
    [
        token_request(),
        token_request(level="Request", requestObject=body()),
        bound("Deployment"),
        bound("Pod", name=""),
    ],
    ids=["body not logged", "unbound", "bound to another kind", "bound to no name"],
)
def test_any_other_token_ends_with_its_service_account(mint: dict[str, Any]) -> None:
    """Replacing the account keeps its labels and its cloud identity."""
    assert advice(mint) == (RECREATE,)


def test_the_account_default_is_only_deleted() -> None:
    """The controller manager makes it anew."""
    assert advice(token_request(target="prod/default")) == (
        "End every token of prod/default, then restart its pods: kubectl -n prod delete serviceaccount default",
    )


def test_each_bound_token_of_an_account_has_its_command() -> None:
    """Two tokens, two objects."""
    second = bound("Secret", "s1", auditID="2", issued="JTI=2", requestReceivedTimestamp="2026-11-23T21:43:46Z")

    assert advice(bound("Pod"), second) == (
        "End the token of prod/payments-sa that is bound to Pod web-1: kubectl -n prod delete pod web-1",
        "End the token of prod/payments-sa that is bound to Secret s1: kubectl -n prod delete secret s1",
    )


def test_one_unbound_token_of_an_account_makes_the_objects_unimportant() -> None:
    """Recreating the account ends the bound ones, too."""
    unbound = token_request(auditID="2", issued="JTI=2", requestReceivedTimestamp="2026-11-23T21:43:46Z")

    assert advice(bound("Pod"), unbound) == (RECREATE,)


def test_every_account_of_a_chain_has_its_command() -> None:
    """A token lives on when the one it was minted with ends."""
    first = bound("Secret", "s1")
    second = token_request(
        target="prod/reporter",
        user=user_of(first),
        auditID="2",
        issued="JTI=2",
        requestReceivedTimestamp="2026-11-23T21:44:45Z",
    )

    assert advice(first, second) == (
        "End the token of prod/payments-sa that is bound to Secret s1: kubectl -n prod delete secret s1",
        RECREATE.replace("payments-sa", "reporter"),
    )


@pytest.mark.parametrize(
    "parts",
    [
        {"namespace": "prod"},
        {"name": "payments-sa"},
        {},
    ],
    ids=["no name", "no namespace", "neither"],
)
def test_a_token_of_an_account_that_was_not_logged_is_to_be_found(parts: dict[str, str]) -> None:
    """The answer's annotation says that one was issued."""
    nameless = token_request(objectRef={"resource": "serviceaccounts", "subresource": "token", **parts}, issued="JTI=1")

    assert advice(nameless) == ("Find the service account whose token is JTI=1: the log does not name it.",)


@pytest.mark.parametrize(
    "refused",
    [token_request(code=403, issued=None), bound("Pod", code=403, issued=None)],
    ids=["at level Metadata", "bound to a pod"],
)
def test_where_no_token_was_issued_there_is_none_to_end(refused: dict[str, Any]) -> None:
    """Whoever asked for it is named."""
    assert advice(refused) == ("Ask whether this was meant: alice. No token is known to have been issued.",)


def test_a_secret_for_a_token_is_asked_about() -> None:
    """It was not issued through the TokenRequest API, so no service account is to be recreated."""
    secret = request(
        "create",
        "secrets",
        name="builder-legacy",
        level="Request",
        requestObject={"kind": "Secret", "apiVersion": "v1", "type": "kubernetes.io/service-account-token"},
        annotations={},
    )

    assert advice(secret) == (
        "Ask whether this was meant: alice. No token is known to have been issued.",
        "Check and undo what was changed: created secret prod/builder-legacy.",
    )


def test_the_right_to_mint_comes_before_the_token() -> None:
    """Whoever keeps it has a new token as soon as the old one is ended."""
    review, end = advice(allowed_by("ClusterRoleBinding", "minters"))

    assert review.endswith("If nobody: kubectl delete clusterrolebinding minters")
    assert end == RECREATE


@pytest.mark.parametrize(
    ("binding", "name", "command"),
    [
        ("ClusterRoleBinding", "minters", ["kubectl", "delete", "clusterrolebinding", "minters"]),
        ("RoleBinding", "minters/dev", ["kubectl", "-n", "dev", "delete", "rolebinding", "minters"]),
        ("ClusterRoleBinding", "a;rm -rf $(x)", ["kubectl", "delete", "clusterrolebinding", "a;rm -rf $(x)"]),
        ("ClusterRoleBinding", "--all", ["kubectl", "delete", "clusterrolebinding", "--", "--all"]),
        ("ClusterRoleBinding", "a'\"b\n", ["kubectl", "delete", "clusterrolebinding", "a'\"b\n"]),
    ],
)
def test_the_binding_that_gave_the_right_is_named_and_no_name_leaves_its_quotes(
    binding: str, name: str, command: list[str]
) -> None:
    """RBAC names may hold anything but `/` and `%`; pasted into a shell each is one word, and no option."""
    review = advice(allowed_by(binding, name))[0]

    shown = named("/".join(reversed(name.split("/"))))
    assert review.startswith(f"Review who needs it: {binding} {shown} gave user alice the role minter. ")
    assert shlex.split(review.partition(". If nobody: ")[2]) == command


@pytest.mark.parametrize("name", ["-n", "--all", "a; rm -rf /", "$(x)", "a'b"])
def test_no_name_of_an_object_leaves_its_quotes(name: str) -> None:
    """The caller wrote it."""
    (end,) = advice(bound("Pod", name))
    option = ["--"] if name.startswith("-") else []

    assert shlex.split(end.rpartition(": kubectl ")[2]) == ["-n", "prod", "delete", "pod", *option, name]


@pytest.mark.parametrize("name", ["cluster-admin", "system:node"])
def test_a_binding_of_kubernetes_itself_is_never_to_be_deleted(name: str) -> None:
    """Whoever runs that locks everybody out."""
    review = advice(allowed_by("ClusterRoleBinding", name))[0]

    assert "belongs to Kubernetes" in review
    assert "kubectl" not in review


def test_the_binding_of_the_impersonated_is_left_alone() -> None:
    """The reason of an impersonated request names the victim's binding."""
    mint = allowed_by("ClusterRoleBinding", "minters")
    victim, attacker = mint["user"], {"username": "bob", "groups": ["system:authenticated"]}
    given = advice(mint | {"user": attacker, "impersonatedUser": victim})

    assert given == (RECREATE, "Take from bob the right to impersonate alice.")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "RBAC: allowed by",
        'RBAC: allowed by RoleBinding "\\q/a" of Role "b" to User "c"',
        "RBAC: clusterrole not found",
    ],
)
def test_a_reason_of_another_form_gives_no_advice(text: str) -> None:
    """Other authorizers write what they like."""
    mint = token_request()

    assert advice(mint | {"annotations": mint["annotations"] | {REASON: text}}) == (RECREATE,)


def test_what_the_tokens_did_is_to_be_undone() -> None:
    """Reads of secrets and changes, as far as they worked; asking what one may do is no change."""
    mint = token_request()
    acts = [
        ("list", "secrets", None, 200),
        ("patch", "clusterroles", "x", 200),
        ("delete", "pods", "b", 403),
        ("create", "selfsubjectrulesreviews", None, 201),
        ("get", "pods", "b", 200),
    ]
    uses = [
        use_of(mint, verb, resource, name=name, code=code, time=f"2026-11-23T21:44:0{number}.000000Z")
        for number, (verb, resource, name, code) in enumerate(acts)
    ]

    assert advice(mint, *uses)[1:] == (
        "Rotate the secrets that were read: the secrets in prod.",
        "Check and undo what was changed: changed clusterrole prod/x.",
    )


def test_a_client_certificate_cannot_be_revoked() -> None:
    """Kubernetes has no list of revoked ones."""
    user = {
        "username": "alice",
        "groups": ["system:authenticated"],
        "extra": {"authentication.kubernetes.io/credential-id": ["X509SHA256=ab"]},
    }
    end, certificate = advice(token_request(user=user))

    assert end == RECREATE
    assert certificate.startswith("The client certificate of alice cannot be revoked")


CERTIFICATE = (
    "The client certificate of alice cannot be revoked. If it was stolen, remove the bindings of its user and groups. "
    "Nodes and system:masters have rights without bindings: only a new CA ends those."
)


@pytest.mark.parametrize(
    ("severity", "code", "expected"),
    [(Severity.MEDIUM, 403, False), (Severity.HIGH, 403, True), (Severity.MEDIUM, 201, True)],
    ids=["medium, minted nothing", "high", "minted"],
)
def test_a_certificate_is_spoken_of_where_it_matters(severity: Severity, code: int, *, expected: bool) -> None:
    """Of a bad incident, or of a holder who minted."""
    user = {"username": "alice", "extra": {"authentication.kubernetes.io/credential-id": ["X509SHA256=ab"]}}
    mint = token_request(user=user, code=code, issued="JTI=1" if code == 201 else None)

    assert (CERTIFICATE in advice(mint, detectors=[quiet(severity)])) is expected


@pytest.mark.parametrize("subject", ['Group "devs"', 'User "alice"'])
def test_whoever_takes_a_right_from_a_group_is_told_whom_it_hits(subject: str) -> None:
    """The binding is not the caller's alone."""
    mint = token_request()
    reason = f'RBAC: allowed by RoleBinding "minters/prod" of Role "minter" to {subject}'
    review = advice(mint | {"annotations": mint["annotations"] | {REASON: reason}})[0]

    assert ("Without it, everybody in the group loses the right. If nobody: " in review) is ("Group" in subject)


def read_by_exec(code: int = 101, name: str | None = "web-1") -> dict[str, Any]:
    """Return an exec that reads the token mounted in a pod."""
    mounted = "/var/run/secrets/kubernetes.io/serviceaccount/token"
    uri = f"/api/v1/namespaces/shop/pods/{name}/exec?command=cat&command={mounted}"
    return request("get", "pods/exec", namespace="shop", name=name, requestURI=uri, code=code, annotations={})


def test_a_token_that_a_command_read_ends_with_its_pod() -> None:
    """Nothing was minted, but a token is gone."""
    assert advice(read_by_exec()) == (
        "Ask whether this was meant: alice. A mounted token was read: that of pod shop/web-1.",
        "End the token that was read in pod shop/web-1, by deleting the pod: kubectl -n shop delete pod web-1",
    )


def test_a_command_that_was_refused_read_nothing() -> None:
    """There is no token to end."""
    assert advice(read_by_exec(403)) == ("Ask whether this was meant: alice. No token is known to have been issued.",)


def test_a_command_in_a_pod_whose_name_was_not_logged_has_no_command() -> None:
    """A command without a name would be wrong."""
    assert advice(read_by_exec(name=None))[1:] == (
        "End the token that was read in a pod in shop: it ends when the pod is deleted.",
    )


def test_a_command_that_only_the_use_of_its_token_tells_of_is_ended_too() -> None:
    """Whoever looks at some of the findings only still learns of the pod."""
    user = service_account_user("shop/web", "JTI=1", pod="web-1")
    used = request("list", "secrets", namespace="shop", user=user, time="2026-11-23T22:00:00Z")
    both = detect([read_by_exec(), used], detectors=["token-read-by-exec", "read-token-used"])
    found = [one for one in both if one.rule.id == "read-token-used"]
    (incident,) = incidents(found)

    assert "kubectl -n shop delete pod web-1" in [step.command for step in incident.advice]


def of_recording() -> list[Incident]:
    """Return the incidents of a real cluster's node."""
    return incidents(detect(Path(__file__).parent / "data" / "real-node.log.gz"))


def test_every_incident_of_the_recording_ends_the_tokens_that_commands_read() -> None:
    """Also where others were minted meanwhile."""
    ends = {step.command for one in of_recording() for step in one.advice if "that was read in" in step.text}

    assert ends == {
        "kubectl -n platform delete pod operator-6bdcb85766-5r2m2",
        "kubectl -n shop delete pod web-76b9c4cc9b-7z65r",
    }


def test_what_is_informational_is_to_be_checked_and_no_more() -> None:
    """A renewed certificate and a kubelet that came too late: whoever ends a token for it harms the cluster."""
    found = [one for one in of_recording() if one.severity is Severity.INFORMATIONAL]

    assert all(len(one.advice) == 1 and not one.advice[0].command for one in found)
    assert {one.advice[0].text.partition(" whether ")[2].partition(".")[0] for one in found} == {
        "the certificate was renewed at that time",
        "the pod or service account it asked for had just been deleted",
    }


def test_an_informational_rule_of_ones_own_asks_whether_it_was_meant() -> None:
    """Nothing else is known of it."""
    (check,) = advice(token_request(), detectors=[quiet(Severity.INFORMATIONAL)])

    assert check.startswith("Check for alice whether this was meant. If so, there is nothing else to do.")


NOTORIOUS = bound(
    "Secret",
    "s1",
    target="kube-system/clusterrole-aggregation-controller",
    query="?x=1",
    requestObject=body(
        seconds=200_000,
        audiences=("sts.amazonaws.com",),
        bound={"kind": "Secret", "apiVersion": "v1", "name": "s1", "uid": "u"},
    ),
    annotations=allowed_by("ClusterRoleBinding", "minters")["annotations"],
)
"""A mint that one rule reports for its target, others for its URI, its lifetime and its audience."""

ITS_RULES = [
    "token-request",
    "token-request-cloud-audience",
    "token-request-long-lived",
    "token-request-privileged-target",
    "token-request-uri",
]


class Quiet(Detector):
    """Reports every mint, and gives no evidence."""

    rule = Rule("acme.quiet", "Quiet", Severity.LOW)
    watches = frozenset({"serviceaccounts/token"})

    def inspect(self, event: Any, /) -> Iterator[Finding]:
        """Yield one finding."""
        yield self.finding(event, "a mint")


def quiet(severity: Severity) -> Detector:
    """Return a detector of this severity."""

    class Other(Quiet):
        rule = Rule("acme.quiet", "Quiet", severity)

    return Other()


def test_several_rules_report_one_notorious_mint() -> None:
    """So that their advice can be compared."""
    assert sorted({finding.rule.id for finding in detect(NOTORIOUS)}) == ITS_RULES


def test_the_rules_together_advise_what_the_request_asks_for() -> None:
    """The binding that gave the right, and the Secret whose end is the token's."""
    review, end = advice(NOTORIOUS)

    assert review.endswith("If nobody: kubectl delete clusterrolebinding minters")
    assert end.endswith("is bound to Secret s1: kubectl -n kube-system delete secret s1")


def test_the_same_request_has_the_same_advice_whichever_rule_reports_it() -> None:
    """The advice is about what happened; an exclusion of one rule changes no command."""
    expected = dict.fromkeys(ITS_RULES, advice(NOTORIOUS))

    assert {rule: advice(NOTORIOUS, detectors=[rule]) for rule in ITS_RULES} == expected


def test_a_detector_without_evidence_has_the_same_advice() -> None:
    """What a detector of one's own leaves out of its evidence is in the event all the same."""
    assert advice(NOTORIOUS, detectors=[Quiet()]) == advice(NOTORIOUS)


TRUST = Path(__file__).parent / "data" / "trust"


@pytest.mark.parametrize("name", ["k2-secret-generateName.log", "k3-secret-server-side-apply.log"])
def test_who_only_shows_what_somebody_did_is_no_suspect(name: str) -> None:
    """The token controller fills the Secret that mallory made."""
    (incident,) = incidents(detect(TRUST / name))
    assert incident.actors == ("mallory",)
    assert not any("kube-controller-manager" in str(step) for step in incident.advice)
    assert any(str(step).startswith("Check and undo what was changed: ") for step in incident.advice)


def test_policies_that_forge_annotations_are_to_be_undone() -> None:
    """They are what the advice is about, not what the cluster's own controllers do meanwhile."""
    (incident,) = incidents(detect(TRUST / "o1-vap-forges-annotations.log.gz"))
    assert incident.actors == ("kubernetes-admin",)
    assert any(
        "created validatingadmissionpolicy authentication.kubernetes.io" in str(step) for step in incident.advice
    )


@pytest.mark.parametrize(
    ("name", "exclusion"),
    [("f1-eso-enabled.log", "external-secrets"), ("20-secrets-store-aws-provider.log", "aws-secrets-store")],
)
def test_a_known_component_is_named_with_its_exclusion_and_nothing_destroyed(name: str, exclusion: str) -> None:
    """It is not critical either; with the exclusion nothing is left."""
    (incident,) = incidents(detect(TRUST / name))
    assert incident.severity < Severity.CRITICAL
    (step,) = incident.advice
    assert f"`--enable {exclusion}`." in step.text
    assert not step.command
    assert not list(detect(TRUST / name, exclusions=[*DEFAULT_EXCLUSIONS, exclusion]))


def test_a_known_components_token_that_is_used_elsewhere_is_an_attackers() -> None:
    """Then its account's tokens have to go, and it is critical."""
    records = [json.loads(line) for line in (TRUST / "f1-eso-enabled.log").read_text().splitlines()]
    moved = [one | {"sourceIPs": ["203.0.113.9"]} if one["verb"] == "get" else one for one in records]
    (incident,) = incidents(detect(moved))
    assert incident.severity == Severity.CRITICAL
    assert any(str(step).startswith("End every token of shop/shop-app") for step in incident.advice)
    assert any(str(step).startswith("Rotate the secrets") for step in incident.advice)


def test_a_known_component_is_named_in_every_output_once_for_each_incident() -> None:
    """However many mints it made; the forms for programs have a field for it, a page repeats it in the evidence."""
    (incident,) = incidents(detect(TRUST / "f1-eso-enabled.log"))
    mints = [finding for finding in incident.findings if finding.rule.id == "token-request"]
    sentence = "This fits `external-secrets`; if you run it: `--enable external-secrets`."

    assert incident.enable == ("external-secrets",)
    assert incident.to_dict()["enable"] == ["external-secrets"]
    shown = sentence.replace("`", "").replace("; ", " – ")  # noqa: RUF001 - nothing in the tree is run by a shell
    assert " ".join(to_tree(incident).split()).count(shown) == incident._repr_html_().count(sentence) == 1
    assert sentence in to_report([incident])
    assert [alert.enable for alert in alerts(mints)] == ["external-secrets"] * len(mints)
    for finding in mints:
        assert sentence in to_text(finding)
        for line in (to_line(finding), to_ecs_line(finding), to_ocsf_line(finding)):
            assert '"enable":"external-secrets"' in line
