# SPDX-License-Identifier: Apache-2.0
"""The facts about the caller are printed once per request, whichever rules reported it and whatever they say."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from typing import Any

import pytest

from auditd import records
from builders import token_request
from k8stokendetect import Detector, Finding, Rule, Severity, detect
from k8stokendetect.commands import detect_commands
from k8stokendetect.identity import REASON
from k8stokendetect.incidents import incidents
from k8stokendetect.outputs.ecs import to_ecs
from k8stokendetect.outputs.native import to_line
from k8stokendetect.outputs.ocsf import to_ocsf
from k8stokendetect.outputs.report import to_report
from k8stokendetect.outputs.text import caller_facts, facts_of, to_text
from strategies import JWT

USER: dict[str, Any] = {
    "username": "alice",
    "groups": ["dev", "system:authenticated"],
    "extra": {"authentication.kubernetes.io/credential-id": ["X509SHA256=ab"]},
}
MINT = token_request(user=USER, impersonatedUser={"username": "bob"}, userAgent="kubectl/v1.36.2")
MINT["annotations"] = MINT["annotations"] | {REASON: "because"}
FACTS = {
    "user.username": "alice",
    "user.groups": ("system:authenticated", "dev"),
    "user.extra['authentication.kubernetes.io/credential-id'][0]": "X509SHA256=ab",
    "impersonatedUser.username": "bob",
    "sourceIPs[0]": "192.0.2.7",
    "userAgent": "kubectl/v1.36.2",
    "objectRef.namespace": "prod",
    "objectRef.name": "payments-sa",
    f"annotations['{REASON}']": "because",
}


class Quiet(Detector):
    """Reports every mint, and gives no evidence."""

    rule = Rule("acme.quiet", "Quiet", Severity.LOW)
    watches = frozenset({"serviceaccounts/token"})

    def inspect(self, event: Any, /) -> Iterator[Finding]:
        """Yield one finding."""
        yield self.finding(event, "a mint")


def quiet(record: dict[str, Any] = MINT) -> Finding:
    """Return a finding without evidence."""
    (finding,) = detect(record, detectors=[Quiet()])
    return finding


def test_each_fact_has_its_place_in_the_audit_event() -> None:
    """And its value; groups of Kubernetes' own come first."""
    assert {fact.path: fact.value for fact in caller_facts(quiet().event)} == FACTS


def test_what_was_not_logged_is_no_fact() -> None:
    """Neither is an empty text."""
    bare = token_request(user={"username": ""}, sourceIPs=[], userAgent="", objectRef={"resource": "serviceaccounts"})

    assert [fact.path for fact in caller_facts(quiet(bare).event)] == []


def test_left_out_groups_are_counted() -> None:
    """A directory gives a person hundreds."""
    (groups,) = [
        fact.value
        for fact in caller_facts(quiet(token_request(groups=tuple(map(str, range(30))))).event)
        if fact.path == "user.groups"
    ]
    assert groups[-1] == "… and 10 more"


@pytest.mark.parametrize("detector", [Quiet(), "token-request"])
def test_text_and_page_print_each_fact_once(detector: Any) -> None:
    """Also where a rule still gives it as evidence."""
    (finding,) = detect(MINT, detectors=[detector])
    page = html.unescape(to_report(incidents([finding])))

    for path in FACTS:
        assert to_text(finding).count(f"    | {path} = ") == 1
        assert page.count(f"<code>{path}: ") == 1


def test_a_value_is_shown_as_it_is_unless_it_could_steer_the_terminal() -> None:
    """Quotes and angle brackets stay, also around what was removed; escape codes and bidi controls do not."""
    name = f"o'brien \"<q>`\\{JWT}; \x1b[2J\u202e\n\u009b"
    finding = quiet(token_request(user={"username": name}))
    (shown,) = [line for line in to_text(finding).splitlines() if "user.username" in line]
    page = to_report(incidents([finding]))

    assert shown == r"""    | user.username = o'brien "<q>`\<token removed>; \x1b[2J\u202e\n\x9b  (who called)"""
    assert "<q>" not in page
    assert "&lt;q&gt;" in page
    assert not {"\x1b", "\u202e", "\u009b"} & set(page)


def test_a_sentence_says_where_a_token_was_removed_from_a_name() -> None:
    """In brackets that no shell acts on."""
    assert "[token removed] minted a token" in to_text(*detect(token_request(JWT), detectors=["token-request"]))


def test_the_second_finding_about_a_request_does_not_repeat_them() -> None:
    """They are the request's."""
    other = next(iter(detect(MINT, detectors=["token-request"])))

    assert "user.username" not in to_text(other, quiet())
    assert "user.username" not in to_text(quiet(), other)


def test_evidence_of_the_rule_stands_in_for_the_fact() -> None:
    """It says more: what it means here."""
    (target,) = detect(
        token_request("alice", "kube-system/clusterrole-aggregation-controller"),
        detectors=["token-request-privileged-target"],
    )

    (why,) = [item.why for item in facts_of(target) if item.path == "objectRef.name"]
    assert why.startswith("the service account; it may add any right to any cluster role")


def test_a_command_has_no_caller_of_the_api() -> None:
    """Its evidence names who ran it."""
    log = "\n".join(records("kubectl", "create", "token", "sa", "-n", "prod")).encode()
    (finding,) = detect_commands(log)

    assert list(facts_of(finding)) == list(finding.evidence)


def test_the_forms_for_programs_have_them_as_fields() -> None:
    """Nobody has to search a list of evidence for the caller."""
    native, ecs, (ocsf, *_) = json.loads(to_line(quiet())), to_ecs(quiet()), to_ocsf(quiet())["evidences"]

    for event in (native["event"], ecs["k8stokendetect"]["event"], to_ocsf(quiet())["unmapped"]["event"]):
        assert event["groups"] == ["system:authenticated", "dev"]
        assert (event["reason"], event["namespace"], event["name"]) == ("because", "prod", "payments-sa")
        assert (event["user"], event["impersonating"], event["used_credential"]) == ("alice", "bob", "X509SHA256=ab")
    assert ecs["user"]["name"] == "alice"
    assert ocsf["actor"]["user"]["groups"] == [{"name": "system:authenticated"}, {"name": "dev"}]
