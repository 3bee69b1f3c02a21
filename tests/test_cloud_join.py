"""The token followed into a cloud: which exchanges and calls are reported, by which proof, and what is left alone."""

from __future__ import annotations

import gzip
import itertools
import json
import zlib
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

import cloudtrail
from api_server import event_list
from cloud_week import START, Week, attacks
from cloudtrail import cluster_games
from k8stokendetect import ConfigError, Finding, Severity, Tally, detect
from k8stokendetect.cli.app import main
from k8stokendetect.clouds import CloudEvent, Exchange
from k8stokendetect.cluster import Cluster
from k8stokendetect.detectors import (
    CloudActAfterExchange,
    CloudDetector,
    MintedTokenExchanged,
    WebIdentityUnusualOrigin,
    WebIdentityWithoutMint,
)
from k8stokendetect.detectors.cloud_act_after_exchange import BY_NAME
from k8stokendetect.engine import Memory
from k8stokendetect.incidents import Incident, incidents
from k8stokendetect.outputs.arrow import findings_of, to_arrow
from k8stokendetect.outputs.ecs import to_ecs
from k8stokendetect.outputs.native import finding_of, to_line
from k8stokendetect.outputs.ocsf import to_ocsf
from k8stokendetect.outputs.report import to_report
from k8stokendetect.serve.journal import Journal
from k8stokendetect.testing import log, token_request
from recordings import METADATA, labels, records
from serving import TOKEN, serving, written
from siem_schemas import ecs_errors, ocsf_errors

TIME = datetime(2026, 11, 23, 21, 0, tzinfo=UTC)
SOON = TIME + timedelta(seconds=40)
RULES = frozenset(
    {"minted-token-exchanged", "web-identity-without-mint", "web-identity-unusual-origin", "cloud-act-after-exchange"}
)
AUDIENCE: dict[str, Any] = {"audiences": ["sts.amazonaws.com"], "expiration_seconds": 3600, "level": "Request"}
MINT = token_request("alice", "prod/payments-sa", time=TIME, ip="203.0.113.66", **AUDIENCE)
UNLOGGED = token_request("alice", "prod/payments-sa", time=TIME, ip="203.0.113.66", level="Metadata")


def kubelet(time: datetime, account: str = "prod/payments-sa", **more: Any) -> dict[str, Any]:
    """Return a mint of a node for a pod of its own."""
    return token_request(
        "system:node:worker-1",
        account,
        groups=("system:nodes", "system:authenticated"),
        user_agent="kubelet/v1.31.2 (linux/amd64) kubernetes/5864a46",
        time=time,
        level="Metadata",
        annotations={"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": ""},
        **more,
    )


def found(*records: Any, detectors: Any = None, **more: Any) -> list[Finding]:
    """Return what the rules about clouds say."""
    findings = detect(list(records), detectors=detectors, **more)
    return [finding for finding in findings if finding.rule.id in RULES]


def said(findings: Iterable[Finding]) -> list[tuple[str, str]]:
    """Return rules with severities."""
    return [(finding.rule.id, str(finding.severity)) for finding in findings]


def day_before(account: str = "prod/payments-sa", exchanges: int = 30, **more: Any) -> list[dict[str, Any]]:
    """Return an ordinary day: the kubelet mints, and the pod exchanges from behind the NAT gateway."""
    records = []
    for hour in range(26):
        time = TIME - timedelta(hours=26) + timedelta(hours=hour)
        records.append(kubelet(time, account))
        given = {"ip": "198.51.100.10", "user_agent": cloudtrail.BOTO, "session": f"botocore-session-{hour}", **more}
        if hour < exchanges:
            records.append(cloudtrail.web_identity(time + timedelta(minutes=5), account, **given))
    return records


# --- minted-token-exchanged


def test_a_mint_and_an_exchange_are_joined_in_both_orders_of_arrival() -> None:
    """Critical: no pod has that account. The finding names the mint, and the mint's request is related."""
    exchange = cloudtrail.web_identity(SOON)
    for order in itertools.permutations([MINT, exchange]):
        (finding,) = found(*order)

        assert said([finding]) == [("minted-token-exchanged", "critical")]
        assert finding.event.audit_id == exchange["eventID"]
        assert [ref.audit_id for ref in finding.related] == [MINT["auditID"]]
        assert "40 s after alice minted one" in finding.summary


def test_it_is_joined_across_calls_that_share_a_memory() -> None:
    """Also where the cloud's log is read a call earlier, and what is remembered goes through JSON."""
    exchange = cloudtrail.web_identity(SOON)
    for first, second in itertools.permutations([MINT, exchange]):
        memory = Memory()
        assert found(first, memory=memory) == []
        again = Memory.from_dict(json.loads(json.dumps(memory.to_dict())))

        assert said(found(second, memory=again)) == [("minted-token-exchanged", "critical")]
        assert found(first, second, memory=again) == []  # delivered again


