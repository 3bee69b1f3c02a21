# SPDX-License-Identifier: Apache-2.0
"""The objects of a cluster besides RBAC: service accounts, pods, EKS Pod Identity associations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from k8stokendetect.identity import ServiceAccount
from k8stokendetect.reprs import with_short_repr

MOUNT_PATH: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
"""Where the API server mounts a pod's token.

plugin/pkg/admission/serviceaccount/admission.go, DefaultAPITokenMountPath.
"""

AUTO_UPDATE: Final = "rbac.authorization.kubernetes.io/autoupdate"
"""Annotation of Kubernetes' own roles and bindings; `"false"` keeps the API server from restoring them when it starts.

kubernetes.io/docs/reference/access-authn-authz/rbac/#auto-reconciliation
"""


@with_short_repr
@attrs.frozen
class Account:
    """A ServiceAccount object.

    Arguments:
        namespace: where it lives.
        name: what it is called.
        annotations: including those that name a cloud identity.
        secrets: names of the Secrets it lists, including legacy tokens.

    """

    namespace: str
    name: str
    annotations: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    secrets: tuple[str, ...] = ()

    @property
    def ref(self) -> ServiceAccount:
        """Its namespace and name as a key."""
        return ServiceAccount(self.namespace, self.name)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@with_short_repr
@attrs.frozen
class Pod:
    """A Pod.

    Arguments:
        namespace: where it lives.
        name: what it is called.
        service_account: the account it runs as; empty for a mirror pod, which has none.
        node: where it was scheduled; empty if nowhere.
        labels: its labels.
        audiences: of the service account tokens it mounts; an empty one is the API server's.

    """

    namespace: str
    name: str
    service_account: str = "default"
    node: str = ""
    labels: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    audiences: tuple[str, ...] = ()

    @property
    def ref(self) -> ServiceAccount:
        """The service account that it runs as."""
        return ServiceAccount(self.namespace, self.service_account)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@with_short_repr
@attrs.frozen
class PodIdentity:
    """An EKS Pod Identity association; `list-pod-identity-associations` leaves the role out, `describe` has it.

    Source: docs.aws.amazon.com/eks/latest/APIReference/API_PodIdentityAssociation.html and
    API_PodIdentityAssociationSummary.html.
    """

    namespace: str
    service_account: str
    association_id: str = ""
    role_arn: str = ""
    target_role_arn: str = ""

    @property
    def ref(self) -> ServiceAccount:
        """The service account that receives the role."""
        return ServiceAccount(self.namespace, self.service_account)
