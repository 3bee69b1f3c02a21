# SPDX-License-Identifier: Apache-2.0
"""How conditions on an audit event are said in Sigma: patterns, lists, and fields that may be missing.

Only what every backend can say: texts, beginnings, ends, parts, numbers, and whether a field is there. No regular
expressions (Lucene has no anchors) and no `cased` (Splunk, Lucene, ES|QL and Kusto refuse it).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, TypeAlias

Terms: TypeAlias = dict[str, Any]
"""Conditions that must all hold: `field|modifier` and one value, or a list of which one is enough."""

Selection: TypeAlias = Terms | list[Terms]
"""A Sigma selection; of a list of terms one is enough."""

USERNAME: Final = "user.username"
GROUPS: Final = "user.groups"
EXTRA: Final = "user.extra"
URI: Final = "requestURI"
CODE: Final = "responseStatus.code"


def literal(text: str, /) -> str:
    """Escape what has a meaning in a Sigma value."""
    return text.replace("\\", "\\\\").replace("*", "\\*").replace("?", "\\?")


def there(field: str, /) -> Terms:
    """Ask for a field."""
    return {f"{field}|exists": True}


def missing(field: str, /) -> Terms:
    """Ask for its absence."""
    return {f"{field}|exists": False}


def guarded(terms: Terms, /) -> Terms:
    """Ask first whether each field is there.

    In SQL and ES|QL a comparison with a missing field is neither true nor false, and so is its negation: an event
    without that field would be lost in silence. `exists` makes the comparison false.
    """
    asked: dict[str, Any] = {}
    for key, value in terms.items():
        field, _, modifier = key.partition("|")
        if modifier != "exists":
            asked.setdefault(f"{field}|exists", True)
        asked[key] = value
    return asked


def fits(field: str, patterns: Iterable[str], /) -> list[Terms]:
    """Ask whether a text matches one of some patterns of ours, in which `*` stands for one or more characters.

    Sigma's `*` also stands for none: `bare` gives what must be taken away.
    """
    exact, beginnings, ends, others, any_text = [], [], [], [], False
    for pattern in patterns:
        first, *rest = pattern.split("*")
        if not rest:
            exact.append(literal(pattern))
        elif pattern == "*":
            any_text = True
        elif len(rest) == 1 and not rest[0]:
            beginnings.append(literal(first))
        elif len(rest) == 1 and not first:
            ends.append(literal(rest[0]))
        else:
            others.append("*".join(map(literal, pattern.split("*"))))
    if any_text:
        return [there(field)]
    kinds = (("", exact), ("|startswith", beginnings), ("|endswith", ends), ("", others))
    return [guarded({f"{field}{modifier}": one_or_list(values)}) for modifier, values in kinds if values]


def bare(patterns: Iterable[str], /) -> list[str]:
    """Return what Sigma's `*` lets pass in patterns of ours and ours does not: one star stands for nothing."""
    found = []
    for pattern in patterns:
        parts = pattern.split("*")
        if pattern == "*":
            continue
        for place in range(1, len(parts)):
            joined = [*parts[: place - 1], parts[place - 1] + parts[place], *parts[place + 1 :]]
            found.append("*".join(map(literal, joined)))
    return found


def has_element(field: str, element: str, /) -> list[Terms]:
    """Ask whether a list has an element: a field of several values, or the list's JSON in one text."""
    text = literal(element)
    return [guarded({field: text}), guarded({f"{field}|contains": f'"{text}"'})]


def first_begins(field: str, beginning: str, /) -> Terms:
    """Ask how the only element of a list begins, in both forms of a list."""
    text = literal(beginning)
    return guarded({f"{field}|startswith": [text, f'["{text}']})


def one_or_list(values: list[Any], /) -> Any:
    """Return a lone value as it is: a list of one says no more."""
    return values[0] if len(values) == 1 else values


def one_or_terms(terms: list[Terms], /) -> Selection:
    """Return lone terms as they are."""
    return terms[0] if len(terms) == 1 else terms