@pytest.mark.parametrize(
    ("mint", "exchange"),
    [
        (MINT, {"time": TIME + timedelta(hours=2)}),
        (MINT, {"time": TIME - timedelta(minutes=6)}),
        (MINT, {"audience": "other.example.com"}),
        (MINT, {"account": "prod/other-sa"}),
        (UNLOGGED, {"time": TIME + timedelta(hours=25)}),
        (token_request("alice", "prod/payments-sa", time=TIME, code=403), {}),
        (kubelet(TIME), {}),
        (token_request("alice", "prod/payments-sa", time=TIME, expiration_seconds=3600, level="Request"), {}),
    ],
    ids=["expired", "before", "audience", "account", "a day later", "refused", "kubelet", "API server's audience"],
)
def test_what_is_not_joined(mint: dict[str, Any], exchange: dict[str, Any]) -> None:
    """What the minted token cannot have been exchanged for."""
    given = {"time": SOON, **exchange}

    assert [one for one in found(mint, cloudtrail.web_identity(**given)) if one.rule == MintedTokenExchanged.rule] == []


def test_an_exchange_that_looks_like_the_pods_own_is_no_alarm() -> None:
    """Three are told for each mint: low where the audience was logged, else informational; nothing is said of acts."""
    own = {"ip": "198.51.100.10", "user_agent": cloudtrail.BOTO}
    later = [
        cloudtrail.web_identity(SOON + timedelta(minutes=number), session=f"botocore-session-{number}", **own)
        for number in range(5)
    ]
    for mint, severity in ((MINT, "low"), (UNLOGGED, "informational")):
        findings = found(*day_before(), mint, *later, cloudtrail.call(later[0], "s3", "GetObject"))

        assert said(findings) == 3 * [("minted-token-exchanged", severity)]
        again = found(*day_before(), mint, *3 * later[:1], *later[1:])  # delivered three times
        assert {one.event.audit_id for one in again} == {one["eventID"] for one in later[:3]}


@pytest.mark.parametrize(
    "given",
    [
        {"ip": "203.0.113.66"},
        {"user_agent": cloudtrail.CLI},
        {"session": "pwn"},
        {"region": "eu-west-1", "session": "x"},
    ],
    ids=lambda given: next(iter(given)),
)
def test_one_from_elsewhere_is_critical(given: dict[str, str]) -> None:
    """By address, client or session name: what no pod of the account has used."""
    given = {"ip": "198.51.100.10", "user_agent": cloudtrail.BOTO, "session": "botocore-session-77", **given}
    findings = found(*day_before(), MINT, cloudtrail.web_identity(SOON, **given))

    assert ("minted-token-exchanged", "critical") in said(findings)
    assert said(findings)[0] == ("web-identity-unusual-origin", "medium")


def test_clocks_may_differ() -> None:
    """By some minutes, whichever is read first."""
    exchange = cloudtrail.web_identity(SOON - timedelta(minutes=3))
    for order in itertools.permutations([MINT, exchange]):
        assert ("minted-token-exchanged", "critical") in said(found(*day_before(), *order))


def test_no_spelling_of_the_subject_hides_it() -> None:
    """Nor another region's endpoint: what a pipeline does to a log, no attacker can."""
    for subject in (" system:serviceaccount:prod:payments-sa ", "System:ServiceAccount:Prod:Payments-SA"):
        exchange = cloudtrail.web_identity(SOON, region="eu-south-1")
        exchange["userIdentity"] |= {"userName": subject, "principalId": subject}
        exchange["responseElements"]["subjectFromWebIdentityToken"] = subject

        assert said(found(MINT, exchange)) == [("minted-token-exchanged", "critical")]


@pytest.mark.parametrize(
    "target",
    [f"{'n' * 50}-password/{'s' * 60}", f"team-auth-token/{'s' * 120}", f"{'n' * 63}/abcdef.0123456789abcdef-x"],
)
def test_no_long_name_hides_a_subject(target: str) -> None:
    """A namespace may be called like a credential; only texts of over 120 characters are searched for one."""
    mint = token_request("alice", target, time=TIME, ip="203.0.113.66", **AUDIENCE)
    exchange = cloudtrail.web_identity(SOON, target)
    assert ("minted-token-exchanged", "critical") in said(found(mint, exchange))
    del exchange["responseElements"]["subjectFromWebIdentityToken"]
    assert ("minted-token-exchanged", "critical") in said(found(mint, exchange))


def test_no_name_is_an_option_of_the_advice() -> None:
    """A role may be called `--debug`, and a log that was tampered with may name any region."""
    exchange = cloudtrail.web_identity(SOON, role="arn:aws:iam::111122223333:role/--debug", region="--no-verify-ssl")
    (incident,) = incidents(found(MINT, exchange))
    advice = " ".join(map(str, incident.advice))
    assert "--role-name=--debug " in advice
    assert "--region=--no-verify-ssl" in advice


def test_a_refused_exchange_is_low_and_followed_by_nothing() -> None:
    """It issued no key."""
    refused = cloudtrail.web_identity(SOON, error="AccessDenied")

    (finding,) = found(MINT, refused)
    assert finding.severity is Severity.LOW
    assert "refused: AccessDenied" in finding.summary


