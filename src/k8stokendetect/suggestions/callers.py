# SPDX-License-Identifier: Apache-2.0
"""What a log shows of a caller who mints: its proofs, what it asks for, and for whom; a component made of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime
from typing import Final, Literal, Self

import attrs

from k8stokendetect.events import Event
from k8stokendetect.exclusions import Actor, Component, Provenance, TokenShape
from k8stokendetect.exclusions.base import AUTHENTICATED
from k8stokendetect.exclusions.verdict import is_public
from k8stokendetect.identity import CREDENTIAL_ID, POD_NAME, REASON, SERVICE_ACCOUNT_PREFIX, credential_kind

MOST_TARGETS: Final = 1000
"""A caller that minted for more service accounts than this gets no suggestion: it would be for everybody."""

MOST_CLIENTS: Final = 5
"""A caller that names itself in more ways is not asked for its client's name."""

_LONGEST_CLIENT: Final = 100


@attrs.frozen
class Login:
    """What the caller of a mint proves, and the kind of token it asks for; what differs here is suggested apart.

    Arguments:
        username: its name.
        groups: but for `system:authenticated`.
        kind: of its credential, where the log names one.
        in_pod: its token is bound to a pod.
        certificate: it has neither a uid nor any extra, as a client certificate gives it.
        has_no_groups: this form of the log has none.
        token: what was asked for, where the request body was logged, but for the lifetime.

    """

    username: str
    groups: tuple[str, ...]
    kind: Literal["JTI", "X509SHA256"] | None
    in_pod: bool
    certificate: bool
    has_no_groups: bool
    token: TokenShape | None

    @classmethod
    def of(cls, event: Event, /) -> Self:
        """Read it off a mint."""
        user, spec = event.user, event.token_request
        more = user.uid or user.extra.keys() - {CREDENTIAL_ID}
        kind = credential_kind(event.used_credential)
        bound = spec.bound_object_ref.kind if spec and spec.bound_object_ref else ""
        return cls(
            user.username,
            tuple(sorted({*user.groups} - {AUTHENTICATED})),
            "JTI" if kind == "JTI" else "X509SHA256" if kind == "X509SHA256" else None,
            in_pod=POD_NAME in user.extra,
            certificate=kind != "JTI" and not (more or "extra" in event.lost),
            has_no_groups=event.platform == "gke" and not user.groups,
            token=TokenShape(bound_kind=bound, audiences=tuple(sorted({*spec.audiences}))) if spec else None,
        )

    def component(self) -> Component:
        """Return everything it proves, for any target.

        Raises:
            ConfigError: when that is not proof, or may never be excluded.

        """
        is_account = self.username.startswith(SERVICE_ACCOUNT_PREFIX)
        actor = Actor(
            username=self.username,
            groups=() if is_account else self.groups,
            only_groups=not self.has_no_groups,
            credential=self.kind,
            certificate=self.certificate and not is_account,
            in_pod=self.in_pod,
            groups_not_logged="this form of the log has no groups" if self.has_no_groups else "",
        )
        return Component(
            id="suggested",
            actor=actor,
            namespaces=("*",),
            token=self.token,
            platforms=frozenset({"gke"}) if self.has_no_groups else frozenset(),
            provenance=(Provenance(source="the log", checked=date.min),),
        )


@attrs.define
class Seen:
    """What was seen of the mints for one service account, or of those that one table covers.

    Attributes:
        origin: file and line of the first.
        number: which of the caller's mints that was.
        count: the number of mints.
        first: the time of the first, where logged.
        last: the time of the last.

    """

    origin: str = ""
    number: int = 0
    count: int = 0
    first: datetime | None = None
    last: datetime | None = None

    def add(self, time: datetime | None, /) -> None:
        """Take a mint."""
        self.count += 1
        if time is not None:
            self.first, self.last = min(self.first or time, time), max(self.last or time, time)

    @classmethod
    def together(cls, parts: Sequence[Seen], /) -> Self:
        """Return the sum of some."""
        begin = min(parts, key=lambda part: part.number)
        firsts = [part.first for part in parts if part.first is not None]
        lasts = [part.last for part in parts if part.last is not None]
        return cls(
            begin.origin,
            begin.number,
            sum(part.count for part in parts),
            min(firsts, default=None),
            max(lasts, default=None),
        )


@attrs.define
class Caller:
    """What was seen of one login.

    Attributes:
        base: everything that it proves, for any target.
        count: the number of mints.
        last: the time of the last, where logged.
        inside: each came from an address that is not public.
        fits: the optional exclusion that covers them.
        accounts: the number of service accounts it minted for; it stops above `MOST_TARGETS`.

    """

    base: Component
    count: int = 0
    last: datetime | None = None
    inside: bool = True
    fits: str = ""
    accounts: int = 0
    _clients: set[str] = attrs.field(factory=set)
    _reasons: set[str | None] = attrs.field(factory=set)
    _longest: int = 0
    _targets: dict[str, dict[str, Seen]] = attrs.field(factory=dict)

    def add(self, event: Event, /) -> None:
        """Take a mint; it has everything that the base asks for."""
        self.count += 1
        if event.time is not None:
            self.last = max(self.last or event.time, event.time)
        self.inside = self.inside and event.peer_ip is not None and not is_public(event.peer_ip)
        if len(self._clients) <= MOST_CLIENTS:
            product, slash, _ = event.user_agent.partition("/")
            self._clients.add(f"{product}{slash}"[:_LONGEST_CLIENT])
        if len(self._reasons) <= 1:
            self._reasons.add(event.annotations.get(REASON))
        if event.token_request is not None:
            self._longest = max(self._longest, event.token_request.expiration_seconds or 0)
        target = event.service_account
        if target is not None and self.accounts <= MOST_TARGETS:
            names = self._targets.setdefault(target.namespace, {})
            if target.name not in names:
                self.accounts += 1
                # The name of a file may hold bytes that are not text, which TOML cannot express.
                origin = (event.origin or "").encode("utf-8", "backslashreplace").decode("utf-8")
                names[target.name] = Seen(origin, self.count)
            names[target.name].add(event.time)

    def components(self) -> Iterator[tuple[Component, Seen]]:
        """Yield what covers everything that was seen and nothing else: one for each set of names, with its mints."""
        knows_client = len(self._clients) <= MOST_CLIENTS and "" not in self._clients
        actor = attrs.evolve(
            self.base.actor,
            user_agents=tuple(sorted(self._clients)) if knows_client else (),
            reason=next(iter(self._reasons)) if len(self._reasons) == 1 else None,
            inside=self.inside,
        )
        token = self.base.token and attrs.evolve(self.base.token, longest=self._longest)
        places: dict[tuple[str, ...], list[str]] = {}
        for namespace, names in sorted(self._targets.items()):
            places.setdefault(tuple(sorted(names)), []).append(namespace)
        for accounts, namespaces in places.items():
            parts = [seen for namespace in namespaces for seen in self._targets[namespace].values()]
            component = attrs.evolve(self.base, actor=actor, namespaces=tuple(namespaces), names=accounts, token=token)
            yield component, Seen.together(parts)
