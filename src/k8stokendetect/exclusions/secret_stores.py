# SPDX-License-Identifier: Apache-2.0
"""Software that mints to fetch secrets, logging in as the account that wants them: off by default. Data only."""

from __future__ import annotations

from typing import Final

from k8stokendetect.exclusions.base import Component, Exclusion, TokenShape
from k8stokendetect.exclusions.kubernetes import DAY, found_in, in_pods

EXTERNAL_SECRETS: Final = Exclusion(
    component=Component(
        id="external-secrets",
        actor=in_pods("external-secrets:external-secrets"),
        namespaces=("*",),
        token=TokenShape(bound_kind="", longest=DAY),
        if_unseen="exclude",
        provenance=(
            found_in("external-secrets/external-secrets deploy/charts/external-secrets/templates/rbac.yaml:185-192"),
        ),
    ),
    because="External Secrets mints for the service account that a SecretStore names, to log in to its provider.",
    hides=(
        "Anyone who runs code in its pod or can write a SecretStore can mint for any service account it has the right "
        "for. Name the namespaces you use."
    ),
)

VAULT_SECRETS_OPERATOR: Final = Exclusion(
    component=Component(
        id="vault-secrets-operator",
        actor=in_pods("vault-secrets-operator-system:vault-secrets-operator-controller-manager"),
        namespaces=("*",),
        token=TokenShape(bound_kind="", longest=DAY),
        if_unseen="exclude",
        provenance=(
            found_in("hashicorp/vault-secrets-operator helpers/serviceaccount.go:18-30"),
            found_in("hashicorp/vault-secrets-operator chart/templates/role.yaml:51"),
        ),
    ),
    because="It mints for the service account that a VaultAuth names, to log in to Vault.",
    hides="Anyone who runs code in its pod or can write a VaultAuth can mint for any service account.",
)

CERT_MANAGER: Final = Exclusion(
    component=Component(
        id="cert-manager",
        actor=in_pods("cert-manager:cert-manager"),
        namespaces=("*",),
        token=TokenShape(bound_kind="", longest=3600),
        if_unseen="exclude",
        provenance=(
            found_in("cert-manager/cert-manager internal/vault/vault.go:587,767", "600 s"),
            found_in("cert-manager/cert-manager pkg/issuer/acme/dns/dns.go:601"),
        ),
    ),
    because="cert-manager mints for the service account that an Issuer names, to log in to Vault or a cloud's DNS.",
    hides=(
        "Anyone who runs code in its pod or can write an Issuer can mint for any service account it has the right for; "
        "its chart grants none, you do."
    ),
)

VAULT_CSI_PROVIDER: Final = Exclusion(
    component=Component(
        id="vault-csi-provider",
        actor=in_pods("vault:vault-csi-provider", "csi:vault-csi-provider"),
        namespaces=("*",),
        token=TokenShape(bound_kind="Pod"),
        if_unseen="exclude",
        provenance=(found_in("hashicorp/vault-csi-provider internal/auth/kubernetes_jwt.go:76-80"),),
    ),
    because="It mints for the pod that mounts a secret, bound to that pod.",
    hides=(
        "Anyone who runs code in its pod can mint for any service account; bound to a pod only where the request body "
        "is logged."
    ),
)

GCP_SECRETS_STORE: Final = Exclusion(
    component=Component(
        id="gcp-secrets-store",
        actor=in_pods("kube-system:secrets-store-csi-driver-provider-gcp"),
        namespaces=("*",),
        token=TokenShape(bound_kind="Pod"),
        if_unseen="exclude",
        provenance=(found_in("GoogleCloudPlatform/secrets-store-csi-driver-provider-gcp auth/auth.go:233-238"),),
    ),
    because="It mints for the pod that mounts a secret, bound to that pod.",
    hides=(
        "Anyone who runs code in its pod can mint for any service account; bound to a pod only where the request body "
        "is logged."
    ),
)

AKS_SECRETS_STORE: Final = Exclusion(
    component=Component(
        id="aks-secrets-store",
        actor=in_pods("kube-system:aks-secrets-store-csi-driver"),
        namespaces=("*",),
        token=TokenShape(bound_kind="Pod"),
        if_unseen="exclude",
        platforms=frozenset({"aks"}),
        provenance=(
            found_in(
                "https://github.com/kubernetes-sigs/secrets-store-csi-driver/issues/939", "a log of a refused mint"
            ),
        ),
    ),
    because="Before driver version 1.6.0 (2026-04) secret rotation minted a token for each pod that mounts a secret.",
    hides=(
        "Anyone who runs code in its pod can mint for any service account: AKS logs level Metadata, so the binding to "
        "a pod cannot be checked."
    ),
)

