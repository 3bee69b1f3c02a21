# SPDX-License-Identifier: Apache-2.0
"""What `k8stokendetect who-can-mint` does: shows who can obtain service account tokens, how, and what would end it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import click

from k8stokendetect.cli.shared import Errors, exclusions_of, load_cluster, write
from k8stokendetect.cluster import AttackPath, AttackPathKind, Cluster, Level, Minter, Survey, survey
from k8stokendetect.cluster.incomplete import IncompleteError
from k8stokendetect.cluster.live import load_live
from k8stokendetect.cluster.places import places_of
from k8stokendetect.errors import ConfigError, K8sTokenDetectError, OnError, ReadError, did_you_mean
from k8stokendetect.events import Platform
from k8stokendetect.outputs.mint_graph import to_svg
from k8stokendetect.outputs.minter_changes import (
    ReachChange,
    SubjectReach,
    changes,
    read_run,
    to_change_line,
    to_change_text,
)
from k8stokendetect.outputs.minters import to_line, to_text
from k8stokendetect.outputs.sarif import minters_to_sarif

_LEVELS = {level.label: level for level in Level if level}
_KINDS = frozenset({"direct", "indirect", *map(str, AttackPathKind)} - {str(AttackPathKind.KUBELET)})


def who_can_mint(
    *,
    files: tuple[str, ...],
    form: str,
    graph: str | None,
    context: str | None,
    kubeconfig: str | None,
    namespace: str | None,
    with_defaults: bool,
    previous: str | None,
    fail_on: tuple[str, ...],
    platform: Platform | None,
    exclusion_file: str | None,
    enable: tuple[str, ...],
) -> int:
    """Print who can mint and return the exit status.

    Raises:
        ConfigError: when an option is wrong, or the drawing cannot be written.

    """
    thresholds = tuple(map(Threshold.of, fail_on))
    errors, warnings = Errors(), Errors("warning")
    place = namespace or ""
    look = functools.partial(
        survey,
        exclusions=exclusions_of(enable, exclusion_file),
        platform=platform,
        namespace=place,
        with_defaults=with_defaults,
    )
    if bool(files) is (context is not None):
        raise ConfigError("name the files of the cluster's objects, or a --context to read them from")
    if context is None:
        cluster = load_cluster(files, on_error=errors, warn=warnings, on_incomplete=errors)
    else:
        cluster = load_live(context, kubeconfig=kubeconfig, namespace=place, on_error=_routed(errors, warnings))
    found = look(cluster)
    if previous is None:
        lines = _sarif(found, files, errors) if form == "sarif" else _lines(form, found, errors)
        fails = any(one.matches(minter) for minter in found.minters for one in thresholds)
    elif form == "sarif":
        raise ConfigError("SARIF says what can be reached now, not what changed")
    else:
        changed = _changed(_before(previous, look, on_incomplete=errors), found, place)
        lines = _changes(form, changed, errors)
        fails = any(one.matches_change(change, found.minters) for change in changed for one in thresholds)
    for line in lines:
        click.echo(line)
    if graph is not None:
        write(Path(graph), to_svg(found.minters))
    click.echo(_numbers(cluster, found, errors, warnings), err=True)
    return 2 if errors.count else int(fails)


def _routed(on_error: OnError, warn: OnError) -> OnError:
    """Return what tells what makes a live cluster's answer incomplete from warnings about an object."""

    def route(error: K8sTokenDetectError) -> None:
        is_lost = isinstance(error, IncompleteError) or (isinstance(error, ReadError) and error.path is None)
        (on_error if is_lost else warn)(error)

    return route


def _lines(form: str, found: Survey, errors: Errors) -> Iterable[str]:
    if form == "json":
        return (to_line(minter, complete=not errors.count) for minter in found.minters)
    return to_text(found.minters, defaults=found.defaults, incomplete=errors.texts)


