# SPDX-License-Identifier: Apache-2.0
"""The author's kit as users write it: type-checked by mypy and pyright in strict mode, not run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, assert_type

from k8stokendetect import Detector, Event, Finding, Rule, Severity, detect
from k8stokendetect.envelopes import Inner, azure
from k8stokendetect.testing import (
    DetectorConformance,
    EnvelopeConformance,
    attack,
    log,
    request,
    strategies,
    token_request,
    use_of,
    user_of,
)


class Mine(Detector):
    """A mint by a group."""

    rule = Rule("acme.mine", "Mine", Severity.LOW)
    watches = frozenset({"serviceaccounts/token"})

    def __init__(self, group: str = "devs") -> None:
        self.group = group

    def matches(self, event: Event) -> bool:
        """Look at the groups."""
        return event.mints_token and self.group in event.actor.groups

    def describe(self, event: Event) -> Finding:
        """Report it."""
        return self.finding(event, "minted")


class TestMine(DetectorConformance):
    """A class; events and lists of them."""

    detector = Mine
    reports = [token_request(groups=["devs"]), [token_request(), use_of(token_request())], b"{}"]  # noqa: RUF012
    ignores = (request("list", "secrets", user=user_of(token_request())),)
    alongside = ("token-request",)
    max_examples = 500


class TestOptions(DetectorConformance):
    """A function that makes one."""

    detector = staticmethod(lambda: Mine("ops"))


def acme(events: list[dict[str, Any]]) -> bytes:
    """Write what a shipper does."""
    return json.dumps(events).encode()


class TestAzure(EnvelopeConformance):
    """A module."""

    envelope = azure
    wrap = staticmethod(acme)
    loses = frozenset({"impersonatedUser"})


class Envelope:
    """An object."""

    def recognises(self, record: Any, /) -> bool:
        """Say no."""
        return bool(record)

    def events(self, record: Any, /) -> Iterator[Inner]:
        """Yield it."""
        yield Inner(record)


class TestEnvelope(EnvelopeConformance):
    """An object with both methods."""

    envelope = Envelope()
    wrap = staticmethod(acme)


assert_type(attack(), list[dict[str, Any]])
assert_type(log(attack()), bytes)
assert_type(strategies.usernames().example(), str)
assert_type(list(detect(log(attack()))), list[Finding])
