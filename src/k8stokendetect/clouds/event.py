# SPDX-License-Identifier: Apache-2.0
"""The typed cloud event: one API call or sign-in as AWS CloudTrail, Entra ID or Cloud Audit Logs recorded it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Final, Literal, TypeAlias, get_args

import attrs

from k8stokendetect.bounds import LONGEST_LIST, cut, cut_address, cut_text, cut_user
from k8stokendetect.identity import ServiceAccount
from k8stokendetect.reprs import with_short_repr

Cloud: TypeAlias = Literal["aws", "azure", "google"]
"""Whose log an event is from."""

CLOUDS: Final[tuple[Cloud, ...]] = get_args(Cloud)

ExchangeKind: TypeAlias = Literal["web identity", "pod identity", "role", "session", "pool", "impersonation", "sign-in"]
"""How credentials were exchanged.

- `web identity`: AWS `AssumeRoleWithWebIdentity`, with a token (IRSA, or any other cluster whose issuer AWS trusts);
- `pod identity`: AWS `AssumeRole` that EKS Pod Identity made for a pod;
- `role`: AWS `AssumeRole` or `AssumeRoot` by anybody else; by an assumed role it is role chaining;
- `session`: AWS `GetSessionToken` or `GetFederationToken`, with the keys of a user;
- `pool`: Google `ExchangeToken`, with a token, at a workload identity pool;
- `impersonation`: Google `GenerateAccessToken`, for a Google service account;
- `sign-in`: a sign-in of Entra ID with a federated credential, or of a managed identity.
"""


def normalised_issuer(issuer: str, /) -> str:
    """Return an issuer as AWS names its provider: without `https://` and a slash at its end.

    A provider's ARN ends in the issuer's URL without its scheme:
    https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_create_oidc.html
    """
    return issuer.strip().removeprefix("https://").rstrip("/")


_GKE_SUBJECT: Final = re.compile(r"ns/([^/]+)/sa/([^/]+)")
"""https://cloud.google.com/kubernetes-engine/docs/concepts/workload-identity, principal identifiers."""


def _cut_issuer(issuer: str, /) -> str:
    return cut_text(normalised_issuer(issuer))


def _cut_resources(resources: Iterable[str], /) -> tuple[str, ...]:
    """Cut each text, and a list that is too long; what is left out is counted in its last item."""
    found = tuple(map(cut_text, resources))
    if len(found) <= LONGEST_LIST:
        return found
    return (*found[: LONGEST_LIST - 1], f"… (cut: {len(found) - LONGEST_LIST + 1} more)")


@with_short_repr
@attrs.frozen(kw_only=True)
class Caller:
    """Who made the call; what was not logged is empty. Texts are cut, see `bounds`.

    Arguments:
        principal: an ARN; at Google `principalSubject` or `principalEmail`; at Azure the service principal's id.
        kind: AWS's `userIdentity.type`, such as `AssumedRole`, `WebIdentityUser`, `AWSService`; Azure's category of
            sign-ins; empty at Google.
        name: AWS's `userIdentity.userName`, which for a `WebIdentityUser` is the token's subject; Azure's
            `ServicePrincipalName`.
        account: the AWS account of the identity, which need not be the account that was called.
        access_key: the id of the AWS access key that signed the call. An identifier, no secret: AWS prints it in every
            log, and nothing can be signed with it
            (https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_access-keys.html).
        session: the ARN of the assumed role's session, `arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION`; at Google who
            took on the service account that called (`serviceAccountDelegationInfo`).
        role: the ARN of the role behind the session.
        provider: the ARN of the OIDC provider whose token began the session (`webIdFederationData.federatedProvider`).
        invoked_by: the AWS service that made the call, such as `pods.eks.amazonaws.com`.

    """

    principal: str = attrs.field(default="", converter=cut_text)
    kind: str = attrs.field(default="", converter=cut)
    name: str = attrs.field(default="", converter=cut_user)
    account: str = attrs.field(default="", converter=cut)
    access_key: str = attrs.field(default="", converter=cut)
    session: str = attrs.field(default="", converter=cut_text)
    role: str = attrs.field(default="", converter=cut_text)
    provider: str = attrs.field(default="", converter=cut_text)
    invoked_by: str = attrs.field(default="", converter=cut)


