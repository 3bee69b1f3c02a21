# SPDX-License-Identifier: Apache-2.0
"""Decides whose output is believed to be an audit log: `Trust`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from k8stokendetect.errors import ConfigError, checked_list

API_SERVERS: Final = (
    "kube-system/kube-apiserver",
    "kube-system/kube-apiserver-*",
    "openshift-kube-apiserver/kube-apiserver-*",
    "/kube-apiserver",
    "/kube-apiserver-*",
)
"""Pods that print an audit log with `--audit-log-path=-`. A static pod is named after its node, behind a hyphen.

Sources: kubernetes.io/docs/reference/command-line-tools-reference/kube-apiserver (`-` means standard out);
kubernetes pkg/kubelet/config/common.go, generatePodName; github.com/openshift/cluster-kube-apiserver-operator,
bindata/assets/kube-apiserver/pod.yaml. Who may create pods in these namespaces owns the cluster anyway. The last two:
where a pipeline drops namespaces, the name alone decides, or an API server's log would be silently lost.
"""

_POD: Final = re.compile(r"[a-z0-9-]*/[a-z0-9.*-]+")


class Trust:
    """Believes what no pod printed, and what pods of these names did.

    Arguments:
        pods: more of them, each NAMESPACE/NAME, or /NAME where the records name no namespace; in NAME a `*` stands for
            any letters.

    Raises:
        ConfigError: when one is not of this form.

    """

    def __init__(self, pods: Iterable[str] = ()) -> None:
        given = checked_list(pods, str, "trust_pods must be a list of pods, each NAMESPACE/NAME")
        for pod in given:
            if not _POD.fullmatch(pod):
                raise ConfigError(f"not a pod as NAMESPACE/NAME, with `*` in NAME only: {pod!r}")
        patterns = (re.escape(pod).replace(r"\*", "[a-z0-9.-]*") for pod in (*API_SERVERS, *given))
        self._believed = re.compile("|".join(patterns))

    def believes(self, pods: frozenset[str], /) -> bool:
        """Tell whether all pods through which a record came are believed; a record may be within another's."""
        return not pods or all(self._believed.fullmatch(pod) for pod in pods)
