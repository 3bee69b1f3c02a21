# SPDX-License-Identifier: Apache-2.0
"""Writes a rule as Sigma YAML: its selections, filters and correlation, and what a comment has to say about them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from typing import Any, Final, Literal, TypeAlias
from uuid import UUID, uuid5

import attrs

from k8stokendetect.convert import yaml
from k8stokendetect.detectors import Detector, TokenRequest
from k8stokendetect.detectors.base import is_excludable
from k8stokendetect.errors import ConfigError, checked_list, did_you_mean
from k8stokendetect.events import Platform, check_platform
from k8stokendetect.exclusions import DEFAULT_EXCLUSIONS, Exclusion, find_exclusion
from k8stokendetect.findings import Rule, Severity
from k8stokendetect.sigma import conventions
from k8stokendetect.sigma.conventions import file_name
from k8stokendetect.sigma.filters import Filter, filters, inexpressible, lookalike
from k8stokendetect.sigma.forms import FORMS, JOINS, NOT_IN_SIGMA
from k8stokendetect.sigma.short import NOT_FOUND, SHORT, both, short_filter, short_lookalike
from k8stokendetect.sigma.short_joins import short_join
from k8stokendetect.sigma.terms import Form, Join, Selection, Terms

FormName: TypeAlias = Literal["short", "full", "strict"]
FORM_NAMES: Final[tuple[FormName, ...]] = ("short", "full", "strict")

NAMESPACE: Final = UUID("8f0d0c1e-6a0f-5b7e-9d55-3f1f3b6c2a41")
"""Every rule's UUID is version 5 of its id in this namespace; it never changes."""

AUTHOR: Final = "k8stokendetect"
LICENSE: Final = "Apache-2.0"
DATE: Final = date(2026, 11, 25)
LOGSOURCE: Final = {"product": "kubernetes", "service": "audit"}

RULES: Final[tuple[str, ...]] = (*(form.detector.rule.id for form in FORMS), *(join.id for join in JOINS))
"""The ids of the rules that Sigma can express; `legacy-token-secret.filled` is the part that takes a correlation."""

_FORMS: Final = {form.detector.rule.id: form for form in FORMS}
_SHORT: Final = {form.detector.rule.id: form for form in SHORT}
_JOINS: Final = {join.id: join for join in JOINS}
_NOT_IN_SIGMA: Final = {detector.rule.id: why for detector, why in NOT_IN_SIGMA.items()}


def rule_id(name: str, /) -> UUID:
    """Return the UUID of a rule, by its id here."""
    return uuid5(NAMESPACE, name)


def rule_for(
    rule: str | Detector | type[Detector],
    /,
    *,
    form: FormName = "short",
    exclusions: Iterable[Exclusion | str] = DEFAULT_EXCLUSIONS,
    platform: Platform | None = None,
) -> str:
    """Write one rule as Sigma YAML; a correlation comes with the two rules it joins, as a stream of documents.

    Arguments:
        rule: a rule's id, or its detector.
        form: `short`: filters ask for a component's name, one proof and the target; every backend converts it.
            `full`: all that Sigma can express. `strict`: full, without filters that lack a proof of their exclusion.
        exclusions: what becomes filters; an optional one by name.
        platform: where the logs come from; exclusions of other platforms are left out.

    Raises:
        ConfigError: when Sigma cannot express this rule, an argument is wrong, or PyYAML is not installed.

    """
    return "---\n".join(text for _, text in _documents(rule, _Options(form, exclusions, platform)))


def export(
    rules: Iterable[str | Detector | type[Detector]] | None = None,
    /,
    *,
    form: FormName = "short",
    exclusions: Iterable[Exclusion | str] = DEFAULT_EXCLUSIONS,
    platform: Platform | None = None,
) -> Iterator[tuple[str, str]]:
    """Yield file names and their YAML, one document a file; arguments and errors as for `rule_for`, without rules all.

    A correlation takes three files: the rules that it joins, and itself.
    """
    for files in documents(rules, form=form, exclusions=exclusions, platform=platform):
        yield from files.items()


def documents(
    rules: Iterable[str | Detector | type[Detector]] | None = None,
    /,
    *,
    form: FormName = "short",
    exclusions: Iterable[Exclusion | str] = DEFAULT_EXCLUSIONS,
    platform: Platform | None = None,
) -> Iterator[dict[str, str]]:
    """Yield for each rule its files by name; arguments and errors as for `export`."""
    options = _Options(form, exclusions, platform)
    for rule in RULES if rules is None else rules:
        yield dict(_documents(rule, options))