@with_short_repr
@attrs.frozen(kw_only=True)
class Exchange:
    """A Kubernetes token, or credentials that may come from one, that was exchanged for credentials of a cloud.

    An exchange that was refused has one, too: see `CloudEvent.error`. What was not logged is empty or None. No cloud
    logs a token's id, or when it was issued.

    Arguments:
        kind: how.
        issuer: of the token, without `https://`.
        provider: that the cloud knows the issuer by: the ARN of the OIDC provider; at Google the pool provider
            (`resourceName`).
        subject: of the token, as logged; at Google without the pool that it is in, and of GKE's own pool
            `ns/NAMESPACE/sa/NAME`.
        audience: of the token; for an AWS provider often `sts.amazonaws.com`.
        role: what was asked for: a role's ARN; Google's service account; at Azure the application's id.
        session_name: AWS's `roleSessionName`, which the caller chose.
        session: what came out: the ARN of the assumed role's session; Google's mapped principal; at Azure the id of
            the token that was issued.
        issued_key: the id of the AWS access key that was issued, an identifier.
        expires: when the issued credentials expire.
        duration_s: how long they were asked to last, in seconds.
        namespace: of the pod (EKS Pod Identity's session tags), as `pod_name`, `pod_uid` and `cluster`.
        pod_name: its name.
        pod_uid: its uid, the same as `boundObjectRef.uid` of its token's request in the audit log.
        cluster: the ARN or, without one, the name of its cluster.
        tagged_account: its service account's name.
        node_session: the ARN of the session of the node's role that asked, where it is logged.
        credential: Azure's `FederatedCredentialId`; which subject it stands for only Azure's directory knows.
        credential_kind: Azure's `ClientCredentialType`; at Google the type of the token (`subjectTokenType`).
        credential_fingerprint: Google's `keyInfo[].fingerprint`: of the key that signed the token.

    """

    kind: ExchangeKind
    issuer: str = attrs.field(default="", converter=_cut_issuer)
    provider: str = attrs.field(default="", converter=cut_text)
    subject: str = attrs.field(default="", converter=cut_user)
    audience: str = attrs.field(default="", converter=cut_text)
    role: str = attrs.field(default="", converter=cut_text)
    session_name: str = attrs.field(default="", converter=cut)
    session: str = attrs.field(default="", converter=cut_text)
    issued_key: str = attrs.field(default="", converter=cut)
    expires: datetime | None = None
    duration_s: int | None = None
    namespace: str = attrs.field(default="", converter=cut)
    pod_name: str = attrs.field(default="", converter=cut)
    pod_uid: str = attrs.field(default="", converter=cut)
    cluster: str = attrs.field(default="", converter=cut_text)
    tagged_account: str = attrs.field(default="", converter=cut)
    node_session: str = attrs.field(default="", converter=cut_text)
    credential: str = attrs.field(default="", converter=cut)
    credential_kind: str = attrs.field(default="", converter=cut)
    credential_fingerprint: str = attrs.field(default="", converter=cut)

    @property
    def service_account(self) -> ServiceAccount | None:
        """The service account whose token it was, by its subject or, for EKS Pod Identity, by the session's tags."""
        if self.namespace and self.tagged_account:
            return ServiceAccount(self.namespace, self.tagged_account)
        found = _GKE_SUBJECT.fullmatch(self.subject)
        return ServiceAccount(found[1], found[2]) if found else ServiceAccount.of_username(self.subject)


@with_short_repr
@attrs.frozen(kw_only=True)
class CloudEvent:
    """One API call or sign-in in a cloud, as `read` makes it. Texts are cut, see `bounds`.

    Arguments:
        id: CloudTrail's `eventID`, Entra's `CorrelationId` or `Id`, Cloud Logging's `insertId`.
        time: when the call was made, UTC.
        cloud: whose log it is from.
        action: the API call: `AssumeRoleWithWebIdentity`; at Google the method's full name; at Azure `Sign-in`.
        service: which was called: `sts.amazonaws.com`; at Azure the resource that was signed in to.
        account: the AWS account whose log it is, the Azure tenant, or the Google project.
        region: the cloud's region.
        error: the error's code, empty where the call succeeded.
        source_ip: where it came from; AWS writes the name of a service there that made the call itself.
        user_agent: as the client named itself.
        caller: who called.
        exchange: what was exchanged; None for any other call.
        resources: what it acted on: ARNs, `BUCKET/KEY`, names of users, secrets, snapshots.
        read_only: the call changes nothing; None where the log does not say.
        shared_id: CloudTrail's `sharedEventID`: the same in the logs of all accounts that one call concerned.
        origin: file and line, such as `cloudtrail/x.json.gz:1[3]`.

    """

    id: str = attrs.field(converter=cut_text)
    time: datetime
    cloud: Cloud
    action: str = attrs.field(default="", converter=cut)
    service: str = attrs.field(default="", converter=cut)
    account: str = attrs.field(default="", converter=cut)
    region: str = attrs.field(default="", converter=cut)
    error: str = attrs.field(default="", converter=cut)
    source_ip: str = attrs.field(default="", converter=cut_address)
    user_agent: str = attrs.field(default="", converter=cut_text)
    caller: Caller = attrs.field(factory=Caller)
    exchange: Exchange | None = None
    resources: tuple[str, ...] = attrs.field(default=(), converter=_cut_resources)
    read_only: bool | None = None
    shared_id: str = attrs.field(default="", converter=cut)
    origin: str | None = None

    @property
    def succeeded(self) -> bool:
        """The call did what it was asked to."""
        return not self.error
