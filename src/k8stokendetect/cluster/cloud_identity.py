# SPDX-License-Identifier: Apache-2.0
"""Which cloud identity hangs on a service account, and which audience its tokens need for that."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Iterator
from typing import Final

import attrs

from k8stokendetect.cluster.objects import Account, PodIdentity

_ARN: Final = re.compile(r"arn:[a-z-]+:iam::(\d{12}):role/\S+")
_PROJECT: Final = re.compile(r"[^@]+@([a-z0-9.:-]+)\.iam\.gserviceaccount\.com")


class CloudKind(enum.StrEnum):
    """How a service account is tied to a cloud."""

    EKS_ROLE = "eks-role"
    EKS_POD_IDENTITY = "eks-pod-identity"
    AZURE_WORKLOAD_IDENTITY = "azure-workload-identity"
    GKE_SERVICE_ACCOUNT = "gke-service-account"


@attrs.frozen
class CloudIdentity:
    """An identity in a cloud that a token of the service account is good for.

    What the cloud itself trusts (a role's trust policy, a federated credential, an IAM binding) stands in the cloud:
    the cluster says only what is asked for.

    Arguments:
        kind: how it is tied.
        identity: the role's ARN, the client id, the Google service account's e-mail; empty where the file does not
            say, as `aws eks list-pod-identity-associations` leaves the role out.
        owner: the AWS account, the Azure tenant or the Google project, where it shows.
        audience: what a token must be for; empty where it depends on the project.
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
        yield CloudIdentity(CloudKind.EKS_ROLE, role, _first(_ARN, role), audience, "eks.amazonaws.com/role-arn")
    for one in associations:
        role = one.target_role_arn or one.role_arn
        yield CloudIdentity(
            CloudKind.EKS_POD_IDENTITY, role, _first(_ARN, role), "pods.eks.amazonaws.com", one.association_id
        )
    if client := notes.get("azure.workload.identity/client-id"):
        tenant = notes.get("azure.workload.identity/tenant-id", "")
        audience, where = "api://AzureADTokenExchange", "azure.workload.identity/client-id"
        yield CloudIdentity(CloudKind.AZURE_WORKLOAD_IDENTITY, client, tenant, audience, where)
    if email := notes.get("iam.gke.io/gcp-service-account"):
        where = "iam.gke.io/gcp-service-account"
        yield CloudIdentity(CloudKind.GKE_SERVICE_ACCOUNT, email, _first(_PROJECT, email), "", where)


def _first(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.fullmatch(text)
    return found[1] if found else ""
