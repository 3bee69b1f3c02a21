# SPDX-License-Identifier: Apache-2.0
"""Label selectors, by which aggregated ClusterRoles choose the roles whose rules they collect."""

from __future__ import annotations

from collections.abc import Mapping

import attrs


@attrs.frozen
class Expression:
    """One `matchExpressions` of a label selector: `In`, `NotIn`, `Exists` or `DoesNotExist`."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str], /) -> bool:
        """Tell whether labels match; `NotIn` also matches a missing key (apimachinery pkg/labels/selector.go)."""
        if self.operator == "Exists":
            return self.key in labels
        if self.operator == "DoesNotExist":
            return self.key not in labels
        return (labels.get(self.key) in self.values) is (self.operator == "In")


@attrs.frozen
class Selector:
    """A label selector: all its parts must match; without parts it matches everything."""

    match_labels: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    match_expressions: tuple[Expression, ...] = ()

    def matches(self, labels: Mapping[str, str], /) -> bool:
        """Tell whether labels match."""
        return all(labels.get(key) == value for key, value in self.match_labels.items()) and all(
            expression.matches(labels) for expression in self.match_expressions
        )
