# SPDX-License-Identifier: Apache-2.0
"""What is made of one record of a cloud's log: strict, bounded, and without anything secret."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import attrs
import pytest

from cloud_logs import ENTRIES, RECORDS, SIGN_INS, record
from k8stokendetect import ReadError
from k8stokendetect.bounds import LONGEST_LIST, LONGEST_TEXT
from k8stokendetect.clouds import Caller, Cloud, CloudEvent, Exchange, normalised_issuer, parse_cloud_event
from k8stokendetect.identity import ServiceAccount
from k8stokendetect.testing.builders import LIVE_TOKEN

ACCOUNT = "111122223333"
ISSUER = "oidc.eks.eu-west-1.amazonaws.com/id/EXAMPLED539D4633E53DE1B716D3041E"
PROVIDER = f"arn:aws:iam::{ACCOUNT}:oidc-provider/{ISSUER}"
SUBJECT = "system:serviceaccount:shop:debug-sa"
SESSION = f"arn:aws:sts::{ACCOUNT}:assumed-role/shop-reader/botocore-session-1700000000"
POOL = "projects/123456789012/locations/global/workloadIdentityPools/clusters"


def aws(index: int = 0, **changes: Any) -> CloudEvent:
    """Parse a record of CloudTrail."""
    return parse_cloud_event(record(index, **changes), "aws")


def test_a_token_that_was_exchanged_for_a_role() -> None:
    """IRSA: issuer, subject and audience of the token, and the key that it gave; no id of the token, nowhere."""
    assert aws() == CloudEvent(
        id="e0000001-0000-4000-8000-000000000001",
        time=datetime(2026, 3, 2, 10, 1, tzinfo=UTC),
        cloud="aws",
        account=ACCOUNT,
        region="eu-west-1",
        service="sts.amazonaws.com",
        action="AssumeRoleWithWebIdentity",
        source_ip="198.51.100.7",
        user_agent="aws-cli/2.15.0 Python/3.11.6 Linux/6.1 exe/x86_64.ubuntu.22 prompt/off",
        caller=Caller(principal=f"{PROVIDER}:sts.amazonaws.com:{SUBJECT}", kind="WebIdentityUser", name=SUBJECT),
        exchange=Exchange(
            kind="web identity",
            issuer=ISSUER,
            provider=PROVIDER,
            subject=SUBJECT,
            audience="sts.amazonaws.com",
            role=f"arn:aws:iam::{ACCOUNT}:role/shop-reader",
            session_name="botocore-session-1700000000",
            session=SESSION,
            issued_key="ASIAEXAMPLEKEY000001",
            expires=datetime(2026, 3, 2, 11, 1, tzinfo=UTC),
            duration_s=3600,
        ),
        resources=(f"arn:aws:iam::{ACCOUNT}:role/shop-reader",),
        read_only=True,
    )


def test_a_refused_exchange_says_whose_token_it_was() -> None:
    """Without an answer, the caller's identity has all of it."""
    event = aws(1)
    exchange = event.exchange

    assert (event.error, event.succeeded) == ("AccessDenied", False)
    assert exchange is not None
    assert (exchange.issuer, exchange.subject, exchange.audience) == (ISSUER, SUBJECT, "sts.amazonaws.com")
    assert (exchange.issued_key, exchange.service_account) == ("", ServiceAccount("shop", "debug-sa"))


@pytest.mark.parametrize("audience", ["sts.amazonaws.com", "vault:8200", "a:b:c"])
def test_the_audience_is_what_stands_between_provider_and_subject(audience: str) -> None:
    """Either may hold colons; Athena's table has no `identityProvider`, where an audience with a colon is not told."""
    identity = {"type": "WebIdentityUser", "principalId": f"{PROVIDER}:{audience}:{SUBJECT}", "userName": SUBJECT}
    told = aws(1, userIdentity={**identity, "identityProvider": PROVIDER}).exchange
    guessed = aws(1, userIdentity=identity).exchange

    assert told is not None
    assert guessed is not None
    assert told.audience == audience
    assert (":" in audience) or (guessed.provider, guessed.audience, guessed.issuer) == (PROVIDER, audience, ISSUER)


