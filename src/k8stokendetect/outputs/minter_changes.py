# SPDX-License-Identifier: Apache-2.0
"""What changed between two runs of who-can-mint: whose tokens somebody can obtain now, and whose no longer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Literal, NamedTuple, Self

import attrs
import msgspec

from k8stokendetect.cluster import AttackPathKind, Level, Minter, Subject
from k8stokendetect.errors import ConfigError
from k8stokendetect.outputs.size import one_line
from k8stokendetect.outputs.text import neutral
from k8stokendetect.words import listed

MOST_LINES: Final = 200
"""Maximum number of changes printed as text; the others are counted."""

_LEVELS: Final = {level.label: level for level in Level}
_NODE: Final = str(AttackPathKind.KUBELET)


class Reached(NamedTuple):
    """A kind of path to an account, to all of a namespace or to all; empty names stand for all."""

    kind: str
    namespace: str
    account: str

    def covers(self, other: Reached) -> bool:
        """Tell whether this reaches all that the other does, in the same way."""
        return (
            self.kind == other.kind and self.namespace in {"", other.namespace} and self.account in {"", other.account}
        )

    @property
    def whom(self) -> str:
        """Whose tokens, in words."""
        if self.account:
            return f"{self.namespace}/{self.account}" if self.namespace else f"{self.account} of every namespace"
        return f"every service account of {self.namespace}" if self.namespace else "every service account"


@attrs.frozen
class SubjectReach:
    """What one subject reaches.

    Arguments:
        subject: who.
        level: the value of the best of it.
        paths: by which kinds of paths, without the kubelets': pods move from node to node all the time.

    """

    subject: Subject
    level: Level
    paths: frozenset[Reached]

    @classmethod
    def of(cls, minter: Minter, /) -> Self:
        """Return what somebody reaches now."""
        ways = ((str(way.kind), way.namespace, way.accounts) for way in minter.ways)
        return cls(minter.subject, minter.reach.level, _paths(ways))

    @classmethod
    def of_json(cls, line: Any, /) -> Self:
        """Read a line of `--format json`; raises ValueError, KeyError or TypeError for anything else."""
        subject = line["subject"]
        ways = ((way["kind"], way["namespace"] or "", way["accounts"]) for way in line["ways"])
        who = Subject(str(subject["kind"]), str(subject["name"]), str(subject["namespace"] or ""))
        return cls(who, _LEVELS[line["level"]], _paths(ways))

    def within(self, namespace: str, /) -> Self:
        """Return what of it concerns a namespace; everything without one."""
        kept = (one for one in self.paths if not namespace or one.namespace in {"", namespace})
        return attrs.evolve(self, paths=frozenset(kept))


def _paths(ways: Iterable[tuple[str, str, Iterable[str]]]) -> frozenset[Reached]:
    return frozenset(
        Reached(kind, namespace, account)
        for kind, namespace, accounts in ways
        if kind != _NODE
        for account in tuple(accounts) or ("",)
    )


class Run(NamedTuple):
    """What an earlier run said.

    Arguments:
        reaches: of each subject.
        complete: whether it could read everything.

    """

    reaches: tuple[SubjectReach, ...]
    complete: bool = True


def read_run(content: bytes, name: str, /) -> Run | None:
    """Read what `who-can-mint --format json` printed; None when the content is something else.

    Arguments:
        content: of the file; an empty one is a run in which nobody could mint.
        name: of the file, for messages.

    Raises:
        ConfigError: when a line is broken.

    """
    reaches, complete = [], True
    for number, text in enumerate(content.split(b"\n"), 1):
        if not text.strip():
            continue
        try:
            line = msgspec.json.decode(text)
            if number == 1 and not (isinstance(line, dict) and {"subject", "ways"} <= set(line)):
                return None
            reaches.append(SubjectReach.of_json(line))
            complete = complete and line.get("complete", True) is True
        except (msgspec.MsgspecError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            if number == 1:
                return None
            raise ConfigError(f"{name}: line {number} is not one of who-can-mint --format json") from None
    return Run(tuple(reaches), complete)


@attrs.frozen
class ReachChange:
    """What changed for a subject.

    Arguments:
        change: `gained` and `lost` paths, or another `level` by the same paths.
        subject: who.
        level: the value of the best target now; of a lost path, that of before.
        before: the value before.
        kind: of the paths, such as `token-request`; empty for a level.
        paths: the paths of this kind.

    """

    change: Literal["gained", "lost", "level"]
    subject: Subject
    level: Level
    before: Level
    kind: str = ""
    paths: tuple[Reached, ...] = ()


def changes(before: Iterable[SubjectReach], after: Iterable[SubjectReach], /) -> tuple[ReachChange, ...]:
    """Return what became reachable, what ceased, and whose targets are worth more or less; the worst first.

    A path that another one of the same kind covers is not a change: who may mint for one account of a namespace after
    having been able to mint for all of it has gained nothing.
    """
    old, new = ({one.subject: one for one in reaches} for reaches in (before, after))
    found: list[ReachChange] = []
    for subject in dict.fromkeys((*new, *old)):
        was = old.get(subject) or SubjectReach(subject, Level.NOTHING, frozenset())
        now = new.get(subject) or SubjectReach(subject, Level.NOTHING, frozenset())
        gained = _beyond(now.paths, was.paths)
        found += [ReachChange("gained", subject, now.level, was.level, *one) for one in gained]
        found += [ReachChange("lost", subject, was.level, was.level, *one) for one in _beyond(was.paths, now.paths)]
        if not gained and now.paths and now.level != was.level:
            found.append(ReachChange("level", subject, now.level, was.level))
    order = {"gained": 0, "level": 1, "lost": 2}
    return tuple(sorted(found, key=lambda one: (order[one.change], -one.level, one.subject.identity, one.kind)))


def _beyond(
    paths: Iterable[Reached], others: Sequence[Reached] | frozenset[Reached]
) -> list[tuple[str, tuple[Reached, ...]]]:
    """Return the paths that no other covers, by kind."""
    found: dict[str, list[Reached]] = {}
    for one in sorted(paths):
        if one not in others and not any(other.covers(one) for other in others):
            found.setdefault(one.kind, []).append(one)
    return [(kind, tuple(some)) for kind, some in found.items()]


def to_change_text(found: Sequence[ReachChange], /, *, incomplete: Iterable[str] = ()) -> Iterator[str]:
    """Yield a line for each change, without line ends; no name can control the terminal.

    Arguments:
        found: the changes.
        incomplete: what could not be read, of now or of then, each in a line.

    """
    for text in incomplete:
        yield neutral(f"INCOMPLETE: {text}")
    counts = {what: sum(one.change == what for one in found) for what in ("gained", "level", "lost")}
    yield f"became reachable: {counts['gained']:,}; changed in value: {counts['level']:,}; ceased: {counts['lost']:,}"
    for one in found[:MOST_LINES]:
        yield neutral(f"{_SIGNS[one.change]} {one.level.label.upper()}  {one.subject}: {_said(one)}")
    if len(found) > MOST_LINES:
        yield f"… and {len(found) - MOST_LINES:,} more changes: see --format json"


_SIGNS: Final = {"gained": "+", "level": "~", "lost": "-"}


def _said(one: ReachChange) -> str:
    if one.change == "level":
        return f"reaches {one.level.label} now, {one.before.label} before, by the same rights"
    whom = listed(path.whom for path in one.paths)
    return f"{'can now' if one.change == 'gained' else 'can no longer'} obtain tokens of {whom} ({one.kind})"


def to_change_line(one: ReachChange, /, *, complete: bool = True) -> str:
    """Return a change as one line of JSON in printable ASCII, without the line end.

    Arguments:
        one: the change.
        complete: everything could be read, of now and of then.

    """
    subject = one.subject
    return one_line(
        {
            "change": one.change,
            "subject": {"kind": subject.kind, "namespace": subject.namespace or None, "name": subject.name},
            "level": one.level.label,
            "level_before": one.before.label,
            "kind": one.kind or None,
            "complete": complete,
            "accounts": [{"namespace": path.namespace or None, "name": path.account or None} for path in one.paths],
        }
    )
