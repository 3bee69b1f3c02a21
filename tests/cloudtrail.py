"""CloudTrail records in the shapes that AWS documents, for tests.

IRSA and role chaining: https://docs.aws.amazon.com/IAM/latest/UserGuide/cloudtrail-integration.html; EKS Pod Identity's
`AssumeRole`: EKS workshop, "Deep Dive into EKS Pod Identity"; sessions:
https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-user-identity.html
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from k8stokendetect.testing import token_request

TIME = datetime(2026, 11, 23, 21, 0, tzinfo=UTC)
ACCOUNT = "111122223333"
ISSUER = "oidc.eks.us-west-2.amazonaws.com/id/C1C2C3C4C5C6C7C8C9C0"
PROVIDER = f"arn:aws:iam::{ACCOUNT}:oidc-provider/{ISSUER}"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/payments"
CLI = "aws-cli/2.15.0 Python/3.11.6 Linux/6.5.0 exe/x86_64"
BOTO = "Boto3/1.34.2 md/Botocore#1.34.2 ua/2.0 os/linux#5.10.220 lang/python#3.11.8"


def _id(*parts: object) -> str:
    digest = hashlib.sha256(repr(parts).encode()).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:32]}"


def key_id(*parts: object) -> str:
    """Return the id of an access key that STS issues, which begins with ASIA."""
    return f"ASIA{hashlib.sha256(repr(parts).encode()).hexdigest()[:16].upper()}"


def _time(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"


def session_of(role: str, name: str) -> str:
    """Return the ARN of an assumed role's session."""
    account, _, path = role.replace(":iam:", ":sts:").partition(":role/")
    return f"{account}:assumed-role/{path.rpartition('/')[2]}/{name}"


def _record(time: datetime, service: str, action: str, **more: Any) -> dict[str, Any]:
    record = {
        "eventVersion": "1.08",
        "eventTime": _time(time),
        "eventSource": f"{service}.amazonaws.com",
        "eventName": action,
        "awsRegion": "us-west-2",
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": ACCOUNT,
        "eventCategory": "Management",
        "readOnly": True,
        **more,
    }
    return {**record, "eventID": more.get("eventID") or _id(sorted(record.items(), key=str))}


def web_identity(
    time: datetime,
    account: str = "prod/payments-sa",
    *,
    ip: str = "203.0.113.66",
    user_agent: str = CLI,
    session: str = "s3access",
    role: str = ROLE,
    issuer: str = ISSUER,
    audience: str = "sts.amazonaws.com",
    error: str = "",
    region: str = "us-west-2",
    key: str = "",
) -> dict[str, Any]:
    """Return an `AssumeRoleWithWebIdentity` with the token of a service account."""
    subject = f"system:serviceaccount:{account.replace('/', ':')}"
    provider = f"arn:aws:iam::{ACCOUNT}:oidc-provider/{issuer}"
    answer = {
        "subjectFromWebIdentityToken": subject,
        "assumedRoleUser": {"assumedRoleId": f"AROACQRSTUVWRAOEXAMPLE:{session}", "arn": session_of(role, session)},
        "provider": provider,
        "audience": audience,
        "credentials": {
            "accessKeyId": key or key_id(time, account, session, ip),
            "sessionToken": "<redacted>",
            "expiration": f"{time + timedelta(hours=1):%b %d, %Y %I:%M:%S %p}",
        },
    }
    failure = {"errorCode": error, "errorMessage": "Not authorized", "responseElements": None}
    return _record(
        time,
        "sts",
        "AssumeRoleWithWebIdentity",
        awsRegion=region,
        userIdentity={
            "type": "WebIdentityUser",
            "principalId": f"{provider}:{audience}:{subject}",
            "userName": subject,
            "identityProvider": provider,
        },
        sourceIPAddress=ip,
        userAgent=user_agent,
        requestParameters={"roleArn": role, "roleSessionName": session},
        **(failure if error else {"responseElements": answer}),
    )