class _Options:
    """The form and the exclusions, checked, and which of them apply."""

    def __init__(self, form: FormName, exclusions: Iterable[Exclusion | str], platform: Platform | None) -> None:
        if form not in FORM_NAMES:
            raise ConfigError(f"unknown form {form!r}; there are {', '.join(FORM_NAMES)}")
        self.form = form
        given = [find_exclusion(one) if isinstance(one, str) else one for one in exclusions]
        self.all = checked_list(given, Exclusion, "exclusions takes Exclusions and names of such")
        check_platform(platform)
        self.elsewhere = [one for one in self.all if (on := one.component.platforms) and platform not in on]

    def covering(self, detector: type[Detector], /) -> list[Exclusion]:
        """Return those that apply here and cover a detector's rule."""
        id_, excludable = detector.rule.id, is_excludable(detector)
        return [one for one in self.all if one not in self.elsewhere and one.covers(id_, excludable=excludable)]

    @property
    def expressible(self) -> list[Exclusion]:
        """Those of which this form may leave no proof out."""
        return [one for one in self.all if self.form != "strict" or not inexpressible(one)]


def _documents(rule: str | Detector | type[Detector], options: _Options) -> Iterator[tuple[str, str]]:
    name = rule if isinstance(rule, str) else rule.rule.id
    if name in _NOT_IN_SIGMA:
        raise ConfigError(f"Sigma cannot express {name}: {_NOT_IN_SIGMA[name]}")
    if name not in RULES:
        raise ConfigError(f"unknown rule {name!r}{did_you_mean(name, RULES)}")
    if name in _JOINS:
        yield from _correlation(_JOINS[name] if options.form != "short" else short_join(_JOINS[name]), options)
    else:
        yield file_name(name), _rule((_SHORT if options.form == "short" else _FORMS)[name], options)


def _rule(form: Form, options: _Options) -> str:
    rule, is_short = form.detector.rule, options.form == "short"
    comments = [*_differences(form), *(f"Not here but in {other}: {what}." for other, what in form.left_to.items())]
    if form.lookalikes:
        chosen, condition = short_lookalike(options.all) if is_short else lookalike(options.all, options.expressible)
        condition = f"{form.condition} and {condition if is_short else f'({condition})'}"
        detection: dict[str, Any] = {**form.selections, **chosen, "condition": condition}
    else:
        covering = options.covering(TokenRequest if form.not_found else form.detector)
        detection, more = _detection(form.selections, form.condition, covering, options)
        comments += more
    if form.not_found:
        names = [name for name in detection if name.startswith("filter_") and name not in form.selections]
        detection |= {name: {**detection[name], **NOT_FOUND} for name in names}
        comments.append(_ONLY_404)
    return _document(rule, rule.id, "detection", detection, comments, level=form.level)


_ONLY_404: Final = "Filters take calls out that were answered 404 only: a component's pod or account was just deleted."


def _differences(one: Form | Join) -> Iterator[str]:
    """Yield where the Sigma rule differs from the detector."""
    if isinstance(one, Form):
        yield from (f"Short form: {what}." for what in one.left_out)
    if one.wider:
        yield f"Wider than the detector {one.detector.rule.id}: {one.wider}."
    if one.lost:
        yield f"Sigma cannot express: {one.lost}."


def _detection(
    selections: Mapping[str, Selection], condition: str, covering: Iterable[Exclusion], options: _Options
) -> tuple[dict[str, Any], list[str]]:
    """Return selections, filters and condition, and comments on the filters."""
    write = _short_filters if options.form == "short" else _full_filters
    filtering, unless, comments = write(covering, options)
    if covering and options.elsewhere:
        names = ", ".join(one.id for one in options.elsewhere)
        comments.append(f"No filter for exclusions of other platforms, which an event does not name: {names}.")
    return {**selections, **filtering, "condition": f"{condition}{unless}"}, comments


