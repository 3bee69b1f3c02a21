# SPDX-License-Identifier: Apache-2.0
"""What an audit policy means for each rule, as text or as JSON lines."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from k8stokendetect.audit_policy import AuditPolicy, Change, Review, Unseen, hints, merged
from k8stokendetect.outputs.size import one_line


def to_text(reviews: Sequence[Review], policy: AuditPolicy, /) -> Iterator[str]:
    """Yield lines about a policy: each rule's verdict, what is not seen, what is wrong, what to change."""
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
        yield "not seen, or not in enough detail:"
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
        yield f"to change: add before rules[{before}], or at the end if there is no such rule"
        for change in together:
            yield from change.to_yaml().splitlines()


def to_lines(reviews: Sequence[Review], policy: AuditPolicy, /) -> Iterator[str]:
    """Yield a line of JSON for each rule, then one for each warning; in printable ASCII, without the line end."""
    for found in reviews:
        yield one_line(
            {
                "rule_id": found.rule_id,
                "verdict": found.verdict,
                "why": list(found.why),
                "unseen": list(map(_unseen, found.unseen)),
                "changes": list(map(_change, found.changes)),
            }
        )
    places = [found.path for found in policy.ignored]  # the first hints are about these
    for hint, path in itertools.zip_longest(hints(policy), places):
        yield one_line({"warning": hint, "ignored": path})


def _unseen(one: Unseen) -> dict[str, object]:
    return {
        "who": one.who,
        "what": list(one.what),
        "where": one.where,
        "level": str(one.level),
        "policy_rule": one.rule,
    }


def _change(one: Change) -> dict[str, object]:
    return {"before": one.before, "keep_stages": list(one.keep_stages), "yaml": one.to_yaml()}