@pytest.mark.parametrize(
    "flood",
    [
        [{"audiences": ["x.example"], "expiration_seconds": 600}] * 10,
        [{"expiration_seconds": 600}] * 10,
        [{"audiences": [f"x{number}.example"], "expiration_seconds": 600} for number in range(10)],
        [{"audiences": [f"x{number}.example"], "expiration_seconds": 7200} for number in range(30)],
    ],
    ids=["one audience", "its own", "many audiences", "longer"],
)
def test_no_number_of_mints_hides_one(flood: list[dict[str, Any]]) -> None:
    """Nor do they make the exchange usual: where the mint itself had to be forgotten, it is high."""
    more = [
        token_request("alice", "prod/payments-sa", time=TIME + timedelta(seconds=number + 1), **{**AUDIENCE, **given})
        for number, given in enumerate(flood)
    ]
    is_lost = flood[0]["expiration_seconds"] == 7200
    exchanges = [cloudtrail.web_identity(TIME + timedelta(minutes=40 + number)) for number in range(2)]
    findings = found(MINT, *more, *exchanges)

    assert said(findings) == 2 * [("minted-token-exchanged", "high" if is_lost else "critical")]
    assert all(("more such mints than are remembered" in " ".join(finding.caveats)) == is_lost for finding in findings)
    assert found(MINT, *more, cloudtrail.web_identity(TIME + timedelta(hours=3))) == []


def test_a_mint_that_another_stands_for_explains_what_is_read_late() -> None:
    """A cloud's log comes minutes late: the first of the mints is the one that was exchanged."""
    later = [
        token_request("alice", "prod/payments-sa", time=TIME + timedelta(minutes=20 + number), **AUDIENCE)
        for number in range(11)
    ]
    memory = Memory()
    assert found(MINT, *later, memory=memory) == []

    assert said(found(cloudtrail.web_identity(SOON), memory=memory)) == [("minted-token-exchanged", "critical")]


def test_no_number_of_refused_exchanges_hides_one() -> None:
    """All of them read before the audit log."""
    refused = [
        cloudtrail.web_identity(SOON + timedelta(seconds=number), session=f"x{number}", error="AccessDenied")
        for number in range(1, 26)
    ]
    memory = Memory()
    assert found(cloudtrail.web_identity(SOON), *refused, memory=memory) == []

    assert ("minted-token-exchanged", "critical") in said(found(MINT, memory=memory))


def test_pod_identity_is_joined_by_the_pod() -> None:
    """A token bound to a pod, and the exchange of that pod's token; not one of another pod."""
    bound = {"kind": "Pod", "apiVersion": "v1", "name": "payments-1", "uid": "0f6c"}
    mint = token_request("alice", time=TIME, audiences=["pods.eks.amazonaws.com"], level="Request", bound=bound)
    own, other = (cloudtrail.pod_identity(SOON, uid=uid) for uid in ("0f6c", "77aa"))

    (finding,) = found(
        *day_before(exchanges=0), cloudtrail.pod_identity(TIME - timedelta(hours=1), uid="0f6c"), mint, own
    )
    assert said([finding]) == [("minted-token-exchanged", "critical")]
    assert "the pod that the minted one is bound to" in finding.summary
    assert not [caveat for caveat in finding.caveats if "no id of the token" in caveat]
    assert found(mint, other) == []
    named = {"message": json.dumps(mint), "tags": ["kube_cluster_name:production"]}  # not as EKS names it
    assert said(found(named, own)) == [("minted-token-exchanged", "critical")]


def test_the_issuers_of_other_clusters_are_left_out() -> None:
    """Where those of this one are given, with or without the scheme."""
    other = cloudtrail.web_identity(SOON, issuer="oidc.eks.us-west-2.amazonaws.com/id/FFFF")
    detectors = [MintedTokenExchanged(issuers=[f"https://{cloudtrail.ISSUER}/"])]

    assert found(MINT, other, detectors=detectors) == []
    assert len(found(MINT, cloudtrail.web_identity(SOON), detectors=detectors)) == 1
    with pytest.raises(ConfigError, match="issuers takes a list"):
        MintedTokenExchanged(issuers="oidc.example.com")


def test_azure_is_joined_with_a_file_of_subjects_only() -> None:
    """Its log has no subject."""
    exchange = Exchange(kind="sign-in", credential="AAAA-1", role="app")
    event = CloudEvent(id="1", time=SOON, cloud="azure", action="Sign-in", exchange=exchange)
    mint = token_request("alice", time=TIME, audiences=["api://AzureADTokenExchange"], level="Request")
    subjects = {"aaaa-1": "system:serviceaccount:prod:payments-sa"}

    assert found(mint, event) == []
    assert said(found(mint, event, azure_subjects=subjects)) == [("minted-token-exchanged", "critical")]
    with pytest.raises(ConfigError, match="azure_subjects"):
        detect([], azure_subjects={"x": "prod/payments-sa"})