_SHORT_FILTERS: Final = (
    (
        "Short form: filters ask for a component's name, one proof of it, and the target, of which only the namespace "
        "if it has more than four accounts. They do not ask for the kind of credential, the pod that a token is bound "
        "to, the authorizer's reason, the request's URI or its body. So anyone to whom an authenticator gives "
        "such a name and group, and anyone who holds the component's credential and names its client, mints unseen by "
        "this rule. The full form asks for all of these."
    ),
    (
        "Short form: a group counts wherever its text stands in user.groups, also within the name of another group: so "
        "one condition fits a field of several values and a list as text."
    ),
    "Short form: where user.groups or userAgent is missing, SQL and ES|QL do not report a caller with such a name.",
)


def _short_filters(covering: Iterable[Exclusion], _: _Options) -> tuple[dict[str, Selection], str, list[str]]:
    found: dict[str, Terms] = {}
    comments: list[str] = []
    for one in covering:
        chosen = short_filter(one, conventions.kind(one))
        if chosen is None:
            comments.append(f"No filter for {one.id}: in the short form its name would be the only proof.")
            continue
        name, terms = chosen
        merged = both(found[name], terms) if name in found else terms
        if name in found and merged:
            comments.append(f"The filter {name} also fits a mint by {one.id} for the others, or by them for its own.")
        found[name if merged else f"{name}_{one.id.replace('-', '_')}"] = merged or terms
        if lacking := " and ".join(inexpressible(one)):
            comments.append(f"The filter for {one.id} is wider than the exclusion: it does not check {lacking}.")
    kinds = [kind for kind in ("main", "optional") if any(name.startswith(f"filter_{kind}_") for name in found)]
    unless = "".join(f" and not 1 of filter_{kind}_*" for kind in kinds)
    return dict(found), unless, [*_SHORT_FILTERS, *comments] if found else comments


_FULL_FILTERS: Final = (
    "Filters ignore case, since most backends cannot do otherwise.",
    "They ask whether a field exists, since with a missing one SQL and ES|QL answer neither yes nor no.",
)


def _full_filters(covering: Iterable[Exclusion], options: _Options) -> tuple[dict[str, Selection], str, list[str]]:
    found: list[Filter] = []
    comments: list[str] = []
    for one in covering:
        lacking = " and ".join(inexpressible(one))
        if lacking and options.form == "strict":
            comments.append(f"No filter for {one.id}: Sigma cannot express {lacking}. So it is reported.")
            continue
        if lacking:
            comments.append(f"The filter for {one.id} is wider than the exclusion: it does not check {lacking}.")
        found += filters(one, conventions.kind(one))
    if not found:
        return {}, "", comments
    selections = {name: what for one in found for name, what in one.selections.items()}
    unless = f" and not ({' or '.join(one.condition for one in found)})"
    return selections, unless, [*comments, *_FULL_FILTERS]


_ONE_VALUE: Final = (
    "user.extra holds lists: where the log's fields keep them as JSON text, take the first element before joining."
)


def _correlation(join: Join, options: _Options) -> Iterator[tuple[str, str]]:
    rule, within = join.detector.rule, join.within
    keys = [f"{join.id}.{part.name}" for part in join.parts]
    names = [key.replace("-", "_").replace(".", "_") for key in keys]
    for part, key, name in zip(join.parts, keys, names, strict=True):
        covering = options.covering(part.excluded_as) if part.excluded_as else []
        detection, comments = _detection(part.selections, part.condition, covering, options)
        about = Rule(key, part.title, Severity.INFORMATIONAL, "Used only by the correlation that refers to it.")
        yield file_name(key), _document(about, key, "detection", detection, comments, level="Metadata", name=name)
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
    text = _document(named, join.id, "correlation", correlation, comments)
    yield file_name(join.id, is_correlation=True), text


def _document(
    rule: Rule, key: str, section: str, content: dict[str, Any], comments: list[str], *, level: str = "", **more: Any
) -> str:
    """Write a document; the comments stand above its section, `detection` or `correlation`."""
    links, tags = conventions.references(rule), conventions.tags(rule)
    source = LOGSOURCE | {"definition": conventions.requirements(level)}
    document = {
        "title": conventions.title(rule.title),
        "id": str(rule_id(key)),
        **more,
        "status": "experimental",
        "description": yaml.paragraph(conventions.description(rule, key)),
        **({"references": links} if links else {}),
        "author": AUTHOR,
        "date": DATE,
        "license": LICENSE,
        **({"tags": tags} if tags else {}),
        **({"logsource": source} if section == "detection" else {}),
        section: content,
        "falsepositives": conventions.false_positives(rule),
        "level": str(rule.severity),
    }
    return yaml.write(document, comments={section: comments}, indent=4)
