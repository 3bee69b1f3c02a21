# SPDX-License-Identifier: Apache-2.0
"""The overview of incidents, and the columns that fit a window."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8stokendetect.incidents import Incident, incidents
from k8stokendetect.outputs.columns import Span, cells, fitted, plain, plain_of, wrapped
from k8stokendetect.outputs.overview import Entry, overview_lines
from recordings import METADATA
from strategies import texts
from test_incidents import found, one, recorded, ref, used


def overview(*found: Incident, **options: Any) -> list[str]:
    """Return the lines."""
    entries = [Entry.of(incident) for incident in found]
    return [plain(line) for line in overview_lines(entries, alerts=1, findings=1, **options)]


def test_a_line_says_who_as_whom_what_when_from_where_and_its_place_in_the_log() -> None:
    """Of the worst that succeeded."""
    mint = ref(minted_credential="JTI=1", origin="logs/audit.log:7")
    read = used(mint, minutes=2, source_ips=("198.51.100.9",), origin="logs/audit.log:9")
    late = used(mint, minutes=3, target="pods prod", origin="logs/audit.log:10")
    lines = overview(one(found(mint), read, late))

    assert lines[0] == "1 incident, 1 alert, 1 finding, 2026-11-23 21:00:00Z to 21:03:00Z, audit.log"
    assert lines[1] == "1 high"
    assert lines[3].split() == ["who", *"as whom worst act that succeeded UTC from log".split()]
    assert lines[4] == "#1 HIGH alice prod/payments-sa listed the secrets in prod 21:02:00 198.51.100.9 line 9"


@pytest.mark.parametrize(
    ("incident", "text"),
    [
        (one(found(ref(code=403))), "nothing, 1 request refused"),
        (one(found(ref(impersonating="system:serviceaccount:a:b"))), " a/b "),
        (one(found(ref("", code=401, source_ips=()))), "unauthenticated client"),
        (one(found(ref(time=None))), " - "),
        (one(found(ref("a\x1b b$(x)"))), r"a\x1b b\x24\x28x\x29"),
    ],
)
def test_a_line_says_what_is_known(incident: Incident, text: str) -> None:
    """And what is not."""
    assert text in "\n".join(overview(incident))


def test_the_log_is_named_once_where_there_is_one() -> None:
    """Otherwise in each line."""
    both = overview(one(found(ref(origin="a/1.log:3"))), one(found(ref("bob", origin="b/2.log:4"))))

    assert [line.split()[-1] for line in both[4:6]] == ["1.log:3", "2.log:4"]


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_each_incident_is_one_line_that_fits(width: int) -> None:
    """In a narrow window long names are cut, and `…` says so."""
    found = incidents(recorded(METADATA))
    lines = overview(*found, width=width)

    assert all(cells(line) <= width for line in lines)
    assert [line.split()[0] for line in lines if line.startswith("#")] == [f"#{n}" for n in range(1, len(found) + 1)]
    assert width < 200 or not any("…" in line for line in lines)


def test_what_is_left_out_is_counted_and_says_how_to_see_it() -> None:
    """By severity."""
    many = [one(found(ref(f"user-{n}"))) for n in range(9)]
    lines = overview(*many, limit=4)

    assert lines[-1].startswith("… 5 more: 5 medium. --limit 0 prints all")
    assert sum(line.startswith("#") for line in lines) == 4


words = st.text(st.sampled_from("ab \u4e2d\u0301\uff41"), max_size=60)


@given(st.lists(words, max_size=4), st.integers(12, 60))
def test_wrapped_text_fits_and_loses_nothing_but_spaces(parts: list[str], width: int) -> None:
    """Wide and combining characters included."""
    spans = [Span(part, "dim") for part in parts]
    first, further = (Span("## "),), (Span("  "),)
    lines = list(wrapped(spans, width, first, further))
    written = plain_of(lines[0]).removeprefix("## ") + "".join(plain_of(line)[4:] for line in lines[1:])

    assert all(cells(plain(line)) <= width for line in lines)
    assert written.replace(" ", "") == "".join(parts).replace(" ", "")
    assert list(wrapped(spans, None, first, further)) == [(*first, *spans)]


@given(texts, st.integers(1, 30), st.booleans())
def test_fitted_text_is_cut_where_it_says_so(text: str, most: int, keep_end: bool) -> None:  # noqa: FBT001 - drawn
    """At the end, or at the beginning."""
    shown = fitted(text, most, keep_end=keep_end)

    assert cells(shown) <= most
    assert shown == text or (shown.startswith("…") if keep_end else shown.endswith("…"))


def test_cells() -> None:
    """As terminals have them."""
    assert (cells("a"), cells("中"), cells("e\u0301"), cells("ｱ")) == (1, 2, 1, 1)
    assert unicodedata.east_asian_width("中") == "W"