def test_google_is_joined_by_the_principals_subject() -> None:
    """And what the principal does from that address."""
    principal = "principal://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/subject/x"
    exchange = Exchange(kind="pool", subject="system:serviceaccount:prod:payments-sa", session=principal, provider="p")
    event = CloudEvent(
        id="1", time=SOON, cloud="google", action="ExchangeToken", exchange=exchange, source_ip="192.0.2.9"
    )
    read = CloudEvent(
        id="2",
        time=SOON + timedelta(seconds=9),
        cloud="google",
        action="google.cloud.secretmanager.v1.SecretManagerService.AccessSecretVersion",
        service="secretmanager.googleapis.com",
        source_ip="192.0.2.9",
        caller=cloud_caller(principal),
    )
    mint = token_request("alice", time=TIME, audiences=["//iam.googleapis.com/projects/1"], level="Request")

    assert said(found(mint, event, read)) == [
        ("minted-token-exchanged", "critical"),
        ("cloud-act-after-exchange", "critical"),
    ]


def cloud_caller(principal: str) -> Any:
    """Return a caller by its principal."""
    from k8stokendetect.clouds import Caller  # noqa: PLC0415 - here only

    return Caller(principal=principal)


# --- web-identity-without-mint


def test_an_account_without_a_pod_is_reported_where_the_log_covers_the_day() -> None:
    """High; its issuer is given, or inferred from the exchanges that the log explains."""
    others = [day_before(f"prod/app-{number}") for number in range(3)]
    records = sorted(itertools.chain(*others), key=_time)
    stolen = cloudtrail.web_identity(TIME - timedelta(minutes=30), "prod/unused")
    for detectors in (["web-identity-without-mint"], [WebIdentityWithoutMint(issuers=[cloudtrail.ISSUER])]):
        (finding,) = found(*records, stolen, kubelet(TIME, "prod/app-0"), detectors=detectors)

        assert said([finding]) == [("web-identity-without-mint", "high")]
        assert finding.event.user == "system:serviceaccount:prod:unused"


@pytest.mark.parametrize("issuers", [(), (cloudtrail.ISSUER,)], ids=["inferred", "given"])
def test_a_log_that_lacks_mints_makes_little_noise(issuers: tuple[str, ...]) -> None:
    """Once a day for each origin where a few accounts' are missing; where most are, it is soon undecided."""
    days = {number: day_before(f"prod/app-{number}") for number in range(5)}
    for missing, wanted in (({4}, 3), ({1, 2, 3, 4}, len(issuers))):
        logged = [
            record
            for number, records in days.items()
            for record in records
            if number not in missing or "eventID" in record
        ]
        late = [
            cloudtrail.web_identity(TIME + timedelta(minutes=number), "prod/app-4", ip=ip, session=f"x-{number}")
            for number, ip in enumerate(["198.51.100.10", "198.51.100.10", "203.0.113.66"])
        ]
        tally = Tally()
        more = [kubelet(TIME + timedelta(minutes=number), "prod/app-0") for number in range(9)]
        findings = found(
            *sorted([*logged, *late, *more], key=_time),
            detectors=[WebIdentityWithoutMint(issuers=issuers)],
            tally=tally,
        )

        assert len(findings) == wanted
        assert tally.undecided > 0


def test_where_the_log_has_a_gap_it_is_undecided() -> None:
    """And counted."""
    records = [
        one for one in day_before("prod/app-0") if not "T10" <= str(_time(one))[10:13].replace(" ", "T") <= "T13"
    ]
    tally = Tally()
    stolen = cloudtrail.web_identity(TIME - timedelta(minutes=30), "prod/unused")
    detectors = [WebIdentityWithoutMint(issuers=[cloudtrail.ISSUER])]

    assert found(*records, stolen, kubelet(TIME, "prod/app-0"), detectors=detectors, tally=tally) == []
    assert tally.undecided > 0


def _time(record: dict[str, Any]) -> datetime:
    text = record.get("eventTime") or record["requestReceivedTimestamp"]
    return datetime.fromisoformat(text)


# --- web-identity-unusual-origin


def test_a_new_client_is_reported_once_a_day_and_learned_after_three() -> None:
    """Hourly exchanges of an application that was rewritten."""
    new = {"ip": "198.51.100.10", "user_agent": "aws-sdk-go-v2/1.24.0", "session": "botocore-session-1"}
    later = [cloudtrail.web_identity(TIME + timedelta(hours=hour), **new) for hour in range(24 * 6)]
    findings = found(*day_before(), *later, detectors=[WebIdentityUnusualOrigin()])

    assert said(findings) == 3 * [("web-identity-unusual-origin", "medium")]


def test_a_gateway_that_others_use_is_no_new_address() -> None:
    """The address of three accounts that were seen for a while."""
    others = [day_before(f"prod/app-{number}", ip="198.51.101.10") for number in range(3)]
    records = sorted([*day_before(), *itertools.chain(*others)], key=_time)
    moved = cloudtrail.web_identity(SOON, ip="198.51.101.10", user_agent=cloudtrail.BOTO, session="botocore-session-9")

    assert found(*records, moved, detectors=[WebIdentityUnusualOrigin()]) == []


# --- cloud-act-after-exchange


