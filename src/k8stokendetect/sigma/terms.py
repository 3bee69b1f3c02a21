# SPDX-License-Identifier: Apache-2.0
"""How conditions on an audit event are written in Sigma, and what a detector and a correlation consist of there.

Only what every backend can express: texts, beginnings, ends, parts, numbers, and whether a field is there. No regular
expressions (Lucene has no anchors) and no `cased` (Splunk, Lucene, ES|QL and Kusto refuse it).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, Final, Literal, TypeAlias

import attrs

from k8stokendetect.detectors import Detector
from k8stokendetect.identity import ADMISSION, CREDENTIAL_ID, FORGES_ANNOTATIONS, ISSUED_CREDENTIAL_ID

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
    """Escape what has a special meaning in a Sigma value."""
    return text.replace("\\", "\\\\").replace("*", "\\*").replace("?", "\\?")


def slug(text: str, /) -> str:
    """Return a text as a part of a selection's name: small letters, digits and underscores."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_") or "unnamed"


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
    """Ask whether a text matches one of our patterns, in which `*` stands for one or more characters.

    Sigma's `*` also matches nothing: `bare` returns what has to be excluded.
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
    """Return what Sigma's `*` matches in our patterns and ours does not: one star that stands for nothing."""
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
    """Return a lone value as it is: a list of one adds nothing."""
    return values[0] if len(values) == 1 else values


def one_or_terms(terms: list[Terms], /) -> Selection:
    """Return lone terms as they are."""
    return terms[0] if len(terms) == 1 else terms


SUCCEEDED: Final[Terms] = {f"{CODE}|gte": 200, f"{CODE}|lt": 300}

FORGER_MADE: Final[dict[str, Selection]] = {
    "selection": {
        "objectRef.resource": sorted(ADMISSION),
        "objectRef.name": sorted(FORGES_ANNOTATIONS),
        "verb": ["create", "update", "patch"],
        **missing("objectRef.subresource"),  # a controller updates the status of each
        **SUCCEEDED,
    }
}
"""An admission policy or webhook was stored that can write the API server's own annotations."""

CALL: Final[Terms] = {"objectRef.resource": "serviceaccounts", "objectRef.subresource": "token"}
CREATE: Final[Terms] = {"verb": "create", **CALL}
USED: Final = f"{EXTRA}.{CREDENTIAL_ID}"

MINT: Final[Mapping[str, Selection]] = {
    "selection_mint_answer": {**CREATE, **SUCCEEDED},
    "selection_mint_id": [
        *(there(f"annotations.{key}") for key in ISSUED_CREDENTIAL_ID),
        {**CREATE, **there(f"annotations.{CREDENTIAL_ID}")},
    ],
}
"""`Event.mints_token`: a 2xx answer, or an issued credential's id."""

MINTED: Final = "1 of selection_mint_*"
RECEIVED: Final[Mapping[str, Selection]] = {"received": guarded({"stage": "RequestReceived"})}
"""The opposite of `Event.answered`: the only stage of a request that comes before the answer."""
READS_TOKEN: Final[Terms] = {
    "objectRef.resource": "pods",
    "objectRef.subresource": ["attach", "exec"],
    f"{URI}|contains|all": ["command=", "secrets"],
}
"""What comes nearest to the command of an exec that reads a mounted token."""


@attrs.frozen(kw_only=True)
class Form:
    """A detector in Sigma.

    Arguments:
        detector: the detector of the rule.
        selections: by name.
        condition: over the selections.
        lookalikes: flag callers with a component's name and without its proofs; otherwise exclusions become filters.
        level: the lowest audit level at which it finds anything.
        wider: why it flags more than the detector; empty where missing filters are the only difference.
        left_to: what it does not flag, by the id of the rule whose Sigma form does.
        lost: what none of our Sigma forms flags.
        left_out: how the short form differs from the full one, and what that costs.
        not_found: calls of components that were answered 404 are filtered: what they ask for was just deleted.

    """

    detector: type[Detector]
    selections: Mapping[str, Selection]
    condition: str
    lookalikes: bool = False
    level: Literal["Metadata", "Request", "RequestResponse"] = "Metadata"
    wider: str = ""
    left_to: Mapping[str, str] = attrs.field(factory=dict)
    lost: str = ""
    left_out: tuple[str, ...] = ()
    not_found: bool = False


@attrs.frozen(kw_only=True)
class Part:
    """One of the two kinds of events that a correlation joins.

    Arguments:
        name: the last part of its rule's name.
        title: one line.
        selections: by name.
        condition: over the selections.
        excluded_as: the detector whose filters it has; None for no filters.
        key: the fields to join on, in the order of the other part's.

    """

    name: str
    title: str
    selections: Mapping[str, Selection]
    condition: str
    excluded_as: type[Detector] | None = None
    key: tuple[str, ...]


@attrs.frozen(kw_only=True)
class Join:
    """What two kinds of events mean together, as a Sigma correlation.

    Arguments:
        detector: the detector of the rule.
        part: what it adds to the rule's id and title, where the rule has a form of its own as well.
        parts: the two kinds of events.
        aliases: names for the fields to join on, where they differ between the parts.
        within: the time window.
        wider: why it flags more than the detector.
        lost: what it does not flag.

    """

    detector: type[Detector]
    part: tuple[str, str] = ("", "")
    parts: tuple[Part, Part]
    aliases: tuple[str, ...] = ()
    within: timedelta
    wider: str = ""
    lost: str = ""

    @property
    def id(self) -> str:
        """The rule's id and what it adds to it."""
        return f"{self.detector.rule.id}{self.part[0]}"
