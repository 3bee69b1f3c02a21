# SPDX-License-Identifier: Apache-2.0
"""What the commands about rules do: `rules` and `exclusions`, `sigma`, and `audit-policy`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import click

from k8stokendetect.audit_policy import CLOUD_LOGS, AuditPolicy, review
from k8stokendetect.cli.shared import exclusions_of, write
from k8stokendetect.commands import BUILTIN_COMMANDS
from k8stokendetect.detectors import BUILTIN, OPTIONAL, Detector
from k8stokendetect.errors import ConfigError
from k8stokendetect.events import Platform
from k8stokendetect.exclusions import DEFAULT_EXCLUSIONS, OPTIONAL_EXCLUSIONS, Component, Exclusion, TokenShape
from k8stokendetect.exclusions.cost import also_hides
from k8stokendetect.outputs import cloud_logs
from k8stokendetect.outputs.audit_policy import to_lines, to_text
from k8stokendetect.outputs.sarif import reviews_to_sarif
from k8stokendetect.outputs.text import neutral
from k8stokendetect.plugins import load_detectors
from k8stokendetect.sigma import FormName, Target, export, write_for


def rules(*, plugins: bool) -> int:
    """Print the rules and return the exit status.

    Raises:
        ConfigError: when a plug-in is broken or clashes.

    """
    click.echo("\n".join(_rules(load_detectors() if plugins else ())))
    return 0


def exclusions() -> int:
    """Print the exclusions and return the exit status."""
    click.echo("\n".join(_exclusions()))
    return 0


def _rules(plugins: Iterable[Detector]) -> Iterator[str]:
    """Yield lines about the rules: what each finds, its false positives, its blind spots."""
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


def _exclusions() -> Iterator[str]:
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
    yield f"    and with it: {also_hides(exclusion)}"
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


def sigma(
    *,
    rules: tuple[str, ...],
    folder: Path | None,
    target: Target | None,
    index: str | None,
    sourcetype: str | None,
    table: str | None,
    platform: Platform | None,
    exclusion_file: str | None,
    enable: tuple[str, ...],
    full: bool,
    strict: bool,
) -> int:
    """Write rules and return the exit status.

    Raises:
        ConfigError: when a name is unknown, Sigma cannot express a rule, an option does not go with another, or a file
            cannot be written.

    """
    chosen = exclusions_of(enable, exclusion_file)
    form: FormName = "strict" if strict else "full" if full else "short"
    places = {"index": index, "sourcetype": sourcetype, "table": table}
    if target is None:
        if given := [f"--{name}" for name, value in places.items() if value is not None]:
            raise ConfigError(f"{', '.join(given)}: only with --for; Sigma itself names no place")
        files, separator = dict(export(rules or None, form=form, exclusions=chosen, platform=platform)), "---\n"
    else:
        written = write_for(target, rules or None, form=form, exclusions=chosen, platform=platform, **places)
        files, separator = written.files, "\n"
        for title, why in written.left_out.items():
            click.echo(f"not written: {title}: {why}", err=True)
    if folder is None:
        click.echo(separator.join(files.values()), nl=False)
        return 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written: {error.strerror}") from None
    for name, text in files.items():
        write(folder / name, text)
    click.echo(f"files written: {len(files)}", err=True)
    return 0


def audit_policy(*, policy: str | None, clouds: bool, form: str) -> int:
    """Print what a policy means for each rule, or what each cloud has to log, and return the exit status.

    Raises:
        ConfigError: when it is no audit policy.
        click.UsageError: when nothing is asked for.

    """
    if policy is None and not clouds:
        raise click.UsageError("POLICY.yaml is missing; --clouds alone shows what each cloud has to log")
    if clouds and form == "sarif":
        raise click.UsageError("--clouds has no form as SARIF, which is about a file")
    status = 0 if policy is None else _judge(policy, form)
    if clouds:
        if policy is not None and form == "text":
            click.echo()
        click.echo("\n".join((cloud_logs.to_lines if form == "json" else cloud_logs.to_text)(CLOUD_LOGS)))
    return status


def _judge(policy: str, form: str) -> int:
    content = sys.stdin.buffer.read() if policy == "-" else None
    loaded = AuditPolicy.load(policy if content is None else content)
    reviews = review(loaded)
    default = {cls.rule.id for cls in BUILTIN}
    if form == "sarif":
        known = {cls.rule.id: cls.rule for cls in (*BUILTIN, *OPTIONAL)}
        text = Path(policy).read_bytes() if content is None else content
        file = policy if content is None else None
        click.echo(reviews_to_sarif(reviews, loaded, known, default=default, file=file, content=text))
    else:
        for line in to_lines(reviews, loaded) if form == "json" else map(neutral, to_text(reviews, loaded)):
            click.echo(line)
    return int(any(found.verdict != "works" for found in reviews if found.rule_id in default))
