# SPDX-License-Identifier: Apache-2.0
"""Components that mint by design on OpenShift, besides those of every Kubernetes. Data only."""

from __future__ import annotations

from typing import Final

from k8stokendetect.exclusions.base import AUTHENTICATED, Actor, Component, Exclusion, TokenShape
from k8stokendetect.exclusions.controllers import CLOUD_CONTROLLERS, CLUSTER_POLICY_CONTROLLERS, OPENSHIFT_CONTROLLERS
from k8stokendetect.exclusions.kubernetes import CLIENT_BUILDER, CONTROLLER_TOKEN, found_in

_PULL_SECRETS_CONTROLLER: Final = "system:serviceaccount:openshift-infra:serviceaccount-pull-secrets-controller"

OPENSHIFT_PULL_SECRETS: Final = Exclusion(
    component=Component(
        id="openshift-pull-secrets",
        actor=Actor(username=_PULL_SECRETS_CONTROLLER),
        namespaces=("*",),
        token=TokenShape(bound_kind="Secret", audiences=(), longest=3600),
        platforms=frozenset({"openshift"}),
        provenance=(
            found_in(
                "openshift/openshift-controller-manager@26d20fea "
                "pkg/internalregistry/controllers/image_pull_secret_controller.go:179"
            ),
        ),
    ),
    because="It mints a token for every service account, bound to that account's registry pull secret.",
    hides=(
        "Anyone who holds this controller's token can mint for every service account, bound to a Secret. "
        "Where the request body is not logged its mints are reported: nothing else separates them from an attacker's."
    ),
)

OPENSHIFT_KEY_ID_OBSERVATION: Final = Exclusion(
    component=Component(
        id="openshift-key-id-observation",
        actor=Actor(username=_PULL_SECRETS_CONTROLLER),
        namespaces=("default",),
        names=("default",),
        token=TokenShape(bound_kind="", audiences=("not-api",), longest=600),
        if_unseen="exclude",
        platforms=frozenset({"openshift"}),
        provenance=(
            found_in(
                "openshift/openshift-controller-manager@26d20fea "
                "pkg/internalregistry/controllers/keyid_observation_controller.go:131"
            ),
        ),
    ),
    because="It mints a token that no API accepts, to learn the id of the signing key.",
    hides="Anyone who holds this controller's token can mint for default/default.",
)

OPENSHIFT_CONTROLLER_MANAGERS: Final = Exclusion(
    component=Component(
        id="openshift-controller-managers",
        actor=Actor(
            username=(
                "system:serviceaccount:openshift-controller-manager:openshift-controller-manager-sa",
                "system:serviceaccount:openshift-route-controller-manager:route-controller-manager-sa",
            ),
            in_pod=True,
        ),
        namespaces=("openshift-infra",),
        names=OPENSHIFT_CONTROLLERS,
        token=CONTROLLER_TOKEN,
        if_unseen="exclude",
        platforms=frozenset({"openshift"}),
        provenance=(
            CLIENT_BUILDER,
            found_in(
                "openshift/openshift-controller-manager@26d20fea pkg/cmd/controller/interfaces.go:105-115",
                "the code is certain, the route controller manager's user plausible",
            ),
        ),
    ),
    because="They mint for their own controllers, all in openshift-infra.",
    hides="Anyone who runs code in one of these pods can mint for the controllers of openshift-infra.",
)

OPENSHIFT_CLOUD_CONTROLLER_MANAGER: Final = Exclusion(
    component=Component(
        id="openshift-cloud-controller-manager",
        actor=Actor(
            username="system:serviceaccount:openshift-cloud-controller-manager:cloud-controller-manager",
            in_pod=True,
        ),
        namespaces=("kube-system",),
        names=CLOUD_CONTROLLERS,
        token=CONTROLLER_TOKEN,
        if_unseen="exclude",
        platforms=frozenset({"openshift"}),
        provenance=(
            CLIENT_BUILDER,
            found_in(
                "https://github.com/openshift/cluster-cloud-controller-manager-operator/blob/bc52198c/"
                "manifests/0000_26_cloud-controller-manager-operator_03_rbac_provider.yaml#L62-L102",
                "the role that lets it mint, in kube-system only",
            ),
            found_in(
                "https://github.com/openshift/cluster-cloud-controller-manager-operator/blob/bc52198c/"
                "pkg/cloud/aws/assets/deployment.yaml#L39",
                "--use-service-account-credentials, as for every other cloud there",
            ),
        ),
    ),
    because="OpenShift runs the out-of-tree cloud controller manager in a namespace of its own.",
    hides="Anyone who runs code in its pod can mint for the cloud controllers' service accounts.",
)

OPENSHIFT_CLUSTER_POLICY_CONTROLLER: Final = Exclusion(
    component=Component(
        id="openshift-cluster-policy-controller",
        actor=Actor(
            username="system:kube-controller-manager",
            groups=(AUTHENTICATED,),
            only_groups=True,
            certificate=True,
        ),
        namespaces=("openshift-infra",),
        names=CLUSTER_POLICY_CONTROLLERS,
        token=CONTROLLER_TOKEN,
        if_unseen="exclude",
        platforms=frozenset({"openshift"}),
        provenance=(
            CLIENT_BUILDER,
            found_in(
                "https://github.com/openshift/cluster-policy-controller/blob/050c1ee6/"
                "pkg/cmd/controller/interfaces.go#L79-L80"
            ),
            found_in(
                "https://github.com/openshift/cluster-kube-controller-manager-operator/blob/4e72164b/"
                "bindata/assets/kube-controller-manager/pod.yaml#L72-L91",
                "it runs in kube-controller-manager's pod, with the same client certificate",
            ),
            found_in(
                "https://github.com/openshift/cluster-kube-controller-manager-operator/blob/4e72164b/bindata/assets/"
                "kube-controller-manager/leader-election-cluster-policy-controller-rolebinding.yaml#L11",
                "the name on that certificate",
            ),
        ),
    ),
    because="It runs in kube-controller-manager's pod, under its name, and mints for its own controllers.",
    hides="Anyone who holds kube-controller-manager's certificate can mint for these controllers of openshift-infra.",
)

EXCLUSIONS: Final = (
    OPENSHIFT_PULL_SECRETS,
    OPENSHIFT_KEY_ID_OBSERVATION,
    OPENSHIFT_CONTROLLER_MANAGERS,
    OPENSHIFT_CLOUD_CONTROLLER_MANAGER,
    OPENSHIFT_CLUSTER_POLICY_CONTROLLER,
)
