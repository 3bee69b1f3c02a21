# SPDX-License-Identifier: Apache-2.0
"""What one cluster's log has shown so far: which facts others carry, so that their absence says something."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs

from k8stokendetect.errors import ConfigError
from k8stokendetect.events import CERTIFICATE_IDS, TOKEN_IDS, TOKEN_SUBRESOURCE, UIDS, Event
from k8stokendetect.identity import (
    ADMISSION,
    FORGES_ANNOTATIONS,
    ISSUED_CREDENTIAL_ID,
    LEGACY_TOKEN,
    SERVICE_ACCOUNT_PREFIX,
    TRUNCATED,
)
from k8stokendetect.reprs import short_repr

ENOUGH: Final = 20
"""A fact is usual once this number of requests had it."""

MOST_ISSUED: Final = 10_000
"""Maximum number of issued ids that are remembered, to see that one is issued twice."""

SAVED_ISSUED: Final = 1000

MOST_CLUSTERS: Final = 10_000
"""Maximum number of clusters whose profiles are kept; then all are learned again."""

REQUESTS: Final = "requests"
_AGENTS: Final = "user agents"
_GROUPS: Final = "groups"
_OF_ACCOUNTS: Final = "requests of service accounts"
_LONGEST: Final = 64
_OF_OTHERS: Final = frozenset({LEGACY_TOKEN, TRUNCATED})
"""What else than the id of a token can be contradicted."""


class ClusterProfile:
    """Counts the facts that requests for tokens, and renewals of leaders' leases, carry.

    Certificates carry ids from Kubernetes 1.32 on, tokens from 1.30. A user agent that nobody ever had was dropped on
    the way, and that one lacks it says nothing.

    Arguments:
        seen: how many requests had each fact.
        forged: policies and webhooks that can write annotations of prefixes that are not believed then, each resource
            and name.
        issued: the last ids that tokens were issued with, and by which request.

    """

    def __init__(
        self,
        seen: Mapping[str, int] | None = None,
        forged: Iterable[str] = (),
        issued: Mapping[str, str] | None = None,
    ) -> None:
        self.seen = Counter(seen or {})
        self.forged = set(forged)
        self._prefixes = {one.rpartition(" ")[2] for one in self.forged}
        self.issued = dict(issued or {})

    def learn(self, event: Event, /) -> Event:
        """Count the facts that an event carries, and return it in the light of those before: most are as they were."""
        if event.resource == TOKEN_SUBRESOURCE or event.renews_leader_lease:
            self._count(event)
        elif event.resource in ADMISSION:
            self._note_forger(event)
        if event.annotations:
            if self.forged:
                event = self._without_forged(event)
            if event.minted_credential is not None or not _OF_OTHERS.isdisjoint(event.annotations):
                event = self._without_contradicted(event)
        if event.used_credential is None or not event.user_agent or not event.user.uid:
            return self._in_context(event)
        return event

    def _note_forger(self, event: Event) -> None:
        """Note a policy or webhook that can write the API server's own annotations, until it is deleted."""
        name = event.object_ref.name if event.object_ref else ""
        if not event.succeeded or _is_dry_run(event):
            return
        if event.verb == "deletecollection" and "Selector=" not in event.request_uri:
            self.forged = {one for one in self.forged if one.partition(" ")[0] != event.resource}
        elif name in FORGES_ANNOTATIONS:
            (self.forged.discard if event.verb == "delete" else self.forged.add)(f"{event.resource} {name}")
        self._prefixes = {one.rpartition(" ")[2] for one in self.forged}

    def _without_forged(self, event: Event) -> Event:
        """Return an event without what such a policy may have written; authorization's are set before admission."""
        kept = {
            key: value
            for key, value in event.annotations.items()
            if key.startswith("authorization.k8s.io/") or key.partition("/")[0] not in self._prefixes
        }
        return event if len(kept) == len(event.annotations) else attrs.evolve(event, annotations=kept)

    def _without_contradicted(self, event: Event) -> Event:
        """Return an event without annotations that cannot be the API server's own.

        It names a Secret's token by its account, which is the caller, and such a token has no id (apiserver
        pkg/serviceaccount/jwt.go); it truncates bodies, which level Metadata has none of (plugin/pkg/audit/truncate,
        https://github.com/kubernetes/kubernetes/blob/v1.36.2/staging/src/k8s.io/apiserver/plugin/pkg/audit/truncate/truncate.go);
        and it issues no id twice.
        """
        notes = event.annotations
        issued, legacy = event.minted_credential, notes.get(LEGACY_TOKEN)
        wrong = []
        if legacy is not None and event.user.username and (legacy != event.user.username or event.used_credential):
            wrong += [key for key in notes if key.startswith(LEGACY_TOKEN)]
        if event.level == "Metadata" and TRUNCATED in notes:
            wrong.append(TRUNCATED)
        if issued is not None:
            request = event.audit_id[:_LONGEST]
            first = self.issued.pop(issued[:_LONGEST], request)
            self.issued[issued[:_LONGEST]] = first
            if len(self.issued) > MOST_ISSUED:
                del self.issued[next(iter(self.issued))]
            if first != request:
                wrong += [key for key in ISSUED_CREDENTIAL_ID if key in notes]
        if not wrong:
            return event
        kept = {key: value for key, value in notes.items() if key not in wrong}
        return attrs.evolve(event, annotations=kept, contradicted={key: notes[key] for key in wrong})

    def _count(self, event: Event) -> None:
        used, seen = event.used_credential or "", self.seen
        if "groups" not in event.lost:  # else the form in which it came has fewer fields
            seen[REQUESTS] += 1
        if event.user.groups:
            seen[_GROUPS] += 1
        if event.user.username.startswith(SERVICE_ACCOUNT_PREFIX):
            seen[_OF_ACCOUNTS] += 1
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

    def dropped(self) -> frozenset[str]:
        """Return the facts that nobody has, out of enough who should: what shipped the log has dropped them."""
        of = {_AGENTS: REQUESTS, _GROUPS: REQUESTS, UIDS: _OF_ACCOUNTS}
        return frozenset([fact for fact, who in of.items() if self.seen[who] >= ENOUGH and not self.seen[fact]])

    def __repr__(self) -> str:
        return short_repr(self, seen=dict(self.seen))

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        issued = dict(list(self.issued.items())[-SAVED_ISSUED:])
        return {"seen": dict(self.seen), "forged": sorted(self.forged), "issued": issued}

    @classmethod
    def from_dict(cls, document: object, /) -> ClusterProfile:
        """Make a profile of what `to_dict` returned.

        Raises:
            ConfigError: when it is not such a document.

        """
        seen, forged = (document.get("seen"), document.get("forged")) if isinstance(document, Mapping) else (None, None)
        if not isinstance(seen, Mapping) or not all(type(count) is int for count in seen.values()):
            raise ConfigError("not the profile of a cluster")
        if not isinstance(forged, list) or not all(isinstance(name, str) for name in forged):
            raise ConfigError("not the profile of a cluster")
        issued = document.get("issued", {}) if isinstance(document, Mapping) else {}
        if not isinstance(issued, Mapping) or not all(isinstance(one, str) for one in (*issued, *issued.values())):
            raise ConfigError("not the profile of a cluster")
        return cls(seen, forged, issued)


def profile_of(profiles: dict[str, ClusterProfile], cluster: str | None, /) -> ClusterProfile:
    """Return the profile of a cluster, a new one for a new cluster."""
    profile = profiles.get(cluster or "")
    if profile is None:
        if len(profiles) >= MOST_CLUSTERS:
            profiles.clear()
        profile = profiles[cluster or ""] = ClusterProfile()
    return profile


def _is_dry_run(event: Event) -> bool:
    """Tell whether nothing was stored or deleted, as far as it was logged: the body may say so as well."""
    body = event.request_object
    return "dryRun=" in event.request_uri or (isinstance(body, Mapping) and bool(body.get("dryRun")))
