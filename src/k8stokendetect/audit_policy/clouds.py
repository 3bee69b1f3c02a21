# SPDX-License-Identifier: Apache-2.0
"""What each cloud has to log so that a token can be followed out of the cluster: `CLOUD_LOGS`."""

from __future__ import annotations

from typing import Final

import attrs

from k8stokendetect.clouds import Cloud
from k8stokendetect.reprs import with_short_repr


@with_short_repr
@attrs.frozen(kw_only=True)
class CloudLog:
    """A log of a cloud, and how to have it.

    Arguments:
        cloud: `aws`, `azure` or `google`.
        name: of the log, in the cloud's own words.
        shows: what it tells of a token.
        default: whether it is kept where nobody chose anything.
        enable: what to switch on.
        check: a command that shows the present setting; words in capitals are yours.
        limits: what it does not show although it is on, or not at once.
        sources: where the cloud says so.

    """

    cloud: Cloud
    name: str
    shows: str
    default: str
    enable: tuple[str, ...]
    check: str
    limits: tuple[str, ...]
    sources: tuple[str, ...]


_AWS: Final = (
    CloudLog(
        cloud="aws",
        name="EKS control plane log of type audit",
        shows="the mint of the token, and which kubelets mint for which pods",
        default="off",
        enable=(
            "the log type audit of each cluster",
            "or Security Lake's source Amazon EKS Audit Logs: its own stream, without control plane logging",
        ),
        check="aws eks describe-cluster --name CLUSTER --query cluster.logging",
        limits=("delivery to CloudWatch Logs is best effort",),
        sources=(
            "https://docs.aws.amazon.com/eks/latest/userguide/control-plane-logs.html",
            "https://docs.aws.amazon.com/eks/latest/eksctl/cloudwatch-cluster-logging.html",
            "https://docs.aws.amazon.com/security-lake/latest/userguide/eks-audit-logs.html",
        ),
    ),
    CloudLog(
        cloud="aws",
        name="CloudTrail management events, read and write, of every Region and account",
        shows="AssumeRoleWithWebIdentity and AssumeRole, which give a role for a token, and calls made with the role",
        default="Event history: 90 days, each Region and account by itself; a trail is off",
        enable=(
            "a trail of all Regions: STS logs a call in the Region whose endpoint served it",
            "of all accounts, best one of the organization: the call is logged in the account of the role",
            "read events as well as write events: AssumeRoleWithWebIdentity and AssumeRole count as read-only",
        ),
        check="aws cloudtrail get-event-selectors --trail-name TRAIL",
        limits=(
            "some calls of STS that are refused before they are authenticated",
            "the id of the Kubernetes token: IRSA is joined by issuer, subject, audience and time",
            "EKS Pod Identity's pod where the association sets disableSessionTags",
            "records come about five minutes late, and not in order",
        ),
        sources=(
            "https://docs.aws.amazon.com/IAM/latest/UserGuide/cloudtrail-integration.html",
            "https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp_region-endpoints.html",
            "https://docs.aws.amazon.com/awscloudtrail/latest/userguide/logging-management-events-with-cloudtrail.html",
            "https://docs.aws.amazon.com/eks/latest/APIReference/API_PodIdentityAssociation.html",
        ),
    ),
    CloudLog(
        cloud="aws",
        name="CloudTrail data events, at least of S3 objects",
        shows="what was read with the role: GetObject and the like",
        default="off, and charged",
        enable=("data events of the type AWS::S3::Object for the buckets that matter",),
        check="aws cloudtrail get-event-selectors --trail-name TRAIL",
        limits=("Event history and lookup-events never have data events",),
        sources=(
            "https://docs.aws.amazon.com/AmazonS3/latest/userguide/cloudtrail-logging-s3-info.html",
            "https://docs.aws.amazon.com/awscloudtrail/latest/userguide/logging-data-events-with-cloudtrail.html",
        ),
    ),
)

