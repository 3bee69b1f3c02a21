# SPDX-License-Identifier: Apache-2.0
"""Which failed requests are those of a component: kubelets and controllers fail by design, often, and are proven."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from k8stokendetect.events import Event
from k8stokendetect.exclusions.base import Component
from k8stokendetect.exclusions.index import NameIndex
from k8stokendetect.exclusions.verdict import REFUSED, FailedCheck, concerns, failed_checks
from k8stokendetect.identity import REASON

NO_POD: Final = "no relationship found"
"""How the Node authorizer's reason begins for an account of which no pod runs there (node_authorizer.go, measured)."""


def has_no_relationship(event: Event, /) -> bool:
    """Tell whether the Node authorizer knows no pod of that account on the caller's node."""
    return event.annotations.get(REASON, "").startswith(NO_POD)


USUAL: Final = ("not found in pod spec volume", "because it is being terminated", NO_POD)
"""What the messages say with which benign components are refused (measured on real kubelets, 1.36)."""


def is_usual(event: Event, /) -> bool:
    """Tell whether a request failed in a way in which those of components do."""
    return event.code in {401, 404} or way_of_failing(event) != str(event.code)


def way_of_failing(event: Event, /) -> str:
    """Name the usual way in which a request failed, `403 not found in pod spec volume`; the code alone for others."""
    message = event.response_status.message if event.response_status else ""
    part = NO_POD if has_no_relationship(event) else next((part for part in USUAL if part in message), "")
    return f"{event.code} {part}".rstrip()


class FailingComponents:
    """Components, asked about requests that failed.

    Arguments:
        components: those whose failures are their own affair.

    """

    def __init__(self, components: Iterable[Component]) -> None:
        self._named = NameIndex((component, component) for component in components)

    def failed(self, event: Event, /) -> bool:
        """Tell whether a request failed as components do, and has all proofs of one but for how it was answered."""
        return is_usual(event) and any(
            concerns(one, event) and all(_is_the_answer(check, event) for check in failed_checks(one, event))
            for one in self._named.of(event.user.username)
        )


def _is_the_answer(check: FailedCheck, event: Event) -> bool:
    return check.why == REFUSED or (check.path.endswith(f"['{REASON}']") and has_no_relationship(event))
