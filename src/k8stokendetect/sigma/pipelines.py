# SPDX-License-Identifier: Apache-2.0
"""What the fields of an audit event are called in Elastic, Splunk, Sentinel, Loki, CloudWatch and Databricks.

Sources: Elastic's integration, github.com/elastic/integrations@0a35e489 packages/kubernetes/data_stream/audit_logs
(fields/fields.yml, and the ingest pipeline, which writes `_` for the dots in annotations' keys); Sentinel's AKSAudit,
https://learn.microsoft.com/azure/azure-monitor/reference/tables/aksaudit; Splunk's `{}` after the name of a list,
https://docs.splunk.com/Documentation/Splunk/latest/SearchReference/Spath; Loki's `json` parser with expressions,
https://grafana.com/docs/loki/latest/query/log_queries/#json; the numbers of a list's elements in CloudWatch,
https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_AnalyzeLogData-discoverable-fields.html.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal, TypeAlias

from k8stokendetect.errors import ConfigError
from k8stokendetect.sigma.forms import FORMS, JOINS
from k8stokendetect.sigma.short import SHORT
from k8stokendetect.sigma.short_joins import short_join
from k8stokendetect.sigma.terms import EXTRA, GROUPS, Selection

Product: TypeAlias = Literal["elastic", "splunk", "sentinel", "loki", "cloudwatch", "databricks"]

_ANNOTATIONS: Final = "annotations."
_LISTS: Final = re.compile(r"user\.groups|user\.extra\..*|requestObject\.spec\.audiences|.*\.rules\.resources")
_OBJECTS: Final = re.compile(r".*\.rules")
"""Lists of objects: a product that splits lists has no field for them, only for what is in them."""

COLUMNS: Final[Mapping[str, str]] = {
    "user": "User",
    "objectRef": "ObjectRef",
    "responseStatus": "ResponseStatus",
    "annotations": "Annotations",
    "requestObject": "RequestObject",
    "responseObject": "ResponseObject",
    "requestURI": "RequestUri",
    "userAgent": "UserAgent",
    "verb": "Verb",
    "level": "Level",
    "stage": "Stage",
}
"""The columns of AKSAudit; there is none for `impersonatedUser`."""

_MOST_ELEMENTS: Final = 3
"""Of a list that CloudWatch's field names count: a kubelet has two groups, a service account three."""


def keys(field: str, /) -> list[str]:
    """Split a field's name at its dots, but not within the key of an annotation or of `user.extra`."""
    for start in (_ANNOTATIONS, f"{EXTRA}."):
        if field.startswith(start):
            return [*start.rstrip(".").split("."), field.removeprefix(start)]
    return field.split(".")


def _elastic(field: str) -> str:
    if field.startswith(_ANNOTATIONS):
        field = field.replace(".", "_").replace("_", ".", 1)
    if _OBJECTS.fullmatch(field):
        field = f"{field}.resources"
    return f"kubernetes.audit.{field}".replace("/", r"\/")  # a slash begins a regular expression in Lucene


def _splunk(field: str) -> str:
    if ".rules" in field:
        return field.removesuffix(".resources").replace(".rules", ".rules_.resources_")
    return f"{field}{{}}" if _LISTS.fullmatch(field) else field


_BRACES: Final = (r"(\w+)\.rules_\.resources_", r'"\1.rules{}.resources{}"')
"""What becomes of these names in the query: within regular expressions pySigma takes braces for its own."""


def _plain(field: str) -> str:
    return re.sub(r"\W", "_", field)


def _sentinel(field: str) -> str:
    return f"k8s_{_plain(field)}"


def _cloudwatch(field: str) -> str | list[str]:
    if ".rules" in field:
        field = f"{field.removesuffix('.resources')}.0.resources"
    elif not _LISTS.fullmatch(field):
        return field
    return [f"{field}.{place}" for place in range(_MOST_ELEMENTS)]


_NAMES: Final[Mapping[str, Callable[[str], str | list[str]]]] = {
    "elastic": _elastic,
    "splunk": _splunk,
    "sentinel": _sentinel,
    "loki": _plain,
    "cloudwatch": _cloudwatch,
    "databricks": _plain,
}
PRODUCTS: Final = tuple(_NAMES)


