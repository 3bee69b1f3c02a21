# SPDX-License-Identifier: Apache-2.0
"""unknown-token-used: a request was made with a token whose mint the log does not contain, though it has others'."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

import attrs

from k8stokendetect.detectors.base import Traits
from k8stokendetect.detectors.keyed import KeyedDetector, View
from k8stokendetect.detectors.powerful import privileged_act
from k8stokendetect.detectors.wording import HOW_ANSWERED, code_evidence, origin_of
from k8stokendetect.events import ITS_MINT, Event, Signal
from k8stokendetect.exclusions.controllers import IN_KUBE_SYSTEM, IN_OPENSHIFT_INFRA
from k8stokendetect.findings import Evidence, Finding, Rule, Severity
from k8stokendetect.identity import CREDENTIAL_ID, POD_NAME, ServiceAccount
from k8stokendetect.words import brief, user_of

ENOUGH: Final = 20
"""How many unbound tokens must have been used whose mints the log has."""

QUIET: Final = timedelta(hours=1)
"""How long no other token may have been used whose mint it lacks; a token lives an hour unless asked otherwise."""

MOST_REPORTED: Final = 5
"""Maximum number of tokens reported within `QUIET`; more mean that the log has lost mints."""

MOST_ACTS: Final = 100
SEEN_FOR: Final = timedelta(days=30)
"""How long it is remembered of a token that it was looked at."""


def uses_unbound_token(event: Event, /) -> bool:
    """Tell whether a service account acts with a token that has an id, and that is bound to no pod.

    Groups as the API server gives them are asked for: an OIDC issuer may yield the name alone.
    """
    if not (event.used_credential or "").startswith("JTI=") or POD_NAME in event.user.extra:
        return False
    account = ServiceAccount.of_username(event.user.username)
    return account is not None and set(account.groups) <= set(event.user.groups) and event.answered


def is_controllers(event: Event, /) -> bool:
    """Tell whether the caller is an account for which only a controller manager mints."""
    account = ServiceAccount.of_username(event.user.username)
    if account is None:
        return False
    names = {"kube-system": IN_KUBE_SYSTEM, "openshift-infra": IN_OPENSHIFT_INFRA}
    return account.name in names.get(account.namespace, ())


@attrs.frozen
class Coverage:
    """What is remembered of a cluster, and of each token.

    Arguments:
        known: of a cluster: how many tokens were used whose mints the log has, as far as `ENOUGH`.
        unknown: when one was used last whose mint it lacks, and which was not reported.
        looked: when an unbound token was first used last: after a longer gap the log may lack mints.
        reported: when tokens were reported.
        acts: of a token that was reported: what it did.
        is_reported: of a token.

    """

    known: int = 0
    unknown: datetime | None = None
    looked: datetime | None = None
    reported: tuple[datetime, ...] = ()
    acts: tuple[str, ...] = ()
    is_reported: bool = False

    def speaks(self, now: datetime, /) -> bool:
        """Tell whether the log has shown that it contains the mints."""
        quiet = self.unknown is None or now - self.unknown >= QUIET
        recent = sum(now - time < QUIET for time in self.reported)
        return self.known >= ENOUGH and quiet and recent < MOST_REPORTED

    def at(self, now: datetime, /) -> Coverage:
        """Return what is known at a time: in a gap of the log, tokens may have been minted."""
        gap = self.looked is not None and now - self.looked >= QUIET
        return attrs.evolve(self, looked=now, unknown=now if gap else self.unknown)


class UnknownTokenUsed(KeyedDetector[Coverage]):
    """Speaks where the log has shown that it contains the mints of the tokens that are used, however old it is."""

    rule = Rule(
        "unknown-token-used",
        "Service account token used whose mint is not in the log",
        Severity.MEDIUM,
        description=(
            "A service account acts with a token that is bound to no pod, and the log contains no request that issued "
            "it, though it contains those of all other tokens: at least twenty, and for an hour, or since the log "
            "began, no other such token was used. Its mint was dropped (a request too large to be logged), happened "
            "before the log begins, or bears another id because somebody forged it. High where the token did something "
            "privileged."
        ),
        techniques=("T1552.007", "T1550.001"),
        tactics=("credential-access", "lateral-movement", "defense-evasion"),
        references=(
            "https://attack.mitre.org/techniques/T1550/001/",
            "https://github.com/kubernetes/enhancements/tree/master/keps/sig-auth/4193-bound-service-account-token-improvements",
        ),
        false_positives=(
            "a long-lived token that was minted before the log begins and is first used hours later",
            "an API server whose log is missing, or an audit policy that has just stopped logging some mints",
        ),
        blind_spots=(
            "tokens bound to pods; those of the controllers, for which only a controller manager mints",
            "clusters without credential ids (before 1.30), and sources without `extra`, such as GKE",
            "the time until coverage is shown: `Tally.undecided` counts the tokens about which nothing could be said",
            "more than five within an hour: then the log has lost mints, and nobody can tell which",
            "Spark: it keeps no list of the mints",
        ),
        response=(
            "Find out who has this token: ask the owner of the service account. If nobody knows, delete and recreate "
            "the account, which ends the token, undo what it did, and look for requests that are missing in the log "
            "(overlong-audit-id, audit-annotation-forged)."
        ),
    )
    watches = frozenset({Signal.UNBOUND_USE})
    traits = Traits(not_in_sigma="which mints a log contains must be learned from it")
    remember_for = timedelta(days=366)

    def keys(self, event: Event, _: Sequence[Finding], /) -> tuple[str, ...]:
        """Name the token that was used, and the cluster."""
        if event.time is None or not uses_unbound_token(event):
            return ()
        cluster = event.cluster or ""
        return f"{cluster} {event.used_credential}", f"{cluster} *"

    def fold(self, key: str, event: Event, _: Sequence[Finding], memory: View[Coverage], /) -> Iterator[Finding]:
        """Look at each token once, and at those that were reported whenever they do something else."""
        name, token = key.rsplit(" ", 1)
        if token == "*":  # noqa: S105 - stands for all
            return
        now, seen = memory.now, memory.get(key)
        if seen is not None:
            if seen.is_reported:
                yield from self._again(key, event, seen, memory)
            return
        cluster = f"{name} *"
        coverage = (memory.get(cluster) or Coverage()).at(now)
        state = Coverage()
        if ITS_MINT not in event.usual:
            coverage = attrs.evolve(coverage, known=min(ENOUGH, coverage.known + 1))
        elif not is_controllers(event) and coverage.speaks(now):
            coverage = attrs.evolve(coverage, reported=(*coverage.reported, now)[-MOST_REPORTED:])
            state = Coverage(acts=(_act(event),), is_reported=True)
            yield self._report(event)
        else:
            coverage = attrs.evolve(coverage, unknown=now)
            self.undecided += not is_controllers(event)
        memory.put(key, state, expires=_later(now))
        memory.put(cluster, coverage)

    def _again(self, key: str, event: Event, seen: Coverage, memory: View[Coverage]) -> Iterator[Finding]:
        act = _act(event)
        if act not in seen.acts:
            yield self._report(event)
            seen = attrs.evolve(seen, acts=(*seen.acts, act)[-MOST_ACTS:])
        memory.put(key, seen, expires=_later(memory.now))

    def _report(self, event: Event) -> Finding:
        act = privileged_act(event)
        what = f"{event.verb} {brief(event.resource) or 'a path without a resource'}{f', which {act}' if act else ''}"
        return self.finding(
            event,
            f"{user_of(event.user.username)} acted{origin_of(event)} with a token whose mint is not in the log: {what}"
            f"{'' if event.succeeded else f' (refused: {event.code})'}",
            Evidence(f"user.extra['{CREDENTIAL_ID}'][0]", event.used_credential, "no request in the log issued it"),
            *code_evidence(event, HOW_ANSWERED),
            severity=Severity.HIGH if act and event.succeeded else None if event.succeeded else Severity.LOW,
            caveats=(f"the log has the mints of at least {ENOUGH} other tokens that were used",),
        )


def _act(event: Event) -> str:
    place = event.object_ref.namespace if event.object_ref else ""
    return f"{event.peer_ip} {event.verb} {event.resource} {place} {event.succeeded}"[:300]


def _later(now: datetime) -> datetime | None:
    try:
        return now + SEEN_FOR
    except OverflowError:
        return None
