# SPDX-License-Identifier: Apache-2.0
"""Who mints by design on Google GKE, whose Cloud Logging records carry no groups. Data only.

These are weaker than the upstream entries, and say so: without groups there is the name, the client, the target and
the platform. They apply to records that carry no group at all; where groups are logged, the upstream entries decide.
That GKE logs TokenRequests of system components at all is not certain: no public record of one was found.
"""

from __future__ import annotations

from typing import Final

from k8stokendetect.exclusions.base import Actor, Component, Exclusion, Provenance, TokenShape
from k8stokendetect.exclusions.kubernetes import CHECKED, CLIENT_BUILDER, CONTROLLER_TOKEN

NO_GROUPS: Final = (
    "Cloud Logging's AuditLog has only principalEmail; on GKE that is a Google identity, or a `system:` name of "
    "Google's own or of a signed certificate; nobody can register an e-mail address that begins with `system:`"
)

KUBELET: Final = Exclusion(
    component=Component(
        id="gke-kubelet",
        actor=Actor(
            username="system:node:*",
            user_agents=("kubelet/",),
            credential="X509SHA256",
            reason="",
            groups_not_logged=NO_GROUPS,
        ),
        namespaces=("*",),
        token=TokenShape(bound_kind="Pod"),
        if_unseen="exclude",
        platforms=frozenset({"gke"}),
        provenance=(
            Provenance(source="kubernetes v1.36.2 pkg/kubelet/token/token_manager.go:71", checked=CHECKED),
            Provenance(
                source="elastic/detection-rules, rule 5d505bed (GKE)",
                checked=CHECKED,
                note="excludes the name; a rule, not a log",
            ),
        ),
    ),
    because="A kubelet mints the tokens of its pods.",
    hides=(
        "Anyone who gets a certificate signed for a user named system:node:… without group system:nodes is bound by no "
        "node restriction; here only the authorization reason distinguishes them from a kubelet, if it is logged."
    ),
)

CONTROLLER_MANAGERS: Final = Exclusion(
    component=Component(
        id="gke-controller-managers",
        actor=Actor(
            username=("system:kube-controller-manager", "system:cloud-controller-manager"),
            certificate=True,
            groups_not_logged=NO_GROUPS,
        ),
        namespaces=("kube-system",),
        token=CONTROLLER_TOKEN,
        if_unseen="exclude",
        platforms=frozenset({"gke"}),
        provenance=(
            CLIENT_BUILDER,
            Provenance(
                source="kubernetes v1.36.2 cluster/gce/gci/configure-helper.sh:834,837",
                checked=CHECKED,
                note="the names on GCE; plausible on GKE",
            ),
        ),
    ),
    because="GKE's controller managers mint for their own controllers in kube-system.",
    hides="Anyone with a signed certificate for one of these names can mint for every service account of kube-system.",
)

EXCLUSIONS: Final = (KUBELET, CONTROLLER_MANAGERS)
