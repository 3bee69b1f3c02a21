# SPDX-License-Identifier: Apache-2.0
"""What the library must show on the recorded attacks; expected numbers come from joining the labels."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from k8stokendetect import DEFAULT_EXCLUSIONS, Finding, Severity, Tally, detect, read
from k8stokendetect.outputs.native import to_line
from k8stokendetect.outputs.text import to_text
from recordings import (
    METADATA,
    METADATA_1_27,
    REQUEST_RESPONSE,
    WEBHOOK,
    Request,
    labelled_token_requests,
    records,
    requests,
)

OPERATORS = ("external-secrets", "cert-manager")


def mints(path: Path) -> dict[Request, dict[str, Any]]:
    """Return the requests that really got a token, with their labels."""
    return {request: label for request, label in labelled_token_requests(path).items() if label["kind"] == "mint-ok"}


def is_system(label: dict[str, Any]) -> bool:
    """Tell the laboratory's system components from everybody else; only for requests labelled benign."""
    assert not label["malicious"]
    user: str = label["user"]
    return user.startswith(("system:node:", "system:kube-controller-manager")) or user.endswith(
        ":kube-system:calico-node"
    )


def expected_reports(path: Path) -> set[Request]:
    """Return the mints to report: all malicious ones, and the benign ones by no system component."""
    return {request for request, label in mints(path).items() if label["malicious"] or not is_system(label)}


def found(path: Path, rule: str, **options: Any) -> list[Finding]:
    """Run one rule."""
    return list(detect(path, detectors=[rule], **options))


def test_every_malicious_mint_and_every_honest_non_system_one_is_reported_once() -> None:
    """76 malicious and 11 other mints: 87 findings, no two for one request."""
    reported = requests(found(METADATA, "token-request"))

    assert Counter(dict.fromkeys(expected_reports(METADATA), 1)) == reported
    assert Counter(mints(METADATA)[request]["malicious"] for request in reported) == {True: 76, False: 11}
    assert Counter(label["user"] for request in reported if not (label := mints(METADATA)[request])["malicious"]) == {
        "kubernetes-admin": 3,
        "system:serviceaccount:external-secrets:external-secrets": 4,
        "system:serviceaccount:cert-manager:cert-manager": 4,
    }


def test_what_is_set_aside_is_exactly_the_system_components() -> None:
    """177 are set aside, each by the exclusion of its own identity."""
    tally = Tally()
    kept = [f for f in found(METADATA, "token-request", keep_excluded=True, tally=tally) if f.excluded_by]

    assert set(mints(METADATA)) - expected_reports(METADATA) == set(requests(kept))
    assert tally.excluded == {"kubelet": 149, "kube-controller-manager": 24, "calico-node": 4}
    assert tally.excluded == Counter(finding.excluded_by for finding in kept)
    assert (tally.events, tally.findings["token-request"], tally.excluded.total()) == (6758, 87, 177)


def test_two_operators_switched_on_leave_79() -> None:
    """Each operator is one name to switch on."""
    reported = requests(found(METADATA, "token-request", exclusions=(*DEFAULT_EXCLUSIONS, *OPERATORS)))
    operators = {
        request
        for request, label in mints(METADATA).items()
        if label["user"] in {f"system:serviceaccount:{name}:{name}" for name in OPERATORS}
    }

    assert expected_reports(METADATA) - operators == set(reported)
    assert reported.total() == 79


def test_failed_attempts_give_no_token_request() -> None:
    """Nothing but an issued token is one: not a 401, 403, 404, 405, 409 or 422, whatever the decision annotation."""
    failed = set(labelled_token_requests(METADATA)) - set(mints(METADATA))
    reported = requests(found(METADATA, "token-request", exclusions=()))

    assert len(failed) == 74
    assert not failed & set(reported)
    assert set(mints(METADATA)) == set(reported)


def odd_kind(label: dict[str, Any]) -> str | None:
    """Say from the scenario's own words what the log shows of a mint of scenario 11; None when nothing."""
    why, raw = label["why"], label["why"].startswith("kubectl create --raw")
    kinds = {
        "percent-encoded": "percent-encoded" in why,
        "trailing slash": "trailing slash" in why,
        "dryRun": "dryRun" in why,  # kubectl --raw keeps the query but normalises the path
        "unknown query parameter": "query unknown" in why,
        "empty query": "empty query" in why,
    }
    return next((kind for kind, holds in kinds.items() if holds and not (raw and kind == "percent-encoded")), None)


def test_odd_uris_of_the_evasion_scenario() -> None:
    """15 of 21 mints show an odd URI: medium, and said why; the other 6 are low for their namespace."""
    evasions = {r: label for r, label in mints(METADATA).items() if label["scenario"] == "11-evasion-paths"}
    findings = {Request.of(finding): finding for finding in found(METADATA, "token-request-uri")}
    kinds = Counter(odd_kind(label) for label in evasions.values())

    assert len(evasions) == 21
    assert kinds == {
        "percent-encoded": 8,
        "trailing slash": 2,
        "dryRun": 3,
        "unknown query parameter": 1,
        "empty query": 1,
        None: 6,
    }
    for request, label in evasions.items():
        kind, finding = odd_kind(label), findings[request]
        assert (Severity.MEDIUM if kind else Severity.LOW) == finding.severity
        assert (kind or "") in finding.summary
        assert ("odd URI" in finding.summary) is (kind is not None)


