# SPDX-License-Identifier: Apache-2.0
"""Suggests exclusions for the callers that a log shows, with their proofs, for a person to confirm."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Final

import attrs

from k8stokendetect.detectors import Detector, TokenRequest
from k8stokendetect.detectors.base import MINTS
from k8stokendetect.engine.memory import Deduplicator
from k8stokendetect.errors import ConfigError, ReadError
from k8stokendetect.event_ref import EventRef, request_id
from k8stokendetect.events import Event
from k8stokendetect.exclusions import (
    DEFAULT_EXCLUSIONS,
    OPTIONAL_EXCLUSIONS,
    Component,
    Exclusion,
    ExclusionIndex,
    Provenance,
)
from k8stokendetect.exclusions.base import MASTERS
from k8stokendetect.exclusions.cost import also_hides
from k8stokendetect.exclusions.folding import odd_characters
from k8stokendetect.exclusions.verdict import failed_checks
from k8stokendetect.findings import Finding, Rule, Severity
from k8stokendetect.identity import SERVICE_ACCOUNT_PREFIX
from k8stokendetect.reprs import short_repr, with_short_repr
from k8stokendetect.suggestions.callers import MOST_TARGETS, Caller, Login, Seen
from k8stokendetect.words import brief, listed

__all__ = ["Left", "Suggestion", "Suggestions"]

LONGEST: Final = timedelta(days=90)
"""After so many days somebody looks again."""

MOST_CALLERS: Final = 2000
"""Of further callers only the mints are counted; a flood of them does not make it hold more."""

_TOO_MANY: Final = f"more service accounts than {MOST_TARGETS:,}: name the namespaces yourself"
_LONGEST_ID: Final = 60
_WORD: Final = re.compile(r"[a-z0-9]+")


@with_short_repr
@attrs.frozen(kw_only=True)
class Suggestion:
    """An exclusion that a person may confirm: it covers what was seen of a caller, and nothing else.

    Arguments:
        exclusion: with every proof that the log shows.
        mints: the number of tokens that the caller minted for the service accounts of this exclusion.
        first: the time of the first mint; None where no time was logged.
        last: the time of the last.
        warnings: why to look twice: what was found about this caller, and what the log cannot prove.
        enable: the id of an exclusion that ships, of which the caller has every proof; empty for none.

    """

    exclusion: Exclusion
    mints: int
    first: datetime | None = None
    last: datetime | None = None
    warnings: tuple[str, ...] = ()
    enable: str = ""


@with_short_repr
@attrs.frozen
class Left:
    """Mints of a caller for which nothing can be suggested, and why."""

    username: str
    why: str
    mints: int


class Suggestions(Detector):
    """Collects who minted and was not excluded; finds nothing itself. Give it to `detect` with the other detectors.

    Pass each finding to `note`: the caller of an urgent one is not suggested without a warning. What no exclusion may
    cover (who is not authenticated or in system:masters, what is impersonated or has a disguised URI) is counted.

    Arguments:
        exclusions: those that `detect` has.

    """

    rule = Rule("suggest-exclusions", "Who minted and was not excluded", Severity.INFORMATIONAL)
    watches = MINTS

    def __init__(self, exclusions: Iterable[Exclusion] = DEFAULT_EXCLUSIONS) -> None:
        self._known = ExclusionIndex(exclusions)
        self._optional = ExclusionIndex(OPTIONAL_EXCLUSIONS)
        self._callers: dict[Login, Caller] = {}
        self._urgent: dict[str, set[str]] = {}
        self._left: Counter[tuple[str, str]] = Counter()
        self._seen, self._numbers = Deduplicator(), itertools.count()

    def __repr__(self) -> str:
        return short_repr(self, callers=len(self._callers), left=self._left.total())

    def inspect(self, event: Event | ReadError, /) -> tuple[()]:
        """Take a mint; report nothing."""
        if isinstance(event, Event) and event.mints_token and not self._is_excluded(event):
            number = next(self._numbers)
            if event.time is None or not self._seen.is_repeat(request_id(event), number):
                self._take(event)
        return ()

    def matches(self, _: Event, /) -> bool:
        """Match nothing."""
        return False

    def note(self, finding: Finding, /) -> None:
        """Take a finding of the same log: a high or critical one warns of its caller, and of who minted its token."""
        if finding.severity < Severity.HIGH or finding.excluded_by is not None:
            return
        for ref in (finding.event, *finding.related):
            if ref.user in self._urgent or len(self._urgent) < MOST_CALLERS:
                self._urgent.setdefault(ref.user, set()).add(finding.rule.id)

    def all(self, today: date | None = None, /) -> list[Suggestion]:
        """Return a suggestion for each caller, the most frequent first, those of urgent findings behind all others.

        A caller gets several where one would also cover what was not seen.

        Arguments:
            today: when somebody looks at it; by default by the clock.

        """
        today = today or datetime.now(UTC).date()
        callers = self._callers.items()
        in_order = sorted(callers, key=lambda item: (item[0].username in self._urgent, -item[1].count))
        taken: set[str] = set()
        return [
            self._suggestion(login, caller, component, seen, today, taken)
            for login, caller in in_order
            if caller.accounts <= MOST_TARGETS
            for component, seen in sorted(caller.components(), key=lambda part: -part[1].count)
        ]

    def left(self) -> list[Left]:
        """Return for whom nothing is suggested, the most frequent first."""
        for login, caller in self._callers.items():
            if caller.accounts > MOST_TARGETS:
                self._left[login.username, _TOO_MANY] = caller.count
        return [Left(who, why, count) for (who, why), count in self._left.most_common()]

    def _is_excluded(self, event: Event) -> bool:
        judged = self._known.judge(event)
        return any(one.excludes and one.exclusion.covers(TokenRequest.rule.id, excludable=True) for one in judged)

    def _take(self, event: Event) -> None:
        if MASTERS in event.user.groups:
            self._leave(event, "a member of system:masters, whom nothing limits")
            return
        login = Login.of(event)
        caller = self._callers.get(login)
        try:
            base = caller.base if caller else login.component()
        except ConfigError as error:
            self._leave(event, str(error).partition(": ")[2])
            return
        failed = failed_checks(base, event)
        if event.body_is_cut:
            self._leave(event, "the request body should have been logged but was cut away")
        elif failed or EventRef.of(event).token_account is None or "*" in login.username:
            self._leave(event, failed[0].why if failed else "its name, or its target's, cannot be written exactly")
        elif caller is None and len(self._callers) >= MOST_CALLERS:
            self._leave(event, f"more than {MOST_CALLERS:,} callers: exclude the others first")
        else:
            caller = self._callers.setdefault(login, Caller(base))
            caller.add(event)
            optional = self._optional.excluding(event)
            fits = optional.id if optional else ""
            caller.fits = fits if caller.count == 1 or caller.fits == fits else ""

    def _leave(self, event: Event, why: str) -> None:
        who = brief(event.user.username) if len(self._left) < MOST_CALLERS else "further callers"
        self._left[who, why] += 1

    def _suggestion(
        self, login: Login, caller: Caller, component: Component, seen: Seen, today: date, taken: set[str]
    ) -> Suggestion:
        words = _WORD.findall(login.username.removeprefix(SERVICE_ACCOUNT_PREFIX).lower())
        name = "-".join(("suggested", *words))[:_LONGEST_ID]
        id_ = next(one for one in (name, *(f"{name}-{n}" for n in range(2, len(taken) + 3))) if one not in taken)
        taken.add(id_)
        last = caller.last.date() if caller.last else today
        accounts = [f"{namespace}/{name}" for namespace in component.namespaces for name in component.names]
        source = Provenance(source=seen.origin or "the log that was scanned", checked=today)
        exclusion = Exclusion(
            component=attrs.evolve(component, id=id_, provenance=(source,)),
            because=f"Confirmed as ours: it minted for {listed(accounts)}.",
            hides="to be written",
            expires=max(last, today) + LONGEST,
        )
        hides = f"Anyone who calls with these proofs can mint for {listed(accounts)}: {also_hides(exclusion)}"
        return Suggestion(
            exclusion=attrs.evolve(exclusion, hides=hides),
            mints=seen.count,
            first=seen.first,
            last=seen.last,
            warnings=tuple(self._warnings(login, component)),
            enable=caller.fits,
        )

    def _warnings(self, login: Login, component: Component) -> Iterator[str]:
        if rules := self._urgent.get(login.username):
            yield f"PART OF SOMETHING HIGH OR CRITICAL ({listed(sorted(rules))}): clear that up before you confirm it"
        elif len(self._urgent) >= MOST_CALLERS:
            yield "more callers have high or critical findings than were noted: check whether this is one"
        if others := sum(other.username == login.username for other in self._callers) - 1:
            yield f"the same name came with {others} other sets of proofs or kinds of token: confirm each by itself"
        if not login.username.isascii():
            yield f"the name may not be what it looks like: {odd_characters(login.username)}"
        if component.actor.groups_not_logged:
            yield "little is proven: the log has no groups"
        if login.username.startswith(SERVICE_ACCOUNT_PREFIX) and not login.in_pod:
            yield "its token is not bound to a pod: a stolen copy has the same proofs"
        if component.token is None:
            yield "the kind of token it asks for is not logged at this level: any kind is excluded"
