# SPDX-License-Identifier: Apache-2.0
"""The service accounts of Kubernetes' own controllers, for which only a controller manager mints. Data only."""

from __future__ import annotations

from typing import Final

CLOUD_CONTROLLERS: Final = ("node-controller", "route-controller", "service-controller", "tagging-controller")
"""The accounts of the cloud controllers: k8s.io/cloud-provider app/controllermanager.go@4960d097, AWS's tagging."""

CONTROLLERS: Final = frozenset(
    """
    attachdetach-controller bootstrap-signer certificate-controller clusterrole-aggregation-controller
    cronjob-controller daemon-set-controller deployment-controller device-taint-eviction-controller
    disruption-controller endpoint-controller endpointslice-controller endpointslicemirroring-controller
    ephemeral-volume-controller expand-controller generic-garbage-collector horizontal-pod-autoscaler job-controller
    kube-apiserver-serving-clustertrustbundle-publisher legacy-service-account-token-cleaner namespace-controller
    node-controller persistent-volume-binder pod-garbage-collector podcertificaterequestcleaner
    pv-protection-controller pvc-protection-controller replicaset-controller replication-controller
    resource-claim-controller resourcequota-controller root-ca-cert-publisher route-controller
    selinux-warning-controller service-account-controller service-ca-cert-publisher service-cidrs-controller
    service-controller statefulset-controller storage-version-garbage-collector storage-version-migrator-controller
    token-cleaner ttl-after-finished-controller ttl-controller validatingadmissionpolicy-status-controller
    volumeattributesclass-protection-controller
    """.split()
)
"""Those of kube-controller-manager, all in kube-system.

https://github.com/kubernetes/kubernetes/blob/003e3121/plugin/pkg/auth/authorizer/rbac/bootstrappolicy/controller_policy.go
and, for bootstrap-signer and token-cleaner, namespace_policy.go; 24 of them were seen minting in recordings
of 1.27, 1.31 and 1.36.
"""

OPENSHIFT_CONTROLLERS: Final = ("*-controller",)
"""Those of openshift-infra.

All that openshift-controller-manager's code names end so (pkg/cmd/controller/interfaces.go@26d20fea); accounts of other
use there, such as node-bootstrapper, do not.
"""
