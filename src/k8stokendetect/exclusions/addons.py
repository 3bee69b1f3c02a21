# SPDX-License-Identifier: Apache-2.0
"""Other software that mints by design where it is installed: off until a site switches it on by name. Data only.

Each holds where the software has its default names; elsewhere, `attrs.evolve` one or write your own in TOML.
"""

from __future__ import annotations

from typing import Final

from k8stokendetect.exclusions.base import AUTHENTICATED, Actor, Component, Exclusion, TokenShape
from k8stokendetect.exclusions.kubernetes import DAY, found_in, in_pods

MANAGED_SERVICEACCOUNT: Final = Exclusion(
    component=Component(
        id="managed-serviceaccount",
        actor=in_pods("open-cluster-management-agent-addon:managed-serviceaccount"),
        namespaces=("open-cluster-management-agent-addon",),
        token=TokenShape(bound_kind="", audiences=()),
        if_unseen="exclude",
        provenance=(
            found_in(
                "https://github.com/open-cluster-management-io/managed-serviceaccount/blob/b7ea8492/"
                "pkg/addon/agent/controller/token.go#L265-L275",
                "unbound, no audience, the lifetime that a ManagedServiceAccount asks for",
            ),
            found_in(
                "https://github.com/open-cluster-management-io/managed-serviceaccount/blob/b7ea8492/"
                "pkg/addon/manager/manifests/charts/managed-serviceaccount-agent/templates/role.yaml",
                "the right to mint, in its own namespace only",
            ),
        ),
    ),
    because="Open Cluster Management's agent mints for each ManagedServiceAccount and sends the token to the hub.",
    hides=(
        "Anyone who runs code in its pod, or can write a ManagedServiceAccount on the hub, can mint tokens of any "
        "lifetime for the accounts of its namespace and use them from anywhere, as the hub does."
    ),
)

GARDENER: Final = Exclusion(
    component=Component(
        id="gardener",
        actor=Actor(username="system:serviceaccount:kube-system:gardener-resource-manager"),
        namespaces=("kube-system",),
        token=TokenShape(bound_kind="", longest=DAY),
        if_unseen="exclude",
        provenance=(
            found_in(
                "https://github.com/gardener/gardener/blob/b312835d/pkg/controller/tokenrequestor/reconciler.go#L185-L198",
                "unbound, 12 hours by default, the audiences it is configured with",
            ),
            found_in(
                "https://github.com/gardener/gardener/blob/b312835d/pkg/component/gardener/resourcemanager/"
                "resource_manager.go#L1291-L1308",
                "its account in the shoot cluster, kube-system, whose token it mints, too; it is cluster-admin",
            ),
            found_in(
                "https://github.com/gardener/gardener/blob/b312835d/pkg/utils/gardener/shoot.go#L370-L376",
                "kube-system, unless a secret names another namespace",
            ),
        ),
    ),
    because=(
        "In a shoot cluster Gardener's resource manager, which runs in the seed, mints for the control plane's "
        "components and renews their tokens."
    ),
    hides=(
        "Anyone who holds its token, which is cluster-admin and bound to no pod, can mint for every service account of "
        "kube-system."
    ),
)

KEDA: Final = Exclusion(
    component=Component(
        id="keda",
        actor=in_pods("keda:keda-operator"),
        namespaces=("*",),
        token=TokenShape(bound_kind="", longest=DAY),
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
        actor=in_pods(
            "flux-system:source-controller",
            "flux-system:kustomize-controller",
            "flux-system:helm-controller",
            "flux-system:notification-controller",
            "flux-system:image-reflector-controller",
            "flux-system:image-automation-controller",
        ),
        namespaces=("*",),
        token=TokenShape(bound_kind="", longest=DAY),
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
_RKE2_TOKEN: Final = TokenShape(bound_kind="", audiences=("rke2",), longest=366 * DAY)
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
    MANAGED_SERVICEACCOUNT,
    GARDENER,
    KEDA,
    FLUX,
    RKE2_WINDOWS_CALICO,
    RKE2_WINDOWS_FLANNEL,
    OPENSHIFT_PULL_SECRETS_UNSEEN,
)