_AZURE: Final = (
    CloudLog(
        cloud="azure",
        name="AKS resource log of category kube-audit or kube-audit-admin",
        shows="the mint of the token",
        default="off",
        enable=("a diagnostic setting of each cluster",),
        check="az monitor diagnostic-settings list --resource CLUSTER_ID",
        limits=("audience, lifetime and binding: AKS logs token requests at level Metadata",),
        sources=("https://learn.microsoft.com/azure/aks/monitor-aks",),
    ),
    CloudLog(
        cloud="azure",
        name="Entra ID sign-in logs ManagedIdentitySignInLogs and ServicePrincipalSignInLogs",
        shows="that a federated credential signed in: a token was exchanged",
        default="off: kept in Entra ID only, for some days",
        enable=(
            "both categories in Entra ID's own diagnostic settings, not in a subscription's",
            "that requires a P1 or P2 licence and the role Security Administrator",
        ),
        check="az rest --method get --url 'https://management.azure.com/providers/microsoft.aadiam/diagnosticSettings"
        "?api-version=2017-04-01'",
        limits=(
            "the token's subject: the log has the id of the federated credential, FederatedCredentialId",
            "what the identity did next: that is in each resource's own log, which is not read here",
        ),
        sources=(
            "https://learn.microsoft.com/entra/identity/monitoring-health/concept-diagnostic-settings-logs-options",
            "https://learn.microsoft.com/entra/identity/monitoring-health/howto-configure-diagnostic-settings",
            "https://learn.microsoft.com/graph/api/resources/signin",
            "https://github.com/Azure/azure-sdk-for-python/issues/18476",
        ),
    ),
)

_DATA_ACCESS: Final = "https://docs.cloud.google.com/logging/docs/audit/configure-data-access"
_AUDIT_CONFIG: Final = "gcloud projects get-iam-policy PROJECT --format=json"

_GOOGLE: Final = (
    CloudLog(
        cloud="google",
        name="Data Access log of container.googleapis.com (Kubernetes Engine API)",
        shows="the mint of the token, if GKE logs it",
        default="off",
        enable=("audit configuration of container.googleapis.com with ADMIN_READ, DATA_READ and DATA_WRITE",),
        check=_AUDIT_CONFIG,
        limits=("whether every token request is logged is not certain: mint one and look",),
        sources=(_DATA_ACCESS, "https://docs.cloud.google.com/kubernetes-engine/docs/how-to/audit-logging"),
    ),
    CloudLog(
        cloud="google",
        name="Data Access log of sts.googleapis.com (Security Token Service API)",
        shows="ExchangeToken: a Kubernetes token became a Google token, with its subject",
        default="off",
        enable=("audit configuration of sts.googleapis.com with ADMIN_READ, in every project with clusters or pools",),
        check=_AUDIT_CONFIG,
        limits=("some exchanges that failed because of the client",),
        sources=(
            _DATA_ACCESS,
            "https://docs.cloud.google.com/iam/docs/audit-logging/audit-logging-sts",
            "https://cloud.google.com/iam/docs/audit-logging/examples-workload-identity",
        ),
    ),
    CloudLog(
        cloud="google",
        name="Data Access log of iam.googleapis.com (IAM API)",
        shows="GenerateAccessToken of iamcredentials.googleapis.com: the token became a Google service account",
        default="off",
        enable=(
            "audit configuration of iam.googleapis.com with ADMIN_READ, in every project with such service accounts",
            "not of iamcredentials.googleapis.com, which has no configuration of its own",
        ),
        check=_AUDIT_CONFIG,
        limits=(),
        sources=(_DATA_ACCESS, "https://docs.cloud.google.com/iam/docs/audit-logging/audit-logging-iamcreds"),
    ),
    CloudLog(
        cloud="google",
        name="Data Access log of what holds secrets, such as secretmanager.googleapis.com and storage.googleapis.com",
        shows="what was read with the identity",
        default="off, and charged",
        enable=("audit configuration of each with DATA_READ",),
        check=_AUDIT_CONFIG,
        limits=("members that the audit configuration exempts",),
        sources=(_DATA_ACCESS, "https://cloud.google.com/secret-manager/docs/audit-logging"),
    ),
)

CLOUD_LOGS: Final = (*_AWS, *_AZURE, *_GOOGLE)
"""What to log, cloud by cloud, from the mint to what was done."""
