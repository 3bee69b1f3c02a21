# SPDX-License-Identifier: Apache-2.0
"""What tests/data/compatibility promises still holds, and everything that holds is promised; see compatibility.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import click
import pytest

import compatibility
from compatibility import KEPT, KINDS, promised, rewrite, types_of

GONE = """\
{} promised in tests/data/compatibility/{}.txt and no longer true:
{}
Somebody relies on it: keep it. If that is impossible,
`python tests/compatibility.py --withdraw`, and the changelog says why."""
NEW = "{} not promised yet:\n{}\nRun `python tests/compatibility.py` and commit what it writes."


@pytest.mark.parametrize("kind", KINDS)
def test_everything_that_was_promised_still_holds_and_what_is_new_is_promised(kind: str) -> None:
    """Public names and their arguments, JSON fields and their types, ids, and options of the command."""
    now, before = set(KINDS[kind]()), promised(kind)

    assert len(before) > 50
    gone, new = sorted(before - now), sorted(now - before)
    assert not gone, GONE.format(len(gone), kind, "\n".join(gone))
    assert not new, NEW.format(len(new), "\n".join(new))


def test_every_file_of_promises_is_checked() -> None:
    """None is left of a kind that nobody makes any more."""
    assert {path.stem for path in KEPT.iterdir()} == set(KINDS)


def test_a_field_that_may_now_be_null_or_absent_or_has_another_type_is_another_promise() -> None:
    """Whoever read it without a check would fail; what an audit event holds may be anything."""
    before = set(
        types_of("finding", [{"code": 201, "value": 1, "list": ["a"]}, {"code": 403, "value": "x", "list": []}])
    )

    assert before == {
        "finding.code: whole number",
        "finding.value: anything",
        "finding.list: list",
        "finding.list[]: text",
    }
    assert set(types_of("finding", [{"code": 201}, {"code": None}])) == {"finding.code: null or whole number"}
    assert set(types_of("finding", [{"code": 201}, {}])) == {"finding.code?: whole number"}
    assert set(types_of("tally", [{"findings": {"token-request": 2}}])) == {
        "tally.findings: object",
        "tally.findings.<id>: whole number",
    }


def test_a_new_argument_that_must_be_given_breaks_a_promise_and_one_that_may_be_given_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So does a new order of arguments that may be given by place."""

    def names_of(value: Any) -> set[str]:
        monkeypatch.setattr(compatibility, "public", lambda: {"k8stokendetect.made": value})
        return set(compatibility.names())

    @attrs.define
    class Before:
        first: int
        second: int = 2
        third: int = 3

    @attrs.define
    class Swapped:
        first: int
        third: int = 3
        second: int = 2

    before = names_of(Before)
    assert before == {
        "k8stokendetect.made",
        "k8stokendetect.made(first)",
        "k8stokendetect.made(second=…, as number 2)",
        "k8stokendetect.made(third=…, as number 3)",
        "k8stokendetect.made.first",
        "k8stokendetect.made.second",
        "k8stokendetect.made.third",
    }
    assert before - names_of(Swapped)
    assert before - names_of(lambda first, second, third=3: (first, second, third))
    one = names_of(lambda first, /, *, second=2: (first, second))
    assert one < names_of(lambda first, /, *, second=2, third=3: (first, second, third))


def test_an_option_that_is_gone_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also a value of one, and a short name."""
    choice = click.Option(["-f", "--format"], type=click.Choice(["json", "text"]))
    monkeypatch.setattr(compatibility, "main", click.Command("main", params=[choice]))

    assert set(compatibility.options()) == {
        "k8stokendetect",
        *(f"k8stokendetect {name} {value}" for name in ("-f", "--format") for value in ("VALUE", "json", "text")),
    }


def test_rewriting_keeps_what_was_promised_unless_it_is_withdrawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A merge that lost a name must not lose the promise with it."""
    monkeypatch.setattr(compatibility, "KEPT", tmp_path)
    monkeypatch.setattr(compatibility, "KINDS", {"ids": lambda: ["rule new"]})
    (tmp_path / "ids.txt").write_text("rule old\n")

    rewrite()
    assert promised("ids") == {"rule old", "rule new"}
    assert capsys.readouterr().out == "still promised, but gone: rule old\n"
    rewrite(withdraw=True)
    assert promised("ids") == {"rule new"}
