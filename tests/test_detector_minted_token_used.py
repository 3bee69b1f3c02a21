# SPDX-License-Identifier: Apache-2.0
"""minted-token-used: every use of a token whose mint was reported, with the right mint, and no other."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from builders import body, token_request
from k8stokendetect import ConfigError, Event, Finding, Severity, Tally, detect
from k8stokendetect.convert.structure import plain
from k8stokendetect.detectors.minted_token_used import MintedTokenUsed
from paths import resolve
from recordings import METADATA, METADATA_1_27, events, labels, records

ID = "authentication.kubernetes.io/credential-id"
MINTED = "JTI=956ad9c7-399e-46ac-9fd5-de1a3dfe5e03"


def found(source: Any, detector: MintedTokenUsed | None = None, **options: Any) -> list[Finding]:
    """Return what the detector reports, beside token-request."""
    findings = detect(source, detectors=["token-request", detector or MintedTokenUsed()], **options)
    return [finding for finding in findings if finding.rule.id == "minted-token-used"]


def use(credential: str | None = MINTED, account: str = "prod:payments-sa", **fields: Any) -> dict[str, Any]:
    """Return a request made with a token: a list of secrets unless said otherwise."""
    namespace = account.partition(":")[0]
    extra = {} if credential is None else {ID: [credential]}
    return {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "Metadata",
        "auditID": "use-1",
        "stage": "ResponseComplete",
        "requestURI": "/api/v1/namespaces/prod/secrets",
        "verb": "list",
        "user": {
            "username": f"system:serviceaccount:{account}",
            "groups": ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"],
            "extra": extra,
        },
        "sourceIPs": ["192.0.2.7"],
        "userAgent": "kubectl/v1.36.2 (linux/amd64) kubernetes/98b3519",
        "objectRef": {"resource": "secrets", "namespace": "prod", "apiVersion": "v1"},
        "responseStatus": {"metadata": {}, "code": 200},
        "requestReceivedTimestamp": "2026-11-23T21:44:45.581827Z",
        "stageTimestamp": "2026-11-23T21:44:45.590000Z",
    } | fields


def pods(**fields: Any) -> dict[str, Any]:
    """Return a harmless use, with the mint's own address and client."""
    return use(objectRef={"resource": "pods", "namespace": "prod", "apiVersion": "v1"}, **fields)


def reported_uses(path: Path) -> tuple[dict[str, dict[str, Any]], dict[str, list[Finding]], set[str]]:
    """Join: the uses labelled malicious by auditID, what was found for each auditID, and the reported mints."""
    everything = list(detect(records(path), detectors=["token-request", MintedTokenUsed()]))
    mints = {finding.event.audit_id for finding in everything if finding.rule.id == "token-request"}
    uses: dict[str, list[Finding]] = {}
    for finding in everything:
        if finding.rule.id == "minted-token-used":
            uses.setdefault(finding.event.audit_id, []).append(finding)
    malicious = {label["auditID"]: label for label in labels(path) if label["kind"] == "token-use"}
    return malicious, uses, mints


def test_every_malicious_use_of_a_reported_mint_is_reported_with_that_mint() -> None:
    """And of the benign ones only the use of kubernetes-admin's own mint, which is reported, too."""
    labelled, uses, mints = reported_uses(METADATA)
    followed = {audit_id: label for audit_id, label in labelled.items() if label.get("minted_by") in mints}

    assert len([label for label in followed.values() if label["malicious"]]) > 40
    for audit_id, label in followed.items():
        assert {finding.related[-1].audit_id for finding in uses[audit_id]} == {label["minted_by"]}
    quiet = {audit_id: label for audit_id, label in labelled.items() if audit_id not in followed}
    assert not quiet.keys() & uses.keys()
    benign = [label["scenario"] for audit_id, label in labelled.items() if audit_id in uses and not label["malicious"]]
    assert benign == ["09-benign-admin-node-bound"]


def test_nothing_else_is_reported_but_links_of_a_chain() -> None:
    """What is no labelled use of a token is a mint with a minted token."""
    labelled, uses, _ = reported_uses(METADATA)
    others = [finding for audit_id in uses.keys() - labelled.keys() for finding in uses[audit_id]]
    scenario = {label["auditID"]: label for label in labels(METADATA) if label["resource"] == "serviceaccounts/token"}

    assert {scenario[finding.event.audit_id]["scenario"] for finding in others} == {"05-attack-chain"}


