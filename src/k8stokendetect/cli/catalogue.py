# SPDX-License-Identifier: Apache-2.0
"""What `k8stokendetect rules` and `exclusions` do: describe all there are, or those named, as text or as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

import click

from k8stokendetect.audit_policy.needs import Need, needs_of
from k8stokendetect.commands import BUILTIN_COMMANDS
from k8stokendetect.detectors import BUILTIN, OPTIONAL, CloudDetector, Detector
from k8stokendetect.errors import ConfigError, did_you_mean
from k8stokendetect.exclusions import DEFAULT_EXCLUSIONS, OPTIONAL_EXCLUSIONS, Component, Exclusion, TokenShape
from k8stokendetect.exclusions.cost import also_hides
from k8stokendetect.plugins import load_detectors
from k8stokendetect.sigma import RULES

T = TypeVar("T")


def rules(*, names: tuple[str, ...], form: str, plugins: bool) -> int:
    """Print the rules, or those named, and return the exit status.

    Raises:
        ConfigError: when a name is unknown, or a plug-in is broken or clashes.

    """
    own = (("on", BUILTIN), ("off", OPTIONAL), ("scan-host", BUILTIN_COMMANDS))
    known = {cls.rule.id: (state, cls) for state, classes in own for cls in classes}
    known |= {one.rule.id: ("plug-in", type(one)) for one in (load_detectors() if plugins else ())}
    _print([_Rule(*one) for one in _entries("rule", names, known)], form)
    return 0


def exclusions(*, names: tuple[str, ...], form: str) -> int:
    """Print the exclusions, or those named, and return the exit status.

    Raises:
        ConfigError: when a name is unknown.

    """
    own = (("on", DEFAULT_EXCLUSIONS), ("off", OPTIONAL_EXCLUSIONS))
    known = {entry.id: (state, entry) for state, entries in own for entry in entries}
    _print([_Exclusion(*one) for one in _entries("exclusion", names, known)], form)
    return 0


def _entries(kind: str, names: Sequence[str], known: Mapping[str, T]) -> list[T]:
    """Return those of these names, each once; all of them without any name."""
    for name in names:
        if name not in known:
            raise ConfigError(f"unknown {kind} {name!r}{did_you_mean(name, known)}")
    return [known[name] for name in dict.fromkeys(names or known)]


def _print(entries: Sequence[_Rule | _Exclusion], form: str) -> None:
    for one in entries:
        click.echo(json.dumps(one.to_dict(), ensure_ascii=False) if form == "json" else "\n".join(one.lines()))


class _Rule:
    """Everything about one rule."""

    def __init__(self, state: str, detector: type[Detector]) -> None:
        self._state, self._detector, self._rule = state, detector, detector.rule

    def to_dict(self) -> dict[str, Any]:
        needs = [
            {"requests": need.kind.name, "level": str(need.level), "why": need.why, "essential": need.essential}
            for need in self._needs
        ]
        return {
            **self._rule.to_dict(),
            "state": self._state,
            "needs": needs,
            "needs_cloud_log": issubclass(self._detector, CloudDetector),
            "in_sigma": self._rule.id in RULES,
            "not_in_sigma": self._not_in_sigma,
        }

    def lines(self) -> Iterator[str]:
        rule = self._rule
        yield f"{rule.id}  {rule.severity}  {self._state}  {', '.join(rule.techniques)}"
        yield f"  {rule.title}"
        yield f"  {rule.description}"
        for need in self._needs:
            part = "" if need.essential else " to work in full"
            yield f"    needs{part}: {need.kind.name} at level {need.level}: {need.why}"
        if issubclass(self._detector, CloudDetector):
            yield "    needs: the log of a cloud, too: k8stokendetect audit-policy --clouds"
        yield from (f"    false positive: {line}" for line in rule.false_positives)
        yield from (f"    blind spot: {line}" for line in rule.blind_spots)
        yield from (f"    reference: {line}" for line in rule.references)
        yield f"    what to do: {rule.response}"
        yield f"    as Sigma: {self._not_in_sigma or f'k8stokendetect sigma {rule.id}'}"
        yield ""

    @property
    def _needs(self) -> tuple[Need, ...]:
        return () if self._state == "scan-host" else needs_of(self._detector)

    @property
    def _not_in_sigma(self) -> str:
        """Why Sigma cannot express the rule; empty where it can."""
        if self._rule.id in RULES:
            return ""
        if self._state in {"scan-host", "plug-in"}:
            return "only for the built-in rules about audit logs"
        return f"Sigma cannot express it: {self._detector.traits.not_in_sigma}"


class _Exclusion:
    """Everything about one exclusion."""

    def __init__(self, state: str, exclusion: Exclusion) -> None:
        self._state, self._exclusion, self._component = state, exclusion, exclusion.component

    def to_dict(self) -> dict[str, Any]:
        one, entry = self._exclusion, self._component
        return {
            "id": one.id,
            "state": self._state,
            "platforms": sorted(entry.platforms),
            "who": list(entry.actor.username),
            "proofs": list(_proofs(entry)),
            "names": list(entry.names),
            "namespaces": list(entry.namespaces),
            "if_unseen": entry.if_unseen if entry.token else None,
            "because": one.because,
            "hides": one.hides,
            "also_hides": also_hides(one),
            "provenance": [
                {"source": item.source, "note": item.note, "checked": item.checked.isoformat()}
                for item in entry.provenance
            ],
        }

    def lines(self) -> Iterator[str]:
        one, entry = self._exclusion, self._component
        yield f"{one.id}  {self._state}  {', '.join(sorted(entry.platforms)) or 'every platform'}"
        yield from (f"    who: {name}" for name in entry.actor.username)
        yield f"    proofs: {'; '.join(_proofs(entry))}"
        yield f"    for: {', '.join(entry.names)} in {', '.join(entry.namespaces)}"
        if entry.token:
            yield f"    where the body is not logged: {entry.if_unseen}"
        yield f"    because: {one.because}"
        yield f"    hides: {one.hides}"
        yield f"    and with it: {also_hides(one)}"
        for item in entry.provenance:
            yield f"    source: {item.source}{f' ({item.note})' if item.note else ''}, checked {item.checked}"
        yield ""


_FLAGS: Final = (("in_pod", "a token bound to a pod"), ("inside", "no public address"))


def _proofs(entry: Component) -> Iterator[str]:
    actor = entry.actor
    if actor.groups:
        yield f"{'only ' if actor.only_groups else ''}groups {', '.join(actor.groups)}"
    if actor.groups_not_logged:
        yield f"no groups, for {actor.groups_not_logged}"
    if actor.username[0].startswith("system:serviceaccount:"):
        yield "the service account's own groups, and a token as the credential"
    if actor.user_agents:
        yield f"client {', '.join(actor.user_agents)}"
    if actor.credential:
        yield f"credential {actor.credential}, where logged"
    yield from (words for holds, words in _FLAGS if getattr(actor, holds))
    if actor.reason is not None:
        yield "allowed by the Node authorizer, where logged"
    if actor.certificate:
        yield "neither uid nor extra, as with a client certificate"
    if entry.token:
        yield f"asks for a token {_in_words(entry.token)}"


def _in_words(shape: TokenShape) -> str:
    bound = {None: "", "": "unbound"}.get(shape.bound_kind, f"bound to a {shape.bound_kind}")
    audience = "" if shape.audiences is None else f"audience {', '.join(shape.audiences) or 'none'}"
    longest = f"at most {shape.longest} s" if shape.longest is not None else ""
    return ", ".join(part for part in (bound, audience, longest) if part)
