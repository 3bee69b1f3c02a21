# SPDX-License-Identifier: Apache-2.0
"""Which event concerns which detector: resources, verbs, groups, signals."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from builders import token_request
from k8stokendetect import Detector, Event, Finding, KeyedDetector, Rule, Severity, Signal, parse_event
from k8stokendetect.detectors import MintedTokenUsed, View
from k8stokendetect.engine.watchers import Watchers
from k8stokendetect.testing import request, service_account_user

ACCOUNT = service_account_user("web/frontend", "JTI=1")


def watching(*watches: str | Signal) -> Detector:
    """Make a detector that watches this."""

    def matches(_: Detector, __: Event) -> bool:
        return True

    members = {"rule": Rule("acme.watch", "Watch", Severity.LOW), "watches": frozenset(watches)}
    made: type[Detector] = type(
        "Watching",
        (Detector,),
        {**members, "matches": matches, "describe": lambda detector, event: detector.finding(event, "x")},
    )
    return made()


def widgets(group: str) -> dict[str, Any]:
    """Return a request for a custom resource."""
    return request("update", "widgets", api_group=group)


@pytest.mark.parametrize(
    ("watch", "record", "expected"),
    [
        ("pods", request("list", "pods"), True),
        ("pods", request("list", "pods/exec"), False),
        ("pods/exec", request("create", "pods/exec", name="w"), True),
        ("pods/exec", request("list", "pods"), False),
        ("create pods", request("create", "pods"), True),
        ("create pods", request("list", "pods"), False),
        ("widgets.example.com", widgets("example.com"), True),
        ("widgets.example.com", widgets("example.org"), False),
        ("update widgets.example.com", widgets("example.com"), True),
        ("serviceaccounts/token", token_request(), True),
        ("create serviceaccounts/token", token_request(), True),
        ("create serviceaccounts/token", token_request() | {"objectRef": {"resource": "pods"}}, True),
        ("pods", token_request() | {"objectRef": {"resource": "pods"}}, True),
        ("*", request("list", "pods"), True),
        ("*", {"auditID": "a", "verb": "get"}, True),
        (Signal.USE_OF_ANY, request(user=ACCOUNT), True),
        (Signal.USE_OF_ANY, request(user=service_account_user("web/frontend")), True),
        (Signal.USE_OF_ANY, request(user="alice"), False),
        (Signal.USE_OF_REPORTED, request(user=ACCOUNT), True),
        (Signal.LEGACY_TOKEN, request(annotations={"authentication.k8s.io/legacy-token": "x"}), True),
        (Signal.LEGACY_TOKEN, request(), False),
        (Signal.LIVE_TOKEN, token_request(responseObject={"status": {"token": "eyJhbGciOiJSUzI1NiJ9.e30.c2ln"}}), True),
        (Signal.LIVE_TOKEN, token_request(), False),
        (Signal.UNREADABLE, request(), False),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_detector_is_given_what_it_watches(watch: str | Signal, record: dict[str, Any], *, expected: bool) -> None:
    """An issued credential makes a request one for serviceaccounts/token, whatever its objectRef says."""
    assert expected is any(Watchers([watching(watch)]).of(parse_event(record)))


class Uses(KeyedDetector[int]):
    """Follows nothing."""

    rule = Rule("acme.uses", "Uses", Severity.LOW)
    watches = frozenset({"pods"})
    remember_for = timedelta(days=1)

    def keys(self, _: Event, __: Sequence[Finding], /) -> Iterable[str]:
        """Name nothing."""
        return ()

    def fold(self, _: str, __: Event, ___: Sequence[Finding], ____: View[int], /) -> Iterable[Finding]:
        """Report nothing."""
        return ()


def test_keyed_detectors_are_asked_last_and_all_in_the_order_given() -> None:
    """They need to know what the others reported."""
    keyed, first, second = Uses(), watching("pods"), watching("*")

    assert ((first, second), (keyed,)) == Watchers([keyed, first, second]).of(parse_event(request("list", "pods")))


def test_what_is_remembered_is_followed() -> None:
    """After a restart: tokens by id, and service accounts where there are no ids; a wrong key breaks detection."""
    detector = MintedTokenUsed()
    document = detector.state() | {
        "keys": {key: {"state": {}, "expires": "2999-01-01T00:00:00Z"} for key in ("JTI=1", "prod/payments-sa")}
    }
    detector.restore(document)

    assert {"JTI=1", "system:serviceaccount:prod:payments-sa"} == Watchers([detector]).followed
    assert Watchers([detector]).follows
    assert not Watchers([Uses()]).follows


def test_an_answer_about_a_long_name_is_not_remembered() -> None:
    """Clients choose it, and ten thousand answers are remembered."""
    watchers = Watchers([watching("pods")])
    for name in ("pods", "x" * 1_000_000):
        tracemalloc.start()
        for number in range(20):
            watchers.of(parse_event(request("get", f"{name}{number}")))
        held = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert held < 1_000_000