def test_the_recorded_chain_ends_at_the_secrets_with_its_three_mints() -> None:
    """Scenario 05: alice mints chain-a, it mints chain-b, that mints chain-c, which reads secrets."""
    ends = [f for f in found(records(METADATA)) if len(f.related) == 3]

    assert len(ends) == 1
    assert [mint.target for mint in ends[0].related] == ["dev/chain-a", "dev/chain-b", "prod/chain-c"]
    assert (ends[0].event.user, ends[0].event.target) == ("system:serviceaccount:prod:chain-c", "secrets prod")
    assert "the chain of 3 mints began with alice" in ends[0].summary
    assert ends[0].severity == Severity.CRITICAL


def test_without_ids_most_uses_are_found_one_severity_lower_and_no_benign_one() -> None:
    """Kubernetes 1.27: what is missed carries a pod's extras, as the pod's own requests do."""
    labelled, uses, mints = reported_uses(METADATA_1_27)
    malicious = {a: label for a, label in labelled.items() if label["malicious"] and label.get("minted_by") in mints}
    missed = {
        a: record for record in records(METADATA_1_27) if (a := record["auditID"]) in malicious.keys() - uses.keys()
    }

    assert len(malicious) - len(missed) > 40
    for record in missed.values():
        assert "authentication.kubernetes.io/pod-name" in record["user"]["extra"]
    assert not [
        a for a, label in labelled.items() if a in uses and not label["malicious"] and "admin" not in label["scenario"]
    ]
    for findings in uses.values():
        for finding in findings:
            assert finding.severity < Severity.CRITICAL
            assert any("does not write credential ids" in caveat for caveat in finding.caveats)


def identity(findings: Iterable[Finding]) -> list[str]:
    """Return everything about findings, in an order of their own."""
    return sorted(json.dumps(plain(finding), sort_keys=True, default=str) for finding in findings)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("path", [METADATA, METADATA_1_27])
def test_the_order_within_a_minute_changes_nothing(path: Path, seed: int) -> None:
    """Each event is moved by up to 60 s, as several API servers' files are."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    log = events(path)

    def moved(event: Event) -> float:
        return (event.time.timestamp() if event.time else 0) + chance.uniform(0, 60)

    assert identity(found(sorted(log, key=moved))) == identity(found(log))


@pytest.mark.parametrize("path", [METADATA, METADATA_1_27])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_a_restart_with_saved_state_changes_nothing(path: Path, share: float) -> None:
    """The state is JSON: it is written, read, and taken by a new instance."""
    log = events(path)
    half = int(len(log) * share)
    first, second = MintedTokenUsed(), MintedTokenUsed()
    before = found(log[:half], first)
    second.restore(json.loads(json.dumps(first.state())))

    assert identity([*before, *found(log[half:], second)]) == identity(found(log))


def test_the_same_instance_goes_on_from_batch_to_batch() -> None:
    """A mint in one batch, its use in the next; without the memory there is nothing."""
    detector = MintedTokenUsed()
    assert found([token_request()], detector) == []
    assert len(found([use()], detector)) == 1
    assert found([use()]) == []


def test_a_use_that_is_read_before_its_mint_is_reported() -> None:
    """In one batch, and in two that come within a minute."""
    detector = MintedTokenUsed()
    assert len(found([use(), token_request()])) == 1
    assert found([use()], detector) == []
    assert [f.event.audit_id for f in found([token_request()], detector)] == ["use-1"]


def test_the_last_20_uses_that_were_read_before_their_mint_are_reported() -> None:
    """One file holds the uses, another the mint: more of them are not kept, as memory is bounded."""
    detector = MintedTokenUsed()
    uses = [
        use(auditID=f"use-{number}", requestReceivedTimestamp=f"2026-11-23T21:44:{number:02}.000000Z")
        for number in range(25)
    ]
    assert found(uses, detector) == []

    assert [f"use-{number}" for number in range(5, 25)] == [
        f.event.audit_id for f in found([token_request()], detector)
    ]


def without_id(second: int, peer: str, agent: str = "curl/8.5.0", minute: int = 44) -> dict[str, Any]:
    """Return a use on a cluster without credential ids, so long after 21:00."""
    return pods(
        credential=None,
        auditID=f"use-{minute}-{second}",
        sourceIPs=[peer],
        userAgent=agent,
        requestReceivedTimestamp=f"2026-11-23T21:{minute}:{second:02}.000000Z",
    )


HOME, MINTER, ELSEWHERE = "10.0.0.5", "192.0.2.7", "203.0.113.9"


@pytest.mark.parametrize(
    ("before", "after", "reported"),
    [
        (HOME, HOME, False),
        (HOME, ELSEWHERE, True),
        (HOME, MINTER, True),
        (MINTER, MINTER, True),
    ],
    ids=["its own", "a new one", "the minter's", "its own and the minter's"],
)
def test_without_ids_an_origin_is_known_unless_it_is_the_minters(before: str, after: str, *, reported: bool) -> None:
    """The account acts before the mint and after it: from where it always did is no evidence, from the minter's is."""
    log = [without_id(0, before, minute=43), token_request(issued=None), without_id(0, after)]

    assert ["use-44-0"] * reported == [finding.event.audit_id for finding in found(log)]


