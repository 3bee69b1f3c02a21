# SPDX-License-Identifier: Apache-2.0
"""The interface that every detector shares: a rule, what it watches, and `inspect`."""

from __future__ import annotations

import abc
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Self, final

from k8stokendetect.errors import ConfigError, ReadError
from k8stokendetect.events import TOKEN_SUBRESOURCE, Event
from k8stokendetect.findings import EventRef, Evidence, Finding, Referable, Rule, Severity

if TYPE_CHECKING:
    from k8stokendetect.cluster import Cluster


class Detector(abc.ABC):
    """Looks at one event at a time and yields findings; subclass it to write your own.

    A detector knows no exclusion: it reports what happened, and the engine applies the exclusions.
    Configuration goes to the constructor; an instance may keep state between events.

    Attributes:
        rule: what it looks for; checked when the class is defined.
        watches: the resources it wants to see, in RBAC notation such as `serviceaccounts/token`; None for every event.
        excludable: it is about minting by design, so exclusions that name no rules cover it; by default whether
            `serviceaccounts/token` is watched.
        mentions: where `watches` is None: texts of which one stands in every record that it could report, or several
            that stand there together. Records without any are not even parsed. None given: every record is.

    Raises:
        ConfigError: when a concrete class has no `rule`, or `watches` could never match.

    """

    rule: ClassVar[Rule]
    watches: ClassVar[frozenset[str] | None] = None
    excludable: ClassVar[bool] = False
    mentions: ClassVar[tuple[bytes | tuple[bytes, ...], ...]] = ()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if not hasattr(cls, "rule"):
            if any(getattr(member, "__isabstractmethod__", False) for member in vars(cls).values()):
                return  # an abstract base for other detectors
            if cls.inspect is Detector.inspect and cls.describe is Detector.describe:
                return
            raise ConfigError(f"detector {cls.__name__} has no rule")
        if not isinstance(getattr(cls, "rule", None), Rule):
            raise ConfigError(f"detector {cls.__name__}: rule is not a Rule")
        watches: object = cls.watches
        if watches is not None and not (
            isinstance(watches, frozenset)
            and watches
            and all(isinstance(name, str) and "*" not in name for name in watches)
        ):
            raise ConfigError(
                f"detector {cls.__name__}: watches is not a frozenset of resources such as 'pods/exec'; "
                "None watches everything"
            )
        if "watches" in vars(cls) and "excludable" not in vars(cls):
            cls.excludable = TOKEN_SUBRESOURCE in (cls.watches or ())
        if cls.inspect is Detector.inspect and Detector.describe is cls.describe:
            raise ConfigError(f"detector {cls.__name__} overrides neither inspect nor matches and describe")
        if "inspect" in vars(cls) and cls.describe is not Detector.describe:
            raise ConfigError(f"detector {cls.__name__}: override matches and describe; inspect follows from them")

    def __new__(cls, *_: Any, **__: Any) -> Self:
        """Refuse to make an instance of a base that has no rule."""
        if not hasattr(cls, "rule"):
            raise TypeError(f"{cls.__name__} is abstract: it has no rule")
        return super().__new__(cls)

    @classmethod
    def made_for(cls, cluster: Cluster | None, /) -> Self:  # noqa: ARG003 - for subclasses
        """Make an instance without further arguments, for a cluster of which a snapshot may be known.

        Override it where the constructor takes the cluster: `detect(…, cluster=…)` makes what it is asked for by rule
        id in this way.
        """
        return cls()

    def inspect(self, event: Event, /) -> Iterable[Finding]:
        """Yield a finding for everything to report about this event; by default what `describe` returns, if it matches.

        Override either this or `matches` and `describe`.
        """
        return (self.describe(event),) if self.matches(event) else ()

    def matches(self, event: Event, /) -> bool:
        """Tell whether there is something to report. For an excluded event, which is only counted, nothing else is."""
        return any(True for _ in self.inspect(event))

    def describe(self, event: Event, /) -> Finding:
        """Return the one finding about an event that matches."""
        raise NotImplementedError

    def inspect_unreadable(self, error: ReadError, /) -> Iterable[Finding]:  # noqa: ARG002 - for subclasses
        """Yield a finding for a record that could not be read, from what it still reveals; by default none."""
        return ()

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


def checked_cluster(cluster: Cluster | None, /) -> Cluster | None:
    """Return what a caller gave as a snapshot of the cluster; raises ConfigError when it is none."""
    if cluster is not None:
        from k8stokendetect.cluster import Cluster as Known  # noqa: PLC0415 - only where one is given

        given: object = cluster
        if not isinstance(given, Known):
            raise ConfigError("cluster takes a Cluster: Cluster.load(…)")
    return cluster
