# SPDX-License-Identifier: Apache-2.0
"""token-request-denied: somebody asked for a service account's token and did not get it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

import attrs

from k8stokendetect.detectors.base import Traits
from k8stokendetect.detectors.keyed import KeyedDetector, View
from k8stokendetect.detectors.wording import HOW_ANSWERED, code_evidence, origin_of, target_of, who
from k8stokendetect.errors import ConfigError
from k8stokendetect.events import TOKEN_SUBRESOURCE, Event
from k8stokendetect.findings import Finding, Rule, Severity
from k8stokendetect.identity import REASON
from k8stokendetect.words import brief

NO_POD: Final = "no relationship found"
"""How the Node authorizer's reason begins for an account of which no pod runs there (node_authorizer.go, measured)."""

ANONYMOUS: Final = "system:anonymous"
MAX_TARGETS: Final = 100
LONGEST_NAME: Final = 320
"""Namespace (63), slash and name (253) of any account that can exist; the client chooses what a refused call names."""


@attrs.frozen
class Tried:
    """Whose tokens somebody asked for in vain, and when last."""

    targets: dict[str, datetime] = attrs.field(factory=dict)


class TokenRequestDenied(KeyedDetector[Tried]):
    """Each create on the subresource that failed: low; medium for many service accounts within the window.

    Arguments:
        many: so many service accounts, by one caller within the window, are a search.
        window: the length of time.

    Raises:
        ConfigError: when `many` is not between 2 and 100, or the window is not between a second and a day.

    """

    rule = Rule(
        "token-request-denied",
        "TokenRequest API call refused or failed",
        Severity.LOW,
        description=(
            "Somebody asked for a service account token and got none: not authenticated, not allowed, no such account, "
            "or a request that the API server could not take. One is a mistake or a first try; many different "
            "service accounts in a short time are somebody who looks for one that gives way."
        ),
        techniques=("T1552.007",),
        tactics=("credential-access",),
        references=(
            "https://attack.mitre.org/techniques/T1552/007/",
            "https://kubernetes.io/docs/reference/access-authn-authz/node/",
        ),
        false_positives=(
            "kubelets that renew the token of a pod just deleted: always low, however many they are",
            "controllers that start before their RBAC is there, or whose service account was just deleted",
            "an expired credential: 401 on every try",
        ),
        blind_spots=(
            "who tries slowly, or from several accounts",
            "who asks first what is allowed (`kubectl auth can-i`) and then does only that",
            "clients behind one address that do not authenticate: they count as one",
        ),
        response=(
            "Low: keep it for the day it belongs to something. Medium: find out who the caller is and what it got "
            "besides (token-request); if it is a workload, take its pod for compromised."
        ),
    )
    watches = frozenset({f"create {TOKEN_SUBRESOURCE}"})
    traits = Traits(excludable=False, separate_keys=True)  # nothing was minted
    remember_for = timedelta(days=1)

    def __init__(self, *, many: int = 5, window: timedelta = timedelta(minutes=10)) -> None:
        given: tuple[object, object] = (many, window)
        if type(given[0]) is not int or not 2 <= many <= MAX_TARGETS:  # noqa: PLR2004 - as it says
            raise ConfigError(f"many is not between 2 and {MAX_TARGETS}: {many!r}")
        if not isinstance(given[1], timedelta) or not timedelta(seconds=1) <= window <= self.remember_for:
            raise ConfigError(f"window is not between a second and a day: {window!r}")
        super().__init__()
        self.many, self.window = many, window

    def keys(self, event: Event, _: Sequence[Finding], /) -> Iterator[str]:
        """Name the caller of a call that failed; by its address where it did not authenticate."""
        if not event.does("create", TOKEN_SUBRESOURCE) or not event.answered or event.mints_token:
            return
        # 4xx is an answer to what was asked; 429 says to ask again later
        if event.code is None or not 400 <= event.code < 500 or event.code == 429:  # noqa: PLR2004 - HTTP
            return
        name = event.actor.username
        caller = f"peer {event.peer_ip}" if name in {"", ANONYMOUS} else f"user {name}"
        yield f"{event.cluster or ''} {caller}" if event.time else ""

    def fold(self, key: str, event: Event, _: Sequence[Finding], memory: View[Tried], /) -> Iterator[Finding]:
        """Report the call, and how many service accounts were tried."""
        state = memory.get(key)
        time, target = event.time, target_of(event)[:LONGEST_NAME]
        tried = dict(state.targets) if state and time else {}
        if time and not _pod_is_gone(event):
            tried[target] = max(time, tried.get(target, time))
            latest = max(tried.values())
            recent = sorted((when, name) for name, when in tried.items() if latest - when <= self.window)
            tried = {name: when for when, name in recent[-MAX_TARGETS:]}
        number = sum(timedelta(0) <= time - when < self.window for when in tried.values()) if time else 0
        search = number >= self.many and not _pod_is_gone(event)
        minutes = f"{self.window.total_seconds() / 60:g} min"
        memory.put(key, Tried(tried))
        yield self.finding(
            event,
            f"{who(event)} asked for a token of {brief(target)}{origin_of(event)} and got none ({event.code})"
            + (f": {number}{' or more' * (number >= MAX_TARGETS)} service accounts within {minutes}" if search else ""),
            *code_evidence(event, HOW_ANSWERED),
            severity=Severity.MEDIUM if search else None,
            caveats=() if time else ("when it happened is not known: no timestamp was logged",),
        )


def _pod_is_gone(event: Event) -> bool:
    """Tell whether the Node authorizer refused a kubelet: a benign one gets that for a pod just deleted."""
    node = event.actor.username.startswith("system:node:") and "system:nodes" in event.actor.groups
    return node and event.annotations.get(REASON, "").startswith(NO_POD)
