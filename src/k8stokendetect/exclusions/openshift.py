# SPDX-License-Identifier: Apache-2.0
"""Who mints by design on OpenShift, beside the upstream components. Data only."""

from __future__ import annotations

from typing import Final

from k8stokendetect.exclusions.base import Actor, Component, Exclusion, Provenance, TokenShape
from k8stokendetect.exclusions.kubernetes import CHECKED, CLIENT_BUILDER, CONTROLLER_TOKEN

_PULL_SECRETS_CONTROLLER: Final = "system:serviceaccount:openshift-infra:serviceaccount-pull-secrets-controller"

PULL_SECRETS: Final = Exclusion(
    component=Component(
        id="openshift-pull-secrets",
        actor=Actor(username=_PULL_SECRETS_CONTROLLER),
        namespaces=("*",),
        token=TokenShape(bound_kind="Secret", audiences=(), longest=3600),
        platforms=frozenset({"openshift"}),
        provenance=(
            Provenance(
                source=(
                    "openshift/openshift-controller-manager@26d20fea "
                    "pkg/internalregistry/controllers/image_pull_secret_controller.go:179"
                ),
                checked=CHECKED,
            ),
        ),
    ),
    because="It mints a token for every service account, bound to that account's registry pull secret.",
    hides=(
        "Anyone who holds this controller's token can mint for every service account, bound to a Secret. "
        "Where the request body is not logged its mints are reported: nothing else separates them from an attacker's."
    ),
)

KEY_ID_OBSERVATION: Final = Exclusion(
    component=Component(
        id="openshift-key-id-observation",
        actor=Actor(username=_PULL_SECRETS_CONTROLLER),
        namespaces=("default",),
        names=("default",),
        token=TokenShape(bound_kind="", audiences=("not-api",), longest=600),
        if_unseen="exclude",
        platforms=frozenset({"openshift"}),
        provenance=(
            Provenance(
                source=(
                    "openshift/openshift-controller-manager@26d20fea "
                    "pkg/internalregistry/controllers/keyid_observation_controller.go:131"
                ),
                checked=CHECKED,
            ),
        ),
    ),
    because="It mints a token that no API accepts, to learn the id of the signing key.",
    hides="Anyone who holds this controller's token can mint for default/default.",
)

CONTROLLER_MANAGERS: Final = Exclusion(
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
        token=CONTROLLER_TOKEN,
        if_unseen="exclude",
        platforms=frozenset({"openshift"}),
        provenance=(
            CLIENT_BUILDER,
            Provenance(
                source="openshift/openshift-controller-manager@26d20fea pkg/cmd/controller/interfaces.go:105-115",
                checked=CHECKED,
                note="the code is certain, the route controller manager's user plausible",
            ),
        ),
    ),
    because="They mint for their own controllers, all in openshift-infra.",
    hides="Anyone who runs code in one of these pods can mint for every service account of openshift-infra.",
)

EXCLUSIONS: Final = (PULL_SECRETS, KEY_ID_OBSERVATION, CONTROLLER_MANAGERS)
