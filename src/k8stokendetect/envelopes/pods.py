# SPDX-License-Identifier: Apache-2.0
"""Whose output a record is, as its wrapper claims: `claims_of`. Any pod may print what looks like an audit event.

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

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from k8stokendetect.envelopes.base import Claim, Claims, Pods

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
_OF_A_POD: Final = re.compile("pod|container|docker|namespace|label|annotation", re.IGNORECASE)
"""What only the pod has, of a shipper's metadata: an agent on a node adds cluster and node to every log."""

MOST_VALUES: Final = 64
"""Maximum number of values that are looked at of one claim: shippers have fewer, a client may add any number."""

_CONTAINERS: Final = re.compile(r"var[/.]log[/.]containers[/.]([^_/]*)(?:_([^_/]*)(?=_))?")
_DIRECTORY: Final = re.compile(r"/var/log/pods/([^_/]*)_?([^_/]*)")
_STREAM: Final = re.compile(r"([^_/]+)_([^_/]+)_[^_/]+[_-][0-9a-f]{64}")


def pods_of(record: Any, /) -> Pods:
    """Return the pods that a record names as its source; none where it has no such field."""
    return frozenset(claim.pod for claim in claims_of(record))


def claims_of(record: Any, /) -> Claims:
    """Return what a record says about its source; nothing where it has no such field."""
    if not isinstance(record, Mapping):
        return ()
    found = of_kubernetes(record["kubernetes"]) if "kubernetes" in record else ()
    for pod, namespace in _FLAT.items():
        if pod in record:
            root = pod.removesuffix("pod_name_s").removesuffix("pod_name").removesuffix("pod.name")
            said = {key: value for key, value in record.items() if isinstance(key, str) and key.startswith(root)}
            found += named(record.get(namespace), record[pod], said)
    return found


def of_kubernetes(metadata: Any, /) -> Claims:
    """Return the pod in a shipper's metadata; a container is an unnamed pod's, a namespace alone is nobody's."""
    if not isinstance(metadata, Mapping):
        return ()
    pods = [metadata.get(key) for key in _PODS]
    beats = [metadata.get(key) for key in _BEATS]
    pods += [value.get("name") if isinstance(value, Mapping) else value for value in beats]
    if not any(pods):
        return ()
    namespace = next((metadata[key] for key in _NAMESPACES if metadata.get(key)), None)
    return named(namespace, pods[0] or pods[len(_PODS)], metadata, printed=True)


def of_labels(labels: Any, /) -> Claims:
    """Return the pod in Loki's labels or structured metadata."""
    if not isinstance(labels, Mapping):
        return ()
    found = of_path(labels.get("filename")) + claims_of(labels)
    for pod, namespace in _LABELS.items():
        found += named(labels.get(namespace), labels.get(pod), labels)
    return found


def of_path(path: Any, /) -> Claims:
    """Return the pod whose output a file or log stream holds, by its name; one that was cut proves nothing."""
    if not isinstance(path, str):
        return ()
    found = [(pod, namespace) for namespace, pod in _DIRECTORY.findall(path)] + _CONTAINERS.findall(path)
    if stream := _STREAM.fullmatch(path):
        found.append(stream.groups())
    return tuple(Claim(f"{namespace or '?'}/{pod}", path) for pod, namespace in found)


def named(namespace: Any, pod: Any, said: Any = None, /, *, printed: bool = False) -> Claims:
    """Return a pod; none where the name is empty, as in labels that a template left empty, unless a pod printed it.

    Arguments:
        namespace: its name.
        pod: its name; of several, one at least was added by somebody else.
        said: what else is said about the pod; None where nothing is.
        printed: some pod printed it.

    """
    if isinstance(pod, list) and len(pod) > 1:
        return tuple(Claim(f"{_text(namespace)}/{_text(one)}", one) for one in pod[:MOST_VALUES])
    if not (pod or printed):
        return ()
    return (Claim(f"{_text(namespace)}/{_text(pod)}", [namespace, pod] if said is None else said),)


def values_of(claim: Claim, /) -> Iterator[str]:
    """Yield the first values with which fields tell of a pod; not what stands next to it about its node or cluster."""
    return itertools.islice(_values(claim.said, is_known=not isinstance(claim.said, Mapping)), MOST_VALUES)


def _values(said: Any, *, is_known: bool) -> Iterator[str]:
    if isinstance(said, Mapping):
        for key, value in said.items():
            if key != "audit" and not str(key).startswith(_EVENTS):
                yield from _values(value, is_known=is_known or _OF_A_POD.search(str(key)) is not None)
    elif isinstance(said, list):
        for value in said:
            yield from _values(value, is_known=is_known)
    elif is_known and said is not None:
        yield str(said)


_EVENTS: Final = ("audit.", "kubernetes.audit.")
"""How the keys of the event itself begin in Elastic's documents, next to a pod's."""


def _text(value: Any) -> str:
    if isinstance(value, list) and len(value) == 1:  # as in the `fields` of a search
        (value,) = value
    return value if isinstance(value, str) else "" if not value else "?"
