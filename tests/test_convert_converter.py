# SPDX-License-Identifier: Apache-2.0
"""The strict converter: nothing is coerced, and the first problem is told with its path and without its value."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs
import cattrs
import pytest

from k8stokendetect import ConfigError
from k8stokendetect.convert.converter import class_hook, explain, strict_converter, strings


@attrs.frozen
class Inner:
    """A part of the record."""

    host_name: str
    source_ips: tuple[str, ...] = ()
    labels: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen
class Outer:
    """A record."""

    inner: Inner
    is_on: bool = False
    count: int = 0
    moment: datetime | None = None
    more: tuple[Inner, ...] = ()


GOOD: dict[str, Any] = {"inner": {"hostName": "web"}}


def problem(value: Any, converter: cattrs.Converter | None = None, name: Any = None) -> str:
    """Return what is wrong with a value, and where."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - any; `explain` says what it means
        (converter or strict_converter()).structure(value, Outer)
    return " @ ".join(explain(caught.value, **({"name": name} if name else {})))


def test_go_names_go_in_and_null_is_absent() -> None:
    """Also where null stands for a field without a default of None."""
    record = GOOD | {"isOn": None, "more": [{"hostName": "db", "sourceIPs": ["::1"], "labels": None}], "other": 1}

    assert strict_converter().structure(record, Outer) == Outer(Inner("web"), more=(Inner("db", ("::1",)),))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"inner": None}, "required field missing @ $.inner"),
        ({"inner": {}}, "required field missing @ $.inner.hostName"),
        ({"inner": ["x"]}, "expected an object, got a list @ $.inner"),
        ({"inner": {"hostName": 7}}, "expected a string, got a number @ $.inner.hostName"),
        ({"isOn": "true"}, "expected a boolean, got a string @ $.isOn"),
        ({"isOn": 1}, "expected a boolean, got a number @ $.isOn"),
        ({"count": True}, "expected an integer, got a boolean @ $.count"),
        ({"count": "1"}, "expected an integer, got a string @ $.count"),
        ({"count": 1.0}, "expected an integer, got a number @ $.count"),
        ({"moment": 0}, "expected a timestamp, got a number @ $.moment"),
        ({"moment": "secret"}, "not a timestamp @ $.moment"),
        ({"more": {}}, "expected a list, got an object @ $.more"),
        ({"more": "secret"}, "expected a list, got a string @ $.more"),
        ({"more": [GOOD["inner"], {"hostName": []}]}, "expected a string, got a list @ $.more[1].hostName"),
        ({"inner": {"hostName": "", "sourceIPs": "x"}}, "expected a list of strings, got a string @ $.inner.sourceIPs"),
        ({"inner": {"hostName": "", "sourceIPs": [1]}}, "expected a list of strings, got a number @ $.inner.sourceIPs"),
        (
            {"inner": {"hostName": "", "labels": {"a": 1}}},
            "expected an object of strings, got a number @ $.inner.labels",
        ),
        (
            {"inner": {"hostName": "", "labels": {1: "a"}}},
            "expected an object of strings, got a number @ $.inner.labels",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_path(change: dict[str, Any], said: str) -> None:
    """In the names of the record, and never with a value of it."""
    assert problem(GOOD | change) == said


@pytest.mark.parametrize("value", [1, None])
def test_unknown_keys_are_refused_on_request(value: Any) -> None:
    """Also with null; the nearest known key is named, before the key that is missing for it."""
    converter = strict_converter(forbid_extra_keys=True)

    assert problem({"iner": value}, converter) == "unknown key 'iner'; did you mean 'inner'? @ $"
    assert problem({"inner": {"hostNam": value}}, converter) == (
        "unknown key 'hostNam'; did you mean 'hostName'? @ $.inner"
    )


def test_keys_may_have_other_names_and_fields_a_hook_of_their_own() -> None:
    """A text for a list of one, as TOML files may have it; a ConfigError's own words stay."""
    converter = strict_converter(forbid_extra_keys=True, name=str)

    def one_or_many(value: Any, kind: Any) -> tuple[str, ...]:
        if value == "*":
            raise ConfigError("no wildcard")
        return (value,) if isinstance(value, str) else strings(value, kind)

    hook = class_hook(converter, Inner, name=str, hooks={"source_ips": one_or_many})
    converter.register_structure_hook(Inner, hook)
    converted = converter.structure({"host_name": "web", "source_ips": "::1"}, Inner)

    assert converted == Inner("web", ("::1",))
    wrong = {"inner": {"host_name": "web", "source_ips": "*"}}
    assert problem(wrong, converter, str) == "no wildcard @ $.inner.source_ips"