def test_without_ids_the_minters_client_is_enough() -> None:
    """The minter may have another address by then."""
    log = [
        without_id(0, HOME, "kubectl/v1.30.0", minute=43),
        token_request(issued=None),
        without_id(0, HOME, "kubectl/v1.30.0"),
    ]

    assert [finding.event.audit_id for finding in found(log)] == ["use-44-0"]


@pytest.mark.parametrize(("minute", "reported"), [(44, True), (57, True), (59, False)])
def test_without_ids_a_use_after_the_tokens_end_is_not_reported(minute: int, *, reported: bool) -> None:
    """Ten minutes were asked for at 21:43:45; five more are allowed for clocks that differ."""
    mint = token_request(issued=None, level="Request", requestObject=body(seconds=600))

    assert reported is bool(found([mint, without_id(0, ELSEWHERE, minute=minute)]))


def test_without_ids_and_without_a_lifetime_a_token_is_followed_for_a_day() -> None:
    """The body was not logged: a day is longer than most tokens live."""
    for time, reported in (("2026-11-24T21:43:00Z", True), ("2026-11-24T21:44:00Z", False)):
        late = without_id(0, ELSEWHERE) | {"requestReceivedTimestamp": time}

        assert reported is bool(found([token_request(issued=None), late]))


@pytest.mark.parametrize(
    ("event", "severity", "words"),
    [
        (pods(), Severity.MEDIUM, "list pods prod"),
        (use(), Severity.CRITICAL, "reads or changes secrets"),
        (use(responseStatus={"code": 403}), Severity.LOW, "(refused: 403)"),
        (pods(sourceIPs=["192.0.2.7", "203.0.113.9"]), Severity.HIGH, "from 203.0.113.9, not 192.0.2.7"),
        (pods(sourceIPs=["203.0.113.9", "192.0.2.7"]), Severity.MEDIUM, "list pods"),
        (pods(userAgent="curl/8.0"), Severity.MEDIUM, "list pods prod"),
        (pods(impersonatedUser={"username": "root"}), Severity.CRITICAL, "impersonates somebody"),
        (
            use(verb="create", objectRef={"resource": "pods", "subresource": "exec", "name": "w", "namespace": "prod"}),
            Severity.CRITICAL,
            "enters a running pod",
        ),
        (
            use(
                verb="get",
                objectRef={"resource": "pods", "subresource": "exec", "name": "w", "namespace": "prod"},
                responseStatus={"code": 101},
            ),
            Severity.CRITICAL,
            "enters a running pod",
        ),
        (
            use(objectRef={}, requestURI="/apis/apps/v1?timeout=32s", verb="get", sourceIPs=["203.0.113.9"]),
            Severity.LOW,
            "a path without a resource",
        ),
        (
            use(objectRef={}, requestURI="/metrics", verb="get", sourceIPs=["203.0.113.9"]),
            Severity.HIGH,
            "a path without a resource",
        ),
    ],
)
def test_how_severe_a_use_is(event: dict[str, Any], severity: Severity, words: str) -> None:
    """A privileged act that succeeded, or another address; the first of sourceIPs is the client's own claim."""
    (finding,) = found([token_request(), event])
    assert finding.severity == severity
    assert words in finding.summary
    for evidence in finding.evidence:
        value = resolve(evidence.path, event)
        assert plain(evidence.value) == value


