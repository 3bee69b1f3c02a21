# SPDX-License-Identifier: Apache-2.0
"""Which cloud log shows that a service account token was used in the cloud, and what ends that access."""

from __future__ import annotations

from typing import Final

import attrs

from k8stokendetect.cluster.account_profile import CloudIdentity, CloudKind
from k8stokendetect.cluster.objects import Account
from k8stokendetect.convert.redaction import clean_text
from k8stokendetect.identity import SERVICE_ACCOUNT_PREFIX


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
        return f"Look whether the token was taken to {self.what}: {self.log}. {self.rotate}."


_SOURCES: Final = {
    CloudKind.EKS_ROLE: "https://docs.aws.amazon.com/IAM/latest/UserGuide/cloudtrail-integration.html",
    CloudKind.EKS_POD_IDENTITY: "https://docs.aws.amazon.com/eks/latest/APIReference/API_auth_AssumeRoleForPodIdentity.html",
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
            "CloudTrail, eventSource eks-auth.amazonaws.com, eventName AssumeRoleForPodIdentity, for namespace "
            f"{account.namespace} and service account {account.name}"
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
