# SPDX-License-Identifier: Apache-2.0
"""Decides which event concerns which detector: the one answer for the engine, the author's kit and Spark."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from k8stokendetect.detectors import Detector, KeyedDetector
from k8stokendetect.detectors.unknown_token_used import uses_unbound_token
from k8stokendetect.events import TOKEN_SUBRESOURCE, Event, Signal
from k8stokendetect.identity import LEGACY_TOKEN, LONGEST_AUDIT_ID, SERVICE_ACCOUNT_PREFIX
from k8stokendetect.reading.prefilter import EVERYTHING, parse_watch

_MOST: Final = 10_000
"""Maximum number of answers remembered; then all are forgotten, since a client may name any resource."""

_LONGEST: Final = 200
"""Maximum length of a resource and a verb for the answer to be remembered: clients choose them."""


class Watching(NamedTuple):
    """The detectors that watch an event: those that remember nothing, and those that do."""

    stateless: tuple[Detector, ...]
    keyed: tuple[KeyedDetector[Any], ...]


class Watchers:
    """The detectors, by what they watch.

    A request that issued a credential counts as one for `serviceaccounts/token`, whatever its objectRef says.

    Arguments:
        detectors: in the order in which they are asked.

    Attributes:
        detectors: all of them.
        watches: all that they watch.
        follows: somebody wants to see what reported tokens are used for.
        followed: ids of the tokens that are followed, and user names of service accounts where there are no ids.
        unreadable: those that look at records that cannot be read.

    """

    def __init__(self, detectors: Iterable[Detector]) -> None:
        self.detectors = tuple(detectors)
        self.watches: frozenset[str | Signal] = frozenset().union(*(one.watches for one in self.detectors))
        self.follows = Signal.USE_OF_REPORTED in self.watches
        self.unreadable = tuple(one for one in self.detectors if Signal.UNREADABLE in one.watches)
        self.followed: set[str] = set()
        self._by_resource: dict[str, list[tuple[str, str | None, Detector]]] = {}
        for detector in self.detectors:
            for watch in detector.watches:
                if isinstance(watch, str) and watch != EVERYTHING:
                    self._add(watch, detector)
            if isinstance(detector, KeyedDetector) and Signal.USE_OF_REPORTED in detector.watches:
                self.followed |= _remembered(detector)
        self._found: dict[tuple[Any, ...], Watching] = {}

    def _add(self, watch: str, detector: Detector) -> None:
        resource, verb = parse_watch(watch)
        name, slash, subresource = resource.partition("/")
        plain, _, group = name.partition(".")
        self._by_resource.setdefault(f"{plain}{slash}{subresource}", []).append((group, verb, detector))

    def of(self, event: Event, /) -> Watching:
        """Return the detectors that watch an event."""
        ref = event.object_ref
        question = (
            event.resource,
            ref.api_group if ref else "",
            event.verb,
            event.minted_credential is not None,
            event.used_credential is not None or event.user.username.startswith(SERVICE_ACCOUNT_PREFIX),
            LEGACY_TOKEN in event.annotations,
            event.carried_token,
            event.renews_leader_lease,
            len(event.audit_id) > LONGEST_AUDIT_ID,
            len(event.contradicted) > 0,
            event.user.username.startswith(SERVICE_ACCOUNT_PREFIX) and uses_unbound_token(event),
        )
        found = self._found.get(question)
        if found is None:
            found = self._asked(*question)
            if len(event.resource) + len(event.verb) <= _LONGEST:
                if len(self._found) >= _MOST:
                    self._found.clear()
                self._found[question] = found
        return found

    def _asked(
        self,
        resource: str,
        group: str,
        verb: str,
        issued: bool,  # noqa: FBT001 - as above
        use: bool,  # noqa: FBT001 - as above
        legacy: bool,  # noqa: FBT001 - as above
        live: bool,  # noqa: FBT001 - as above
        lease: bool,  # noqa: FBT001 - as above
        overlong: bool,  # noqa: FBT001 - as above
        contradicted: bool,  # noqa: FBT001 - as above
        unbound: bool,  # noqa: FBT001 - as above
    ) -> Watching:
        signals: set[str | Signal] = {EVERYTHING}
        for signal, seen in (
            (Signal.USE_OF_ANY, use),
            (Signal.USE_OF_REPORTED, use),  # of those that the reader left, whose mint may still come
            (Signal.LEGACY_TOKEN, legacy),
            (Signal.LIVE_TOKEN, live),
            (Signal.LEADER_LEASE, lease),
            (Signal.OVERLONG_AUDIT_ID, overlong),
            (Signal.CONTRADICTED, contradicted),
            (Signal.UNBOUND_USE, unbound),
        ):
            if seen:
                signals.add(signal)
        watching = {
            detector
            for its_group, its_verb, detector in self._by_resource.get(resource, ())
            if its_group in {"", group} and its_verb in {None, verb}
        }
        if issued:
            watching |= {detector for _, _, detector in self._by_resource.get(TOKEN_SUBRESOURCE, ())}
        found = [one for one in self.detectors if one in watching or not signals.isdisjoint(one.watches)]
        keyed = [one for one in found if isinstance(one, KeyedDetector)]
        return Watching(tuple([one for one in found if one not in keyed]), tuple(keyed))


def _remembered(detector: KeyedDetector[Any]) -> set[str]:
    """Return the tokens that a detector remembers from before, by id, or by the service account they stand for."""
    keys = (key for key, _, _ in detector.states)
    return {key if key.startswith("JTI=") else f"{SERVICE_ACCOUNT_PREFIX}{key.replace('/', ':', 1)}" for key in keys}
