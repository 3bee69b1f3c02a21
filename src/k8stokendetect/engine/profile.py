# SPDX-License-Identifier: Apache-2.0
"""What one cluster's log has shown so far: which facts others carry, so that their absence says something."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

import attrs

from k8stokendetect.errors import ConfigError
from k8stokendetect.events import CERTIFICATE_IDS, TOKEN_IDS, TOKEN_SUBRESOURCE, UIDS, Event
from k8stokendetect.identity import SERVICE_ACCOUNT_PREFIX

ENOUGH: Final = 20
"""A fact is usual once this number of requests had it."""

_AGENTS: Final = "user agents"


class ClusterProfile:
    """Counts the facts that requests for tokens, and renewals of leaders' leases, carry.

    Certificates carry ids from Kubernetes 1.32 on, tokens from 1.30. A user agent that nobody ever had was dropped on
    the way, and that one lacks it says nothing.

    Arguments:
        seen: how many requests had each fact.

    """

    def __init__(self, seen: Mapping[str, int] | None = None) -> None:
        self.seen = Counter(seen or {})

    def learn(self, event: Event, /) -> Event:
        """Count the facts that an event carries, and return it in the light of those before: most are as they were."""
        if event.resource == TOKEN_SUBRESOURCE or event.renews_leader_lease:
            self._count(event)
        if event.used_credential is None or not event.user_agent or not event.user.uid:
            return self._in_context(event)
        return event

    def _count(self, event: Event) -> None:
        used, seen = event.used_credential or "", self.seen
        if used.startswith("X509SHA256="):
            seen[CERTIFICATE_IDS] += 1
        if event.minted_credential is not None or used.startswith("JTI="):
            seen[TOKEN_IDS] += 1
        if event.user.uid and event.user.username.startswith(SERVICE_ACCOUNT_PREFIX):
            seen[UIDS] += 1
        if event.user_agent:
            seen[_AGENTS] += 1

    def _in_context(self, event: Event) -> Event:
        lacks: tuple[str, ...] = () if event.used_credential else (CERTIFICATE_IDS, TOKEN_IDS)
        if not event.user.uid:
            lacks = (*lacks, UIDS)
        usual = frozenset([fact for fact in lacks if self.seen[fact] >= ENOUGH])
        nameless = not event.user_agent and not self.seen[_AGENTS]
        if not usual and not nameless:
            return event
        return attrs.evolve(event, usual=usual, lost=event.lost | {_AGENTS} if nameless else event.lost)

    def to_dict(self) -> dict[str, int]:
        """Return it as JSON."""
        return dict(self.seen)

    @classmethod
    def from_dict(cls, document: object, /) -> ClusterProfile:
        """Make a profile of what `to_dict` returned.

        Raises:
            ConfigError: when it is no such document.

        """
        counts = document.values() if isinstance(document, Mapping) else (None,)
        if not isinstance(document, Mapping) or not all(type(count) is int for count in counts):
            raise ConfigError("not the profile of a cluster")
        return cls(document)