@pytest.mark.parametrize("verb", ["create", "update", "patch", "delete"])
@pytest.mark.parametrize("resource", ["roles", "rolebindings", "clusterroles", "clusterrolebindings"])
def test_a_use_that_changes_rbac_is_critical(resource: str, verb: str) -> None:
    """Also a delete: it takes a right from somebody else, or hides how one was had."""
    ref = {"resource": resource, "name": "x", "apiGroup": "rbac.authorization.k8s.io", "apiVersion": "v1"}
    (finding,) = found([token_request(), use(verb=verb, objectRef=ref)])

    assert finding.severity == Severity.CRITICAL
    assert "which changes RBAC" in finding.summary


@pytest.mark.parametrize("verb", ["get", "list", "watch"])
def test_a_use_that_reads_rbac_is_medium(verb: str) -> None:
    """Everybody who looks around does it."""
    ref = {"resource": "clusterrolebindings", "apiGroup": "rbac.authorization.k8s.io", "apiVersion": "v1"}
    (finding,) = found([token_request(), use(verb=verb, objectRef=ref)])

    assert finding.severity == Severity.MEDIUM


def deployment(resource: str = "deployments", verb: str = "patch", **more: str) -> dict[str, Any]:
    """Return a change of something in the target's namespace."""
    uri = more.pop("uri", "/x")
    return use(verb=verb, objectRef={"resource": resource, "namespace": "prod", "name": "web", **more}, requestURI=uri)


HELM = "/api/v1/namespaces/prod/secrets?labelSelector=name%3Dweb%2Cowner%3Dhelm"


@pytest.mark.parametrize(
    ("event", "severity"),
    [
        (deployment(), Severity.MEDIUM),
        (deployment("cronjobs", "create"), Severity.MEDIUM),
        (deployment("secrets", "get", name="sh.helm.release.v1.web.v3"), Severity.MEDIUM),
        (deployment("secrets", "list", uri=HELM), Severity.MEDIUM),
        (deployment("secrets", "list", uri=f"{HELM}&labelSelector="), Severity.CRITICAL),
        (deployment("secrets", "list", uri=f"{HELM};x"), Severity.CRITICAL),
        (deployment("secrets", "get"), Severity.CRITICAL),
        (deployment(namespace="kube-system"), Severity.CRITICAL),
        (deployment("secrets", "get", name="sh.helm.release.v1.web.v3", namespace="kube-system"), Severity.CRITICAL),
        (deployment("pods", "create"), Severity.CRITICAL),
        (deployment("pods", "delete"), Severity.CRITICAL),
        (deployment("rolebindings"), Severity.CRITICAL),
        (deployment() | {"sourceIPs": ["203.0.113.9"]}, Severity.CRITICAL),
        (deployment() | {"impersonatedUser": {"username": "root"}}, Severity.CRITICAL),
    ],
)
def test_what_a_deployment_job_mints_for_is_not_critical(event: dict[str, Any], severity: Severity) -> None:
    """CI mints for its deploy account, and Helm rolls out with the token: at home, from the mint's address."""
    (finding,) = found([token_request(), event])

    assert finding.severity == severity


def test_what_deploys_with_a_token_minted_with_a_token_is_critical() -> None:
    """A chain is no deployment job."""
    mint = token_request()
    event = mint | {"user": mint["user"] | {"extra": {ID: ["JTI=another"]}}}
    (finding,) = found([event, deployment()])

    assert finding.severity == Severity.CRITICAL


def test_a_request_is_judged_by_its_last_stage() -> None:
    """A policy that keeps RequestReceived says the same as one that does not: once, with the answer."""
    received = use(stage="RequestReceived", responseStatus=None)
    refused = use(responseStatus={"code": 403})

    assert [finding.severity for finding in found([token_request(), received, refused])] == [Severity.LOW]
    assert identity(found([token_request(), refused, received])) == identity(found([token_request(), refused]))
    assert [finding.severity for finding in found([token_request(), received])] == [Severity.CRITICAL]


def test_whom_it_does_not_follow() -> None:
    """A mint that an exclusion set aside, a forged id under impersonation, another id, a mint that failed."""
    kubelet = next(
        record
        for record in records(METADATA)
        if record["user"].get("username", "").startswith("system:node:")
        and "authentication.kubernetes.io/issued-credential-id" in record.get("annotations", {})
        and "impersonatedUser" not in record
    )
    issued = kubelet["annotations"]["authentication.kubernetes.io/issued-credential-id"]
    tally = Tally()
    assert found([kubelet, use(issued)], tally=tally) == []
    assert tally.excluded.total() == 1, "an example that is set aside"
    forged = use(None, impersonatedUser={"username": "x", "extra": {ID: [MINTED]}})
    assert found([token_request(), use("JTI=other"), forged]) == []
    assert found([token_request(code=403, issued=None), use()]) == []


