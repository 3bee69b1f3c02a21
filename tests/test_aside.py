# SPDX-License-Identifier: Apache-2.0
"""What was passed over lately and is wanted after all: found by id or by name, in bounded memory."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from builders import token_request
from k8stokendetect import detect
from k8stokendetect.envelopes import Context, Inner
from k8stokendetect.reading import aside
from k8stokendetect.reading.aside import Aside
from k8stokendetect.reading.interest import Interest
from test_detector_minted_token_used import pods, use

MOST = 50


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep few."""
    monkeypatch.setattr(aside, "MOST", MOST)


def an_interest() -> Interest:
    """Return one that follows."""
    return Interest((b"token",), (), follows=True)


def taken(aside: Aside, interest: Interest) -> list[tuple[Any, str]]:
    """Return what is taken out, and where it stood."""
    return [(inner.record["auditID"], origin) for inner, origin in aside.wanted(interest)]


def text(number: int, credential: str) -> bytes:
    """Write a use."""
    return orjson.dumps(use(credential, auditID=f"use-{number}"))


def test_the_uses_of_a_token_are_taken_out_once_and_in_order() -> None:
    """Among those of others, mapping or taken from a wrapper."""
    aside, interest = Aside(), an_interest()
    for number in range(10):
        aside.put_text(text(number, f"JTI={number % 3}"), number)
    aside.put(Inner(text(10, "JTI=1").decode(), ".log", Context(cluster="c")), "a.log:7.log")
    interest.follow("JTI=1")
    wanted = [("use-1", "record 1"), ("use-4", "record 4"), ("use-7", "record 7"), ("use-10", "a.log:7.log")]
    assert taken(aside, interest) == wanted
    assert taken(aside, interest) == []


def test_a_service_account_is_found_by_its_name() -> None:
    """Where tokens have no ids."""
    aside, interest = Aside(), an_interest()
    aside.put_text(orjson.dumps(use(None, auditID="use-1")), 1)
    aside.put(Inner(orjson.dumps(use(None, auditID="use-2")).decode()), "a.log:2")
    aside.put_text(orjson.dumps(use(None, "dev:other", auditID="use-3")), 3)
    interest.follow("system:serviceaccount:prod:payments-sa")
    assert taken(aside, interest) == [("use-1", "record 1"), ("use-2", "a.log:2")]


@pytest.mark.parametrize("between", [0, MOST - 1, MOST, 5 * MOST])
def test_only_the_last_ones_are_kept(between: int) -> None:
    """So many, and no more; also where others were asked for in between."""
    for asks in (False, True):
        aside, interest = Aside(), an_interest()
        aside.put_text(text(0, "JTI=mine"), 0)
        for number in range(1, between + 1):
            aside.put_text(text(number, f"JTI={number}"), number)
            if asks:
                interest.follow(f"JTI={number + 10**6}")
                assert taken(aside, interest) == []
        interest.follow("JTI=mine")
        assert taken(aside, interest) == ([("use-0", "record 0")] if between < MOST else [])


def test_a_flood_of_mints_does_not_let_the_index_grow() -> None:
    """Every event has an id of its own, and after each a token is followed."""
    aside, interest = Aside(), an_interest()
    for number in range(20 * MOST):
        aside.put_text(text(number, f"JTI={number}"), number)
        interest.follow(f"JTI={number}")
        assert taken(aside, interest) == [(f"use-{number}", f"record {number}")]
        aside.put_text(text(number, f"JTI=other-{number}"), number)
        assert len(aside._kept) <= MOST  # noqa: SLF001 - the bound
        assert len(aside._by_id) <= 2 * MOST + 2  # noqa: SLF001 - the bound


def test_the_tail_has_the_uses_among_the_last() -> None:
    """Their mints may come in the next batch; what has no id is no use."""
    aside = Aside()
    for number in range(MOST):
        aside.put_text(text(number, f"JTI={number}") if number % 2 else orjson.dumps(pods()), number)
    kept = [origin for _, origin in aside.tail()]
    assert kept == [f"record {number}" for number in range(MOST) if number % 2 or "JTI=" in str(pods())]
    assert list(aside.tail()) == []


def test_what_is_kept_takes_little_more_than_its_text() -> None:
    """What orjson returns has much room behind it."""
    aside = Aside()
    aside.put_text(orjson.dumps(pods()), 1)
    kept = aside._kept[1][0]  # noqa: SLF001 - its size
    assert len(kept) < kept.__sizeof__() < len(kept) + 100


def test_a_use_among_mappings_comes_before_its_mint() -> None:
    """As two API servers' logs mix in a queue."""
    mint = token_request(annotations={"authentication.kubernetes.io/issued-credential-id": "JTI=late"})
    time = mint["requestReceivedTimestamp"]
    feed = [use("JTI=late", requestReceivedTimestamp=time), *(pods(auditID=f"p-{n}") for n in range(MOST - 1)), mint]
    assert "minted-token-used" in {finding.rule.id for finding in detect(iter(feed))}
    feed = [use("JTI=late", requestReceivedTimestamp=time), *(pods(auditID=f"p-{n}") for n in range(MOST)), mint]
    assert "minted-token-used" not in {finding.rule.id for finding in detect(iter(feed))}