def test_what_was_done_with_a_key_says_which_key_and_whose_session() -> None:
    """From key to key: the act, the next role, and what that did."""
    act, hop, deed = aws(2), aws(3), aws(4)

    assert (act.caller.access_key, act.caller.session) == ("ASIAEXAMPLEKEY000001", SESSION)
    assert (act.caller.role, act.caller.provider) == (f"arn:aws:iam::{ACCOUNT}:role/shop-reader", PROVIDER)
    assert act.resources[-1] == "shop-backups/customers.csv"
    assert hop.exchange is not None
    assert (hop.exchange.kind, hop.exchange.issued_key) == ("role", "ASIAEXAMPLEKEY000002")
    assert hop.exchange.expires == datetime(2026, 3, 2, 11, 3, tzinfo=UTC)  # with the narrow space of newer Java
    assert deed.caller.access_key == hop.exchange.issued_key
    assert (deed.resources, deed.read_only, deed.exchange) == (("ci", "AKIAEXAMPLEKEY000003"), False, None)


def test_pod_identity_names_the_pod_in_its_second_record() -> None:
    """The first has the node and a hidden token, the second the pod."""
    asked, given = aws(5).exchange, aws(6).exchange

    assert asked == Exchange(
        kind="pod identity",
        audience="pods.eks.amazonaws.com",
        cluster="prod",
        node_session=f"arn:aws:sts::{ACCOUNT}:assumed-role/eks-node/i-00000000000000001",
    )
    assert given is not None
    assert (given.kind, given.pod_uid) == ("pod identity", "91eee131-0000-4000-8000-bcde305c120b")
    assert (given.namespace, given.pod_name, given.service_account) == ("shop", "web-1", ServiceAccount("shop", "web"))
    assert given.cluster == f"arn:aws:eks:eu-west-1:{ACCOUNT}:cluster/prod"


def test_nobody_else_can_pretend_to_be_pod_identity() -> None:
    """Session tags are the caller's choice: they count only where EKS itself called."""
    for identity in (
        RECORDS[2]["userIdentity"],
        {"type": "AWSService", "invokedBy": "lambda.amazonaws.com"},
        {**RECORDS[2]["userIdentity"], "invokedBy": "pods.eks.amazonaws.com"},
    ):
        exchange = aws(6, userIdentity=identity).exchange
        assert exchange is not None
        assert (exchange.kind, exchange.pod_uid, exchange.service_account) == ("role", "", None)


def test_pod_identity_without_session_tags_is_still_one() -> None:
    """An association with `disableSessionTags`."""
    parameters = {key: value for key, value in RECORDS[6]["requestParameters"].items() if key != "tags"}
    exchange = aws(6, requestParameters=parameters).exchange

    assert exchange is not None
    assert (exchange.kind, exchange.pod_uid, exchange.issued_key) == ("pod identity", "", "ASIAEXAMPLEKEY000004")


def test_google_says_subject_principal_and_on_whose_behalf() -> None:
    """From the exchange at a pool to the call in a service account's name."""
    exchange, impersonation, act, refused = (parse_cloud_event(entry, "google") for entry in ENTRIES)
    principal = f"principal://iam.googleapis.com/{POOL}/subject/{SUBJECT}"

    assert exchange.exchange == Exchange(
        kind="pool",
        subject=SUBJECT,
        provider=f"{POOL}/providers/prod",
        audience=f"//iam.googleapis.com/{POOL}/providers/prod",
        session=principal,
        credential_kind="urn:ietf:params:oauth:token-type:jwt",
        credential_fingerprint="3C:B2:47:F8",
    )
    assert impersonation.exchange is not None
    assert impersonation.exchange.role == "reader@shop-111111.iam.gserviceaccount.com"
    assert impersonation.exchange.service_account == ServiceAccount("shop", "debug-sa")
    assert (act.caller.principal, act.caller.session) == (impersonation.exchange.role, principal)
    assert (act.exchange, act.account) == (None, "shop-111111")
    assert refused.exchange is not None
    assert (refused.error, refused.exchange.session) == ("PERMISSION_DENIED", principal)


@pytest.mark.parametrize(
    "principal",
    [
        "principal://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p.svc.id.goog/subject/ns/a/sa/b",
        "serviceAccount:p.svc.id.goog[a/b]",
        "p.svc.id.goog[a/b]",
    ],
)
def test_gke_names_a_service_account_in_its_own_ways(principal: str) -> None:
    """Its pool is not one of yours."""
    entry = copy.deepcopy(ENTRIES[1])
    entry["protoPayload"]["authenticationInfo"] = {"principalSubject": principal}
    exchange = parse_cloud_event(entry, "google").exchange

    assert exchange is not None
    assert (exchange.subject, exchange.service_account) == ("ns/a/sa/b", ServiceAccount("a", "b"))