_AWS_PROVIDER: Final = "https://github.com/aws/secrets-store-csi-driver-provider-aws/blob/2.2.2"
_AWS_PROVIDER_ACCOUNT: Final = found_in(f"{_AWS_PROVIDER}/deployment/aws-provider-installer.yaml#L5-L17")
_AWS_PROVIDER_END: Final = found_in(
    "https://github.com/aws/secrets-store-csi-driver-provider-aws/commit/c7069b6e90b017c47c409c2c118f25fad7f4fd8c",
    "from 3.0.0 (2026-03) the kubelet mints in its place",
)

AWS_SECRETS_STORE: Final = Exclusion(
    component=Component(
        id="aws-secrets-store",
        actor=in_pods("kube-system:csi-secrets-store-provider-aws"),
        namespaces=("*",),
        token=TokenShape(audiences=("sts.amazonaws.com",), longest=3600),
        if_unseen="exclude",
        provenance=(
            found_in(
                f"{_AWS_PROVIDER}/credential_provider/irsa_credential_provider.go#L36-L50", "unbound, default lifetime"
            ),
            _AWS_PROVIDER_ACCOUNT,
            _AWS_PROVIDER_END,
        ),
    ),
    because="AWS's provider mints for the service account of the pod that mounts a secret, to take on its IAM role.",
    hides=(
        "Anyone who runs code in its pod can mint for any service account and take on its IAM role in AWS, which only "
        "CloudTrail shows."
    ),
)

AWS_SECRETS_STORE_POD_IDENTITY: Final = Exclusion(
    component=Component(
        id="aws-secrets-store-pod-identity",
        actor=in_pods("kube-system:csi-secrets-store-provider-aws"),
        namespaces=("*",),
        token=TokenShape(bound_kind="Pod", audiences=("pods.eks.amazonaws.com",), longest=3600),
        if_unseen="exclude",
        provenance=(
            found_in(f"{_AWS_PROVIDER}/credential_provider/pod_identity_credential_provider.go#L48-L66"),
            _AWS_PROVIDER_ACCOUNT,
            _AWS_PROVIDER_END,
        ),
    ),
    because="The same as aws-secrets-store where EKS Pod Identity gives the IAM role.",
    hides=(
        "Anyone who runs code in its pod can mint for any service account and get its Pod Identity role from that node."
    ),
)

CEPH_CSI: Final = Exclusion(
    component=Component(
        id="ceph-csi",
        actor=in_pods(
            "default:rbd-csi-nodeplugin",
            "default:rbd-csi-provisioner",
            "default:cephfs-csi-nodeplugin",
            "default:cephfs-csi-provisioner",
        ),
        namespaces=("*",),
        names=("ceph-csi-vault-sa",),
        token=TokenShape(bound_kind="", audiences=(), longest=3600),
        if_unseen="exclude",
        provenance=(
            found_in("https://github.com/ceph/ceph-csi/blob/52fcb7b00/internal/kms/vault_sa.go#L345", "from 3.7.0"),
            found_in(
                "https://github.com/ceph/ceph-csi/blob/52fcb7b00/internal/kms/vault_sa.go#L38",
                "the tenant's account by default; tenantSAName can name another",
            ),
            found_in("https://github.com/ceph/ceph-csi/blob/52fcb7b00/deploy/rbd/kubernetes/csi-nodeplugin-rbac.yaml"),
            found_in(
                "https://github.com/ceph/ceph-csi/blob/52fcb7b00/deploy/cephfs/kubernetes/csi-provisioner-rbac.yaml"
            ),
        ),
    ),
    because="ceph-csi mints for a tenant's ceph-csi-vault-sa, to fetch the keys of encrypted volumes from Vault.",
    hides=(
        "Anyone who runs code in one of its pods can mint for every tenant's ceph-csi-vault-sa, and with it read the "
        "tenants' volume keys in Vault."
    ),
)

EXCLUSIONS: Final = (
    EXTERNAL_SECRETS,
    VAULT_SECRETS_OPERATOR,
    CERT_MANAGER,
    VAULT_CSI_PROVIDER,
    GCP_SECRETS_STORE,
    AKS_SECRETS_STORE,
    AWS_SECRETS_STORE,
    AWS_SECRETS_STORE_POD_IDENTITY,
    CEPH_CSI,
)
