# SPDX-License-Identifier: Apache-2.0
"""What is worth a cluster: service accounts whose token is, requests that are. Data only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Final

import attrs

from k8stokendetect.errors import ConfigError
from k8stokendetect.events import TOKEN_SUBRESOURCE, Event
from k8stokendetect.exclusions.base import Provenance, matches
from k8stokendetect.exclusions.controllers import IN_KUBE_SYSTEM, IN_OPENSHIFT_INFRA
from k8stokendetect.identity import ServiceAccount
from k8stokendetect.reprs import Listing, with_short_repr

CHECKED: Final = date(2026, 11, 25)


def _check_text(_: PowerfulAccount, attribute: attrs.Attribute[str], value: object) -> None:
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"powerful account: {attribute.name} is {value!r}, not a text")


@with_short_repr
@attrs.frozen(kw_only=True)
class PowerfulAccount:
    """A service account, or a pattern of such, and what its token is worth.

    Arguments:
        namespace: where it lives; `*` stands for one or more characters.
        name: what it is called; `*` as above.
        power: what the holder of its token may do; the end of a sentence.
        provenance: where that is known from.

    Raises:
        ConfigError: when a text is empty or none.

    """

    namespace: str = attrs.field(validator=_check_text)
    name: str = attrs.field(validator=_check_text)
    power: str = attrs.field(validator=_check_text)
    provenance: Provenance

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    def fits(self, account: ServiceAccount, /) -> bool:
        """Tell whether this is that account, or one of those."""
        return matches(self.namespace, account.namespace) and matches(self.name, account.name)


_POLICY: Final = Provenance(
    source=(
        "https://github.com/kubernetes/kubernetes/blob/v1.36.2/"
        "plugin/pkg/auth/authorizer/rbac/bootstrappolicy/controller_policy.go"
    ),
    checked=CHECKED,
    note="the names as measured on v1.36.2, what they may do as read at pohly/kubernetes@222b9023",
)

_CONTROLLERS: Final[Mapping[str, str]] = {
    "may add any right to any cluster role (verb escalate), one step from cluster-admin": (
        "clusterrole-aggregation-controller"
    ),
    "may read, change and delete objects of every kind, Secrets included": "generic-garbage-collector",
    "may list, create and change objects of every kind, Secrets included": "storage-version-migrator-controller",
    "may read and delete objects of every kind, Secrets included": "namespace-controller",
    "may list objects of every kind, Secrets included": "resourcequota-controller",
    "may create pods in every namespace, and so run as any service account": (
        "daemon-set-controller job-controller persistent-volume-binder replicaset-controller replication-controller "
        "statefulset-controller"
    ),
    "may create jobs or replica sets in every namespace, and so run pods as any service account": (
        "cronjob-controller deployment-controller"
    ),
    "may approve and sign the certificates of nodes and clients": "certificate-controller",
}
"""The controllers of kube-system, by what they may do."""

_OTHERS: Final = "is a controller of Kubernetes' own, for which only a controller manager mints"

_OPENSHIFT: Final = "is a controller of OpenShift's own, for which only a controller manager mints"

_ALL: Final = "may do everything in the cluster, as cluster-admin"
_SECRETS: Final = "may read and write the Secrets of every namespace"

_GITHUB: Final = "https://github.com"
_FLUX: Final = f"{_GITHUB}/fluxcd/flux2/blob/1b581d6f513c62e8af53eed3666ef803614dfeab/manifests/rbac/reconciler.yaml"
_ARGO: Final = (
    f"{_GITHUB}/argoproj/argo-cd/blob/be2be7c99bdd4f4d349d9dd1fc6c3ebbeb3f4f05/manifests/cluster-rbac/"
    "application-controller/argocd-application-controller-clusterrole.yaml"
)
_CATTLE: Final = (
    f"{_GITHUB}/rancher/rancher/blob/22a7ab4ecf82d71c5cca3eeb065aa7e91faf0877/"
    "pkg/systemtemplate/testdata/test-provisioned-import.yaml"
)
_OLM: Final = (
    f"{_GITHUB}/operator-framework/operator-lifecycle-manager/blob/7cf04bc2c728cea1c8f44498d4021f032d75abaa/"
    "deploy/chart/templates/0000_50_olm_01-olm-operator.serviceaccount.yaml"
)
_VELERO: Final = f"{_GITHUB}/vmware-tanzu/velero/blob/main/site/content/docs/v1.14/rbac.md"
_TILLER: Final = (
    "https://raw.githubusercontent.com/istio/istio/release-1.5/install/kubernetes/helm/helm-service-account.yaml"
)
_CERT_MANAGER: Final = (
    f"{_GITHUB}/cert-manager/cert-manager/blob/038260fb556b3eeb3dea64e8a963c284c76a770e/"
    "deploy/charts/cert-manager/templates/rbac.yaml"
)
_EXTERNAL_SECRETS: Final = (
    f"{_GITHUB}/external-secrets/external-secrets/blob/00e58aa3f72f63a4216fa0f7b29a631f0221339d/"
    "deploy/charts/external-secrets/templates/rbac.yaml"
)
_PULL_SECRETS: Final = (
    f"{_GITHUB}/openshift/openshift-controller-manager/blob/26d20fea/"
    "pkg/internalregistry/controllers/image_pull_secret_controller.go#L179"
)

_OPENSHIFT_NAMES: Final = Provenance(
    source=f"{_GITHUB}/openshift/openshift-controller-manager/blob/26d20fea/pkg/cmd/controller/config.go",
    checked=CHECKED,
    note="and those of cluster-policy-controller and route-controller-manager: exclusions/controllers.py",
)

_ADDONS: Final = (
    ("*", "argocd-application-controller", _ALL, _ARGO),
    ("flux-system", "kustomize-controller", _ALL, _FLUX),
    ("flux-system", "helm-controller", _ALL, _FLUX),
    ("cattle-system", "cattle", _ALL, _CATTLE),
    ("*", "olm-operator-serviceaccount", "may write any role and role binding, and all Secrets", _OLM),
    ("velero", "velero", _ALL, _VELERO),
    ("*", "tiller", _ALL, _TILLER),
    ("cert-manager", "cert-manager", _SECRETS, _CERT_MANAGER),
    (
        "external-secrets",
        "external-secrets",
        f"{_SECRETS}, and may mint for every service account",
        _EXTERNAL_SECRETS,
    ),
    (
        "openshift-infra",
        "serviceaccount-pull-secrets-controller",
        "may mint for every service account",
        _PULL_SECRETS,
    ),
)
"""Namespace, name, what it may do, and where that was read."""


def _powerful() -> Iterator[PowerfulAccount]:
    powers = {name: power for power, names in _CONTROLLERS.items() for name in names.split()}
    for name in (*powers, *sorted(IN_KUBE_SYSTEM - powers.keys())):
        power = powers.get(name, _OTHERS)
        yield PowerfulAccount(namespace="kube-system", name=name, power=power, provenance=_POLICY)
    named = {(namespace, name) for namespace, name, _, _ in _ADDONS}
    for name in sorted(IN_OPENSHIFT_INFRA):
        if ("openshift-infra", name) not in named:
            yield PowerfulAccount(namespace="openshift-infra", name=name, power=_OPENSHIFT, provenance=_OPENSHIFT_NAMES)
    for namespace, name, power, source in _ADDONS:
        provenance = Provenance(source=source, checked=CHECKED, note="as it installs itself by default")
        yield PowerfulAccount(namespace=namespace, name=name, power=power, provenance=provenance)


POWERFUL: Final[tuple[PowerfulAccount, ...]] = Listing(_powerful())
"""Kubernetes' own controllers and well-known addons under their default names; a site adds its own."""