def test_a_chain_of_roles_is_followed_whatever_is_read_first() -> None:
    """The mint, the exchange, a role, another role, and what that did: in each order."""
    exchange = cloudtrail.web_identity(SOON)
    role = cloudtrail.assume_role(exchange, "arn:aws:iam::111122223333:role/middle", after=30)
    last = cloudtrail.assume_role(role, "arn:aws:iam::444455556666:role/admin", after=30, session="last")
    act = cloudtrail.call(last, "iam", "CreateUser", parameters={"userName": "eve"}, region="us-east-1")
    for order in itertools.permutations([MINT, exchange, role, last, act]):
        by_event = {finding.event.audit_id: finding for finding in found(*order)}

        assert by_event.keys() == {one["eventID"] for one in (exchange, role, last, act)}
        assert by_event[act["eventID"]].severity is Severity.CRITICAL
        assert len(by_event[act["eventID"]].related) == 4


def test_each_kind_of_call_is_told_once_and_bad_ones_each_time() -> None:
    """A client that asks who it is, is low; so is what was refused."""
    exchange = cloudtrail.web_identity(SOON)
    calls = [
        cloudtrail.call(exchange, service, action, after=number, error=error)
        for number, (service, action, error) in enumerate(
            [
                ("s3", "GetObject", ""),
                ("s3", "GetObject", ""),
                ("secretsmanager", "GetSecretValue", ""),
                ("secretsmanager", "GetSecretValue", ""),
                ("sts", "GetCallerIdentity", ""),
                ("cloudtrail", "StopLogging", "AccessDenied"),
            ],
            start=1,
        )
    ]
    findings = [one for one in found(MINT, exchange, *calls) if one.rule == CloudActAfterExchange.rule]

    assert [str(finding.severity) for finding in findings] == ["medium", "critical", "critical", "low", "low"]


def test_a_session_is_followed_into_the_console_and_through_keys_that_it_makes() -> None:
    """Whichever log is read first. The console's key is another; the session of other keys of that name is let be."""
    exchange = cloudtrail.web_identity(SOON)
    early = cloudtrail.call(exchange, "iam", "CreateUser", after=20)
    sign_in = cloudtrail.call(exchange, "signin", "GetSigninToken", after=50)
    own = cloudtrail.call(exchange, "iam", "CreateGroup", after=55)
    console = cloudtrail.call(exchange, "secretsmanager", "GetSecretValue", after=60)
    console["userIdentity"]["accessKeyId"] = "ASIACONSOLE000000001"
    answer = {"accessKey": {"accessKeyId": "AKIAMADE000000000001", "userName": "backup", "status": "Active"}}
    made = cloudtrail.call(
        exchange, "iam", "CreateAccessKey", after=70, parameters={"userName": "AKIANOTTHEKEY0000001"}, answer=answer
    )
    made["userIdentity"]["accessKeyId"] = "ASIACONSOLE000000001"
    act = cloudtrail.call(exchange, "ssm", "GetParameter", after=80)
    act["userIdentity"] = {
        "type": "IAMUser",
        "arn": "arn:aws:iam::111122223333:user/backup",
        "accessKeyId": "AKIAMADE000000000001",
    }
    trail = [exchange, early, sign_in, own, console, made, act]
    memory = Memory()
    assert found(*trail, memory=memory) == []

    for findings in (found(MINT, *trail), found(MINT, memory=memory)):
        told = [one.event.verb for one in findings if one.severity is Severity.CRITICAL]
        assert sorted(told) == sorted(
            ["AssumeRoleWithWebIdentity", "CreateUser", "GetSecretValue", "CreateAccessKey", "GetParameter"]
        )
        assert len(incidents(findings)) == 1


def without(record: dict[str, Any], what: str) -> dict[str, Any]:
    """Return a record without the answer, or without the key of its caller."""
    if what == "answer":
        return {**record, "responseElements": None}
    return {**record, "userIdentity": {**record["userIdentity"], "accessKeyId": ""}}


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("lost", ["exchange", "role", "call", "all"])
def test_what_has_no_key_is_followed_by_the_name_of_the_session(lost: str, *, late: bool) -> None:
    """An answer that was not logged, or a key: the session's name follows from the role's, and a caveat says so."""
    exchange = cloudtrail.web_identity(SOON)
    assumed = cloudtrail.assume_role(exchange, "arn:aws:iam::444455556666:role/path/deploy", after=60)
    act = cloudtrail.call(assumed, "secretsmanager", "GetSecretValue", after=60)
    if lost in ("exchange", "all"):
        exchange = without(exchange, "answer")
    if lost in ("role", "all"):
        assumed = without(assumed, "answer")
    if lost in ("call", "all"):
        act = without(act, "key")
    memory = Memory()
    findings = [*found(exchange, assumed, act, memory=memory), *(found(MINT, memory=memory) if late else ())]
    if not late:
        findings = found(MINT, exchange, assumed, act)

    read = [one for one in findings if one.event.verb == "GetSecretValue"]
    caveats = () if lost == "exchange" else (BY_NAME,)
    assert [(one.severity, one.caveats) for one in read] == [(Severity.CRITICAL, caveats)]
    assert len(incidents(findings)) == 1


