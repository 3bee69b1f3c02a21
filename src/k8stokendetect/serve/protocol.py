# SPDX-License-Identifier: Apache-2.0
"""HTTP/1.1 as uvicorn speaks it, with a limit on the time that a client may take to say what it wants, and on whom."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

from k8stokendetect.serve.auth import names_of

HEADER_TIME: Final = 10.0
"""Seconds from the beginning of a connection, or of a request, to the end of its headers."""

CONNECTIONS: Final = 1000
"""How many may be open: an API server has up to 25 idle ones (client-go transport/cache.go) and 15 in a burst."""

HANDSHAKE_TIME: Final = 10.0
"""Seconds for the TLS handshake; kube-apiserver's own client takes no longer (client-go transport/cache.go)."""


def new_loop() -> asyncio.AbstractEventLoop:
    """Return an event loop whose servers do not wait a minute for a TLS handshake."""
    loop = asyncio.new_event_loop()
    create: Callable[..., Awaitable[asyncio.Server]] = loop.create_server

    async def create_server(*args: Any, **options: Any) -> asyncio.Server:
        if options.get("ssl") is not None:
            options.setdefault("ssl_handshake_timeout", HANDSHAKE_TIME)
        return await create(*args, **options)

    loop.create_server = create_server  # type: ignore[method-assign]  # uvicorn has no option for it
    return loop


class BoundedProtocol(H11Protocol):
    """A connection whose client has a verified name where names are asked for, and sends its headers in time.

    Attributes:
        names: what a client's certificate may be called; empty for any that was verified.
        refused: called when one is called otherwise.
        header_time: seconds for the headers of a request.
        most: how many connections may be open. For one more, an idle one is closed, so that a crowd which only
            connects shuts out nobody but itself.
        since: when it began to be idle, by the loop's clock: its beginning, or the end of its last answer.
        is_evicted: whether it was closed to make room.

    """

    names: frozenset[str] = frozenset()
    refused: Callable[[], object] = staticmethod(lambda: None)
    header_time: float = HEADER_TIME
    most: int = CONNECTIONS
    since: float = 0.0
    is_evicted: bool = False
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # always TCP here
        """Begin, or hang up on a client with another name."""
        super().connection_made(transport)
        if self.names and self.names.isdisjoint(names_of(transport.get_extra_info("peercert"))):
            self.refused()
            transport.abort()
            return
        self.since = self.loop.time()
        self._wait_for_headers()
        self._make_room()

    def _make_room(self) -> None:
        """Hang up on an idle connection where there are too many; on this one only where no other is idle.

        First goes one that is being closed, since its client may refuse to notice, then the oldest that has not asked
        for anything, then the one that asked last the longest ago: it was answered, and let be, so it is known.
        """
        others = [one for one in self.connections if isinstance(one, BoundedProtocol) and not one.is_evicted]
        if len(others) <= self.most:
            return
        idle = [one for one in others if one is not self and one.is_idle]
        last = min(idle, key=lambda one: (not one.transport.is_closing(), one.has_asked, one.since), default=self)
        last.is_evicted = True
        last.transport.abort()

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered."""
        return self.transport.is_closing() or self._is_between_requests()

    @property
    def has_asked(self) -> bool:
        """Whether a request was begun."""
        cycle: object = self.cycle
        return cycle is not None

    def on_response_complete(self) -> None:
        """Begin to be idle."""
        self.since = self.loop.time()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._headers_came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take some bytes."""
        if self._is_between_requests():
            self._wait_for_headers()
        super().data_received(data)
        if not self._is_between_requests():
            self._headers_came()

    def _is_between_requests(self) -> bool:
        cycle: object = self.cycle  # None before the first request
        return cycle is None or self.cycle.response_complete

    def _wait_for_headers(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self.header_time, self.transport.abort)

    def _headers_came(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def protocol(names: frozenset[str], refused: Callable[[], object]) -> type[BoundedProtocol]:
    """Return the class of connections for these names."""
    return type("Named", (BoundedProtocol,), {"names": names, "refused": staticmethod(refused)})
