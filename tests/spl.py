# SPDX-License-Identifier: Apache-2.0
"""Evaluates the part of Splunk's search language that our rules use, on audit events with Splunk's names of fields.

Order of evaluation: parentheses, NOT, OR, AND (docs.splunk.com/Documentation/Splunk/latest/Search/Booleanexpressions);
values ignore case; `*` is any text. A field with `{}` has the values of a list.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

Fields = Mapping[str, list[Any]]
Test = Callable[[Fields], bool]

_TOKEN = re.compile(r'\s*("(?:[^"\\]|\\.)*"|[()]|>=|<=|[=<>,]|[^\s()=<>,"]+)')
_REX = re.compile(r'rex field=(?:"([^"]+)"|(\S+)) "\(\?<(\w+)>(.*)\)"', re.DOTALL)
_EVAL = re.compile(r'eval (\w+)=if\(isnotnull\((\w+)\), "true", "false"\)')


def fields(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the fields that Splunk extracts from JSON: `user.groups{}` for each element of a list."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from fields(item, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for item in value:
            yield from fields(item, f"{path}{{}}")
    elif value is not None:
        yield path, value


def search(query: str) -> Test:
    """Return the test that a query makes of an event: a search, with regular expressions before it."""
    steps: list[tuple[str, str, str]] = []
    *before, last = query.split("\n| ")
    for part in before:
        if found := _REX.fullmatch(part):
            steps.append((found[1] or found[2], found[3], found[4]))
        else:
            assert _EVAL.fullmatch(part), part
    names = {found[1]: found[2] for part in before if (found := _EVAL.fullmatch(part))}
    tokens = [found[1] for found in _TOKEN.finditer(last.removeprefix("search "))]
    test = _Parser(tokens).expression()

    def run(event: Fields) -> bool:
        extracted = {
            match: ["x"]
            for field, match, regex in steps
            for value in event.get(field, [])
            if re.search(regex, str(value))
        }
        return test({**event, **{name: [str(match in extracted).lower()] for name, match in names.items()}})

    return run


_PART = re.compile(r'\[ search (.*?) \| eval event_type="(\w+)"(?: \| rename "?([^" ]+)"? as (\w+))? \]', re.DOTALL)
_COUNTED = re.compile(r"bin _time span=(\d+)([ds])\n\| stats dc\(event_type\) as event_type_count by _time (.+)\n")


def correlate(query: str, events: Sequence[Fields], times: Sequence[float]) -> set[int]:
    """Return the places of the events that a `multisearch` with `stats dc(event_type)` joins.

    Arguments:
        query: as pySigma writes it for a temporal correlation.
        events: their fields.
        times: of the events, in seconds.

    """
    counted = _COUNTED.search(query)
    assert counted
    span = int(counted[1]) * {"d": 86_400, "s": 1}[counted[2]]
    groups: dict[tuple[Any, ...], dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for text, kind, field, alias in _PART.findall(query):
        test = search(text)
        for place, event in enumerate(events):
            if test(event):
                key = [event.get(field if name == alias else name, [None])[0] for name in _names(counted[3])]
                if None not in key:
                    groups[times[place] // span, *key][kind].add(place)
    return {place for kinds in groups.values() if len(kinds) >= 2 for places in kinds.values() for place in places}


def _names(text: str) -> list[str]:
    return [_bare(token[1]) for token in _TOKEN.finditer(text)]


class _Parser:
    """Reads an expression from its tokens."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = [*tokens, ""]
        self._place = 0

    def expression(self) -> Test:
        """Read up to a closing parenthesis or the end."""
        parts = [self._either()]
        while self._peek() not in {"", ")"}:
            self._skip("AND")
            parts.append(self._either())
        return lambda event: all(part(event) for part in parts)

    def _either(self) -> Test:
        parts = [self._negated()]
        while self._skip("OR"):
            parts.append(self._negated())
        return lambda event: any(part(event) for part in parts)

    def _negated(self) -> Test:
        if self._skip("NOT"):
            test = self._negated()
            return lambda event: not test(event)
        if self._skip("("):
            test = self.expression()
            assert self._skip(")")
            return test
        return self._comparison()

    def _comparison(self) -> Test:
        field, operator = _bare(self._next()), self._next()
        if operator == "IN":
            assert self._skip("(")
            values = [self._next()]
            while self._skip(","):
                values.append(self._next())
            assert self._skip(")")
        else:
            values = [self._next()]
        if operator in {"=", "IN"}:
            patterns = [_pattern(value) for value in values]
            return lambda event: any(one.fullmatch(str(item)) for item in event.get(field, []) for one in patterns)
        compare = {">": int.__gt__, ">=": int.__ge__, "<": int.__lt__, "<=": int.__le__}[operator]
        return lambda event: any(compare(int(item), int(values[0])) for item in event.get(field, []))

    def _peek(self) -> str:
        return self._tokens[self._place]

    def _next(self) -> str:
        self._place += 1
        return self._tokens[self._place - 1]

    def _skip(self, token: str) -> bool:
        if self._peek() != token:
            return False
        self._place += 1
        return True


def _bare(token: str) -> str:
    return re.sub(r"\\(.)", r"\1", token[1:-1]) if token.startswith('"') else token


def _pattern(token: str) -> re.Pattern[str]:
    parts = [re.escape(part) for part in _bare(token).split("*")]
    return re.compile(".*".join(parts), re.IGNORECASE | re.DOTALL)