def test_another_session_of_that_name_is_let_be() -> None:
    """Where the exchange has a key; and half a day later, whose session that was has ended."""
    exchange = cloudtrail.web_identity(SOON)
    again = cloudtrail.web_identity(SOON + timedelta(hours=13), key="ASIAANOTHER000000001")
    other = cloudtrail.call(again, "secretsmanager", "GetSecretValue", after=-46_000)
    assert not [one for one in found(MINT, exchange, other) if one.event.verb == "GetSecretValue"]

    first = without(exchange, "answer")
    assert [one for one in found(MINT, first, other) if one.event.verb == "GetSecretValue"]
    late = cloudtrail.call(again, "secretsmanager", "GetSecretValue", after=60)
    assert not [one for one in found(MINT, first, late) if one.event.verb == "GetSecretValue"]


@pytest.mark.parametrize("floods", ["itself", "a role of it", "others"])
def test_credentials_that_are_followed_are_forgotten_last(floods: str) -> None:
    """However many roles they assume, or a role that they assumed does, and whatever everybody else does."""
    exchange, other = cloudtrail.web_identity(SOON), cloudtrail.web_identity(SOON, "dev/app", session="own")
    role = "arn:aws:iam::111122223333:role/payments"
    first = cloudtrail.assume_role(exchange, role, after=1, session="first")
    detector = CloudActAfterExchange()
    detector.states.limit = 50
    by = {"itself": exchange, "a role of it": first, "others": other}[floods]
    roles = [cloudtrail.assume_role(by, role, after=number, session=f"s{number}") for number in range(2, 200)]
    for number, record in enumerate(roles if floods == "others" else ()):
        record["userIdentity"]["accessKeyId"] = f"ASIAOTHER{number:011}"
    act = cloudtrail.call(exchange, "secretsmanager", "GetSecretValue", after=600)
    findings = found(
        MINT, exchange, first, *roles, act, detectors=["token-request", "minted-token-exchanged", detector]
    )

    assert detector.states.forgotten
    assert act["eventID"] in {finding.event.audit_id for finding in findings}


def test_other_keys_are_left_alone() -> None:
    """Of the same role, too."""
    exchange = cloudtrail.web_identity(SOON)
    own = cloudtrail.web_identity(SOON, ip="198.51.100.10", key="ASIAOTHER00000000000", audience="other.example.com")

    assert CloudActAfterExchange.rule.id not in dict(
        said(found(MINT, exchange, cloudtrail.call(own, "iam", "CreateUser")))
    )


# --- one story


def test_eks_cluster_games_is_one_incident_from_the_mint_to_s3(tmp_path: Path) -> None:
    """Read from an audit log and a folder of CloudTrail's files; its advice names the role."""
    audit, trail = cluster_games()
    (tmp_path / "audit.log").write_bytes(log(audit))
    (tmp_path / "cloudtrail").mkdir()
    records = gzip.compress(json.dumps({"Records": trail[::-1]}).encode())
    (tmp_path / "cloudtrail/111122223333_CloudTrail_us-west-1.json.gz").write_bytes(records)
    (incident,) = incidents(detect([tmp_path / "audit.log", tmp_path / "cloudtrail"]))

    ids = {finding.event.audit_id for finding in incident.findings}
    assert ids == {one.get("auditID") or one["eventID"] for one in (*audit, *trail)}
    assert incident.severity is Severity.CRITICAL
    assert incident.id == incident.findings[0].event.request_id
    assert cloudtrail.issued(trail[0]) in incident.credentials
    advice = " ".join(map(str, incident.advice))
    assert "--role-name=challengeEksS3Role --policy-name AWSRevokeOlderSessions" in advice
    assert f"AttributeValue={cloudtrail.issued(trail[0])}" in advice


def advice_of(*calls: dict[str, Any], cluster: Cluster | None = None) -> list[str]:
    """Return what to do about a mint, its exchange, and what was called with that."""
    (incident,) = incidents(detect([MINT, cloudtrail.web_identity(SOON), *calls]), cluster=cluster)
    return list(map(str, incident.advice))


@pytest.mark.parametrize(
    ("user", "step"),
    [
        ("backup", "Find and delete the access key that was made for user backup: aws iam list-access-keys"),
        ("a+b=c,d.e@f-g_h", "aws iam list-access-keys --user-name a+b=c,d.e@f-g_h"),
        ("-x", "Check and undo what was done in the cloud: called iam CreateAccessKey on -x."),
        ("a;id", r"Check and undo what was done in the cloud: called iam CreateAccessKey on a\x3bid."),
        ("", "Check and undo what was done in the cloud: called iam CreateAccessKey."),
    ],
)  # fmt: skip
def test_the_key_that_was_made_is_found_by_a_command(user: str, step: str) -> None:
    """Where the user's name is one that IAM allows, and no option; other acts stand there without a command."""
    exchange = cloudtrail.web_identity(SOON)
    key = cloudtrail.call(exchange, "iam", "CreateAccessKey", after=5, parameters={"userName": user})
    made = cloudtrail.call(exchange, "iam", "CreateUser", after=4, parameters={"userName": "eve"})

    assert step in " ".join(advice_of(key))
    assert "user eve" not in " ".join(advice_of(key, made))
    assert "called iam CreateUser on eve" in " ".join(advice_of(key, made))


