# SPDX-License-Identifier: Apache-2.0
"""What `k8stokendetect audit-policy` does: says which rules can work with the log that an audit policy gives."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator

import click

from k8stokendetect.audit_policy import AuditPolicy, Change, hints, merged, review
from k8stokendetect.detectors import BUILTIN
from k8stokendetect.outputs.text import neutral


def run(*, policy: str) -> int:
    """Print what a policy means for each rule and return the exit status.

    Raises:
        ConfigError: when it is no audit policy.

    """
    loaded = AuditPolicy.load(sys.stdin.buffer.read() if policy == "-" else policy)
    for line in described(loaded):
        click.echo(neutral(line))
    default = {cls.rule.id for cls in BUILTIN}
    return int(any(found.verdict != "works" for found in review(loaded) if found.rule_id in default))


def described(policy: AuditPolicy, /) -> Iterator[str]:
    """Yield lines about a policy: each rule's verdict, what is not seen, what is amiss, what to change."""
    reviews = review(policy)
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
    for hint in hints(policy):
        yield ""
        yield f"warning: {hint}"
    yield from _changes(merged(change for found in reviews for change in found.changes))


def _changes(changes: tuple[Change, ...]) -> Iterator[str]:
    for stage in sorted({stage for change in changes for stage in change.keep_stages}):
        yield ""
        yield f"to change: take {stage} out of the policy's own omitStages"
    for before, together in itertools.groupby(changes, key=lambda change: change.before):
        yield ""
        yield f"to change: add before rules[{before}], or at the end where there is none"
        for change in together:
            yield from change.to_yaml().splitlines()