_READ: Final = frozenset({"get", "list", "watch"})
_WRITE: Final = frozenset({"create", "update", "patch", "delete", "deletecollection"})
_MAKE: Final = frozenset({"create", "update", "patch"})
_ANY: Final = _READ | _WRITE | {"proxy", "connect"}

# kubernetes.io/docs/concepts/security/rbac-good-practices: privilege escalation risks
_WORKLOADS: Final = (
    "pods deployments daemonsets statefulsets replicasets replicationcontrollers jobs cronjobs podtemplates"
)
_PRIVILEGED: Final = (
    (_READ | _WRITE, "secrets", "reads or changes secrets"),
    (_ANY, "pods/exec pods/attach pods/portforward pods/ephemeralcontainers", "enters a running pod"),
    (_ANY, "nodes/proxy pods/proxy services/proxy", "reaches through the API server"),
    (_MAKE | {"bind", "escalate", "delete"}, "roles clusterroles rolebindings clusterrolebindings", "changes RBAC"),
    (frozenset({"create"}), TOKEN_SUBRESOURCE, "mints another token"),
    (_MAKE, _WORKLOADS, "starts a workload"),
    (_WRITE - _MAKE, _WORKLOADS, "ends a workload"),
    (
        _MAKE,
        "validatingwebhookconfigurations mutatingwebhookconfigurations apiservices customresourcedefinitions",
        "changes how the API server works",
    ),
    (_MAKE, "certificatesigningrequests certificatesigningrequests/approval", "asks for a certificate"),
)
_WHY: Final = {
    (verb, resource): why for verbs, resources, why in _PRIVILEGED for resource in resources.split() for verb in verbs
}


def privileged_act(event: Event, /) -> str | None:
    """Say why a request is privileged, as a verb phrase; None for any other."""
    if event.assumed is not None:
        return "impersonates somebody"
    return _WHY.get((event.verb, event.resource))