def test_every_answered_call_to_a_non_standard_target_is_seen_by_the_uri_rule() -> None:
    """Also the refused ones: one finding a request, though a watch is logged at two stages.

    Strangers, and nodes that are refused as nodes often are, are left to token-request-denied.
    """
    standard = {"kube-system/clusterrole-aggregation-controller", "kube-system/generic-garbage-collector"}
    calls = labelled_token_requests(METADATA)
    reported = requests(found(METADATA, "token-request-uri", exclusions=()))
    elsewhere = {
        request
        for request, label in calls.items()
        if not target_of(label).startswith(("kube-system/", "default/"))
        and not (label["kind"] == "mint-unauthenticated" or label["user"] == "system:anonymous")
        and not is_left_to_another(label)
    }

    assert elsewhere <= set(reported)
    assert max(reported.values()) == 1
    assert not {r for r, label in calls.items() if target_of(label) in standard and r in reported}


def is_left_to_another(label: dict[str, Any]) -> bool:
    """Tell whether a node was refused in a way in which nodes are: token-request-denied counts those."""
    reason = str((label["event"].get("annotations") or {}).get("authorization.k8s.io/reason", ""))
    message = str((label["event"].get("responseStatus") or {}).get("message", ""))
    is_usual = reason.startswith("no relationship found") or "not found in pod spec volume" in message
    return is_usual and label["user"].startswith("system:node:")


def target_of(label: dict[str, Any]) -> str:
    """Return namespace and name of the call as the API server understood it."""
    ref = label["event"]["objectRef"]
    return f"{ref['namespace']}/{ref['name']}"


def test_on_1_27_without_credential_ids_only_the_node_that_looks_like_a_kubelet_is_missed() -> None:
    """72 of 73: a node asking for an audience that its pod does not name was allowed before 1.33."""
    reported = set(requests(found(METADATA_1_27, "token-request")))
    malicious = {request for request, label in mints(METADATA_1_27).items() if label["malicious"]}
    missed = [mints(METADATA_1_27)[request] for request in malicious - reported]

    assert (len(malicious), len(malicious & reported)) == (73, 72)
    assert [label["scenario"] for label in missed] == ["08-attack-node-misuse"]
    assert missed[0]["event"]["userAgent"].startswith("kubelet/")


def token_requests_of_the_excerpt() -> list[dict[str, Any]]:
    """Return the events of the RequestResponse excerpt that answer a call to the subresource with a token."""
    return [
        record
        for record in records(REQUEST_RESPONSE)
        if record["objectRef"].get("subresource") == "token"
        and record["objectRef"]["resource"] == "serviceaccounts"
        and record.get("responseStatus", {}).get("code") == 201
    ]


def test_one_finding_a_request_although_each_has_two_stages() -> None:
    """At all stages, with bodies: one finding for each issued token, reported or set aside."""
    tally = Tally()
    findings = found(REQUEST_RESPONSE, "token-request", keep_excluded=True, tally=tally)

    assert Counter(Request.of(record) for record in token_requests_of_the_excerpt()) == requests(findings)
    assert len(findings) == 80
    assert not tally.duplicates


def test_lifetime_audience_and_binding_are_in_the_evidence() -> None:
    """Where the body was logged, the finding says what was asked for and until when it was granted."""
    by_request = {Request.of(record): record for record in token_requests_of_the_excerpt()}
    for finding in found(REQUEST_RESPONSE, "token-request", keep_excluded=True):
        record = by_request[Request.of(finding)]
        spec, evidence = record["requestObject"]["spec"], {item.path: item.value for item in finding.evidence}

        assert spec["expirationSeconds"] == evidence["requestObject.spec.expirationSeconds"]
        assert f"{spec['expirationSeconds']} s" in finding.summary
        assert tuple(spec["audiences"] or ()) == evidence.get("requestObject.spec.audiences", ())
        assert all(audience in finding.summary for audience in spec["audiences"] or ())
        assert bool(spec["boundObjectRef"]) is ("requestObject.spec.boundObjectRef" in evidence)
        assert "responseObject.status.expirationTimestamp" in evidence
        assert not any("not known" in caveat for caveat in finding.caveats)


def test_no_token_of_the_excerpt_survives_anywhere() -> None:
    """The JWTs stand in clear in the log (80 of them) and nowhere else."""
    assert sum("eyJ" in str(record) for record in records(REQUEST_RESPONSE)) == 80
    for event in read(REQUEST_RESPONSE):
        assert "eyJ" not in repr(event)
    for finding in detect(REQUEST_RESPONSE, exclusions=()):
        assert "eyJ" not in to_line(finding) + to_text(finding) + repr(finding)


def test_webhook_bodies_are_read_event_by_event() -> None:
    """Four EventLists, one a line, whose items have no kind."""
    lists = records(WEBHOOK)

    assert [item["auditID"] for body in lists for item in body["items"]] == [event.audit_id for event in read(WEBHOOK)]
    assert not any("kind" in item for body in lists for item in body["items"])


@pytest.mark.parametrize("path", [METADATA, METADATA_1_27, REQUEST_RESPONSE, WEBHOOK], ids=lambda path: path.name)
def test_every_recorded_event_is_read(path: Path) -> None:
    """Nothing in a real log is unreadable."""
    tally = Tally()
    list(detect(path, tally=tally))

    assert sum(len(record.get("items", [record])) for record in records(path)) == tally.events
    assert not tally.unreadable
    assert not tally.failures
