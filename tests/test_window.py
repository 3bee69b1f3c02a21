# SPDX-License-Identifier: Apache-2.0
"""The window of recent requests: found by credential, once and in order, in bounded memory."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from builders import token_request
from k8stokendetect import Tally, detect
from k8stokendetect.detectors import BUILTIN, UnknownTokenUsed
from k8stokendetect.reading.window import TAIL, Window
from test_detector_minted_token_used import pods, use

SIZE = 1000


def filled(*credentials: str, limit: int = 1 << 24) -> Window:
    """Return a window to which requests of `SIZE` bytes were added, numbered from 0."""
    window = Window(limit)
    for number, credential in enumerate(credentials):
        window.add([(credential, number)], SIZE)
    return window


def test_the_requests_of_a_token_are_taken_out_once_and_in_order() -> None:
    """Among those of others; several tokens at once are in order, too."""
    window = filled(*(f"JTI={number % 3}" for number in range(10)))
    assert list(window.take(["JTI=1"])) == [("JTI=1", 1), ("JTI=1", 4), ("JTI=1", 7)]
    assert list(window.take(["JTI=1"])) == []
    assert [number for _, number in window.take(["JTI=2", "JTI=0"])] == [0, 2, 3, 5, 6, 8, 9]


@pytest.mark.parametrize("asks", [False, True])
def test_the_oldest_are_forgotten_by_their_size(asks: bool) -> None:  # noqa: FBT001
    """About as much as the limit is kept, and no more; also where others were asked for in between."""
    window = Window(4 << 20)
    for number in range(20_000):
        window.add([(f"JTI={number}", number)], SIZE)
        if asks and number % 100 == 0:
            assert list(window.take([f"JTI=other-{number}"])) == []
    kept = [number for number in range(20_000) if list(window.take([f"JTI={number}"]))]
    assert kept == list(range(kept[0], 20_000))
    assert 3 << 20 <= len(kept) * SIZE <= 5 << 20


class Name(str):
    """A credential that counts how often one of them is looked at."""

    __slots__ = ()
    looks = 0

    def __hash__(self) -> int:
        Name.looks += 1
        return super().__hash__()

    __eq__ = str.__eq__


def test_ten_thousand_tokens_are_looked_for_without_searching_ten_thousand_times() -> None:
    """After each of them; each chunk is indexed once, and only the one that has it is searched."""
    count = 16_000
    window = filled(*(Name(f"JTI={number}") for number in range(count)))
    Name.looks = 0
    found = [kept for number in range(0, count, 10) for kept in window.take([f"JTI={number}"])]
    assert len(found) == count // 10
    assert Name.looks < count * len(found) / 10


def test_the_tail_has_the_last_uses_and_leaves_the_others() -> None:
    """Their mints may come in the next batch; those of the others may still have their turn in this one."""
    window = filled(*("JTI=a" for _ in range(4 * TAIL)))
    assert [number for _, number in window.tail()] == list(range(3 * TAIL, 4 * TAIL))
    assert [number for _, number in window.tail()] == list(range(2 * TAIL, 3 * TAIL))
    assert [number for _, number in window.take(["JTI=a"])] == list(range(2 * TAIL))
    assert window.tail() == []


def test_raw_text_is_never_pickled() -> None:
    """It was not redacted."""
    with pytest.raises(TypeError, match="never pickled"):
        pickle.dumps(filled("JTI=a"))


def test_a_use_among_mappings_comes_before_its_mint() -> None:
    """As two API servers' logs mix in a queue."""
    mint = token_request(annotations={"authentication.kubernetes.io/issued-credential-id": "JTI=late"})
    early = use("JTI=late", requestReceivedTimestamp=mint["requestReceivedTimestamp"])

    def rules(between: int, **fields: Any) -> set[str]:
        feed = [early, *(pods(auditID=f"p-{number}", **fields) for number in range(between)), mint]
        tally = Tally()
        detectors = [cls() for cls in BUILTIN if cls is not UnknownTokenUsed]  # it reads all of such uses
        found = {finding.rule.id for finding in detect(iter(feed), detectors=detectors, tally=tally)}
        assert tally.events == len(feed)
        return found

    assert "minted-token-used" in rules(7000)
    assert "minted-token-used" not in rules(9000)
    assert "minted-token-used" not in rules(200, responseObject={"x": "y" * 100_000})
