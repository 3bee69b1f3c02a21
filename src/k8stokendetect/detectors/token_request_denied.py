# SPDX-License-Identifier: Apache-2.0
"""token-request-denied: somebody asked for a service account's token and did not get it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

import attrs

from k8stokendetect.detectors.attempts import MAX_PEERS, Attempts, Node, Tried
from k8stokendetect.detectors.base import Traits
from k8stokendetect.detectors.keyed import KeyedDetector, View
from k8stokendetect.detectors.wording import HOW_ANSWERED, code_evidence, origin_of, target_of, who
from k8stokendetect.errors import ConfigError
from k8stokendetect.events import TOKEN_SUBRESOURCE, Event
from k8stokendetect.exclusions import DEFAULT_EXCLUSIONS
from k8stokendetect.exclusions.controllers import CONTROLLERS
from k8stokendetect.exclusions.failing import FailingComponents, has_no_relationship, is_usual, way_of_failing
from k8stokendetect.exclusions.kubernetes import KUBELET_CLIENTS
from k8stokendetect.findings import Evidence, Finding, Rule, Severity
from k8stokendetect.identity import STRANGERS
from k8stokendetect.words import brief, caller_of, listed

NODE: Final = "system:node:"
CONTROL_PLANE: Final = frozenset({"system:kube-controller-manager", "system:kube-scheduler", "system:apiserver"})
FORBIDDEN: Final = 403
HOUR: Final = timedelta(hours=1)
MINUTE: Final = timedelta(minutes=1)
LISTED: Final = 50
"""Maximum number of attempts of one caller within an hour that are reported one by one."""

MAX_TARGETS: Final = 100
LONGEST_NAME: Final = 320
"""Namespace (63), slash and name (253) of any account that can exist; the client chooses what a refused call names."""


class TokenRequestDenied(KeyedDetector[Attempts]):
    """Calls that failed, counted by caller and window: low. What components fail at by design is informational.

    The first fifty of an authenticated caller are reported one by one, the rest of an hour as one finding with their
    number; all who do not authenticate are counted together from the first. A node that is refused for accounts that it
    never minted for is the exception: two within a minute are medium, five high, from a new address one level more.

    Arguments:
        many: a caller that was refused for this number of accounts within the window searches.
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
            "or a request that the API server could not take. Attempts are counted; a search that finally succeeds is "
            "medium. Kubelets and controllers fail by design, for pods and accounts that were just deleted: "
            "informational. A node or control-plane identity that is refused for accounts it never minted for is "
            "probing for what it can get: medium, then high."
        ),
        techniques=("T1552.007",),
        tactics=("credential-access",),
        references=(
            "https://attack.mitre.org/techniques/T1552/007/",
            "https://kubernetes.io/docs/reference/access-authn-authz/node/",
        ),
        false_positives=(
            "operators that start before their RBAC objects exist",
            "an expired credential: 401 on every try",
        ),
        blind_spots=(
            "callers that try slowly or from several accounts; one account a minute by a node is informational",
            "callers that first ask what is allowed (`kubectl auth can-i`) and then do only that",
            "callers that do not authenticate: all of them count as one",
        ),
        response=(
            "Low: keep it in case it turns out to be part of something. Medium: find out who the caller is and what "
            "it got besides (token-request); if it is a workload, treat its pod as compromised."
        ),
    )
    watches = frozenset({f"create {TOKEN_SUBRESOURCE}"})
    traits = Traits(excludable=False)  # nothing was minted
    remember_for = timedelta(days=1)

    def __init__(self, *, many: int = 5, window: timedelta = timedelta(minutes=10)) -> None:
        given: tuple[object, object] = (many, window)
        if type(given[0]) is not int or not 2 <= many <= MAX_TARGETS:  # noqa: PLR2004 - as it says
            raise ConfigError(f"many is not between 2 and {MAX_TARGETS}: {many!r}")
        if not isinstance(given[1], timedelta) or not timedelta(seconds=1) <= window <= self.remember_for:
            raise ConfigError(f"window is not between a second and a day: {window!r}")
        super().__init__()
        self.many, self.window = many, window
        self._components = FailingComponents(exclusion.component for exclusion in DEFAULT_EXCLUSIONS)

    def keys(self, event: Event, _: Sequence[Finding], /) -> tuple[str, ...]:
        """Name the node of a mint, or the caller of a call that failed; who does not authenticate has one name."""
        if not event.answered or not event.does("create", TOKEN_SUBRESOURCE):
            return ()
        name, cluster, code = event.user.username, event.cluster or "", event.code
        nobody = f"{cluster} nobody"  # the addresses of the cluster's nodes are known there
        if event.mints_token:
            if event.time is None:
                return ()
            caller = f"{cluster} user {name}"
            return (caller, nobody) if name.startswith(NODE) else (caller,)
        # 4xx is an answer to what was asked; 429 says to ask again later
        if code is None or not 400 <= code < 500 or code == 429:  # noqa: PLR2004 - HTTP
            return ()
        return (nobody if _is_stranger(event) else f"{cluster} user {name}",)

    def fold(self, key: str, event: Event, _: Sequence[Finding], memory: View[Attempts], /) -> Iterable[Finding]:
        """Learn what a node mints for; count and report what failed."""
        known = memory.get(key) or Attempts()
        if not event.mints_token:
            return self._failed(key, event, known, memory)
        name, ref = event.user.username, event.object_ref
        if not name.startswith(NODE) and name not in CONTROL_PLANE:
            return self._succeeded(key, event, known, memory) if known.tried.targets else ()
        account = f"{ref.namespace}/{ref.name}" if ref and " user " in key else ""
        node = known.node.after_mint(account, event.peer_ip or "")
        # also where nothing is new: it is kept for another day
        memory.put(key, known if node is known.node else Attempts(known.tried, node))
        return ()

    def _failed(self, key: str, event: Event, known: Attempts, memory: View[Attempts]) -> Iterator[Finding]:
        target, peer = target_of(event)[:LONGEST_NAME], event.peer_ip or ""
        if event.time is None:
            yield self._report(event, target, caveats=("when it happened is not known: no timestamp was logged",))
        elif _is_stranger(event) and event.user_agent.startswith(KUBELET_CLIENTS) and peer in known.node.addresses:
            yield from self._of_component(key, event, f"{peer} without a valid certificate", known, memory)
        elif _is_component(event) and _asks_for_others(event, known.node):
            yield from self._of_thief(key, event, known, memory)
        elif self._components.failed(event):
            yield from self._of_component(key, event, target, known, memory)
        else:
            yield from self._counted(key, event, target, known, memory)

    def _counted(
        self, key: str, event: Event, target: str, known: Attempts, memory: View[Attempts]
    ) -> Iterator[Finding]:
        """Count a request; what was counted before and is not reported yet is due where a new window begins."""
        time = memory.now
        if known.tried.is_due(time, HOUR):
            yield from self._of_all(known.tried)
        tried = known.tried.after(target, time, HOUR)
        alone = not _is_stranger(event) and tried.count <= LISTED
        if alone:
            yield self._report(event, target, tried)
        else:
            tried = tried.counted(event)
        if not memory.excluded:
            memory.put(key, attrs.evolve(known, tried=tried))

    def settle(self, now: datetime | None, /) -> Iterator[Finding]:
        """Report what was counted in each window that is over; in the end, each that is not reported yet."""
        for key, known, expires in self.states:
            tried = known.tried
            if tried.first is not None and tried.is_due(now or self.states.clock.now, HOUR, early=now is None):
                yield from self._of_all(tried)
                self.states.put(key, attrs.evolve(known, tried=attrs.evolve(tried, said=tried.count)), expires)

    def _of_all(self, tried: Tried) -> Iterator[Finding]:
        """Report what was counted, all in one."""
        first, last = tried.first, tried.last
        if first is None or first.time is None or last is None:
            return
        caller = caller_of(first) if first.user and first.user not in STRANGERS else "callers that did not authenticate"
        others = len(tried.peers) - 1
        more = f" and {others}{' or more' * (len(tried.peers) >= MAX_PEERS)} other addresses" if others > 0 else ""
        origin = f" from {first.peer_ip}{more}" if first.peer_ip else ""
        times = f"{tried.count:,} times" if tried.count > 1 else "once"
        since = f", since {tried.since:%Y-%m-%d %H:%M:%S}" if tried.count > 1 else ""
        yield Finding(
            rule=self.rule,
            severity=self.rule.severity,
            summary=(
                f"{caller} asked {times} for a token of {listed(map(brief, tried.targets), 3)}{origin} and got none "
                f"({first.code}){since}"
            ),
            event=first,
            evidence=(Evidence("responseStatus.code", first.code, HOW_ANSWERED),),
            caveats=("only the first of these requests is named, the others are counted",) * (tried.count > 1),
            count=tried.count,
            last=last if tried.count > 1 else None,
        )

    def _succeeded(self, key: str, event: Event, known: Attempts, memory: View[Attempts]) -> Iterator[Finding]:
        """Tell that a search was successful."""
        now, recent = memory.now, known.tried.targets.values()
        if len(recent) < self.many or sum(timedelta(0) <= now - when < self.window for when in recent) < self.many:
            return
        memory.put(key, None)
        if known.tried.is_due(None, HOUR, early=True):
            yield from self._of_all(known.tried)
        yield self._report(event, target_of(event), known.tried, severity=Severity.MEDIUM, done="finally got one")

    def _of_component(
        self, key: str, event: Event, what: str, known: Attempts, memory: View[Attempts]
    ) -> Iterator[Finding]:
        """Take a component's failure for informational, and count it."""
        what = f"{what} {way_of_failing(event)}"
        node = known.node.after_failure(what)
        memory.put(key, attrs.evolve(known, node=node))
        if node.failures[what] == 1:
            yield self._report(event, target_of(event), severity=Severity.INFORMATIONAL)

    def _of_thief(self, key: str, event: Event, known: Attempts, memory: View[Attempts]) -> Iterator[Finding]:
        """Tell how many accounts were asked for that were never the node's own, whatever the client calls itself."""
        account, time = target_of(event)[:LONGEST_NAME], memory.now
        node = known.node.after_refusal(account, time, MINUTE)
        memory.put(key, attrs.evolve(known, node=node))
        if account in known.node.foreign and time - known.node.foreign[account] <= MINUTE:
            return
        number = len(node.foreign)
        level = Severity.HIGH if number >= self.many else Severity.MEDIUM if number > 1 else Severity.INFORMATIONAL
        level = Severity(level + bool(node.addresses and event.peer_ip not in node.addresses))
        level = Severity(level - (not node.accounts and event.user.username.startswith(NODE) and number > 1))
        if not self._components.failed(event):
            level = max(level, Severity.LOW)
        yield self._report(event, account, Tried(time, number, node.foreign) if number > 1 else None, severity=level)

    def _report(
        self,
        event: Event,
        target: str,
        tried: Tried | None = None,
        *,
        severity: Severity | None = None,
        done: str = "got none",
        caveats: tuple[str, ...] = (),
    ) -> Finding:
        more = ""
        if tried is not None and tried.since is not None and tried.count > 1:
            accounts = f" for {len(tried.targets)} service accounts" if len(tried.targets) > 1 else ""
            more = f"; {tried.count} such requests{accounts} since {tried.since:%Y-%m-%d %H:%M:%S}"
        return self.finding(
            event,
            f"{who(event)} asked for a token of {brief(target)}{origin_of(event)} and {done} ({event.code}){more}",
            *code_evidence(event, HOW_ANSWERED),
            severity=severity,
            caveats=caveats,
        )


def _is_stranger(event: Event) -> bool:
    return event.user.username in STRANGERS


def _is_component(event: Event) -> bool:
    return event.user.username.startswith(NODE) or event.user.username in CONTROL_PLANE


def _asks_for_others(event: Event, node: Node) -> bool:
    """Tell whether a node or the control plane was refused for an account that it never minted for."""
    if target_of(event)[:LONGEST_NAME] in node.accounts:
        return False
    if event.user.username.startswith(NODE):
        return has_no_relationship(event)
    ref = event.object_ref
    own = ref is not None and ref.namespace == "kube-system" and ref.name in CONTROLLERS
    return event.code == FORBIDDEN and not own and not is_usual(event)
