# SPDX-License-Identifier: Apache-2.0
"""token-in-audit-log: the audit policy wrote a usable token into the log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import attrs

from k8stokendetect.convert.credentials import REDACTED
from k8stokendetect.detectors.keyed import KeyedDetector, View
from k8stokendetect.detectors.wording import who
from k8stokendetect.events import Event, JsonValue, Signal
from k8stokendetect.findings import Evidence, Finding, Rule, Severity
from k8stokendetect.identity import STRANGERS

QUIET: Final = timedelta(hours=1)
"""Report each kind at most once in this time."""

UNPROVEN: Final = "unauthenticated client names"

PLACES: Final = (
    ("responseObject", "status", "token"),  # a TokenRequest's answer, measured
    ("requestObject", "spec", "token"),  # a TokenReview, k8s.io/api authentication/v1
)


@attrs.frozen
class Reported:
    """When it was last reported, and how many events there were since."""

    at: datetime
    more: int = 0


class TokenInAuditLog(KeyedDetector[Reported]):
    """An event carried a live token before it was read: a fault of the audit policy, not of the caller.

    A policy that logs bodies does so for every mint, so one report an hour and a kind of event (cluster, level, stage,
    resource) is enough to change it; the next one says how many events there were between. All resources are watched:
    besides answers to TokenRequests there are TokenReviews, Secrets, and tokens that clients put into a URI.
    """

    rule = Rule(
        "token-in-audit-log",
        "Live service account token in the audit log",
        Severity.MEDIUM,
        description=(
            "A usable token was written into the audit log. Anyone who reads the log, its backups or the SIEM can act "
            "with it until it expires; findings do not repeat it, but the log still holds it. At level RequestResponse "
            "every answer to a TokenRequest holds the new token in plain text."
        ),
        techniques=("T1552.001", "T1552.007"),
        tactics=("credential-access",),
        references=(
            "https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/#audit-policy",
            "https://attack.mitre.org/techniques/T1552/001/",
        ),
        false_positives=(
            "a field called `token` that does not hold a credential",
            "tokens that were no longer valid, or a client's mistake: a token in a query string",
        ),
        blind_spots=(
            "tokens that something before this library removed; other credentials in events read for nothing else",
            "how often it happened after the last report; reports of an hour count in event time",
            "a usable token that an unauthenticated caller wrote into its client's name: low, and one for all of them",
        ),
        response=(
            "Change the audit policy: level Metadata for serviceaccounts/token, tokenreviews and secrets, in the first "
            "rule that matches. Treat everybody who can read the log as a holder of these tokens: restrict the log, "
            "purge the bodies, end tokens that live long by deleting what they are bound to or the service account."
        ),
    )
    watches = frozenset({Signal.LIVE_TOKEN})
    remember_for = timedelta(days=1)

    def keys(self, event: Event, _: Sequence[Finding], /) -> Iterable[str]:
        """Name the kind of event; what unauthenticated callers call themselves is one kind, whatever they ask for."""
        if not event.carried_token:
            return ()
        kind = UNPROVEN if _is_only_claimed(event) else f"{event.level} {event.stage} {event.resource}"
        return (f"{event.cluster} {kind}",)

    def fold(self, key: str, event: Event, _: Sequence[Finding], memory: View[Reported], /) -> Iterator[Finding]:
        """Report the first of an hour, count the others."""
        state = memory.get(key)
        now = event.time or datetime.min.replace(tzinfo=UTC)
        if state and now - state.at < QUIET:
            memory.put(key, attrs.evolve(state, more=state.more + 1))
            return
        memory.put(key, Reported(now))
        since = f"; {state.more} more such events since the last report" if state and state.more else ""
        yield self.finding(
            event,
            f"a live token is in the audit log, at level {event.level or 'unknown'}: {who(event)} called "
            f"{event.verb or 'something'} on {event.resource or 'no resource'}{since}",
            *_where(event),
            severity=Severity.LOW if _is_only_claimed(event) else None,
            caveats=(
                "whether the token is still valid cannot be seen",
                "events of this kind are reported once an hour",
            ),
        )


def _is_only_claimed(event: Event) -> bool:
    """Tell whether the token stands only in the client's name of an unauthenticated caller, who can write anything."""
    elsewhere = any(one.path not in {"level", "user.username", "userAgent"} for one in _where(event))
    bodies = event.request_object is not None or event.response_object is not None
    return event.user.username in STRANGERS and REDACTED in event.user_agent and not elsewhere and not bodies


def _where(event: Event) -> Iterator[Evidence]:
    if event.level:
        yield Evidence("level", event.level, "how much the audit policy has logged")
    if event.actor.username:
        yield Evidence("user.username", event.actor.username, "who called")
    bodies: dict[str, JsonValue] = {"requestObject": event.request_object, "responseObject": event.response_object}
    for body, part, field in PLACES:
        inner = bodies[body].get(part) if isinstance(bodies[body], dict) else None
        if isinstance(inner, dict) and inner.get(field) == REDACTED:
            yield Evidence(f"{body}.{part}.{field}", REDACTED, "the token was here")
    if REDACTED in event.request_uri:
        yield Evidence("requestURI", event.request_uri, "the URI held a token")
    if REDACTED in event.user_agent:
        yield Evidence("userAgent", event.user_agent, "the name of the client held a token")
