# SPDX-License-Identifier: Apache-2.0
"""The command `k8stokendetect audit-policy`: which rules can work with the log that an audit policy gives."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from k8stokendetect.cli.shared import say
from k8stokendetect.errors import ConfigError

if TYPE_CHECKING:
    from k8stokendetect.audit_policy import AuditPolicy, Change


@click.command("audit-policy")
@click.argument("policy", metavar="POLICY.yaml")
def audit_policy(policy: str) -> None:
    """Tell which rules can work with the log that an audit policy gives, whom they do not see, and what to change.

    POLICY.yaml is what the API server has as --audit-policy-file; - is standard input.

    Exits with 0 when every rule that is on by default works, 1 when one does not or works in part only, and 2 when the
    file is no audit policy.
    """
    from k8stokendetect import audit_policy as library  # noqa: PLC0415 - not for --help
    from k8stokendetect.detectors import BUILTIN  # noqa: PLC0415 - not for --help
    from k8stokendetect.outputs.text import neutral  # noqa: PLC0415 - not for --help

    try:
        loaded = library.AuditPolicy.load(sys.stdin.buffer.read() if policy == "-" else policy)
    except ConfigError as error:
        say(error)
        sys.exit(2)
    for line in described(loaded):
        click.echo(neutral(line))
    default = {cls.rule.id for cls in BUILTIN}
    reviews = library.review(loaded)
    sys.exit(int(any(found.verdict != "works" for found in reviews if found.rule_id in default)))


def described(policy: AuditPolicy, /) -> Iterator[str]:
    """Yield lines about a policy: each rule's verdict, what is not seen, what is amiss, what to change."""
    from k8stokendetect import audit_policy as library  # noqa: PLC0415 - not for --help

    reviews = library.review(policy)
    width = max(len(found.rule_id) for found in reviews)
    for found in reviews:
        yield f"{found.rule_id:{width}}  {found.verdict}"
        yield from (f"    {why}" for why in found.why)
    unseen: dict[str, list[str]] = {}
    for found in reviews:
        for item in found.unseen:
            unseen.setdefault(str(item), []).append(found.rule_id)
    if unseen:
        yield ""
        yield "not seen, or without what is needed:"
        for text, rules in unseen.items():
            yield f"  {text}"
            yield f"    for {', '.join(rules)}"
    for hint in library.hints(policy):
        yield ""
        yield f"warning: {hint}"
    yield from _changes(library.merged(change for found in reviews for change in found.changes))


def _changes(changes: tuple[Change, ...]) -> Iterator[str]:
    for stage in sorted({stage for change in changes for stage in change.keep_stages}):
        yield ""
        yield f"to change: take {stage} out of the policy's own omitStages"
    for before, together in itertools.groupby(changes, key=lambda change: change.before):
        yield ""
        yield f"to change: add before rules[{before}], or at the end where there is none"
        for change in together:
            yield from change.to_yaml().splitlines()
