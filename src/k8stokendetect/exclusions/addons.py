# SPDX-License-Identifier: Apache-2.0
"""Software that mints by design where it is installed: off until a site switches it on by name. Data only.

Each holds where the software has its default names; elsewhere, `attrs.evolve` one or write your own in TOML.
"""

from __future__ import annotations

from typing import Final

from k8stokendetect.exclusions.base import AUTHENTICATED, Actor, Component, Exclusion, TokenShape
from k8stokendetect.exclusions.kubernetes import found_in

_DAY: Final = 86400


def _in_pods(*accounts: str) -> Actor:
    """Service accounts whose software runs in pods, so its own tokens are bound to one."""
    return Actor(username=tuple(f"system:serviceaccount:{account}" for account in accounts), in_pod=True)


EXTERNAL_SECRETS: Final = Exclusion(
    component=Component(
        id="external-secrets",
        actor=_in_pods("external-secrets:external-secrets"),
        namespaces=("*",),
        token=TokenShape(bound_kind="", longest=_DAY),
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
        actor=_in_pods("vault-secrets-operator-system:vault-secrets-operator-controller-manager"),
        namespaces=("*",),
        token=TokenShape(bound_kind="", longest=_DAY),
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
        actor=_in_pods("cert-manager:cert-manager"),
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
        actor=_in_pods("vault:vault-csi-provider", "csi:vault-csi-provider"),
        namespaces=("*",),
        token=TokenShape(bound_kind="Pod"),
        provenance=(found_in("hashicorp/vault-csi-provider internal/auth/kubernetes_jwt.go:76-80"),),
    ),
    because="It mints for the pod that mounts a secret, bound to that pod.",
    hides="Anyone who runs code in its pod can mint for any service account, bound to a pod.",
)

GCP_SECRETS_STORE: Final = Exclusion(
    component=Component(
        id="gcp-secrets-store",
        actor=_in_pods("kube-system:secrets-store-csi-driver-provider-gcp"),
        namespaces=("*",),
        token=TokenShape(bound_kind="Pod"),
        provenance=(found_in("GoogleCloudPlatform/secrets-store-csi-driver-provider-gcp auth/auth.go:233-238"),),
    ),
    because="It mints for the pod that mounts a secret, bound to that pod.",
    hides="Anyone who runs code in its pod can mint for any service account, bound to a pod.",
)

AKS_SECRETS_STORE: Final = Exclusion(
    component=Component(
        id="aks-secrets-store",
        actor=_in_pods("kube-system:aks-secrets-store-csi-driver"),
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

KEDA: Final = Exclusion(
    component=Component(
        id="keda",
        actor=_in_pods("keda:keda-operator"),
        namespaces=("*",),
        token=TokenShape(bound_kind="", longest=_DAY),
        if_unseen="exclude",
        provenance=(found_in("kedacore/keda pkg/scaling/resolver/scale_resolvers.go:752"),),
    ),
    because="KEDA mints for the service account that a TriggerAuthentication's boundServiceAccountToken names.",
    hides=(
        "Anyone who runs code in its pod or can write a TriggerAuthentication can mint for any service account it has "
        "the right for; its chart grants none, you do."
    ),
)

FLUX: Final = Exclusion(
    component=Component(
        id="flux",
        actor=_in_pods(
            "flux-system:source-controller",
            "flux-system:kustomize-controller",
            "flux-system:helm-controller",
            "flux-system:notification-controller",
            "flux-system:image-reflector-controller",
            "flux-system:image-automation-controller",
        ),
        namespaces=("*",),
        token=TokenShape(bound_kind="", longest=_DAY),
        if_unseen="exclude",
        provenance=(
            found_in("fluxcd/pkg auth/access_token.go:72"),
            found_in("fluxcd/pkg auth/generic/provider.go:87"),
        ),
    ),
    because="Flux mints for the service account that one of its objects names, to log in to a registry or a cloud.",
    hides="Anyone who runs code in one of its pods or can write a Flux source can mint for any service account.",
)

_RKE2_CONTROLLER: Final = Actor(
    username="system:rke2-controller", groups=(AUTHENTICATED,), only_groups=True, certificate=True
)
_RKE2_TOKEN: Final = TokenShape(bound_kind="", audiences=("rke2",), longest=366 * _DAY)
_RKE2_BINDING: Final = found_in(
    "rancher/rke2@6ce1a801 pkg/rke2/clusterrole_bootstrap.go:47",
    "it may mint any service account's token, and all agents share its certificate",
)

RKE2_WINDOWS_CALICO: Final = Exclusion(
    component=Component(
        id="rke2-windows-calico",
        actor=_RKE2_CONTROLLER,
        namespaces=("calico-system",),
        names=("calico-node",),
        token=_RKE2_TOKEN,
        if_unseen="exclude",
        provenance=(
            found_in("rancher/rke2@6ce1a801 pkg/windows/calico.go:240-253"),
            _RKE2_BINDING,
        ),
    ),
    because="RKE2's Windows agents mint a year-long token for Calico.",
    hides="Anyone who takes over one node holds this certificate and can mint for calico-node unseen.",
)

RKE2_WINDOWS_FLANNEL: Final = Exclusion(
    component=Component(
        id="rke2-windows-flannel",
        actor=_RKE2_CONTROLLER,
        namespaces=("kube-system",),
        names=("flannel",),
        token=_RKE2_TOKEN,
        if_unseen="exclude",
        provenance=(
            found_in("rancher/rke2@6ce1a801 pkg/windows/flannel.go:253"),
            _RKE2_BINDING,
        ),
    ),
    because="RKE2's Windows agents mint a year-long token for Flannel.",
    hides="Anyone who takes over one node holds this certificate and can mint for flannel unseen.",
)

OPENSHIFT_PULL_SECRETS_UNSEEN: Final = Exclusion(
    component=Component(
        id="openshift-pull-secrets-unseen",
        actor=Actor(username="system:serviceaccount:openshift-infra:serviceaccount-pull-secrets-controller"),
        namespaces=("*",),
        token=TokenShape(bound_kind="Secret", audiences=(), longest=3600),
        if_unseen="exclude",
        platforms=frozenset({"openshift"}),
        provenance=(
            found_in(
                "openshift/openshift-controller-manager@26d20fea "
                "pkg/internalregistry/controllers/image_pull_secret_controller.go:179"
            ),
        ),
    ),
    because="The same as openshift-pull-secrets, for clusters whose audit profile does not log the request body.",
    hides="Anyone who holds this controller's token can mint for every service account of the cluster.",
)

EXCLUSIONS: Final = (
    EXTERNAL_SECRETS,
    VAULT_SECRETS_OPERATOR,
    CERT_MANAGER,
    VAULT_CSI_PROVIDER,
    GCP_SECRETS_STORE,
    AKS_SECRETS_STORE,
    KEDA,
    FLUX,
    RKE2_WINDOWS_CALICO,
    RKE2_WINDOWS_FLANNEL,
    OPENSHIFT_PULL_SECRETS_UNSEEN,
)
