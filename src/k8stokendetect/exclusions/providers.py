# SPDX-License-Identifier: Apache-2.0
"""Components that mint by design on EKS, AKS and GKE, besides those of every Kubernetes. Data only."""

from __future__ import annotations

from typing import Final

from k8stokendetect.exclusions.base import AUTHENTICATED, MASTERS, Actor, Component, Exclusion, TokenShape
from k8stokendetect.exclusions.controllers import CLOUD_CONTROLLERS, CONTROLLERS, IN_KUBE_SYSTEM
from k8stokendetect.exclusions.kubernetes import CLIENT_BUILDER, CONTROLLER_TOKEN, found_in

# Amazon EKS
#
# No public log shows any other `eks:*` identity minting a token, so there is no entry for them: `eks:addon-manager` is
# bound to cluster-admin, and anyone who can edit the aws-auth ConfigMap can name an IAM role `eks:anything`.
# Nor for EKS capabilities (Argo CD, ACK, kro): each acts as the IAM role that the customer gives it, so under a name of
# the customer's own, and minting is not documented for any
# (https://docs.aws.amazon.com/eks/latest/userguide/capabilities-security.html).

EKS_CLOUD_CONTROLLER_MANAGER: Final = Exclusion(
    component=Component(
        id="eks-cloud-controller-manager",
        actor=Actor(
            username="eks:cloud-controller-manager",
            groups=(AUTHENTICATED,),
            only_groups=True,
            certificate=True,
        ),
        namespaces=("kube-system",),
        names=CLOUD_CONTROLLERS,
        token=CONTROLLER_TOKEN,
        if_unseen="exclude",
        platforms=frozenset({"eks"}),
        provenance=(
            CLIENT_BUILDER,
            found_in(
                "kubernetes/cloud-provider-aws charts/aws-cloud-controller-manager/values.yaml:98",
                "plausible: the name and the controllers' accounts were seen on EKS, but no mint by them",
            ),
            found_in(
                "https://docs.aws.amazon.com/eks/latest/userguide/access-entries.html",
                "access entries may not use eks:, the aws-auth ConfigMap may: such users carry IAM extras",
            ),
        ),
    ),
    because="EKS runs the AWS cloud controller manager, which mints for its controllers such as tagging-controller.",
    hides=(
        "Anyone with this identity of the AWS control plane can mint for the cloud controllers' service accounts; "
        "where the request body is logged, only tokens of an hour, unbound and without audience."
    ),
)

# Azure AKS
#
# `masterclient` is not a system component: it is the cluster-admin certificate that people get from
# `az aks get-credentials --admin`. `nodeclient` (2019) had group system:nodes, but not a node's name.

AKS_SERVICE: Final = Exclusion(
    component=Component(
        id="aks-service",
        actor=Actor(username="aksService", groups=(MASTERS, AUTHENTICATED), only_groups=True, certificate=True),
        namespaces=("kube-system",),
        names=tuple(sorted(CONTROLLERS)),
        token=CONTROLLER_TOKEN,
        if_unseen="exclude",
        platforms=frozenset({"aks"}),
        provenance=(
            found_in(
                "MicrosoftDocs/azure-aks-docs@fb060abe articles/aks/monitor-aks.md:212,229",
                "the default user of the control plane; its groups were seen in public logs",
            ),
            found_in(
                "elastic/detection-rules, rule 95db6791 (AKS)",
                "says that kube-controller-manager mints as aksService continuously; a rule, not a log",
            ),
        ),
    ),
    because="AKS runs its control plane, kube-controller-manager included, as aksService.",
    hides=(
        "Anyone who holds this certificate of Microsoft's control plane can mint for the controllers of "
        "kube-system; AKS logs level Metadata, so the shape of the request cannot be checked."
    ),
)