def test_a_sign_in_names_the_federated_credential() -> None:
    """And no subject."""
    event, managed, refused = (parse_cloud_event(item, "azure") for item in SIGN_INS)

    assert event.exchange == Exchange(
        kind="sign-in",
        role="b3b975ac-0000-4000-8000-000000000002",
        session="YTA4ODY5YTgtMDAwMC0",
        credential="f1c00000-0000-4000-8000-000000000005",
        credential_kind="clientAssertion",
    )
    assert (event.account, event.error) == ("00000000-1111-4222-8333-444444444444", "")
    assert (managed.caller.kind, managed.source_ip) == ("ManagedIdentitySignInLogs", "")
    assert refused.error == "7000222"


WRONG: list[tuple[Cloud, dict[str, Any], str, str]] = [
    ("aws", record(eventName=...), "required field missing", "$.eventName"),
    ("aws", record(eventID=[7]), "expected a string, got a list", "$.eventID"),
    ("aws", record(eventTime="yesterday"), "not a timestamp", "$.eventTime"),
    ("aws", record(eventTime="12/11/2026"), "a date that may begin with its day or with its month", "$.eventTime"),
    ("aws", record(userIdentity=["x"]), "expected an object, got a list", "$.userIdentity"),
    ("aws", record(userIdentity={"arn": {}}), "expected a string, got an object", "$.userIdentity.arn"),
    ("aws", record(requestParameters=[]), "expected an object, got a list", "$.requestParameters"),
    ("aws", record(requestParameters={"roleArn": [1]}), "expected a string", "$.requestParameters.roleArn"),
    ("aws", record(responseElements={"credentials": []}), "expected an object", "$.responseElements.credentials"),
    ("aws", record(6, requestParameters={"tags": {}}), "expected a list", "$.requestParameters.tags"),
    ("aws", record(6, requestParameters={"tags": [1]}), "expected an object", "$.requestParameters.tags[0]"),
    ("aws", record(readOnly="maybe"), "expected a boolean, got a string", "$.readOnly"),
    ("aws", record(resources=[7]), "expected an object, got a number", "$.resources[0]"),
    ("azure", SIGN_INS[0] | {"properties": 1}, "expected an object, got a number", "$.properties"),
    ("azure", {"AppId": "x", "CorrelationId": "y"}, "not a timestamp", "$.TimeGenerated"),
    ("azure", {"AppId": "x", "TimeGenerated": 1772445660}, "a sign-in with neither Id nor CorrelationId", "$"),
    ("google", ENTRIES[0] | {"timestamp": None}, "expected a string, got null", "$.timestamp"),
    (
        "google",
        ENTRIES[0] | {"protoPayload": {"methodName": "x", "status": 7}},
        "expected an object, got a number",
        "$.protoPayload.status",
    ),
]


@pytest.mark.parametrize(("cloud", "wrong", "reason", "path"), WRONG, ids=[f"{row[0]} {row[3]}" for row in WRONG])
def test_a_wrong_type_is_an_error_that_names_its_place(
    cloud: Cloud, wrong: dict[str, Any], reason: str, path: str
) -> None:
    """Nothing is guessed, and no value is repeated."""
    with pytest.raises(ReadError) as caught:
        parse_cloud_event(wrong, cloud, "log:1")

    assert (caught.value.reason, caught.value.path) == (reason, path)
    assert caught.value.__context__ is None


def changed(path: str, value: Any) -> dict[str, Any]:
    """Return the first record with another value."""
    made = copy.deepcopy(record())
    node = made
    *steps, last = path.split(".")
    for step in steps:
        node = node[step]
    node[last] = value(node[last]) if callable(value) else value
    return made


