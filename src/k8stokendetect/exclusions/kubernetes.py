# SPDX-License-Identifier: Apache-2.0
"""Who mints by design on every Kubernetes: kubelet, controller managers, Calico. Data only."""

from __future__ import annotations

from datetime import date
from typing import Final

from k8stokendetect.exclusions.base import AUTHENTICATED, Actor, Component, Exclusion, Provenance, TokenShape
from k8stokendetect.exclusions.controllers import CLOUD_CONTROLLERS, CONTROLLERS

CHECKED: Final = date(2026, 11, 24)


def found_in(source: str, note: str = "") -> Provenance:
    """Name the source of a fact, which was checked on that day.

    Arguments:
        source: a URL, or a repository path and line.
        note: how sure it is, where that is not plain.

    """
    return Provenance(source=source, checked=CHECKED, note=note)


DAY: Final = 86400
"""In seconds."""


def in_pods(*accounts: str) -> Actor:
    """Return service accounts whose software runs in pods, so its own tokens are bound to one."""
    return Actor(username=tuple(f"system:serviceaccount:{account}" for account in accounts), in_pod=True)


CONTROLLER_TOKEN: Final = TokenShape(bound_kind="", audiences=(), longest=3600)
"""What `DynamicClientBuilder` asks for: unbound, no audience, 3600 s (client_builder_dynamic.go:201)."""

CLIENT_BUILDER: Final = found_in(
    "kubernetes v1.36.2 staging/src/k8s.io/controller-manager/pkg/clientbuilder/client_builder_dynamic.go:201"
)

KUBELET_CLIENTS: Final = ("kubelet/", "kubelet.exe/", "k3s/", "kubelite/", "microshift/")
"""How the binaries that contain a kubelet name themselves: client-go takes the name of the executable.

kubelet also on RKE2, k0s and OpenShift; k3s-io/k3s pkg/executor/embed/embed.go@2112c436; MicroK8s from 1.21 builds
kubelite (canonical/microk8s build-scripts/components/kubernetes/build.sh@2cd93a8e); openshift/microshift
pkg/node/kubelet.go@03e7b62e.
"""

KUBELET: Final = Exclusion(
    component=Component(
        id="kubelet",
        actor=Actor(
            username="system:node:*",
            groups=("system:nodes",),
            user_agents=KUBELET_CLIENTS,
            credential="X509SHA256",
            reason="",
        ),
        namespaces=("*",),
        token=TokenShape(bound_kind="Pod"),
        if_unseen="exclude",
        provenance=(
            found_in("kubernetes v1.36.2 pkg/kubelet/token/token_manager.go:71"),
            found_in(
                "kubernetes v1.36.2 pkg/credentialprovider/plugin/plugin.go:342-353",
                "image credential providers, by default from 1.34, with an audience of their own; gate "
                "KubeletServiceAccountTokenForCredentialProviders",
            ),
            found_in(
                "kubernetes v1.36.2 pkg/volume/csi/csi_mounter.go:382-392", "the audiences that a CSIDriver names"
            ),
            found_in(
                "kubernetes staging/src/k8s.io/client-go/rest/config.go@4ade46fb DefaultKubernetesUserAgent",
                "the user agent is the name of the executable",
            ),
            found_in(
                "kubernetes v1.36.2 plugin/pkg/auth/authorizer/node/node_authorizer.go:238-283",
                "only for service accounts of pods on the node",
            ),
            found_in(
                "kubernetes v1.36.2 plugin/pkg/admission/noderestriction/admission.go:629-690",
                "only bound to a pod on the node; NodeRestriction must be on, as it is by default in kubeadm",
            ),
        ),
    ),
    because=(
        "A kubelet mints the tokens of its pods: projected volumes, CSI drivers, image credential providers. "
        "With group system:nodes the Node authorizer and NodeRestriction let it mint only for service accounts of "
        "pods on its own node, bound to such a pod, so the binding holds also where the level hides it."
    ),
    hides=(
        "Anyone who holds a node's credential and names its client kubelet can mint for every service account that has "
        "a pod on that node."
    ),
)

KUBE_CONTROLLER_MANAGER: Final = Exclusion(
    component=Component(
        id="kube-controller-manager",
        actor=Actor(
            username="system:kube-controller-manager",
            groups=(AUTHENTICATED,),
            only_groups=True,
            certificate=True,
        ),
        namespaces=("kube-system",),
        names=tuple(sorted(CONTROLLERS)),
        token=CONTROLLER_TOKEN,
        if_unseen="exclude",
        provenance=(
            CLIENT_BUILDER,
            found_in("kubernetes v1.36.2 cmd/kube-controller-manager/app/controllermanager.go:872-877"),
            found_in("kubernetes v1.36.2 plugin/pkg/auth/authorizer/rbac/bootstrappolicy/controller_policy.go"),
        ),
    ),
    because=(
        "With --use-service-account-credentials it mints a token for each of its controllers, all in kube-system, "
        "again and again as they expire."
    ),
    hides=(
        "Anyone who holds its certificate can mint for the controllers' service accounts; where the request body is "
        "logged, only tokens of an hour, unbound and without audience. Anyone who makes an "
        "authenticator yield this name with neither uid nor extra can do the same, where the log names no certificate."
    ),
)

