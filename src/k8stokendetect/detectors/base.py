# SPDX-License-Identifier: Apache-2.0
"""The interface that every detector shares: a rule, what it watches, and what it says about an event."""

from __future__ import annotations

import abc
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, final

import attrs

from k8stokendetect.errors import ConfigError, ReadError
from k8stokendetect.events import TOKEN_SUBRESOURCE, Event, Signal
from k8stokendetect.findings import EventRef, Evidence, Finding, Referable, Rule, Severity
from k8stokendetect.reading.prefilter import EVERYTHING, parse_watch
from k8stokendetect.reprs import short_repr, with_short_repr

if TYPE_CHECKING:
    from k8stokendetect.cluster import Cluster


@with_short_repr
@attrs.frozen(kw_only=True)
class Traits:
    """What else a rule knows about itself, for exclusions, audit policies and Sigma.

    Arguments:
        excludable: it is about minting by design, so exclusions that name no rules cover it; None: when it watches
            `serviceaccounts/token`.
        body: what it finds in the request's body, as a sentence that ends so; empty where level Metadata is enough.
        not_in_sigma: why Sigma cannot express it; empty where it can, or where nobody has tried.

    """

    excludable: bool | None = None
    body: str = ""
    not_in_sigma: str = ""


class Detector(abc.ABC):
    """Looks at one event at a time and yields findings; subclass it to write your own.

    A detector knows no exclusion: it reports what happened, and the engine applies the exclusions. Define `matches` and
    `describe` for one finding about an event, or `inspect` for several. Configuration goes to the constructor.

    Attributes:
        rule: what it looks for; checked when the class is defined.
        watches: resources in RBAC notation with or without a verb before them (`serviceaccounts/token`,
            `create clusterroles`), a custom resource with its group (`widgets.example.com`), signals, or `"*"` for
            every event.
        traits: what else the rule knows about itself.
        cluster: a snapshot of the cluster, where one is known; set before the first event.

    Raises:
        ConfigError: when a concrete class has no `rule`, watches what does not exist, misspells a name, or defines
            nothing that finds anything.

    """

    rule: ClassVar[Rule]
    watches: ClassVar[frozenset[str | Signal]]
    traits: ClassVar[Traits] = Traits()
    cluster: Cluster | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        try:
            check_names(vars(cls), [name for base in cls.__mro__[1:] for name in (*vars(base), *_annotated(base))])
            if hasattr(cls, "rule"):
                cls._check()
            elif not cls._is_abstract():
                raise ConfigError("has no rule")  # noqa: TRY301 - as all others
        except ConfigError as error:
            raise ConfigError(f"detector {cls.__name__}: {error}") from None

    @classmethod
    def _is_abstract(cls) -> bool:
        """Tell whether it is a base for other detectors."""
        unfinished = any(getattr(member, "__isabstractmethod__", False) for member in vars(cls).values())
        return unfinished or (cls.inspect is Detector.inspect and cls.describe is Detector.describe)

    @classmethod
    def _check(cls) -> None:
        if not isinstance(cls.rule, Rule):
            raise ConfigError("rule is not a Rule")
        check_watches(getattr(cls, "watches", None))
        if cls.inspect is Detector.inspect and cls.describe is Detector.describe:
            raise ConfigError("defines neither inspect nor matches and describe")
        if "inspect" in vars(cls) and cls.describe is not Detector.describe:
            raise ConfigError("override matches and describe; inspect follows from them")

    def __new__(cls, *_: Any, **__: Any) -> Self:
        """Refuse to make an instance of a base that has no rule."""
        if not hasattr(cls, "rule"):
            raise TypeError(f"{cls.__name__} is abstract: it has no rule")
        return super().__new__(cls)

    def __repr__(self) -> str:
        return short_repr(self, rule=self.rule.id)

    def inspect(self, event: Event | ReadError, /) -> Iterable[Finding]:
        """Yield a finding for everything to report about an event; by default what `describe` returns, if it matches.

        A ReadError, a record that could not be read, comes only to detectors that watch `Signal.UNREADABLE`.
        """
        return (self.describe(event),) if isinstance(event, Event) and self.matches(event) else ()

    def matches(self, event: Event, /) -> bool:
        """Tell whether there is something to report; of an excluded event, which is only counted, nothing else is."""
        return any(True for _ in self.inspect(event))

    def describe(self, event: Event, /) -> Finding:
        """Return the one finding about an event that matches; a class that overrides `inspect` needs none."""
        raise NotImplementedError(f"{type(self).__name__} overrides `inspect`, and has no one finding to describe")

    @final
    def finding(
        self,
        event: Event | Referable,
        summary: str,
        /,
        *evidence: Evidence,
        severity: Severity | None = None,
        related: tuple[EventRef, ...] = (),
        caveats: tuple[str, ...] = (),
        key: str = "",
    ) -> Finding:
        """Make a finding about an event.

        Arguments:
            event: the request it is about.
            summary: one sentence: who did what to whom.
            evidence: the facts it rests on.
            severity: where it differs from the rule's.
            related: other requests that belong to it.
            caveats: what the audit level or the log's wrapper hid.
            key: tells several findings of this rule about one event apart.

        """
        return Finding(
            rule=self.rule,
            severity=self.rule.severity if severity is None else severity,
            summary=summary,
            event=EventRef.of(event),
            evidence=evidence,
            related=tuple(related),
            caveats=tuple(caveats),
            key=key,
        )


def _annotated(cls: type) -> Iterable[str]:
    names: dict[str, object] = vars(cls).get("__annotations__", {})
    return names


MINTS: Final = frozenset({TOKEN_SUBRESOURCE})
"""What most rules watch: calls to `serviceaccounts/token`, and whatever issued a credential."""


def is_excludable(detector: Detector | type[Detector], /) -> bool:
    """Tell whether exclusions that name no rules cover a detector's rule."""
    if detector.traits.excludable is not None:
        return detector.traits.excludable
    resources = (parse_watch(one)[0] for one in detector.watches if isinstance(one, str) and one != EVERYTHING)
    return TOKEN_SUBRESOURCE in resources


def checked_cluster(cluster: Cluster | None, /) -> Cluster | None:
    """Return what a caller gave as a snapshot of the cluster; raises ConfigError when it is something else."""
    if cluster is not None:
        from k8stokendetect.cluster import Cluster as Known  # noqa: PLC0415 - only where one is given

        given: object = cluster
        if not isinstance(given, Known):
            raise ConfigError("cluster takes a Cluster: Cluster.load(…)")
    return cluster


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
        ConfigError: when it is not a set of watches, or one of them is nearly a resource or verb of Kubernetes'.

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
