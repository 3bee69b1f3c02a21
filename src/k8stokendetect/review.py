# SPDX-License-Identifier: Apache-2.0
"""Compares the rights to mint that a snapshot of the cluster shows with the mints that a log shows."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Final

import attrs

from k8stokendetect.cluster import AttackPath, AttackPathKind, Change, Changes, Cluster, Subject
from k8stokendetect.detectors.base import checked_cluster
from k8stokendetect.errors import ConfigError, check, checked_list
from k8stokendetect.events import Event
from k8stokendetect.exclusions import DEFAULT_EXCLUSIONS, Exclusion
from k8stokendetect.exclusions.base import AUTHENTICATED
from k8stokendetect.findings import Finding
from k8stokendetect.identity import SERVICE_ACCOUNTS_GROUP
from k8stokendetect.incidents.mints import Cause, Mint, explain_mint, observed
from k8stokendetect.reprs import with_short_repr

__all__ = ["Cause", "Review", "Status", "Unexplained", "UsedRight", "review"]

EVERYBODY: Final = frozenset({AUTHENTICATED, "system:unauthenticated", SERVICE_ACCOUNTS_GROUP})
"""Groups that the API server puts callers into by itself, like that of a namespace's service accounts."""


class Status(enum.StrEnum):
    """What the log says about a right."""

    NEVER_USED = "never-used"
    UNEXPECTED = "used-by-someone-unexpected"
    USED = "used"


@with_short_repr
@attrs.frozen
class UsedRight:
    """A right to create tokens: who has it, through which binding, and who used it.

    Arguments:
        subject: the subject of the binding.
        way: the binding, the role, the rule and the accounts it reaches.
        mints: how many observed mints it allows; one mint can be allowed by several rights.
        users: the callers who are the subject, and how often they minted.
        accounts: the service accounts, as `namespace/name`, and how often they minted for each.
        unexpected: the users who have it only through a group that the API server puts everybody into, and whom no
            exclusion covers.
        first: the earliest of those mints, in UTC; None when there is none, or none with a time.
        last: the latest.
        change: the smallest change that takes the right away; None for one that is used as it should be.

    """

    subject: Subject
    way: AttackPath
    mints: int = 0
    users: tuple[tuple[str, int], ...] = ()
    accounts: tuple[tuple[str, int], ...] = ()
    unexpected: tuple[str, ...] = ()
    first: datetime | None = None
    last: datetime | None = None
    change: Change | None = None

    @property
    def status(self) -> Status:
        """Never used: remove it. Used by someone unexpected: grant it to those who need it, not to everybody."""
        if not self.mints:
            return Status.NEVER_USED
        return Status.UNEXPECTED if self.unexpected else Status.USED


@with_short_repr
@attrs.frozen
class Unexplained:
    """Mints to which the snapshot shows no right.

    Arguments:
        user: who minted.
        account: the service account, as `namespace/name`.
        cause: why the snapshot shows no right.
        why: the same in words, as the end of a sentence about the user.
        mints: their number.
        first: the earliest, in UTC; None without a time.
        last: the latest.

    """

    user: str
    account: str
    cause: Cause
    why: str
    mints: int
    first: datetime | None = None
    last: datetime | None = None


@with_short_repr
@attrs.frozen
class Review:
    """What was granted, and what was used.

    Arguments:
        rights: every direct right to create tokens, the never used ones first, the widest of them first.
        unexplained: mints without a right in the snapshot, the most frequent first.
        mints: the number of mints for an account that was logged.
        nameless: the number of mints for an account that was not logged.
        first: the time of the first mint, in UTC; None without times.
        last: the time of the last mint.

    """

    rights: tuple[UsedRight, ...]
    unexplained: tuple[Unexplained, ...]
    mints: int
    nameless: int
    first: datetime | None
    last: datetime | None

    def of(self, status: Status, /) -> tuple[UsedRight, ...]:
        """Return the rights of a status."""
        return tuple(right for right in self.rights if right.status is status)


def review(
    cluster: Cluster,
    seen: Iterable[Finding | Event],
    /,
    *,
    exclusions: Iterable[Exclusion] = DEFAULT_EXCLUSIONS,
) -> Review:
    """Compare the rights to mint with the mints.

    "Never used" is true of this log only: pass all of a long one. Findings are only what detectors reported: pass
    Events, or `detect(…, keep_excluded=True)`; otherwise excluded components seem never to have minted.

    Arguments:
        cluster: the snapshot.
        seen: events, findings, or both; each request counts once.
        exclusions: who mints by design, for events; findings say by themselves whether they are excluded.

    Raises:
        ConfigError: when something else was given.

    """
    if checked_cluster(cluster) is None:
        raise ConfigError("review takes a Cluster: Cluster.load(…)")
    check(seen, Iterable, "review takes findings or events", lambda given: not isinstance(given, str | bytes))
    mints, nameless = observed(seen, checked_list(exclusions, Exclusion, "exclusions takes Exclusions"))
    used: dict[tuple[Subject, int], list[Mint]] = {}
    unexplained: dict[tuple[str, str, Cause, str], list[Mint]] = {}
    for mint in mints:
        found = explain_mint(cluster, mint)
        for grant in found.grants:
            used.setdefault((grant.subject, id(grant.binding)), []).append(mint)
        if found.cause is not None:
            unexplained.setdefault((mint.user, str(mint.account), found.cause, found.why), []).append(mint)
    return Review(
        _rights(cluster, used),
        tuple(
            Unexplained(*key, len(group), *_span(group))
            for key, group in sorted(unexplained.items(), key=lambda item: (-len(item[1]), item[0]))
        ),
        len(mints),
        nameless,
        *_span(mints),
    )


def _rights(cluster: Cluster, used: dict[tuple[Subject, int], list[Mint]]) -> tuple[UsedRight, ...]:
    changes = Changes(cluster)
    found = [
        _right(changes, subject, way, used.get((subject, id(way.binding)), ()))
        for subject in cluster.subjects
        for way in cluster.ways_of(subject)
        if way.kind is AttackPathKind.TOKEN_REQUEST
    ]
    return tuple(sorted(found, key=_worst_first))


def _worst_first(one: UsedRight) -> tuple[int, bool, bool, str, str]:
    way = one.way
    return list(Status).index(one.status), bool(way.namespace), bool(way.accounts), str(one.subject), str(way.binding)


def _right(changes: Changes, subject: Subject, way: AttackPath, mints: Iterable[Mint]) -> UsedRight:
    mine = [mint for mint in mints if mint.ref.impersonating is None and way.reaches(mint.account)]
    users = Counter(mint.user for mint in mine)
    accounts = Counter(str(mint.account) for mint in mine)
    unexpected = tuple(dict.fromkeys(mint.user for mint in mine if not mint.expected_by and _is_everybody(subject)))
    return UsedRight(
        subject,
        way,
        len(mine),
        tuple(users.most_common()),
        tuple(accounts.most_common()),
        unexpected,
        *_span(mine),
        change=changes.for_grant(way.grants[0]) if unexpected or not mine else None,
    )


def _is_everybody(subject: Subject) -> bool:
    own = subject.name.startswith(f"{SERVICE_ACCOUNTS_GROUP}:")
    return subject.kind == "Group" and (subject.name in EVERYBODY or own)


def _span(mints: Iterable[Mint]) -> tuple[datetime | None, datetime | None]:
    times = [mint.time for mint in mints if mint.time]
    return min(times, default=None), max(times, default=None)