def _changes(form: str, changed: Sequence[ReachChange], errors: Errors) -> Iterable[str]:
    if form == "json":
        return (to_change_line(one, complete=not errors.count) for one in changed)
    return to_change_text(changed, incomplete=errors.texts)


def _sarif(found: Survey, files: Sequence[str], errors: Errors) -> Iterable[str]:
    named = [name for name in files if name != "-"]
    file = named[0] if named else None
    return (minters_to_sarif(found.minters, places_of(named), file=file, is_complete=not errors.count),)


def _numbers(cluster: Cluster, found: Survey, errors: Errors, warnings: Errors) -> str:
    assumed = sum(bool(role.assumed) for role in cluster.roles)
    built_in = f" ({assumed:,} built in)" if assumed else ""
    return (
        f"service accounts: {len(cluster.accounts):,}; roles: {len(cluster.roles):,}{built_in}; "
        f"bindings: {len(cluster.bindings):,}; pods: {len(cluster.pods):,}; left out as built in: "
        f"{len(found.defaults):,}; warnings: {warnings.count:,}; errors: {errors.count:,}"
        + ("; the answer is incomplete" if errors.count else "")
    )


def _changed(before: Iterable[SubjectReach], found: Survey, namespace: str) -> tuple[ReachChange, ...]:
    return changes([one.within(namespace) for one in before], map(SubjectReach.of, found.minters))


def _before(previous: str, look: Callable[[Cluster], Survey], *, on_incomplete: OnError) -> Iterable[SubjectReach]:
    """Return what was reached before: as an earlier run printed it, or by the objects of then."""
    try:
        content = Path(previous).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a file name"
        raise ConfigError(f"{previous}: cannot be read: {reason}") from None
    run = read_run(content, previous)
    if run is None:
        cluster = load_cluster([previous], on_error=_stop, warn=lambda _: None, on_incomplete=on_incomplete)
        return map(SubjectReach.of, look(cluster).minters)
    if not run.complete:
        on_incomplete(ReadError("that run was incomplete: what it missed looks newly reachable", previous))
    return run.reaches


def _stop(error: K8sTokenDetectError) -> None:
    raise ConfigError(str(error))


class Threshold(NamedTuple):
    """What `--fail-on` names.

    Arguments:
        level: this value of the targets or more; None for any.
        kind: a kind of path, `direct` or `indirect`; empty for any.

    """

    level: Level | None
    kind: str

    @classmethod
    def of(cls, text: str, /) -> Self:
        """Read a level, a kind, or both with a slash between them; raises ConfigError for anything else."""
        first, slash, second = text.lower().partition("/")
        level = _LEVELS.get(first)
        kind = second if slash else "" if level else first
        if (slash and not level) or (kind not in _KINDS and (kind or slash or not level)):
            hint = did_you_mean(first if slash and not level else kind, (*_LEVELS, *_KINDS))
            raise ConfigError(f"--fail-on: {text!r} is not a level, a kind, or LEVEL/KIND{hint}")
        return cls(level, kind)

    def matches(self, minter: Minter, /) -> bool:
        """Tell whether somebody reaches that by paths that are not expected."""
        return self._matches_ways(minter, minter.unexpected)

    def matches_change(self, change: ReachChange, minters: Sequence[Minter], /) -> bool:
        """Tell whether that became reachable by paths that are not expected."""
        if change.change == "lost" or (change.change == "level" and change.level < change.before):
            return False
        for minter in minters:
            if minter.subject == change.subject:
                new = [way for way in minter.unexpected if not change.kind or str(way.kind) == change.kind]
                return self._matches_ways(minter, new)
        return False

    def _matches_ways(self, minter: Minter, ways: Iterable[AttackPath]) -> bool:
        some = [way for way in ways if self._is_kind(way)]
        return bool(some) and (self.level is None or minter.reach_of(some).level >= self.level)

    def _is_kind(self, way: AttackPath) -> bool:
        if self.kind in {"direct", "indirect"}:
            return way.direct is (self.kind == "direct")
        return not self.kind or str(way.kind) == self.kind