def test_a_token_is_followed_as_long_as_it_lives() -> None:
    """Where the lifetime was logged; an hour by default, with five minutes to spare."""
    mint = token_request(requestObject=body(seconds=600), level="Request")
    for time, count in (("21:50", 1), ("21:58", 1), ("22:30", 0)):
        assert len(found([mint, pods(requestReceivedTimestamp=f"2026-11-23T{time}:00Z")])) == count
    pod = {"kind": "Pod", "apiVersion": "v1", "name": "w", "uid": "u"}
    extended = token_request(requestObject=body(seconds=3607, bound=pod), level="Request")
    assert len(found([extended, pods(requestReceivedTimestamp="2027-06-01T00:00:00Z")])) == 1


def test_it_runs_what_it_needs_unseen() -> None:
    """Asked for alone it still knows what was reported, and yields nothing of another rule."""
    findings = list(detect([token_request(), use()], detectors=[MintedTokenUsed()]))
    assert [finding.rule.id for finding in findings] == ["minted-token-used"]


def test_memory_is_bounded() -> None:
    """The credential that expires first is forgotten first, and counted."""
    detector = MintedTokenUsed()
    detector.states.limit = 100
    mints = [token_request(issued=f"JTI={number}", auditID=str(number)) for number in range(150)]
    found(mints, detector)
    assert len(detector.states) <= 100
    assert detector.states.forgotten == 150 - len(detector.states)


def test_what_is_said_and_kept_of_a_chain_does_not_grow_with_its_length() -> None:
    """A token that renews itself 300 times: the first mint, the last three, and how many there are."""
    log = []
    for number in range(300):
        mint = token_request(
            auditID=f"mint-{number}",
            issued=f"JTI={number + 1}",
            requestReceivedTimestamp=f"2026-11-23T21:{number // 60:02}:{number % 60:02}.000000Z",
        )
        log.append(renewed(mint, number) if number else mint)
    detector = MintedTokenUsed()
    findings = found(log, detector)
    last = findings[-1]

    assert [mint.audit_id for mint in last.related] == ["mint-0", "mint-296", "mint-297", "mint-298"]
    assert "the chain of 299 mints began with alice" in last.summary
    assert max(len(json.dumps(finding.to_dict())) for finding in findings) < 10_000
    assert len(json.dumps(detector.state())) < 300 * 6_000


def renewed(mint: dict[str, Any], number: int) -> dict[str, Any]:
    """Return a mint that was made with the token of the one before."""
    return mint | {"user": use(f"JTI={number}")["user"]}


def test_a_state_of_something_else_is_refused() -> None:
    """Another version, another rule, a damaged state: an error, and the memory stays as it was."""
    detector = MintedTokenUsed()
    found([token_request()], detector)
    good = detector.state()
    keys = {"JTI=1": {"state": {"mints": 7}, "expires": "2026-11-23T21:44:45Z"}}
    for document in (good | {"version": 2}, good | {"rule": "x"}, good | {"keys": keys}, good | {"keys": 7}, {}):
        with pytest.raises(ConfigError):
            detector.restore(document)
    assert detector.state() == good


def test_a_mint_without_a_time_is_followed() -> None:
    """A queue may have lost it; when the token ends is not known then."""
    mint = token_request(requestReceivedTimestamp=None, stageTimestamp=None)
    detector = MintedTokenUsed()
    assert found([mint], detector) == []
    assert len(found([use()], detector)) == 1


def test_remembering_ends() -> None:
    """A year after the last use, where the lifetime is not known: it may be an extended token's."""
    for year, kept in ((2026, True), (2028, False)):
        detector = MintedTokenUsed()
        late = [
            token_request(auditID=f"{i}", issued=f"JTI={i}", requestReceivedTimestamp=f"{year}-12-25T00:00:00Z")
            for i in range(20)
        ]
        found([token_request(), *late], detector)
        assert (MINTED in [key for key, _, _ in detector.states]) is kept
    assert len(found([token_request(), pods(requestReceivedTimestamp="2027-11-01T00:00:00Z")])) == 1
    assert MintedTokenUsed.remember_for == timedelta(days=366)