CLOUD_CONTROLLER_MANAGER: Final = Exclusion(
    component=Component(
        id="cloud-controller-manager",
        actor=Actor(
            username="system:serviceaccount:kube-system:cloud-controller-manager",
            in_pod=True,
        ),
        namespaces=("kube-system",),
        names=CLOUD_CONTROLLERS,
        token=CONTROLLER_TOKEN,
        if_unseen="exclude",
        provenance=(
            CLIENT_BUILDER,
            found_in("kubernetes v1.36.2 staging/src/k8s.io/cloud-provider/options/options.go:231-236"),
            found_in("kubernetes/cloud-provider-aws examples/existing-cluster/base/cluster-role.yaml:85"),
        ),
    ),
    because="The out-of-tree controller manager mints for its own controllers as kube-controller-manager does.",
    hides="Anyone who runs code in its pod can mint for the cloud controllers' service accounts.",
)

CLOUD_CONTROLLER_MANAGER_USER: Final = Exclusion(
    component=Component(
        id="cloud-controller-manager-user",
        actor=Actor(
            username="system:cloud-controller-manager",
            groups=(AUTHENTICATED,),
            only_groups=True,
            certificate=True,
        ),
        namespaces=("kube-system",),
        names=CLOUD_CONTROLLERS,
        token=CONTROLLER_TOKEN,
        if_unseen="exclude",
        provenance=(
            CLIENT_BUILDER,
            found_in("kubernetes v1.36.2 cluster/gce/gci/configure-helper.sh:834"),
        ),
    ),
    because="The same component where it runs next to the API server under a user of its own.",
    hides="Anyone who holds its certificate can mint for the cloud controllers' service accounts.",
)

CALICO_NODE: Final = Exclusion(
    component=Component(
        id="calico-node",
        actor=Actor(
            username=(
                "system:serviceaccount:calico-system:calico-node",
                "system:serviceaccount:kube-system:calico-node",
            ),
            in_pod=True,
        ),
        namespaces=("calico-system", "kube-system"),
        names=("calico-cni-plugin", "calico-node"),
        own_namespace=True,
        token=TokenShape(bound_kind="", audiences=(), longest=86400),
        if_unseen="exclude",
        provenance=(
            found_in(
                "projectcalico/calico@87c15906 node/pkg/cni/token_watch.go:31,114-121", "unbound, no audience, 86400 s"
            ),
            found_in("projectcalico/calico@87c15906 charts/calico/templates/calico-node-rbac.yaml:9-19"),
            found_in(
                "https://github.com/projectcalico/calico/issues/7584", "up to 3.25 calico-node mints for itself; #5910"
            ),
        ),
    ),
    because="calico-node writes a fresh token for its CNI plugin to each node several times a day.",
    hides=(
        "Anyone who runs code in a calico-node pod can mint for calico-cni-plugin, which may read pods and nodes, and "
        "an unbound token for calico-node itself, which outlives the pod."
    ),
)

CALICO_NODE_WINDOWS: Final = Exclusion(
    component=Component(
        id="calico-node-windows",
        actor=Actor(username="system:serviceaccount:calico-system:calico-node-windows", in_pod=True),
        namespaces=("calico-system",),
        names=("calico-cni-plugin-windows",),
        token=TokenShape(bound_kind="", audiences=(), longest=86400),
        if_unseen="exclude",
        provenance=(
            found_in("tigera/operator pkg/render/windows.go", "WindowsNodeObjectName, WindowsCNIPluginObjectName"),
            found_in("projectcalico/calico node/pkg/cni/token_watch.go CNIServiceAccountName"),
        ),
    ),
    because="calico-node on Windows writes a fresh token for its CNI plugin to each node.",
    hides="Anyone who runs code in a calico-node-windows pod can mint for calico-cni-plugin-windows.",
)

CANAL: Final = Exclusion(
    component=Component(
        id="canal",
        actor=Actor(username="system:serviceaccount:kube-system:canal", in_pod=True),
        namespaces=("kube-system",),
        names=("canal", "calico-cni-plugin"),
        token=TokenShape(bound_kind="", audiences=(), longest=86400),
        if_unseen="exclude",
        provenance=(
            found_in("https://github.com/rancher/rke2/issues/5328", "it mints for kube-system/canal; #3425"),
            found_in("rancher/rke2-charts packages/rke2-canal/charts/templates/rbac.yaml", "resourceNames: canal"),
        ),
    ),
    because="calico-node of canal, RKE2's default network, writes a fresh token of its own account to each node.",
    hides="Anyone who runs code in a canal pod can mint an unbound token for canal, which outlives the pod.",
)

EXCLUSIONS: Final = (
    KUBELET,
    KUBE_CONTROLLER_MANAGER,
    CLOUD_CONTROLLER_MANAGER,
    CLOUD_CONTROLLER_MANAGER_USER,
    CALICO_NODE,
    CALICO_NODE_WINDOWS,
    CANAL,
)