def test_nobody_is_sent_to_look_for_an_exchange_that_was_found() -> None:
    """That of the same token for the same role; another role of the account is still to be looked for."""

    def account(role: str) -> dict[str, Any]:
        metadata = {"namespace": "prod", "name": "payments-sa", "annotations": {"eks.amazonaws.com/role-arn": role}}
        return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}

    role = cloudtrail.web_identity(SOON)["requestParameters"]["roleArn"]
    for other, looks in ((role, False), (f"{role}-2", True)):
        advice = advice_of(cluster=Cluster.load(account(other)))
        assert any("Check whether the token was used in the AWS role" in step for step in advice) is looks
        assert any("Revoke the sessions of role" in step for step in advice)


def exchange_of_recorded(label: dict[str, Any], time: datetime, subject: str) -> CloudEvent | dict[str, Any] | None:
    """Return what a recorded mint's token would have become, by the audience that its label names."""
    if "sts.amazonaws.com" in label["why"]:
        return cloudtrail.web_identity(time, label["target"], session=f"s{label['auditID'][:8]}")
    if "AzureADTokenExchange" in label["why"]:
        exchange = Exchange(kind="sign-in", credential="aaaa-1", role="app")
        return CloudEvent(id=label["auditID"], time=time, cloud="azure", action="Sign-in", exchange=exchange)
    if "iam.googleapis.com" in label["why"] or "svc.id.goog" in label["why"]:
        exchange = Exchange(kind="pool", subject=subject, session=f"principal://{subject}", provider="p")
        return CloudEvent(id=label["auditID"], time=time, cloud="google", action="ExchangeToken", exchange=exchange)
    return None


def test_every_exchange_of_a_recorded_mint_is_joined() -> None:
    """The recorded mints with audiences of clouds, by their labels; nobody recorded what became of their tokens."""
    log_ = records(METADATA)
    events = {event["auditID"]: event for event in log_ if event["stage"] == "ResponseComplete"}
    wanted, calls, subjects = set(), [], {"aaaa-1": "system:serviceaccount:prod:payments-sa"}
    for label in labels(METADATA):
        if label["malicious"] and label["kind"] == "mint-ok" and label["auditID"] in events:
            subject = f"system:serviceaccount:{label['target'].replace('/', ':')}"
            time = _time(events[label["auditID"]]) + timedelta(seconds=30)
            if (call := exchange_of_recorded(label, time.replace(microsecond=0), subject)) is not None:
                calls.append(call)
                wanted.add(call.id if isinstance(call, CloudEvent) else call["eventID"])
    findings = found(*log_, *calls, azure_subjects=subjects)
    exchanged = {one.event.audit_id for one in findings if one.rule == MintedTokenExchanged.rule}

    assert len(wanted) == 5
    assert wanted == exchanged


# --- ordinary days


def _joined(accounts: int, days: float, times: list[datetime]) -> tuple[set[str], set[str], list[str]]:
    """Return the exchanges to join, those that were, and what was said about ordinary records."""
    week = Week(accounts, days)
    wanted = set(attacks(week, times))
    happenings = week.happenings()
    bad = {one.record.get("eventID") or one.record["auditID"] for one in happenings if one.attack}
    findings = found(*(one.record for one in happenings))
    exchanged = {one.event.audit_id for one in findings if one.rule == MintedTokenExchanged.rule}
    ordinary = [
        f"{one.rule.id} {one.severity}"
        for one in findings
        if one.event.audit_id not in bad and one.severity > Severity.INFORMATIONAL
    ]
    return wanted, exchanged, ordinary


def test_on_ordinary_days_nothing_is_said_and_every_attack_is_joined() -> None:
    """A share of the week below."""
    wanted, exchanged, ordinary = _joined(9, 2.2, [START + timedelta(days=1.2, hours=4 * n) for n in range(4)])

    assert len(wanted) == 4
    assert wanted <= exchanged
    assert ordinary == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 18], ids=["without attacks", "with attacks"])
def test_a_week_of_fifty_accounts(number: int) -> None:
    """See `cloud_week`: renewals, restarts, node changes."""
    times = [START + timedelta(days=1.5, hours=6 * n) for n in range(number)]
    wanted, exchanged, ordinary = _joined(50, 7, times)

    assert len(wanted) == number
    assert wanted <= exchanged
    assert ordinary == []
    assert number or not exchanged


# --- bounds


