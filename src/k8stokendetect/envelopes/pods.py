# SPDX-License-Identifier: Apache-2.0
"""Whose output a record is, as its wrapper says: `pods_of`. Any pod may print what looks like an audit event.

A pod is named NAMESPACE/NAME; whichever of the two a wrapper does not say is empty. Where the names stand:

- `kubernetes`: Fluent Bit and Fluentd (docs.fluentbit.io, filter kubernetes; fluent-plugin-kubernetes_metadata_filter),
  OpenShift (docs.okd.io, cluster-logging-exported-fields), Vector (vector.dev, source kubernetes_logs; FieldsSpec in
  src/sources/kubernetes_logs/pod_metadata_annotator.rs), Beats (elastic.co, exported-fields-kubernetes-processor).
- `k8s.pod.name`: OpenTelemetry's resource attributes (semantic conventions, k8s).
- paths: kubernetes pkg/kubelet/kuberuntime/legacy.go, legacyLogSymlink, which cuts names that are too long, and
  kuberuntime/helpers.go, BuildPodLogsDirectory. CloudWatch's Container Insights name log streams by the first, with
  dots, or Fluentd by its last part alone (docs.aws.amazon.com, Container-Insights-setup-logs-FluentBit).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from k8stokendetect.envelopes.base import Pods

NO_POD: Final[Pods] = frozenset()

_FLAT: Final = {
    "kubernetes.pod.name": "kubernetes.namespace",
    "kubernetes.pod_name": "kubernetes.namespace_name",
    "kubernetes_pod_name": "kubernetes_namespace_name",
    "kubernetes_pod_name_s": "kubernetes_namespace_name_s",  # as the Log Analytics API names columns
    "k8s.pod.name": "k8s.namespace.name",
}
MARKS: Final = ("kubernetes", *_FLAT)
"""Keys next to an event that may name its pod; no audit event has one, and no fast form reads a record with one."""

_LABELS: Final = {"pod": "namespace", "k8s_pod_name": "k8s_namespace_name"}
"""Of Promtail's and Alloy's configurations (grafana.com, discovery.relabel for pod logs), and of OpenTelemetry.

OpenShift writes the second as well (github.com/openshift/cluster-logging-operator, vector/output/loki).
"""

_PODS: Final = ("pod_name", "container_name")
_NAMESPACES: Final = ("namespace_name", "pod_namespace", "namespace")
_BEATS: Final = ("pod", "container")

_CONTAINERS: Final = re.compile(r"var[/.]log[/.]containers[/.]([^_/]*)(?:_([^_/]*)(?=_))?")
_DIRECTORY: Final = re.compile(r"/var/log/pods/([^_/]*)_?([^_/]*)")
_STREAM: Final = re.compile(r"([^_/]+)_([^_/]+)_[^_/]+[_-][0-9a-f]{64}")


def pods_of(record: Any, /) -> Pods:
    """Return the pods that a record names as its source; none where it has no such field."""
    if not isinstance(record, Mapping):
        return NO_POD
    found = of_kubernetes(record["kubernetes"]) if "kubernetes" in record else NO_POD
    for pod, namespace in _FLAT.items():
        if pod in record:
            found |= named(record.get(namespace), record[pod])
    return found


def of_kubernetes(metadata: Any, /) -> Pods:
    """Return the pod in a shipper's metadata; a container is an unnamed pod's, a namespace alone is nobody's."""
    if not isinstance(metadata, Mapping):
        return NO_POD
    pods = [metadata.get(key) for key in _PODS]
    beats = [metadata.get(key) for key in _BEATS]
    pods += [value.get("name") if isinstance(value, Mapping) else value for value in beats]
    if not any(pods):
        return NO_POD
    namespace = next((metadata[key] for key in _NAMESPACES if metadata.get(key)), None)
    return named(namespace, pods[0] or pods[len(_PODS)], printed=True)


def of_labels(labels: Any, /) -> Pods:
    """Return the pod in Loki's labels or structured metadata."""
    if not isinstance(labels, Mapping):
        return NO_POD
    by_name = (named(labels.get(namespace), labels.get(pod)) for pod, namespace in _LABELS.items())
    return of_path(labels.get("filename")).union(pods_of(labels), *by_name)


def of_path(path: Any, /) -> Pods:
    """Return the pod whose output a file or log stream holds, by its name; one that was cut proves nothing."""
    if not isinstance(path, str):
        return NO_POD
    found = [(pod, namespace) for namespace, pod in _DIRECTORY.findall(path)] + _CONTAINERS.findall(path)
    if stream := _STREAM.fullmatch(path):
        found.append(stream.groups())
    return frozenset(f"{namespace or '?'}/{pod}" for pod, namespace in found)


def named(namespace: Any, pod: Any, /, *, printed: bool = False) -> Pods:
    """Return a pod; none where the name is empty, as in labels that a template left empty, unless a pod printed it."""
    return frozenset({f"{_text(namespace)}/{_text(pod)}"}) if pod or printed else NO_POD


def _text(value: Any) -> str:
    if isinstance(value, list) and len(value) == 1:  # as in the `fields` of a search
        (value,) = value
    return value if isinstance(value, str) else "" if not value else "?"
