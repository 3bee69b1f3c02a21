# SPDX-License-Identifier: Apache-2.0
"""What `k8stokendetect rules` and `exclusions` print."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import click

from k8stokendetect.commands import BUILTIN_COMMANDS
from k8stokendetect.detectors import BUILTIN, OPTIONAL, Detector
from k8stokendetect.exclusions import DEFAULT_EXCLUSIONS, OPTIONAL_EXCLUSIONS, Component, Exclusion
from k8stokendetect.plugins import load_detectors


def run(*, what: str, plugins: bool = False) -> int:
    """Print the rules or the exclusions and return the exit status.

    Raises:
        ConfigError: when a plug-in is broken or clashes.

    """
    lines = describe_rules(load_detectors() if plugins else ()) if what == "rules" else describe_exclusions()
    click.echo("\n".join(lines))
    return 0


def describe_rules(plugins: Iterable[Detector] = ()) -> Iterator[str]:
    """Yield lines about the rules: what each finds, its false positives, its blind spots.

    Arguments:
        plugins: detectors of other distributions, listed behind the built-in ones.

    """
    for state, detectors in (("on", BUILTIN), ("off", OPTIONAL), ("scan-host", BUILTIN_COMMANDS), ("plug-in", plugins)):
        for detector in detectors:
            rule = detector.rule
            yield f"{rule.id}  {rule.severity}  {state}  {', '.join(rule.techniques)}"
            yield f"  {rule.title}"
            yield f"  {rule.description}"
            yield from (f"    false positive: {line}" for line in rule.false_positives)
            yield from (f"    blind spot: {line}" for line in rule.blind_spots)
            yield from (f"    reference: {line}" for line in rule.references)
            yield f"    what to do: {rule.response}"
            yield ""


def describe_exclusions() -> Iterator[str]:
    """Yield lines about the exclusions: who each excludes, on which proofs, why, at what cost, and how we know."""
    for state, entries in (("on", DEFAULT_EXCLUSIONS), ("off", OPTIONAL_EXCLUSIONS)):
        for entry in entries:
            yield from _describe(entry, state)


def _describe(exclusion: Exclusion, state: str) -> Iterator[str]:
    entry = exclusion.component
    yield f"{exclusion.id}  {state}  {', '.join(sorted(entry.platforms)) or 'every platform'}"
    for name in entry.actor.username:
        yield f"    who: {name}"
    yield f"    proofs: {'; '.join(_proofs(entry))}"
    yield f"    for: {', '.join(entry.names)} in {', '.join(entry.namespaces)}"
    if entry.token:
        yield f"    where the body is not logged: {entry.if_unseen}"
    yield f"    because: {exclusion.because}"
    yield f"    hides: {exclusion.hides}"
    for item in entry.provenance:
        yield f"    source: {item.source}{f' ({item.note})' if item.note else ''}, checked {item.checked}"
    yield ""


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
    if actor.in_pod:
        yield "a token bound to a pod"
    if actor.reason is not None:
        yield "allowed by the Node authorizer, where logged"
    if actor.certificate:
        yield "neither uid nor extra, as with a client certificate"
    if entry.token:
        shape = entry.token
        bound = {None: "", "": "unbound"}.get(shape.bound_kind, f"bound to a {shape.bound_kind}")
        audience = "" if shape.audiences is None else f"audience {', '.join(shape.audiences) or 'none'}"
        longest = f"at most {shape.longest} s" if shape.longest is not None else ""
        yield f"asks for a token {', '.join(part for part in (bound, audience, longest) if part)}"