def fields_of(selections: Iterable[Selection], /) -> set[str]:
    """Return the fields that selections ask for."""
    maps = [terms for what in selections for terms in (what if isinstance(what, list) else [what])]
    return {key.partition("|")[0] for terms in maps for key in terms}


def _every_field() -> set[str]:
    parts = [part for join in (*JOINS, *map(short_join, JOINS)) for part in join.parts]
    asked = [*(form.selections for form in (*FORMS, *SHORT)), *(part.selections for part in parts)]
    return fields_of(what for one in asked for what in one.values()) | {key for part in parts for key in part.key}


_OF_FILTERS: Final = (
    GROUPS,
    "user.uid",
    "level",
    "requestObject.spec.boundObjectRef.kind",
    f"{EXTRA}.authentication.kubernetes.io/pod-name",
    *(f"{_ANNOTATIONS}{key}" for key in ("authorization.k8s.io/reason", "audit.k8s.io/truncated")),
)
FIELDS: Final = tuple(sorted({*_every_field(), *_OF_FILTERS}))
"""Every field that a rule or filter of ours asks for."""


def name_in(product: Product, field: str, /) -> str | list[str]:
    """Return what a product calls a field: one name, or one for each element of a list.

    Raises:
        ConfigError: for a product that is not one of `PRODUCTS`.

    """
    if product not in _NAMES:
        raise ConfigError(f"unknown product {product!r}; there are {', '.join(PRODUCTS)}")
    return _NAMES[product](field)


def pipeline(product: Product, /) -> Any:
    """Return a `ProcessingPipeline` of pySigma, which gives the fields of our rules their names in a product.

    Raises:
        ConfigError: for a product that is not one of `PRODUCTS`, or when pySigma is not installed.

    """
    mapping = {field: name_in(product, field) for field in FIELDS}
    try:
        from sigma.processing.pipeline import (  # noqa: PLC0415 - in the extra `sigma`
            ProcessingItem,
            ProcessingPipeline,
            QueryPostprocessingItem,
        )
        from sigma.processing.postprocessing import ReplaceQueryTransformation  # noqa: PLC0415 - the same
        from sigma.processing.transformations import FieldMappingTransformation  # noqa: PLC0415 - the same
    except ModuleNotFoundError:
        raise ConfigError("pySigma is missing: pip install 'k8stokendetect[sigma]'") from None
    item = ProcessingItem(FieldMappingTransformation(mapping))  # type: ignore[arg-type]  # wants keys that may be None
    after = [QueryPostprocessingItem(ReplaceQueryTransformation(*_BRACES))] if product == "splunk" else []
    name = f"Kubernetes audit events in {product}"
    return ProcessingPipeline(name=name, items=[item], postprocessing_items=after)


def extraction(product: Literal["sentinel", "loki"], fields: Iterable[str], /) -> str:
    """Return the part of a query that computes these fields from a record, for products that have no fields of it.

    Arguments:
        product: `sentinel` for an `extend` of AKSAudit, `loki` for a `json` parser.
        fields: as in an audit event.

    """
    if product == "loki":
        return "json " + ", ".join(f'{_plain(field)}="{_path(keys(field))}"' for field in sorted(set(fields)))
    return "extend " + ", ".join(f"{_sentinel(field)} = {_computed(field)}" for field in sorted(set(fields)))


def first_in_sentinel(field: str, /) -> str:
    """Return how a field is computed from a row of AKSAudit, of a list its first element: what rows are joined by."""
    return f"{_computed(field)[:-1]}[0])" if _LISTS.fullmatch(field) else _computed(field)


def _path(steps: list[str]) -> str:
    first, *rest = steps
    return first + "".join(f".{step}" if step.isalnum() else rf"[\"{step}\"]" for step in rest)


def _computed(field: str) -> str:
    column, *rest = keys(field)
    if column not in COLUMNS:
        return '""'
    path = COLUMNS[column] + "".join(f'["{key}"]' for key in rest)
    return f"toint({path})" if field.endswith((".code", "Seconds")) else f"tostring({path})"
