# SPDX-License-Identifier: Apache-2.0
"""How arguments are checked, and what is suggested for a misspelt name."""

from __future__ import annotations

from typing import Any

import pytest

from k8stokendetect import ConfigError
from k8stokendetect.errors import check, checked_list, did_you_mean


@pytest.mark.parametrize(("value", "kind"), [("1", int), (True, int), (None, str), (0, int), (1.0, int)])
def test_an_argument_of_another_type_or_value_is_refused(value: Any, kind: type) -> None:
    """A boolean is no number; what else must hold is asked last."""
    with pytest.raises(ConfigError, match="at least 1"):
        check(value, kind, "at least 1", lambda number: number >= 1)


def test_an_argument_as_it_should_be_passes() -> None:
    """Any of several types, and booleans where they are asked for."""
    check(1, (int, float), "a number")
    check(value=True, kind=bool, problem="true or false")
    check(1, int, "at least 1", lambda number: number >= 1)


@pytest.mark.parametrize("values", ["ab", b"ab", 3, None, ["a", 1]])
def test_a_list_is_a_list_of_one_kind(values: Any) -> None:
    """A lone string would be taken letter by letter."""
    with pytest.raises(ConfigError, match="takes names"):
        checked_list(values, str, "takes names")


def test_a_list_may_come_from_any_iterable() -> None:
    """It is read once."""
    assert checked_list((name for name in "ab"), str, "takes names") == ("a", "b")
    assert checked_list((), str, "takes names") == ()


def test_a_misspelt_name_gets_the_nearest_or_all() -> None:
    """Whoever mistypes sees what there is."""
    assert did_you_mean("tokn", ["token", "rule"]) == "; did you mean 'token'?"
    assert did_you_mean("xyz", ["token", "rule"]) == "; known: rule, token"
