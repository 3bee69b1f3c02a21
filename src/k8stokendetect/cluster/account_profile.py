# SPDX-License-Identifier: Apache-2.0
"""A service account as a target: its rights, each with its reason, its pods, its cloud identities and their traces."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Iterator
from typing import Final

import attrs

from k8stokendetect.cluster.capabilities import Capabilities
from k8stokendetect.cluster.objects import Account, Pod, PodIdentity
from k8stokendetect.cluster.rbac import Grant
from k8stokendetect.convert.credentials import clean_text
from k8stokendetect.identity import SERVICE_ACCOUNT_PREFIX, ServiceAccount
from k8stokendetect.reprs import with_short_repr

_ARN: Final = re.compile(r"arn:[a-z-]+:iam::(\d{12}):role/\S+")
_PROJECT: Final = re.compile(r"[^@]+@([a-z0-9.:-]+)\.iam\.gserviceaccount\.com")


class CloudKind(enum.StrEnum):
    """How a service account is tied to a cloud."""

    EKS_ROLE = "eks-role"
    EKS_POD_IDENTITY = "eks-pod-identity"
    AZURE_WORKLOAD_IDENTITY = "azure-workload-identity"
    GKE_SERVICE_ACCOUNT = "gke-service-account"


@with_short_repr
@attrs.frozen
class CloudIdentity:
    """A cloud identity that a token of the service account can assume.

    What the cloud trusts (a role's trust policy, a federated credential, an IAM binding) is configured in the cloud;
    the cluster shows only what it asks for.

    Arguments:
        kind: how it is tied.
        identity: the role's ARN, the client id, the Google service account's e-mail; empty where the file lacks
            it: `aws eks list-pod-identity-associations` leaves the role out.
        owner: the AWS account, Azure tenant or Google project, where known.
        audience: the token's required audience; empty where it depends on the project.
        where: the annotation or the association that says so.

    """

    kind: CloudKind
    identity: str
    owner: str = ""
    audience: str = ""
    where: str = ""


def identities_of(account: Account, associations: Iterable[PodIdentity], /) -> Iterator[CloudIdentity]:
    """Yield the identities that an account's annotations and its Pod Identity associations name.

    Sources: docs.aws.amazon.com/eks/latest/userguide/iam-roles-for-service-accounts.html and pod-identities.html
    (`eks.amazonaws.com/audience` from aws/amazon-eks-pod-identity-webhook README);
    azure.github.io/azure-workload-identity/docs/topics/service-account-labels-and-annotations.html;
    cloud.google.com/kubernetes-engine/docs/concepts/workload-identity.
    """
    notes = account.annotations
    if role := notes.get("eks.amazonaws.com/role-arn"):
        audience = notes.get("eks.amazonaws.com/audience") or "sts.amazonaws.com"
        yield CloudIdentity(CloudKind.EKS_ROLE, role, _group(_ARN, role), audience, "eks.amazonaws.com/role-arn")
    for one in associations:
        role = one.target_role_arn or one.role_arn
        yield CloudIdentity(
            CloudKind.EKS_POD_IDENTITY, role, _group(_ARN, role), "pods.eks.amazonaws.com", one.association_id
        )
    if client := notes.get("azure.workload.identity/client-id"):
        tenant = notes.get("azure.workload.identity/tenant-id", "")
        audience, where = "api://AzureADTokenExchange", "azure.workload.identity/client-id"
        yield CloudIdentity(CloudKind.AZURE_WORKLOAD_IDENTITY, client, tenant, audience, where)
    if email := notes.get("iam.gke.io/gcp-service-account"):
        where = "iam.gke.io/gcp-service-account"
        yield CloudIdentity(CloudKind.GKE_SERVICE_ACCOUNT, email, _group(_PROJECT, email), "", where)


def _group(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.fullmatch(text)
    return found[1] if found else ""


class RightKind(enum.StrEnum):
    """What the account's token allows."""

    ADMIN = "everything"
    MINT = "create-tokens"
    IMPERSONATE = "impersonate"
    ESCALATE = "escalate"
    BIND = "bind"
    READ_SECRETS = "read-secrets"
    EXEC = "exec-into-pods"
    CREATE_PODS = "create-pods"
    NODES = "nodes-proxy"
    CERTIFICATES = "approve-certificates"
    WEBHOOKS = "mutating-webhooks"
    ATTEST = "attest-admission-reviews"


_OF_POWER: Final = {
    "admin": RightKind.ADMIN,
    "mint": RightKind.MINT,
    "impersonate-account": RightKind.IMPERSONATE,
    "impersonate-user": RightKind.IMPERSONATE,
    "impersonate-group": RightKind.IMPERSONATE,
    "constrained-account": RightKind.IMPERSONATE,
    "constrained-user": RightKind.IMPERSONATE,
    "constrained-node": RightKind.IMPERSONATE,
    "escalate-role": RightKind.ESCALATE,
    "escalate-cluster-role": RightKind.ESCALATE,
    "bind-role": RightKind.BIND,
    "bind-cluster-role": RightKind.BIND,
    "read-secret": RightKind.READ_SECRETS,
    "exec": RightKind.EXEC,
    "pod": RightKind.CREATE_PODS,
    "workload": RightKind.CREATE_PODS,
    "kubelet": RightKind.NODES,
    "approve-signer": RightKind.CERTIFICATES,
    "webhook": RightKind.WEBHOOKS,
    "attest": RightKind.ATTEST,
}

ESCALATION: Final = frozenset(
    {RightKind.IMPERSONATE, RightKind.ESCALATE, RightKind.BIND, RightKind.CERTIFICATES, RightKind.WEBHOOKS}
)
"""Rights that lead to further rights."""


@with_short_repr
@attrs.frozen
class Right:
    """One right and its reason.

    Arguments:
        kind: which.
        namespace: where it holds; empty for the whole cluster.
        names: the objects it is limited to, such as Secrets; empty for all.
        grant: the binding, role and rule that give it.

    """

    kind: RightKind
    namespace: str
    names: tuple[str, ...]
    grant: Grant


@with_short_repr
@attrs.frozen
class AccountProfile:
    """What a service account is worth to an attacker.

    Arguments:
        account: the object itself.
        rights: the dangerous ones, each with its reason.
        cloud: the cloud identities named by its annotations and associations.
        pods: those that run as it.

    """

    account: Account
    rights: tuple[Right, ...] = ()
    cloud: tuple[CloudIdentity, ...] = ()
    pods: tuple[Pod, ...] = ()

    @property
    def ref(self) -> ServiceAccount:
        """Its namespace and name."""
        return self.account.ref

    @property
    def is_cluster_admin(self) -> bool:
        """Whether it may do everything everywhere, whatever the role is called."""
        return any(not right.namespace for right in self.of(RightKind.ADMIN))

    @property
    def escalation_paths(self) -> tuple[Right, ...]:
        """The rights that lead to further rights."""
        return self.of(*ESCALATION)

    def of(self, *kinds: RightKind) -> tuple[Right, ...]:
        """Return the rights of some kinds."""
        return tuple(right for right in self.rights if right.kind in kinds)


def rights_of(held: Capabilities, /) -> Iterator[Right]:
    """Summarise capabilities as rights: each rule once for each kind of right."""
    seen: set[tuple[RightKind, int]] = set()
    for power, kind in _OF_POWER.items():
        for namespace, names, grant in held.get(power, ()):
            if (kind, id(grant)) not in seen:
                seen.add((kind, id(grant)))
                yield Right(kind, namespace, names, grant)


@with_short_repr
@attrs.frozen
class CloudTrace:
    """What to check for a cloud identity whose service account's token was minted.

    Arguments:
        at: where the cluster's objects name the identity.
        identity: the role's ARN, the client id, the Google service account; `a role that …` where that is not known.
        what: the identity in words.
        log: which cloud log to search, and for what.
        rotate: what ends the access.
        source: where that is documented.

    """

    at: str
    identity: str
    what: str
    log: str
    rotate: str
    source: str

    @property
    def advice(self) -> str:
        """What to do, in two sentences."""
        return f"Check whether the token was used in {self.what}: {self.log}. {self.rotate}."


_SOURCES: Final = {
    CloudKind.EKS_ROLE: "https://docs.aws.amazon.com/IAM/latest/UserGuide/cloudtrail-integration.html",
    CloudKind.EKS_POD_IDENTITY: "https://docs.aws.amazon.com/eks/latest/userguide/pod-id-abac.html",
    CloudKind.AZURE_WORKLOAD_IDENTITY: (
        "https://learn.microsoft.com/en-us/azure/azure-monitor/reference/tables/aadmanagedidentitysigninlogs"
    ),
    CloudKind.GKE_SERVICE_ACCOUNT: "https://cloud.google.com/iam/docs/audit-logging/examples-workload-identity",
}

_REVOKE_AWS: Final = (
    "Revoke the role's older sessions (IAM, Revoke sessions: a policy that denies what was issued before now) and "
    "rotate what it could read"
)
"""docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_revoke-sessions.html."""


def trace_of(account: Account, identity: CloudIdentity, /) -> CloudTrace:
    """Say where to look for the use of an account's token as this identity, and what to rotate."""
    subject = f"{SERVICE_ACCOUNT_PREFIX}{account.namespace}:{account.name}"
    name, owner = clean_text(identity.identity), clean_text(identity.owner)
    where = f"ServiceAccount {account} metadata.annotations['{identity.where}']"
    if identity.kind is CloudKind.EKS_ROLE:
        what, of = f"the AWS role {name}", f" of account {owner}" if owner else ""
        log = (
            f"CloudTrail{of}, eventName AssumeRoleWithWebIdentity, userIdentity.userName {subject}, "
            f"requestParameters.roleArn {name}"
        )
        rotate = _REVOKE_AWS
    elif identity.kind is CloudKind.EKS_POD_IDENTITY:
        where = f"PodIdentityAssociation {clean_text(identity.where)} of {account}".replace("  ", " ")
        role = f" {name}" if name else ", which `aws eks describe-pod-identity-association` names"
        what, name = f"the AWS role{role}", name or f"the role of association {clean_text(identity.where)}"
        log = (
            "CloudTrail, eventSource sts.amazonaws.com, eventName AssumeRole, userIdentity.invokedBy "
            "pods.eks.amazonaws.com, requestParameters.tags kubernetes-namespace "
            f"{account.namespace}, kubernetes-service-account {account.name} and the pod's kubernetes-pod-uid"
        )
        rotate = _REVOKE_AWS
    elif identity.kind is CloudKind.AZURE_WORKLOAD_IDENTITY:
        what, of = f"the Azure identity {name}", f" of tenant {owner}" if owner else ""
        log = (
            f"the Entra sign-in logs{of}, AADManagedIdentitySignInLogs and AADServicePrincipalSignInLogs, "
            f"AppId {name} with a FederatedCredentialId"
        )
        rotate = f"Delete the federated credential whose subject is {subject}, and rotate what the identity could read"
    else:
        what, of = f"the Google service account {name}", f" of project {owner}" if owner else ""
        log = (
            f"Cloud Audit Logs{of}, methodName GenerateAccessToken of iamcredentials.googleapis.com for it, and "
            "ExchangeToken of sts.googleapis.com; both are Data Access logs, which have to be switched on"
        )
        rotate = f"Take roles/iam.workloadIdentityUser on it from {account}, and rotate what it could read"
    return CloudTrace(f"cluster: {where}", name, what, log, rotate, _SOURCES[identity.kind])
