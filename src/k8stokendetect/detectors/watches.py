# SPDX-License-Identifier: Apache-2.0
"""Checks what a detector class says of itself: near misses of Kubernetes' resources and of our own words are errors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from k8stokendetect.errors import ConfigError
from k8stokendetect.events import Signal
from k8stokendetect.reading.prefilter import EVERYTHING, parse_watch

VERBS: Final = frozenset("get list watch create update patch delete deletecollection proxy connect".split())
"""Verbs of requests for resources (k8s.io/apiserver pkg/endpoints/request/requestinfo.go)."""

RESOURCES: Final = frozenset(
    """
    bindings componentstatuses configmaps endpoints events limitranges namespaces namespaces/finalize namespaces/status
    nodes nodes/proxy nodes/status persistentvolumeclaims persistentvolumeclaims/status persistentvolumes
    persistentvolumes/status pods pods/attach pods/binding pods/ephemeralcontainers pods/eviction pods/exec pods/log
    pods/portforward pods/proxy pods/resize pods/status podtemplates replicationcontrollers replicationcontrollers/scale
    replicationcontrollers/status resourcequotas resourcequotas/status secrets serviceaccounts serviceaccounts/token
    services services/proxy services/status controllerrevisions daemonsets daemonsets/status deployments
    deployments/scale deployments/status replicasets replicasets/scale replicasets/status statefulsets
    statefulsets/scale statefulsets/status cronjobs cronjobs/status jobs jobs/status horizontalpodautoscalers
    horizontalpodautoscalers/status clusterrolebindings clusterroles rolebindings roles selfsubjectreviews tokenreviews
    localsubjectaccessreviews selfsubjectaccessreviews selfsubjectrulesreviews subjectaccessreviews
    certificatesigningrequests certificatesigningrequests/approval certificatesigningrequests/status
    clustertrustbundles podcertificaterequests podcertificaterequests/status mutatingwebhookconfigurations
    validatingwebhookconfigurations validatingadmissionpolicies validatingadmissionpolicies/status
    validatingadmissionpolicybindings mutatingadmissionpolicies mutatingadmissionpolicybindings
    customresourcedefinitions customresourcedefinitions/status apiservices apiservices/status leases leasecandidates
    endpointslices flowschemas flowschemas/status prioritylevelconfigurations prioritylevelconfigurations/status
    ingressclasses ingresses ingresses/status networkpolicies ipaddresses servicecidrs servicecidrs/status
    runtimeclasses poddisruptionbudgets poddisruptionbudgets/status deviceclasses devicetaintrules resourceclaims
    resourceclaims/status resourceclaimtemplates resourceslices priorityclasses csidrivers csinodes
    csistoragecapacities storageclasses volumeattachments volumeattachments/status volumeattributesclasses
    storageversions storageversionmigrations
    """.split()
)
"""The resources of Kubernetes 1.36: https://kubernetes.io/docs/reference/kubernetes-api/."""

EDITS: Final = 2


def check_watches(watches: object, /) -> None:
    """Check what a detector watches.

    Raises:
        ConfigError: when it is no set of watches, or one of them is nearly a resource or verb of Kubernetes'.

    """
    if not (isinstance(watches, frozenset) and watches and all(isinstance(one, str | Signal) for one in watches)):
        raise ConfigError(
            "watches is not a frozenset of resources such as 'pods/exec', and signals; {'*'} watches everything"
        )
    for watch in sorted(one for one in watches if isinstance(one, str) and one != EVERYTHING):
        resource, verb = parse_watch(watch)
        if verb is not None and verb not in VERBS:
            raise ConfigError(f"watches {watch!r}: no verb is called {verb!r}{_did_you_mean(verb, VERBS)}")
        if resource not in RESOURCES and "." not in resource:
            if "*" in resource:
                raise ConfigError(f"watches {watch!r}: name resources one by one; '*' alone watches everything")
            if near := nearest(resource, RESOURCES):
                raise ConfigError(
                    f"watches {watch!r}: did you mean {near!r}? A custom resource is written with its group: "
                    f"'{resource.partition('/')[0]}.example.com'"
                )


def check_names(names: Iterable[str], known: Iterable[str], /) -> None:
    """Check the attributes that a class defines.

    Raises:
        ConfigError: when one is nearly one of ours: it would do nothing.

    """
    ours = frozenset(known)
    for name in names:
        if not name.startswith("_") and name not in ours and (near := nearest(name, ours)):
            raise ConfigError(f"attribute {name!r} does nothing; did you mean {near!r}?")


def nearest(name: str, known: Iterable[str], /) -> str | None:
    """Return the name within two edits, one for names of up to four letters; None when there is none."""
    most = EDITS if len(name) > 4 else 1  # noqa: PLR2004 - as it says
    found = min(((_edits(name, other, most), other) for other in known), default=None)
    return found[1] if found and found[0] <= most else None


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    near = nearest(name, known)
    return f"; did you mean {near!r}?" if near else f"; known: {', '.join(sorted(known))}"


def _edits(one: str, other: str, most: int) -> int:
    """Count the letters to insert, delete or replace (Levenshtein); more than `most` is just more."""
    if abs(len(one) - len(other)) > most:
        return most + 1
    before = list(range(len(other) + 1))
    for row, letter in enumerate(one, start=1):
        now = [row]
        for column, their in enumerate(other, start=1):
            now.append(min(before[column] + 1, now[-1] + 1, before[column - 1] + (letter != their)))
        before = now
    return before[-1]
