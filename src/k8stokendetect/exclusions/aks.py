# SPDX-License-Identifier: Apache-2.0
"""Who mints by design on Azure AKS, beside the upstream components. Data only.

`masterclient` is no system component: it is the cluster-admin certificate that people get from
`az aks get-credentials --admin`. `nodeclient` (2019) had group system:nodes, but not a node's name.
"""

from __future__ import annotations

from typing import Final

from k8stokendetect.exclusions.base import AUTHENTICATED, MASTERS, Actor, Component, Exclusion, Provenance
from k8stokendetect.exclusions.kubernetes import CHECKED, CONTROLLER_TOKEN

AKS_SERVICE: Final = Exclusion(
    component=Component(
        id="aks-service",
        actor=Actor(username="aksService", groups=(MASTERS, AUTHENTICATED), only_groups=True, certificate=True),
        namespaces=("kube-system",),
        token=CONTROLLER_TOKEN,
        if_unseen="exclude",
        platforms=frozenset({"aks"}),
        provenance=(
            Provenance(
                source="MicrosoftDocs/azure-aks-docs@fb060abe articles/aks/monitor-aks.md:212,229",
                checked=CHECKED,
                note="the default user of the control plane; its groups were seen in public logs",
            ),
            Provenance(
                source="elastic/detection-rules, rule 95db6791 (AKS)",
                checked=CHECKED,
                note="says that kube-controller-manager mints as aksService continuously; a rule, not a log",
            ),
        ),
    ),
    because="AKS runs its control plane, kube-controller-manager included, as aksService.",
    hides=(
        "Anyone who holds this certificate of Microsoft's control plane can mint for every service account of "
        "kube-system; AKS logs level Metadata, so the shape of the request cannot be checked."
    ),
)

EXCLUSIONS: Final = (AKS_SERVICE,)
