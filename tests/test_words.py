# SPDX-License-Identifier: Apache-2.0
"""The phrases that summaries, stories and outputs share."""

from __future__ import annotations

from typing import Any

import pytest

from builders import about
from k8stokendetect.findings import EventRef
from k8stokendetect.words import account_or_user, brief, caller_of, listed, named, request_of, user_of


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"user": "alice", "source_ips": ("192.0.2.7",)}, "alice"),
        ({"user": "x" * 200}, f"{'x' * 100}…"),
        ({"source_ips": ("203.0.113.9", "192.0.2.7")}, "an unknown caller at 192.0.2.7"),
        ({"source_ips": ("203.0.113.9", "192.0.2.7"), "code": 401}, "an unauthenticated client at 192.0.2.7"),
        ({}, "an unknown caller"),
        ({"code": 401}, "an unauthenticated client"),
    ],
)
def test_a_caller_has_a_name_or_an_address(fields: dict[str, Any], name: str) -> None:
    """The last address is the only one that a client cannot choose."""
    assert caller_of(EventRef(audit_id="1", **fields)) == name


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"verb": "list"} | about("secrets prod"), "list secrets prod"),
        ({"verb": "create"} | about("prod/sa"), "create serviceaccounts/token prod/sa"),
        ({"verb": "get"} | about("prod/sa"), "get serviceaccounts/token prod/sa"),
        ({"verb": "get"}, "get of a path without a resource"),
        (about("pods prod/web-1"), "an unknown verb pods prod/web-1"),
        ({"verb": "v" * 200} | about("p" * 200), f"{'v' * 100}… {'p' * 100}…"),
    ],
)
def test_a_request_is_its_verb_and_its_target(fields: dict[str, Any], words: str) -> None:
    """Short, whatever a client wrote."""
    assert request_of(EventRef(audit_id="1", **fields)) == words


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], ""),
        (["a"], "a"),
        (["a", "b", "a"], "a, b"),
        (["a", "b", "c"], "a, b and 1 more"),
        ("abcde", "a, b and 3 more"),
    ],
)
def test_a_list_counts_what_it_leaves_out(texts: list[str], expected: str) -> None:
    """Each text once."""
    assert listed(texts, 2) == expected


def test_a_brief_text_says_that_it_was_cut() -> None:
    """Only then."""
    assert (brief("x" * 100), brief("x" * 101), brief("abc", 2)) == ("x" * 100, f"{'x' * 100}…", "ab…")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("alice@corp.example", "alice@corp.example"),
        ("jos\u00e9 \u4e2d\u6587", "jos\u00e9 \u4e2d\u6587"),
        ("a b", "a b"),
        (" a ", r"\x20a\x20"),
        ("a\x1b[2J\n", r"a\x1b[2J\x0a"),
        ("CORP\\alice", r"CORP\x5calice"),
        ("$(x);`y`|&<>'\"!", r"\x24\x28x\x29\x3b\x60y\x60\x7c\x26\x3c\x3e\x27\x22\x21"),
        ("\u0430lice", r"\u0430lice"),
        ("\u0430\u043b\u0438\u0441\u0430", "\u0430\u043b\u0438\u0441\u0430"),
        ("a\u202eb\u200bc\u3164d", r"a\u202eb\u200bc\u3164d"),
        ("\U000e0101", r"\U000e0101"),
        ("x" * 101, f"{'x' * 100}…"),
    ],
)
def test_odd_characters_in_a_name_are_shown_as_such(text: str, shown: str) -> None:
    """What does not print, what shows nothing, what looks like another letter, what a shell acts on."""
    assert named(text) == shown


def test_a_service_account_is_named_by_namespace_and_name() -> None:
    """And nobody else can look like it."""
    assert account_or_user("system:serviceaccount:prod:api") == "prod/api"
    assert account_or_user("prod/api") == "user prod/api"
    assert user_of("system:serviceaccount:prod:$(x)") == r"prod/\x24\x28x\x29"
    assert user_of("https://issuer/#alice") == "https://issuer/#alice"
