# SPDX-License-Identifier: Apache-2.0
"""The rules as Sigma YAML, written from the detectors' and the exclusions' own data.

Sigma can express less than Python: what it cannot becomes a comment in the YAML, and such a rule reports too much
rather than too little. Field names are those of the audit event, as in SigmaHQ's rules for `product: kubernetes`.
Specification: github.com/SigmaHQ/sigma-specification, rules 2.1.0, correlations 2.0.0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from typing import Any, Final
from uuid import UUID, uuid5

import attrs

from k8stokendetect.convert import yaml
from k8stokendetect.detectors import Detector
from k8stokendetect.detectors.base import is_excludable
from k8stokendetect.errors import ConfigError, checked_list, did_you_mean
from k8stokendetect.events import Platform, check_platform
from k8stokendetect.exclusions import DEFAULT_EXCLUSIONS, Exclusion, find_exclusion
from k8stokendetect.findings import Rule, Severity
from k8stokendetect.sigma.filters import Filter, filters, inexpressible, lookalike
from k8stokendetect.sigma.forms import FORMS, JOINS, NOT_IN_SIGMA
from k8stokendetect.sigma.terms import Form, Join, Selection

NAMESPACE: Final = UUID("8f0d0c1e-6a0f-5b7e-9d55-3f1f3b6c2a41")
"""Every rule's UUID is version 5 of its id in this namespace; it never changes."""

AUTHOR: Final = "k8stokendetect"
DATE: Final = date(2026, 11, 25)
LOGSOURCE: Final = {"product": "kubernetes", "service": "audit"}

RULES: Final[tuple[str, ...]] = (*(form.detector.rule.id for form in FORMS), *(join.id for join in JOINS))
"""The ids of the rules that Sigma can express; `legacy-token-secret.filled` is the part that takes a correlation."""

_FORMS: Final = {form.detector.rule.id: form for form in FORMS}
_JOINS: Final = {join.id: join for join in JOINS}
_NOT_IN_SIGMA: Final = {detector.rule.id: why for detector, why in NOT_IN_SIGMA.items()}


def rule_id(name: str, /) -> UUID:
    """Return the UUID of a rule, by its id here."""
    return uuid5(NAMESPACE, name)


def rule_for(
    rule: str | Detector | type[Detector],
    /,
    *,
    exclusions: Iterable[Exclusion | str] = DEFAULT_EXCLUSIONS,
    platform: Platform | None = None,
    weaker: Iterable[str] = (),
) -> str:
    """Write one rule as Sigma YAML; a correlation comes with the two rules it joins.

    Arguments:
        rule: a rule's id, or its detector.
        exclusions: what becomes filters; an optional one by name.
        platform: where the logs come from; exclusions of other platforms are left out.
        weaker: ids of exclusions whose filter is wanted although Sigma cannot express all of its proofs; a comment
            says which are missing. Such a filter hides more than its exclusion.

    Raises:
        ConfigError: when Sigma cannot express this rule, an argument is wrong, or PyYAML is not installed.

    """
    name = rule if isinstance(rule, str) else rule.rule.id
    given = _Exclusions(exclusions, platform, weaker)
    if name in _NOT_IN_SIGMA:
        raise ConfigError(f"Sigma cannot express {name}: {_NOT_IN_SIGMA[name]}")
    if name not in RULES:
        raise ConfigError(f"unknown rule {name!r}{did_you_mean(name, RULES)}")
    return _rule(_FORMS[name], given) if name in _FORMS else "---\n".join(_correlation(_JOINS[name], given))


def export(
    rules: Iterable[str | Detector | type[Detector]] | None = None,
    /,
    *,
    exclusions: Iterable[Exclusion | str] = DEFAULT_EXCLUSIONS,
    platform: Platform | None = None,
    weaker: Iterable[str] = (),
) -> Iterator[tuple[str, str]]:
    """Yield a file name and its YAML for each rule; arguments and errors as for `rule_for`, without rules all."""
    kept, accepted = tuple(exclusions), tuple(weaker)
    for rule in RULES if rules is None else rules:
        name = rule if isinstance(rule, str) else rule.rule.id
        yield file_name(name), rule_for(name, exclusions=kept, platform=platform, weaker=accepted)


def file_name(rule: str, /) -> str:
    """Return the name of a rule's file, as SigmaHQ has them."""
    return f"kubernetes_audit_{rule.replace('-', '_').replace('.', '_')}.yml"


class _Exclusions:
    """The exclusions, checked, and which of them apply."""

    def __init__(self, exclusions: Iterable[Exclusion | str], platform: Platform | None, weaker: Iterable[str]) -> None:
        given = [find_exclusion(one) if isinstance(one, str) else one for one in exclusions]
        self.all = checked_list(given, Exclusion, "exclusions takes Exclusions and names of such")
        check_platform(platform)
        self.weaker = frozenset(weaker)
        if unknown := sorted(self.weaker - {one.id for one in self.all}):
            raise ConfigError(f"weaker: {unknown[0]!r} is not one of the exclusions")
        self.elsewhere = [one for one in self.all if (on := one.component.platforms) and platform not in on]

    def covering(self, detector: type[Detector], /) -> list[Exclusion]:
        """Return those that apply here and cover a detector's rule."""
        id_, excludable = detector.rule.id, is_excludable(detector)
        return [one for one in self.all if one not in self.elsewhere and one.covers(id_, excludable=excludable)]


