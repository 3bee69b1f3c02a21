# SPDX-License-Identifier: Apache-2.0
"""Joins objects of one kind and name that differ, so that none hides what another one grants."""

from __future__ import annotations

from typing import TypeVar

import attrs

from k8stokendetect.cluster.objects import Account, PodIdentity
from k8stokendetect.cluster.rbac import Role
from k8stokendetect.cluster.structure import Object, Unfilled

T = TypeVar("T")


def joined(first: Object, second: Object, /) -> Object | None:
    """Return one object with what either of two grants; None for those that are kept side by side.

    Where both say something else of the same thing, an annotation for example, the first one holds.
    """
    if isinstance(first, PodIdentity) and isinstance(second, PodIdentity):  # output of `list`, then of `describe`
        return attrs.evolve(first, **{name: value for name, value in attrs.asdict(second).items() if value})
    if isinstance(first, Account) and isinstance(second, Account):
        annotations = {**second.annotations, **{key: value for key, value in first.annotations.items() if value}}
        return attrs.evolve(first, annotations=annotations, secrets=_union(first.secrets, second.secrets))
    one, other = role_of(first), role_of(second)
    if one is None or other is None:
        return None
    role = attrs.evolve(
        one,
        rules=_union(one.rules, other.rules),
        labels={**other.labels, **one.labels},
        selectors=_union(one.selectors, other.selectors),
        is_default=one.is_default and other.is_default,
    )
    return Unfilled(role) if isinstance(first, Unfilled) or isinstance(second, Unfilled) else role


def hides_rules(first: Object, second: Object, /) -> bool:
    """Tell whether aggregation may give more by one of two roles than by the joined one: their labels differ."""
    one, other = role_of(first), role_of(second)
    return one is not None and other is not None and one.labels != other.labels


def role_of(value: Object, /) -> Role | None:
    """Return a role, also one that is not filled yet; None for anything else."""
    if isinstance(value, Unfilled):
        return value.role
    return value if isinstance(value, Role) else None


def _union(first: tuple[T, ...], second: tuple[T, ...]) -> tuple[T, ...]:
    return tuple(dict.fromkeys((*first, *second)))
