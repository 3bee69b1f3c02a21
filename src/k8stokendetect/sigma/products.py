# SPDX-License-Identifier: Apache-2.0
"""The rules as files that products import: Kibana's NDJSON, an app for Splunk, Sentinel's analytics rules."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, TypeAlias

import attrs

from k8stokendetect.convert import yaml
from k8stokendetect.detectors import Detector
from k8stokendetect.errors import ConfigError
from k8stokendetect.events import Platform
from k8stokendetect.exclusions import DEFAULT_EXCLUSIONS, Exclusion
from k8stokendetect.reprs import with_short_repr
from k8stokendetect.sigma import elastic, sentinel, splunk
from k8stokendetect.sigma.pipelines import fields_of, pipeline
from k8stokendetect.sigma.write import FormName, documents

Target: TypeAlias = Literal["elastic", "splunk", "sentinel"]
TARGETS: Final[tuple[Target, ...]] = ("elastic", "splunk", "sentinel")

_NO_IMPERSONATION: Final = "AKSAudit has no column for impersonatedUser"
_NO_JOINS: Final = "a Lucene query looks at one document, so it cannot join two"

_TAKES: Final[Mapping[str, tuple[Target, ...]]] = {
    "index": ("elastic", "splunk"),
    "sourcetype": ("splunk",),
    "table": ("sentinel",),
}
_PLACE: Final = re.compile(r"[\w.:*@+-]+(,[\w.:*@+-]+)*")
"""Names and patterns of indexes, source types and tables: nothing that ends a quoted text or begins a command."""


@with_short_repr
@attrs.frozen
class Written:
    """What was written for a product.

    Arguments:
        files: their texts by name.
        left_out: why a rule is not in them, by its title.

    """

    files: dict[str, str]
    left_out: dict[str, str]


def write_for(
    target: Target,
    rules: Iterable[str | Detector | type[Detector]] | None = None,
    /,
    *,
    form: FormName = "short",
    exclusions: Iterable[Exclusion | str] = DEFAULT_EXCLUSIONS,
    platform: Platform | None = None,
    index: str | None = None,
    sourcetype: str | None = None,
    table: str | None = None,
) -> Written:
    """Write rules as files that a product imports, with the product's names of the fields.

    Arguments:
        target: `elastic`, for what Elastic's Kubernetes integration indexes; `splunk`; `sentinel`, for AKSAudit.
        rules: ids or detectors; None for all.
        form: as for `rule_for`.
        exclusions: as for `rule_for`.
        platform: as for `rule_for`; for Sentinel it is AKS unless you say otherwise.
        index: Elastic's index pattern, or several with commas between them; Splunk's index.
        sourcetype: Splunk's source type.
        table: Sentinel's table, with the columns of AKSAudit, such as AKSAuditAdmin.

    Raises:
        ConfigError: for an unknown target, for what `rule_for` refuses, for a place that the target does not have or
            that is none, or when pySigma or PyYAML is not installed.

    """
    if target not in TARGETS:
        raise ConfigError(f"unknown product {target!r}; there are {', '.join(TARGETS)}")
    _check(target, {"index": index, "sourcetype": sourcetype, "table": table})
    where: Platform | None = "aks" if target == "sentinel" and platform is None else platform
    chosen, left_out = [], {}
    for files in documents(rules, form=form, exclusions=exclusions, platform=where):
        rule = [found for text in files.values() for found in yaml.read_documents(text.encode())]
        why = _cannot(target, rule[-1])
        query = "" if why else _query(target, rule, table or sentinel.TABLE)
        if target == "sentinel" and len(query) > sentinel.MOST_CHARACTERS:
            why = f"its query has {len(query):,} characters, and Sentinel takes {sentinel.MOST_CHARACTERS:,}"
        if why:
            left_out[rule[-1]["title"]] = why
        else:
            chosen.append((rule[-1], query))
    if target == "elastic":
        found = elastic.files(chosen, (index or elastic.INDEX).split(","))
    elif target == "splunk":
        found = splunk.files(chosen, index or "", sourcetype or splunk.SOURCETYPE)
    else:
        found = sentinel.files(chosen, table or sentinel.TABLE)
    return Written(dict(found), left_out)


def _check(target: Target, places: Mapping[str, str | None]) -> None:
    for name, value in places.items():
        if value is None:
            continue
        if target not in _TAKES[name]:
            raise ConfigError(f"{target} has no {name}; that is for {' and '.join(_TAKES[name])}")
        if not _PLACE.fullmatch(value) or ("," in value and target != "elastic"):
            raise ConfigError(f"{name} {value!r} is not a name: use only letters, digits and . : * @ + - _")


def _cannot(target: Target, document: dict[str, Any]) -> str:
    if "correlation" in document:
        return _NO_JOINS if target == "elastic" else ""
    asks = "selection_assumed" in document["detection"]
    return _NO_IMPERSONATION if target == "sentinel" and asks else ""


def _query(target: Target, rule: list[dict[str, Any]], table: str) -> str:
    if target != "sentinel":
        return _converted(target, rule)
    *parts, last = rule
    if "correlation" in last:
        return sentinel.joined(
            table, last["correlation"], [(_fields(part), _converted(target, [part])) for part in parts]
        )
    return sentinel.single(table, _fields(last), _converted(target, rule))


def _fields(document: dict[str, Any]) -> set[str]:
    return fields_of(what for name, what in document["detection"].items() if name != "condition")


def _converted(target: Target, rule: list[dict[str, Any]]) -> str:
    try:
        from sigma.collection import SigmaCollection  # noqa: PLC0415 - in the extra `sigma`

        backend = _backend(target)
    except ModuleNotFoundError:
        raise ConfigError("pySigma is missing: pip install 'k8stokendetect[sigma]'") from None
    (query,) = backend.convert(SigmaCollection.from_dicts([dict(document) for document in rule]))
    return str(query)


def _backend(target: Target) -> Any:
    names = pipeline(target)
    if target == "elastic":
        from sigma.backends.elasticsearch.elasticsearch_lucene import LuceneBackend  # noqa: PLC0415 - in the extra `sigma`

        return LuceneBackend(names)
    if target == "splunk":
        from sigma.backends.splunk.splunk import SplunkBackend  # noqa: PLC0415 - the same

        return SplunkBackend(names)
    from sigma.backends.kusto.kusto import KustoBackend  # noqa: PLC0415 - the same

    return KustoBackend(names)
