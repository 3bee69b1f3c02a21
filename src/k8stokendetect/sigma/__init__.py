# SPDX-License-Identifier: Apache-2.0
"""The rules as Sigma YAML, written from the detectors' and the exclusions' own data.

Sigma says less than Python: what it cannot say stands as a comment in the YAML, and such a rule reports too much rather
than too little. Field names are those of the audit event, as in SigmaHQ's rules for `product: kubernetes`.
Specification: github.com/SigmaHQ/sigma-specification, rules 2.1.0, correlations 2.0.0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import date, timedelta
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
from k8stokendetect.sigma.filters import Filter, filters, unsaid
from k8stokendetect.sigma.form import Form, Join, Part
from k8stokendetect.sigma.forms import FORMS, UNSAYABLE
from k8stokendetect.sigma.joins import JOINS
from k8stokendetect.sigma.lookalike import lookalike
from k8stokendetect.sigma.terms import Selection

NAMESPACE: Final = UUID("8f0d0c1e-6a0f-5b7e-9d55-3f1f3b6c2a41")
"""Every rule's UUID is version 5 of its id in this namespace; it never changes."""

AUTHOR: Final = "k8stokendetect"
DATE: Final = date(2026, 11, 25)
LOGSOURCE: Final = {"product": "kubernetes", "service": "audit"}

RULES: Final[tuple[str, ...]] = (*(form.detector.rule.id for form in FORMS), *(join.id for join in JOINS))
"""The ids of the rules that Sigma can say; `legacy-token-secret.filled` is the part that only a correlation can say."""

_FORMS: Final = {form.detector.rule.id: form for form in FORMS}
_JOINS: Final = {join.id: join for join in JOINS}
_UNSAYABLE: Final = {detector.rule.id: why for detector, why in UNSAYABLE.items()}


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
    """Write one rule as Sigma YAML; a correlation comes with the two rules that it joins.

    Arguments:
        rule: a rule's id, or its detector.
        exclusions: what becomes filters; an optional one by name.
        platform: where the logs come from: exclusions of other platforms are left out, without it all of platforms.
        weaker: ids of exclusions whose filter is wanted though Sigma cannot say all its proofs; a comment says which
            are missing. It hides what the exclusion would not.

    Raises:
        ConfigError: when Sigma cannot say this rule, an argument is wrong, or PyYAML is not installed.

    """
    name = rule if isinstance(rule, str) else rule.rule.id
    chosen = _Chosen(exclusions, platform, weaker)
    if name in _UNSAYABLE:
        raise ConfigError(f"Sigma cannot say {name}: {_UNSAYABLE[name]}")
    if name not in RULES:
        raise ConfigError(f"unknown rule {name!r}{did_you_mean(name, RULES)}")
    return _document(_FORMS[name], chosen) if name in _FORMS else "---\n".join(_joined(_JOINS[name], chosen))


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


class _Chosen:
    """The exclusions, checked, and which of them apply."""

    def __init__(self, exclusions: Iterable[Exclusion | str], platform: Platform | None, weaker: Iterable[str]) -> None:
        given = [find_exclusion(one) if isinstance(one, str) else one for one in exclusions]
        checked_list(given, Exclusion, "exclusions takes Exclusions and names of such")
        check_platform(platform)
        self.weaker = frozenset(weaker)
        if unknown := sorted(self.weaker - {one.id for one in given}):
            raise ConfigError(f"weaker: {unknown[0]!r} is not one of the exclusions")
        self.platform = platform
        self.here = [one for one in given if not (on := one.component.platforms) or platform in on]
        self.elsewhere = [one for one in given if (on := one.component.platforms) and platform not in on]
        self.given = given

    def of(self, form: Form) -> list[Exclusion]:
        """Return those that cover a form's rule."""
        excludable = is_excludable(form.detector)
        return [one for one in self.here if one.covers(form.detector.rule.id, excludable=excludable)]


def _document(form: Form, chosen: _Chosen) -> str:
    rule = form.detector.rule
    comments = [f"Needs the audit level {form.level}."] * (form.level != "Metadata")
    comments += [f"Wider than the detector {rule.id}: {form.wider}."] * bool(form.wider)
    comments += [f"Not here but in {other}: {what}." for other, what in form.left_to.items()]
    comments += [f"Not said in Sigma: {form.lost}."] * bool(form.lost)
    if form.lookalikes:
        selections, condition = lookalike(chosen.given, chosen.weaker)
        detection = {**form.selections, **selections, "condition": f"{form.condition} and ({condition})"}
    else:
        detection, more = _detection(form.selections, form.condition, chosen.of(form), chosen)
        comments += more
    return yaml.write(
        _head(rule, rule.id) | {"logsource": LOGSOURCE, "detection": detection} | _tail(rule),
        comments={"detection": comments},
    )


