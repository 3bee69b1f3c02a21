# SPDX-License-Identifier: Apache-2.0
"""YAML as it is written: every parser reads back the same texts, and comments stand above their keys."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from k8stokendetect import ReadError
from k8stokendetect.convert.yaml import MOST_ALIASES, paragraph, read_documents, write
from strategies import texts

HOSTILE = [
    "y",
    "No",
    "null",
    "1e3",
    "0o7",
    "~",
    "2026-11-25",
    "=",
    "- a",
    "a: b",
    "a #b",
    "*",
    "&a",
    "!t",
    "%",
    "@",
    "`",
]
SCALARS = st.sampled_from(HOSTILE) | texts | st.text(max_size=20) | st.integers() | st.booleans()
DOCUMENTS = st.dictionaries(
    st.text(max_size=5) | st.sampled_from(HOSTILE),
    st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner)),
    max_size=4,
)


@given(DOCUMENTS, st.booleans())
def test_what_is_written_is_read_back(document: dict[str, Any], is_flow: bool) -> None:  # noqa: FBT001 - Hypothesis gives it
    """By PyYAML, and by our own reader; every line is printable."""
    text = write(document, is_flow=is_flow)

    assert all(line.isprintable() for line in text.split("\n"))
    assert yaml.safe_load(text) == document
    assert list(read_documents(text.encode())) == [document]


@pytest.mark.parametrize("word", HOSTILE)
def test_what_another_parser_may_take_for_something_else_is_quoted(word: str) -> None:
    """Go's parser reads `y` as true and `1e3` as a number, PyYAML neither."""
    assert write({"key": word}) == f"key: '{word}'\n"


def test_plain_words_lists_and_blocks_look_as_people_write_them() -> None:
    """No quotes where no parser needs them; a paragraph is a literal block."""
    document = {
        "a|exists": True,
        "user": "system:nodes",
        "day": date(2026, 11, 25),
        "list": [{"x": 1, "y z": "two words"}, "b"],
        "text": paragraph("One sentence."),
    }

    assert write(document) == (
        "a|exists: true\n"
        "user: system:nodes\n"
        "day: 2026-11-25\n"
        "list:\n"
        "  - x: 1\n"
        "    'y z': 'two words'\n"
        "  - b\n"
        "text: |\n"
        "  One sentence.\n"
    )
    assert write([{"verbs": ["get", "list"]}], is_flow=True) == "- verbs: [get, list]\n"


def test_comments_stand_above_their_key() -> None:
    """Long ones are wrapped; they change nothing that is read."""
    text = write({"a": 1, "b": 2}, comments={"b": ["word " * 40]})

    assert [line[:6] for line in text.splitlines()] == ["a: 1", "# word", "#   wo", "b: 2"]
    assert yaml.safe_load(text) == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: 1\na: 2", "duplicate key, line 2"),
        ("a: {b: 1, b: 2}", "duplicate key, line 1"),
        (f"a: &a [1]\nb: [{'*a,' * (MOST_ALIASES + 1)}]", "too many aliases"),
        ("a: &a [*a]", "an alias within what it stands for"),
        ("a: [", "not YAML"),
        ("a: !!python/object:os.system x", "not YAML"),
    ],
)
def test_what_is_refused_is_named_with_its_line(text: str, reason: str) -> None:
    """No value of the document is repeated."""
    with pytest.raises(ReadError, match=reason):
        list(read_documents(text.encode()))


def test_documents_before_the_damage_are_read() -> None:
    """Empty ones are left out; dates stay texts, as kubectl has them."""
    documents = read_documents(b"a: 2026-11-25\n---\n---\nb: 1\n---\n[")

    assert next(documents) == {"a": "2026-11-25"}
    assert next(documents) == {"b": 1}
    with pytest.raises(ReadError):
        next(documents)
