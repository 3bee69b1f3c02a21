# SPDX-License-Identifier: Apache-2.0
"""What the commands `sigma` and `audit-policy` do."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from k8stokendetect.audit_policy import CLOUD_LOGS, AuditPolicy, review
from k8stokendetect.cli.shared import exclusions_of, write
from k8stokendetect.detectors import BUILTIN, OPTIONAL
from k8stokendetect.errors import ConfigError
from k8stokendetect.events import Platform
from k8stokendetect.outputs import cloud_logs
from k8stokendetect.outputs.audit_policy import to_lines, to_text
from k8stokendetect.outputs.sarif import reviews_to_sarif
from k8stokendetect.outputs.text import neutral
from k8stokendetect.sigma import FormName, Target, export, write_for


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
            raise ConfigError(f"{', '.join(given)}: only with --for; Sigma itself has no such name")
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
        ConfigError: when it is not an audit policy.
        click.UsageError: when nothing is asked for.

    """
    if policy is None and not clouds:
        raise click.UsageError("POLICY.yaml is missing; --clouds alone shows what each cloud has to log")
    if clouds and form == "sarif":
        raise click.UsageError("--clouds cannot be written as SARIF, which is about a file")
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