def _detection(
    selections: Mapping[str, Selection], condition: str, excusing: Iterable[Exclusion], chosen: _Chosen
) -> tuple[dict[str, Any], list[str]]:
    """Return selections, filters and condition, and what to say about the filters."""
    said: list[Filter] = []
    comments: list[str] = []
    for one in excusing:
        lacking = " and ".join(unsaid(one))
        if lacking and one.id not in chosen.weaker:
            comments.append(f"No filter for {one.id}: Sigma cannot say {lacking}. So it is reported.")
            continue
        if lacking:
            comments.append(f"The filter for {one.id} is weaker than the exclusion: it does not say {lacking}.")
        said += filters(one)
    if said:
        comments += _ABOUT_FILTERS
        condition = f"{condition} and not ({' or '.join(one.condition for one in said)})"
    if excusing and chosen.elsewhere:
        names = ", ".join(one.id for one in chosen.elsewhere)
        comments.append(f"No filter for exclusions of other platforms, which an event does not name: {names}.")
    filtering = {name: what for one in said for name, what in one.selections.items()}
    return {**selections, **filtering, "condition": condition}, comments


_ABOUT_FILTERS: Final = (
    "Filters compare without regard to case, since most backends cannot do otherwise.",
    "They ask whether a field exists, since a missing one makes SQL and ES|QL answer neither yes nor no.",
)


def _joined(join: Join, chosen: _Chosen) -> Iterator[str]:
    rule = join.detector.rule
    keys = [f"{join.id}.{part.name}" for part in join.parts]
    names = [key.replace("-", "_").replace(".", "_") for key in keys]
    for part, key, name in zip(join.parts, keys, names, strict=True):
        yield _part(part, name, key, chosen)
    correlation: dict[str, Any] = {"type": "temporal", "rules": names}
    correlation |= {"group-by": list(join.aliases or join.parts[0].key), "timespan": _timespan(join.within)}
    if join.aliases:
        fields = zip(join.aliases, zip(*(part.key for part in join.parts), strict=True), strict=True)
        correlation["aliases"] = {alias: dict(zip(names, pair, strict=True)) for alias, pair in fields}
    comments = [f"Wider than the detector {rule.id}: {join.wider}."] * bool(join.wider)
    comments += [f"Not said in Sigma: {join.lost}."] * bool(join.lost)
    if any(field.startswith("user.extra") for part in join.parts for field in part.key):
        comments.append(_ONE_VALUE)
    named = attrs.evolve(rule, title=f"{rule.title}{join.part[1]}")
    yield yaml.write(
        _head(named, join.id) | {"correlation": correlation} | _tail(rule),
        comments={"correlation": comments},
    )


def _part(part: Part, name: str, key: str, chosen: _Chosen) -> str:
    excusing = chosen.of(_FORMS[part.excused_as.rule.id]) if part.excused_as else []
    detection, comments = _detection(part.selections, part.condition, excusing, chosen)
    rule = Rule(key, part.title, Severity.INFORMATIONAL, "Of use only in the correlation that names it.")
    return yaml.write(
        _head(rule, key, name=name) | {"logsource": LOGSOURCE, "detection": detection} | _tail(rule),
        comments={"detection": comments},
    )


def _timespan(length: timedelta) -> str:
    return f"{length.days}d" if length.days else f"{length.seconds}s"


_ONE_VALUE: Final = (
    "user.extra holds lists: where the log's fields keep them as JSON text, take the first element before joining."
)


def _head(rule: Rule, key: str, **more: Any) -> dict[str, Any]:
    head: dict[str, Any] = {"title": rule.title, "id": str(rule_id(key)), **more, "status": "experimental"}
    head["description"] = yaml.paragraph(rule.description or rule.title)
    if rule.references:
        head["references"] = list(rule.references)
    head |= {"author": AUTHOR, "date": DATE}
    tags = [f"attack.{tag.lower()}" for tag in (*rule.tactics, *rule.techniques)]
    return head | ({"tags": tags} if tags else {})


def _tail(rule: Rule) -> dict[str, Any]:
    found = [text[:1].upper() + text[1:] for text in rule.false_positives]
    return {"falsepositives": found or ["None known"], "level": str(rule.severity)}
