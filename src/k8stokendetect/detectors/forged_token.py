# SPDX-License-Identifier: Apache-2.0
"""forged-token: a service account acts with a token that the API server never issued."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import attrs

from k8stokendetect.detectors.base import Traits
from k8stokendetect.detectors.keyed import KeyedDetector, View
from k8stokendetect.detectors.wording import origin_of
from k8stokendetect.events import Event, Signal
from k8stokendetect.findings import Evidence, Finding, Rule, Severity
from k8stokendetect.identity import LEGACY_TOKEN, ServiceAccount
from k8stokendetect.words import brief, user_of

UPGRADED: Final = 5
"""At least this many service accounts without ids before the first id: an upgrade to 1.30. A forger needs fewer."""

SETTLED: Final = timedelta(hours=24)
"""How long after the first id older tokens may still be in use; the kubelet renews its own within an hour."""

NEVER: Final = datetime.min.replace(tzinfo=UTC)


@attrs.frozen
class IdsSeen:
    """Since when this cluster's log shows ids of tokens; None: not yet. And who acted without before."""

    since: datetime | None = None
    without: tuple[str, ...] = ()


class ForgedToken(KeyedDetector[IdsSeen]):
    """A request with neither a credential id nor the mark of a Secret's token, in a cluster that writes ids."""

    rule = Rule(
        "forged-token",
        "Service account token that was never issued",
        Severity.CRITICAL,
        description=(
            "Every token from the TokenRequest API carries an id that is logged with each request (on by default from "
            "1.30), and requests with a Secret's token carry an annotation. A service account's request with neither "
            "was made with a token that somebody signed with the cluster's own key. Verified on 1.31: the API server "
            "accepts such a token."
        ),
        techniques=("T1606", "T1552.004"),
        tactics=("credential-access", "persistence"),
        references=(
            "https://github.com/kubernetes/enhancements/tree/master/keps/sig-auth/4193-bound-service-account-token-improvements",
            "https://attack.mitre.org/techniques/T1606/",
        ),
        false_positives=(
            "several API servers, some older than 1.30, during an upgrade",
            "tokens from before an upgrade: medium for a day where the log shows that they had no ids",
            "requests that come through another proxy or an aggregated API server, whose headers carry no extra",
            "a token webhook or OIDC issuer that yields the names and groups of service accounts",
        ),
        blind_spots=(
            "clusters without ids (before 1.30), and use before the log shows the first id",
            "a forged token with an id of its own: no mint has that id, but mints grow old and are forgotten",
        ),
        response=(
            "Treat the service account signing key as stolen: rotate it (--service-account-signing-key-file and "
            "--service-account-key-file), which ends every token, and find out who could read it."
        ),
    )
    watches = frozenset({Signal.USE_OF_ANY})
    traits = Traits(not_in_sigma="whether a cluster writes credential ids must be learned from its log")
    remember_for = timedelta(days=30)

    def keys(self, event: Event, _: Sequence[Finding], /) -> Iterator[str]:
        """Name the cluster, for a request that shows an id, or should."""
        if event.time and _is_account(event) and (_shows_id(event) or _should(event)):
            yield event.cluster or ""

    def fold(self, key: str, event: Event, _: Sequence[Finding], memory: View[IdsSeen], /) -> Iterator[Finding]:
        """Learn that ids are written; report who has none."""
        ids, name = memory.get(key) or IdsSeen(), event.user.username[:320]
        if _shows_id(event) and ids.since is None:
            ids = attrs.evolve(ids, since=event.time)
        elif not _shows_id(event) and (ids.since is None or event.time is None):
            ids = attrs.evolve(ids, without=tuple(sorted({*ids.without, name}))[:UPGRADED])
        elif not _shows_id(event):
            yield self._forged(event, ids)
        memory.put(key, ids)

    def _forged(self, event: Event, ids: IdsSeen) -> Finding:
        since, time = ids.since or NEVER, event.time or NEVER
        upgraded = len(ids.without) >= UPGRADED and time - since <= SETTLED
        return self.finding(
            event,
            f"{user_of(event.user.username)} acted{origin_of(event)} with a token that was never issued: "
            f"{event.verb} {brief(event.resource) or 'a path without a resource'}",
            Evidence("user.username", event.user.username, "a service account, and no id of its token was logged"),
            severity=Severity.MEDIUM if upgraded else None,
            caveats=(
                f"token ids have been in this log since {since:%Y-%m-%d %H:%M:%S} UTC",
                *("tokens had no ids before: this one may predate an upgrade",) * upgraded,
            ),
        )


def _shows_id(event: Event) -> bool:
    return (event.used_credential or "").startswith("JTI=")


def _is_account(event: Event) -> bool:
    """Tell a service account by name and groups; an OIDC issuer's tokens may have a JTI, too, and prove nothing."""
    account = ServiceAccount.of_username(event.user.username)
    return account is not None and set(account.groups) <= set(event.user.groups)


def _should(event: Event) -> bool:
    """Tell a request without any sign of where its token came from, in a log that would show one.

    Stage RequestReceived has no annotations, and so never the mark of a Secret's token.
    """
    if event.used_credential or LEGACY_TOKEN in event.annotations or not event.answered:
        return False
    return not {"extra", "annotations"} & event.lost
