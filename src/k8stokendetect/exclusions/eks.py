# SPDX-License-Identifier: Apache-2.0
"""Who mints by design on Amazon EKS, beside the upstream components. Data only.

No public log shows any other `eks:*` identity minting a token, so there is no entry for them: `eks:addon-manager` is
bound to cluster-admin, and whoever can edit the aws-auth ConfigMap can call an IAM role `eks:whatever`.
"""

from __future__ import annotations

from typing import Final

from k8stokendetect.exclusions.base import AUTHENTICATED, Actor, Component, Exclusion, Provenance
from k8stokendetect.exclusions.kubernetes import (
    CHECKED,
    CLIENT_BUILDER,
    CLOUD_CONTROLLERS,
    CONTROLLER_TOKEN,
)

CLOUD_CONTROLLER_MANAGER: Final = Exclusion(
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
        platforms=frozenset({"eks"}),
        provenance=(
            CLIENT_BUILDER,
            Provenance(
                source="kubernetes/cloud-provider-aws charts/aws-cloud-controller-manager/values.yaml:98",
                checked=CHECKED,
                note="plausible: the name and the controllers' accounts were seen on EKS, but no mint by them",
            ),
            Provenance(
                source="https://docs.aws.amazon.com/eks/latest/userguide/access-entries.html",
                checked=CHECKED,
                note="access entries may not use eks:, the aws-auth ConfigMap may: such users carry IAM extras",
            ),
        ),
    ),
    because="EKS runs the AWS cloud controller manager, which mints for its controllers such as tagging-controller.",
    hides="Anyone with this identity of AWS's own control plane can mint hour-long tokens for the cloud controllers.",
)

EXCLUSIONS: Final = (CLOUD_CONTROLLER_MANAGER,)
