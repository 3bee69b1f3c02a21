# SPDX-License-Identifier: Apache-2.0
"""The service accounts of the controllers for which only controller managers mint. Data only.

The exclusions, the rule about URIs and the value of a target take them from here.
"""

from __future__ import annotations

from typing import Final

CLOUD_CONTROLLERS: Final = tuple(
    """
    aws-cloud-provider azure-cloud-provider cloud-controller-manager cloud-provider cloud-provider-nutanix
    gke-service-controller gke-tenant-controller-manager node-controller route-controller service-controller
    tagging-controller vsphere-cloud-controller-manager vsphere-paravirtual-cloud-controller-manager
    """.split()
)
"""The accounts of the cloud controllers, all in kube-system, and the one that each provider takes for itself.

k8s.io/cloud-provider app/controllermanager.go:448-466@4666611c; then, by provider:
https://github.com/kubernetes/cloud-provider-aws/blob/63ec440c/pkg/providers/v1/aws.go#L684 and
pkg/controllers/tagging/tagging_controller_wrapper.go#L17,
https://github.com/kubernetes-sigs/cloud-provider-azure/blob/4d0d6dbb/pkg/provider/azure.go (NewCloud),
https://github.com/kubernetes/cloud-provider-gcp/blob/4e245312/cmd/cloud-controller-manager/main.go#L45-L48 and
providers/gce/gce.go#L819,
https://github.com/kubernetes/cloud-provider-openstack/blob/c453fb7c/pkg/openstack/openstack.go#L197,
https://github.com/kubernetes/cloud-provider-vsphere/blob/60f6c5df/pkg/cloudprovider/vsphere/cloud.go#L53 and
vsphereparavirtual/cloud.go#L45,
https://github.com/nutanix-cloud-native/cloud-provider-nutanix/blob/5df43d9/pkg/provider/provider.go#L78.
"""

IN_TREE_CLOUD_PROVIDERS: Final = ("azure-cloud-provider", "cloud-provider", "vsphere-legacy-cloud-provider")
"""What kube-controller-manager took for its own cloud provider while it had any: in 1.27 Azure, GCE and vSphere.

k8s.io/legacy-cloud-providers azure/azure.go and gce/gce.go (Initialize);
https://github.com/kubernetes/kubernetes/pull/101028.
"""

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
).union(IN_TREE_CLOUD_PROVIDERS)
"""Those of kube-controller-manager from 1.27 on, all in kube-system.

https://github.com/kubernetes/kubernetes/blob/003e3121/plugin/pkg/auth/authorizer/rbac/bootstrappolicy/controller_policy.go
and, for bootstrap-signer and token-cleaner, namespace_policy.go; 24 of them were seen minting in recordings
of 1.27, 1.31 and 1.36.
"""

OPENSHIFT_CONTROLLERS: Final = tuple(
    """
    build-config-change-controller build-controller default-rolebindings-controller deployer-controller
    deploymentconfig-controller image-import-controller image-trigger-controller ingress-to-route-controller
    origin-namespace-controller sdn-controller service-ingress-ip-controller serviceaccount-controller
    serviceaccount-pull-secrets-controller template-instance-controller template-instance-finalizer-controller
    unidling-controller
    """.split()
)
"""Those of openshift-controller-manager and route-controller-manager, all in openshift-infra.

https://github.com/openshift/openshift-controller-manager/blob/26d20fea/pkg/cmd/controller/config.go#L37-L52 (until
2022-09, 425e02f2, also sdn-controller) and
https://github.com/openshift/route-controller-manager/blob/1916ceb0/pkg/cmd/controller/config.go#L9-L10.
"""

CLUSTER_POLICY_CONTROLLERS: Final = tuple(
    """
    cluster-csr-approver-controller cluster-quota-reconciliation-controller namespace-security-allocation-controller
    podsecurity-admission-label-syncer-controller privileged-namespaces-psa-label-syncer resourcequota-controller
    """.split()
)
"""Those of OpenShift's cluster-policy-controller, all in openshift-infra.

https://github.com/openshift/cluster-policy-controller/blob/050c1ee6/pkg/cmd/controller/config.go#L13-L17 and, for
resourcequota-controller, quota.go#L25.
"""

IN_KUBE_SYSTEM: Final = CONTROLLERS.union(CLOUD_CONTROLLERS)
"""All accounts of kube-system for which only a controller manager mints."""

IN_OPENSHIFT_INFRA: Final = frozenset(OPENSHIFT_CONTROLLERS).union(CLUSTER_POLICY_CONTROLLERS)
"""All accounts of openshift-infra for which only a controller manager mints."""
