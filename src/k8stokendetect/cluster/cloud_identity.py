# SPDX-License-Identifier: Apache-2.0
"""Which cloud identity hangs on a service account, and which audience its tokens need for that."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Iterator
from typing import Final

import attrs

from k8stokendetect.cluster.objects import Account, PodIdentity
from k8stokendetect.errors import ConfigError
from k8stokendetect.identity import ServiceAccount

_ARN: Final = re.compile(r"arn:[a-z-]+:iam::(\d{12}):role/\S+")
_PROJECT: Final = re.compile(r"[^@]+@([a-z0-9.:-]+)\.iam\.gserviceaccount\.com")


class CloudKind(enum.StrEnum):
    """How a service account is tied to a cloud."""

    EKS_ROLE = "eks-role"
    EKS_POD_IDENTITY = "eks-pod-identity"
    AZURE_WORKLOAD_IDENTITY = "azure-workload-identity"
    GKE_SERVICE_ACCOUNT = "gke-service-account"


SOURCES: Final = {
    CloudKind.EKS_ROLE: "https://docs.aws.amazon.com/eks/latest/userguide/iam-roles-for-service-accounts.html",
    CloudKind.EKS_POD_IDENTITY: "https://docs.aws.amazon.com/eks/latest/userguide/pod-identities.html",
    CloudKind.AZURE_WORKLOAD_IDENTITY: (
        "https://azure.github.io/azure-workload-identity/docs/topics/service-account-labels-and-annotations.html"
    ),
    CloudKind.GKE_SERVICE_ACCOUNT: "https://cloud.google.com/kubernetes-engine/docs/concepts/workload-identity",
}
"""Where each is documented."""


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

    @property
    def provider(self) -> str:
        """`aws`, `azure` or `gcp`."""
        return {"eks": "aws", "azu": "azure", "gke": "gcp"}[self.kind[:3]]


def identities_of(account: Account, associations: Iterable[PodIdentity], /) -> Iterator[CloudIdentity]:
    """Yield the identities that an account's annotations and its Pod Identity associations name.

    Sources: the documents in SOURCES; `eks.amazonaws.com/audience` from aws/amazon-eks-pod-identity-webhook README.
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


def gke_principals(
    account: ServiceAccount, /, *, project_number: str, project_id: str, cluster: str = ""
) -> tuple[str, ...]:
    """Return the names by which IAM can grant something to a GKE service account without an annotation.

    Every account of a cluster with workload identity has them; whether anything is granted stands in IAM.

    Arguments:
        account: namespace and name.
        project_number: of the cluster's project, digits.
        project_id: of the same.
        cluster: `projects/ID/locations/LOCATION/clusters/NAME` for the set of the cluster's accounts; optional.

    Returns:
        The principal of the account, the set of its namespace and, where asked for, of its cluster.

    Source: cloud.google.com/kubernetes-engine/docs/concepts/workload-identity#principal-id-examples

    Raises:
        ConfigError: when a project is not named as it should be.

    """
    if not re.fullmatch(r"\d+", project_number) or not re.fullmatch(r"[a-z][a-z0-9.:-]+", project_id):
        raise ConfigError("gke_principals takes a project's number and its id")
    pool = (
        f"iam.googleapis.com/projects/{project_number}/locations/global/workloadIdentityPools/{project_id}.svc.id.goog"
    )
    found = (
        f"principal://{pool}/subject/ns/{account.namespace}/sa/{account.name}",
        f"principalSet://{pool}/namespace/{account.namespace}",
    )
    if not cluster:
        return found
    return (*found, f"principalSet://{pool}/kubernetes.cluster/https://container.googleapis.com/v1/{cluster}")


def _first(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.fullmatch(text)
    return found[1] if found else ""