# Google GKE, whose Cloud Logging records carry no groups
#
# There is no entry for Container Threat Detection's service agent (gcp-sa-ktd-hpsa): it creates service accounts in
# kube-system, and no public record or page says that it mints a token.
#
# These are weaker than the upstream entries, and say so: without groups there is the name, the client, the target and
# the platform. They apply to records that carry no group at all; where groups are logged, the upstream entries decide.
# That GKE logs TokenRequests of system components at all is not certain: no public record of one was found.

GKE_NO_GROUPS: Final = (
    "Cloud Logging's AuditLog has only principalEmail; on GKE that is a Google identity, or a `system:` name of "
    "Google's own or of a signed certificate; nobody can register an e-mail address that begins with `system:`"
)

GKE_KUBELET: Final = Exclusion(
    component=Component(
        id="gke-kubelet",
        actor=Actor(
            username="system:node:*",
            user_agents=("kubelet/",),
            credential="X509SHA256",
            reason="",
            groups_not_logged=GKE_NO_GROUPS,
        ),
        namespaces=("*",),
        token=TokenShape(bound_kind="Pod"),
        if_unseen="exclude",
        platforms=frozenset({"gke"}),
        provenance=(
            found_in("kubernetes v1.36.2 pkg/kubelet/token/token_manager.go:71"),
            found_in("elastic/detection-rules, rule 5d505bed (GKE)", "excludes the name; a rule, not a log"),
        ),
    ),
    because="A kubelet mints the tokens of its pods.",
    hides=(
        "Anyone who gets a certificate signed for a user named system:node:… without group system:nodes is bound by no "
        "node restriction; here only the authorization reason distinguishes them from a kubelet, if it is logged."
    ),
)

GKE_CONTROLLER_MANAGERS: Final = Exclusion(
    component=Component(
        id="gke-controller-managers",
        actor=Actor(
            username=("system:kube-controller-manager", "system:cloud-controller-manager"),
            user_agents=("kube-controller-manager/", "cloud-controller-manager/"),
            certificate=True,
            inside=True,
            groups_not_logged=GKE_NO_GROUPS,
        ),
        namespaces=("kube-system",),
        names=tuple(sorted(IN_KUBE_SYSTEM)),
        token=CONTROLLER_TOKEN,
        if_unseen="exclude",
        platforms=frozenset({"gke"}),
        provenance=(
            CLIENT_BUILDER,
            found_in(
                "kubernetes v1.36.2 cluster/gce/gci/configure-helper.sh:834,837", "the names on GCE; plausible on GKE"
            ),
        ),
    ),
    because="GKE's controller managers mint for their own controllers in kube-system.",
    hides=(
        "Anyone inside the cluster's network with a signed certificate for one of these names can mint for the "
        "controllers' service accounts, with a client that calls itself a controller manager."
    ),
)

GKE_CALICO_NODE: Final = Exclusion(
    component=Component(
        id="gke-calico-node",
        actor=Actor(
            username="system:serviceaccount:kube-system:calico-node",
            user_agents=("calico-node/",),
            groups_not_logged=GKE_NO_GROUPS,
        ),
        namespaces=("kube-system",),
        names=("calico-cni-sa",),
        token=TokenShape(bound_kind="", audiences=(), longest=86400),
        if_unseen="exclude",
        platforms=frozenset({"gke"}),
        provenance=(
            found_in(
                "GoogleCloudPlatform/netd scripts/testcase", "CALICO_CNI_SERVICE_ACCOUNT=calico-cni-sa in its tests"
            ),
            found_in("projectcalico/calico node/pkg/cni/token_watch.go CNIServiceAccountName"),
        ),
    ),
    because="GKE's calico-node writes a fresh token of calico-cni-sa to each node for its CNI plugin.",
    hides=(
        "Anyone who has calico-node's token can mint for calico-cni-sa, from anywhere: nodes may reach the control "
        "plane from public addresses, so the address proves nothing here."
    ),
)

EXCLUSIONS: Final = (
    EKS_CLOUD_CONTROLLER_MANAGER,
    AKS_SERVICE,
    GKE_KUBELET,
    GKE_CONTROLLER_MANAGERS,
    GKE_CALICO_NODE,
)