def test_what_is_remembered_is_bounded() -> None:
    """Exchanges of one account without end, of ever new origins, leave a state of bounded size."""
    detectors: list[CloudDetector[Any]] = [MintedTokenExchanged(), WebIdentityUnusualOrigin(), WebIdentityWithoutMint()]
    sizes = []
    for number in range(2):
        records = [
            cloudtrail.web_identity(
                TIME + timedelta(seconds=1000 * number + second),
                ip=f"203.{second % 200}.{number}.9",
                user_agent=f"client-{second}/1",
                session=f"s{second}",
            )
            for second in range(400)
        ]
        list(detect(records, detectors=detectors))
        sizes.append([len(json.dumps(detector.state())) for detector in detectors])

    assert max(sizes[0]) < 100_000
    assert all(after < 1.3 * before for before, after in zip(*sizes, strict=True))


# --- the commands


def test_scan_reads_both_logs(tmp_path: Path) -> None:
    """With the issuer, and with a file of Azure's subjects; a wrong one is an error of one line."""
    audit, trail = cluster_games()
    (tmp_path / "audit.log").write_bytes(log(audit))
    (tmp_path / "trail.json").write_text(json.dumps({"Records": trail}), encoding="utf-8")
    subjects = tmp_path / "subjects.json"
    subjects.write_text(json.dumps([{"id": "/x/y/AAAA", "subject": "system:serviceaccount:a:b"}]), encoding="utf-8")
    logs = [str(tmp_path / "audit.log"), str(tmp_path / "trail.json")]
    options = ["--issuer", f"https://{cloudtrail.ISSUER}", "--azure-subjects", str(subjects)]
    runner = CliRunner()

    found_ = runner.invoke(main, ["scan", *logs, *options])
    assert found_.exit_code == 1
    assert "exchanged a token for role challengeEksS3Role in AWS" in found_.stdout
    assert "calls in clouds: 4" in found_.stderr
    other = runner.invoke(main, ["scan", *logs, "--issuer", "oidc.example.com", "--format", "json"])
    assert "minted-token-exchanged" not in other.stdout
    subjects.write_text('{"a": "b"}', encoding="utf-8")
    wrong = runner.invoke(main, ["scan", *logs, *options])
    assert wrong.exit_code == 2
    assert "--azure-subjects" in wrong.stderr


def test_serve_takes_both_logs(tmp_path: Path) -> None:
    """The cloud's is posted by whatever gets its files; no credential in it is kept, and nonsense is refused."""
    audit, trail = cluster_games()
    trail[0]["responseElements"]["credentials"]["sessionToken"] = "FwoGZXIvYXdzEXAMPLESESSION"
    tokens, out = tmp_path / "tokens", tmp_path / "alerts.jsonl"
    tokens.write_text(TOKEN, encoding="utf-8")
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    with serving(tmp_path / "state", [f"file:{out}"], token_file=tokens) as (_, port, _health):
        url = f"http://127.0.0.1:{port}"
        posted = [
            httpx.post(f"{url}/cloud", content=json.dumps({"Records": trail}), headers=headers),
            httpx.post(f"{url}/audit", content=event_list(audit), headers=headers),
            httpx.post(f"{url}/cloud", content=b"[1]", headers=headers),
            httpx.post(f"{url}/cloud", content=b"{", headers=headers),
            httpx.post(f"{url}/cloud", content=b"{}"),
        ]
        assert [answer.status_code for answer in posted] == [200, 200, 400, 400, 401]
        kept = b"".join(zlib.decompress(text) for _, text in Journal(tmp_path / "state" / "batches", "batches").read(0))
        assert b"AssumeRoleWithWebIdentity" in kept
        assert b"FwoGZXIvYXdz" not in kept

    said_ = {rule["id"] for alert in written(out) for rule in alert["rules"]}
    assert {"minted-token-exchanged", "cloud-act-after-exchange"} <= said_


# --- outputs


def test_what_is_written_of_a_cloud_says_so_and_is_valid() -> None:
    """ECS has the cloud's fields, OCSF the cloud's log, our own JSON reads back, and no value is null."""
    audit, trail = cluster_games()
    findings = list(detect([*audit, *trail]))
    exchange = next(one for one in findings if one.rule == MintedTokenExchanged.rule)
    (incident,) = incidents(findings)
    ecs, ocsf_document = to_ecs(exchange), to_ocsf(exchange)

    assert ecs["cloud"] == {
        "provider": "aws",
        "account": {"id": cloudtrail.ACCOUNT},
        "region": "us-west-1",
        "service": {"name": "sts.amazonaws.com"},
    }
    assert ecs["event"]["outcome"] == "success"
    assert ecs["k8stokendetect"]["event"]["cloud"]["role"].endswith("role/challengeEksS3Role")
    assert ocsf_document["metadata"]["log_name"] == "AWS CloudTrail"
    assert ocsf_document["evidences"][0]["api"]["service"]["name"] == "sts.amazonaws.com"
    items: list[Finding | Incident] = [*findings, incident]
    for item in items:
        assert not [*ecs_errors(to_ecs(item)), *ocsf_errors(to_ocsf(item))]
    assert all(finding_of(to_line(one)).event == one.event for one in findings)
    assert [one.event for one in findings_of(to_arrow(findings))] == [one.event for one in findings]
    page = to_report([incident])
    assert "exchanged a token for role challengeEksS3Role in AWS" in page
