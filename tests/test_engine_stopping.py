# SPDX-License-Identifier: Apache-2.0
"""A reading that ends early ends between two events, also while its source waits."""

from __future__ import annotations

from collections.abc import Iterator

from k8stokendetect.engine.stopping import Stopping


def test_it_ends_before_the_next_item() -> None:
    """What was read is given out."""
    stopping, taken = Stopping(), list[int]()
    for item in stopping.until_asked(iter(range(9))):
        taken.append(item)
        if item == 3:
            stopping.ask()
    assert (taken, stopping.asked) == ([0, 1, 2, 3], True)
    assert list(stopping.until_asked(iter(range(9)))) == []


def test_a_source_that_waits_is_left() -> None:
    """A signal comes while it waits: no handler of errors on the way takes that for damage."""
    stopping, closed = Stopping(), list[str]()

    def source() -> Iterator[int]:
        yield 1
        try:
            stopping.ask()  # as a signal's handler, which runs in the middle of it
            yield 2
        except Exception:  # noqa: BLE001 - as a reader might
            yield 3
        finally:
            closed.append("closed")

    assert list(stopping.until_asked(source())) == [1]
    assert closed == ["closed"]


def test_all_is_given_out_where_nobody_asks() -> None:
    """And asking is no error once it has ended."""
    stopping = Stopping()
    assert list(stopping.until_asked(iter("abc"))) == ["a", "b", "c"]
    stopping.ask()