def _rule(form: Form, exclusions: _Exclusions) -> str:
    rule = form.detector.rule
    comments = [f"Needs the audit level {form.level}."] * (form.level != "Metadata")
    comments += [*_differences(form), *(f"Not here but in {other}: {what}." for other, what in form.left_to.items())]
    if form.lookalikes:
        selections, condition = lookalike(exclusions.all, exclusions.weaker)
        detection = {**form.selections, **selections, "condition": f"{form.condition} and ({condition})"}
    else:
        detection, more = _detection(form.selections, form.condition, exclusions.covering(form.detector), exclusions)
        comments += more
    return _document(rule, rule.id, "detection", detection, comments)


def _differences(one: Form | Join) -> Iterator[str]:
    """Yield where the Sigma rule differs from the detector."""
    if one.wider:
        yield f"Wider than the detector {one.detector.rule.id}: {one.wider}."
    if one.lost:
        yield f"Sigma cannot express: {one.lost}."


def _detection(
    selections: Mapping[str, Selection], condition: str, covering: Iterable[Exclusion], exclusions: _Exclusions
) -> tuple[dict[str, Any], list[str]]:
    """Return selections, filters and condition, and comments on the filters."""
    found: list[Filter] = []
    comments: list[str] = []
    for one in covering:
        lacking = " and ".join(inexpressible(one))
        if lacking and one.id not in exclusions.weaker:
            comments.append(f"No filter for {one.id}: Sigma cannot express {lacking}. So it is reported.")
            continue
        if lacking:
            comments.append(f"The filter for {one.id} is weaker than the exclusion: it does not check {lacking}.")
        found += filters(one)
    if found:
        comments += _ABOUT_FILTERS
        condition = f"{condition} and not ({' or '.join(one.condition for one in found)})"
    if covering and exclusions.elsewhere:
        names = ", ".join(one.id for one in exclusions.elsewhere)
        comments.append(f"No filter for exclusions of other platforms, which an event does not name: {names}.")
    filtering = {name: what for one in found for name, what in one.selections.items()}
    return {**selections, **filtering, "condition": condition}, comments


_ABOUT_FILTERS: Final = (
    "Filters ignore case, since most backends cannot do otherwise.",
    "They ask whether a field exists, since with a missing one SQL and ES|QL answer neither yes nor no.",
)
_ONE_VALUE: Final = (
    "user.extra holds lists: where the log's fields keep them as JSON text, take the first element before joining."
)


def _correlation(join: Join, exclusions: _Exclusions) -> Iterator[str]:
    rule, within = join.detector.rule, join.within
    keys = [f"{join.id}.{part.name}" for part in join.parts]
    names = [key.replace("-", "_").replace(".", "_") for key in keys]
    for part, key, name in zip(join.parts, keys, names, strict=True):
        covering = exclusions.covering(part.excluded_as) if part.excluded_as else []
        detection, comments = _detection(part.selections, part.condition, covering, exclusions)
        about = Rule(key, part.title, Severity.INFORMATIONAL, "Of use only in the correlation that names it.")
        yield _document(about, key, "detection", detection, comments, name=name)
    correlation: dict[str, Any] = {
        "type": "temporal",
        "rules": names,
        "group-by": list(join.aliases or join.parts[0].key),
        "timespan": f"{within.days}d" if within.days else f"{within.seconds}s",
    }
    if join.aliases:
        fields = zip(join.aliases, zip(*(part.key for part in join.parts), strict=True), strict=True)
        correlation["aliases"] = {alias: dict(zip(names, pair, strict=True)) for alias, pair in fields}
    comments = [*_differences(join)]
    comments += [_ONE_VALUE] * any(field.startswith("user.extra") for part in join.parts for field in part.key)
    named = attrs.evolve(rule, title=f"{rule.title}{join.part[1]}")
    yield _document(named, join.id, "correlation", correlation, comments)


def _document(rule: Rule, key: str, section: str, content: dict[str, Any], comments: list[str], **more: Any) -> str:
    """Write a document; the comments stand above its section, `detection` or `correlation`."""
    tags = [f"attack.{tag.lower()}" for tag in (*rule.tactics, *rule.techniques)]
    positives = [text[:1].upper() + text[1:] for text in rule.false_positives]
    document = {
        "title": rule.title,
        "id": str(rule_id(key)),
        **more,
        "status": "experimental",
        "description": yaml.paragraph(rule.description or rule.title),
        **({"references": list(rule.references)} if rule.references else {}),
        "author": AUTHOR,
        "date": DATE,
        **({"tags": tags} if tags else {}),
        **({"logsource": LOGSOURCE} if section == "detection" else {}),
        section: content,
        "falsepositives": positives or ["None known"],
        "level": str(rule.severity),
    }
    return yaml.write(document, comments={section: comments})