def pod_identity(
    time: datetime,
    account: str = "prod/payments-sa",
    *,
    pod: str = "payments-7d9c-x2x4q",
    uid: str,
    cluster: str = "prod",
) -> dict[str, Any]:
    """Return the `AssumeRole` that EKS Pod Identity makes for a pod."""
    namespace, _, name = account.partition("/")
    session = f"eks-{cluster}-{pod}-{_id(time, uid)}"
    tags = {
        "eks-cluster-arn": f"arn:aws:eks:us-west-2:{ACCOUNT}:cluster/{cluster}",
        "eks-cluster-name": cluster,
        "kubernetes-namespace": namespace,
        "kubernetes-service-account": name,
        "kubernetes-pod-name": pod,
        "kubernetes-pod-uid": uid,
    }
    return _record(
        time,
        "sts",
        "AssumeRole",
        userIdentity={"type": "AWSService", "invokedBy": "pods.eks.amazonaws.com"},
        sourceIPAddress="pods.eks.amazonaws.com",
        userAgent="pods.eks.amazonaws.com",
        requestParameters={
            "roleArn": ROLE,
            "roleSessionName": session,
            "tags": [{"key": key, "value": value} for key, value in tags.items()],
        },
        responseElements={
            "assumedRoleUser": {"assumedRoleId": f"AROA:{session}", "arn": session_of(ROLE, session)},
            "credentials": {"accessKeyId": key_id(time, uid), "expiration": _time(time + timedelta(hours=1))},
        },
        sharedEventID=_id("shared", time, uid),
    )


def issued(exchange: Mapping[str, Any]) -> str:
    """Return the id of the key that an exchange issued."""
    return str(exchange["responseElements"]["credentials"]["accessKeyId"])


def call(
    exchange: Mapping[str, Any],
    service: str,
    action: str,
    *,
    after: float = 30,
    error: str = "",
    parameters: Mapping[str, Any] | None = None,
    ip: str = "",
    region: str = "us-west-2",
    answer: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a call with the credentials that an exchange issued.

    Arguments:
        exchange: the record of the exchange.
        service: such as `s3`.
        action: such as `GetObject`.
        after: seconds after the exchange.
        error: its code.
        parameters: `requestParameters`.
        ip: the address; by default the exchange's.
        region: where it was called.
        answer: `responseElements`.

    """
    time = datetime.fromisoformat(exchange["eventTime"]) + timedelta(seconds=after)
    arn = exchange["responseElements"]["assumedRoleUser"]["arn"]
    role = exchange["requestParameters"]["roleArn"]
    return _record(
        time,
        service,
        action,
        awsRegion=region,
        userIdentity={
            "type": "AssumedRole",
            "principalId": exchange["responseElements"]["assumedRoleUser"]["assumedRoleId"],
            "arn": arn,
            "accountId": ACCOUNT,
            "accessKeyId": issued(exchange),
            "sessionContext": {
                "sessionIssuer": {
                    "type": "Role",
                    "arn": role,
                    "accountId": ACCOUNT,
                    "userName": role.rpartition("/")[2],
                },
                "webIdFederationData": {"federatedProvider": PROVIDER, "attributes": {}},
                "attributes": {"creationDate": exchange["eventTime"], "mfaAuthenticated": "false"},
            },
        },
        sourceIPAddress=ip or exchange["sourceIPAddress"],
        userAgent=exchange["userAgent"],
        requestParameters=dict(parameters) if parameters else None,
        responseElements=dict(answer) if answer else None,
        **({"errorCode": error, "errorMessage": "no"} if error else {}),
    )


def assume_role(exchange: Mapping[str, Any], role: str, *, after: float = 60, session: str = "next") -> dict[str, Any]:
    """Return an `AssumeRole` with the credentials that an exchange issued: role chaining."""
    arn = session_of(role, session)
    return call(
        exchange,
        "sts",
        "AssumeRole",
        after=after,
        parameters={"roleArn": role, "roleSessionName": session},
        answer={
            "credentials": {"accessKeyId": key_id(role, session, after), "expiration": exchange["eventTime"]},
            "assumedRoleUser": {"assumedRoleId": f"AROA:{session}", "arn": arn},
        },
    )


def cluster_games() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the last challenge of EKS Cluster Games (https://eksclustergames.com/) as the two logs would have it.

    A pod's account may mint for `debug-sa`, whose role its trust policy gives to the whole provider: mint with the
    audience of STS, assume the role, read the flag in S3.
    """
    role = "arn:aws:iam::111122223333:role/challengeEksS3Role"
    mint = token_request(
        "system:node:challenge:ip-192-168-21-50.us-west-1.compute.internal",
        "challenge5/debug-sa",
        groups=("system:authenticated", "system:nodes"),
        time=TIME,
        ip="203.0.113.66",
        audiences=["sts.amazonaws.com"],
        expiration_seconds=3600,
        level="Request",
    )
    exchange = web_identity(TIME + timedelta(seconds=40), "challenge5/debug-sa", role=role, region="us-west-1")
    bucket = "challenge-flag-bucket-3ff1ae2"
    calls = [
        call(exchange, "sts", "GetCallerIdentity", after=5),
        call(exchange, "s3", "ListObjects", after=15, parameters={"bucketName": bucket}),
        call(exchange, "s3", "GetObject", after=20, parameters={"bucketName": bucket, "key": "flag"}),
    ]
    return [mint], [exchange, *calls]