@pytest.mark.parametrize(
    ("path", "value"),
    [
        *(("eventSource", f"{name}") for name in ("sts", "STS.amazonaws.com", "sts.amazonaws.com.cn")),
        ("eventSource", "sts.us-west-2.amazonaws.com"),
        ("eventSource", "sts.cn-north-1.amazonaws.com.cn"),
        ("eventSource", "sts-fips.us-gov-east-1.amazonaws.com"),
        ("eventSource", "sts.us-east-1.api.aws"),
        ("eventSource", "sts.us-iso-east-1.c2s.ic.gov"),
        ("eventSource", "vpce-0a1b-2c3d.sts.us-east-1.vpce.amazonaws.com"),
        *(("requestParameters.durationSeconds", duration) for duration in ("3600", 3600.0, "3600.0")),
        *(("readOnly", truth) for truth in ("true", "TRUE", "True", 1)),
        *(("eventTime", time) for time in (1772445660, 1772445660000, "1772445660000", 1772445660.0)),
        *(("eventTime", f"2026-03-02{time}") for time in ("T10:01:00.000Z", "T12:01:00+02:00", " 10:01:00.000 UTC")),
        *(("recipientAccountId", account) for account in (111122223333, 111122223333.0)),
        *(("userIdentity.sessionContext", nothing) for nothing in (None, "", {}, {"sessionIssuer": ""})),
        ("resources", lambda resources: [None, *resources]),
        ("resources", lambda resources: resources[0]),
        ("resources", json.dumps),
        *((path, json.dumps) for path in ("userIdentity", "requestParameters", "responseElements")),
        *((f"responseElements.{name}", json.dumps) for name in ("credentials", "assumedRoleUser")),
        ("responseElements.credentials.expiration", 1772449260000),
    ],
)
def test_other_spellings_of_a_record_say_the_same(path: str, value: Any) -> None:
    """As tables, queries and endpoints change them: no exchange is lost."""
    assert parse_cloud_event(changed(path, value), "aws") == aws()


@pytest.mark.parametrize("duration", ["", "x", [3600], True, None])
def test_no_exchange_is_lost_for_its_duration(duration: Any) -> None:
    """It is only not known."""
    event = parse_cloud_event(changed("requestParameters.durationSeconds", duration), "aws")
    assert event.exchange
    assert (event.exchange.duration_s, event.exchange.issued_key) == (None, "ASIAEXAMPLEKEY000001")


def test_other_names_are_no_endpoint() -> None:
    """Of a partner, or with STS in the middle."""
    for source in ("okta.com", "sts.example.com", "x.sts.amazonaws.com"):
        event = parse_cloud_event(record(eventSource=source), "aws")
        assert (event.service, event.exchange) == (source, None)


def test_an_account_keeps_the_zeros_it_begins_with() -> None:
    """A spreadsheet dropped them."""
    assert aws(recipientAccountId=11122223333).account == "011122223333"


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield where the texts of a record stand."""
    if isinstance(value, str):
        yield path
    elif isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(item, (*path, key))


SOURCES: list[tuple[Cloud, dict[str, Any]]] = [
    *(("aws", item) for item in RECORDS),
    *(("azure", item) for item in SIGN_INS),
    *(("google", item) for item in ENTRIES),
]


@pytest.mark.parametrize(("cloud", "source"), SOURCES, ids=[f"{one[0]} {index}" for index, one in enumerate(SOURCES)])
def test_no_token_comes_out_wherever_it_stood(cloud: Cloud, source: dict[str, Any]) -> None:
    """Also encoded once, and where the record is refused; the fakes in the records are never looked at."""
    secrets = (LIVE_TOKEN.split(".")[1], "FAKE//SESSION", "ya29.")
    for place in places(source):
        carrying = copy.deepcopy(source)
        node: Any = carrying
        for key in place[:-1]:
            node = node[key]
        node[place[-1]] = f"x {LIVE_TOKEN}"
        try:
            shown = str(attrs.asdict(parse_cloud_event(carrying, cloud)))
        except ReadError as error:
            shown = f"{error} {error.args}"
        assert not [secret for secret in secrets if secret in shown], place


def test_texts_are_bounded() -> None:
    """A client names its session, its agent and its objects."""
    long = "x" * 9000
    parameters = {"bucketName": "b", "key": "k" * 2000, "names": [f"n{number}" for number in range(99)]}
    event = aws(2, userAgent=long, sourceIPAddress=long, requestParameters=parameters)

    assert len(event.user_agent) == LONGEST_TEXT
    assert len(event.source_ip) == 64
    assert max(map(len, event.resources)) == LONGEST_TEXT
    assert len(event.resources) == LONGEST_LIST
    assert event.resources[-1].startswith("… (cut: ")
    assert len(repr(event)) < 240


def test_an_issuer_is_compared_without_its_scheme() -> None:
    """As AWS names its providers."""
    assert normalised_issuer(f"https://{ISSUER}/") == normalised_issuer(ISSUER) == ISSUER
