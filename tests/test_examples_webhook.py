# SPDX-License-Identifier: Apache-2.0
"""The webhook receiver of the examples takes recorded batches on a loopback port, and what else comes along there."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from threading import Event, Thread
from typing import Any, Final

import httpx
import uvicorn

import webhook_receiver
from embedding import KEYED, fingerprints, mints
from k8stokendetect import Finding, detect
from k8stokendetect.detectors.states import ALLOWED_LATENESS
from recordings import METADATA, events, records

EVENTS: Final = 5_000
BATCH: Final = 400
CLIENTS: Final = 4


def event_list(items: Sequence[dict[str, Any]]) -> bytes:
    """Write a batch as the API server posts it."""
    return json.dumps({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": items}).encode()


class Receiver:
    """The webhook example on a loopback port, and what came out of it."""

    def __init__(self, **options: Any) -> None:
        self.delivered: list[Finding] = []
        self.reported: list[str] = []
        self.worker = webhook_receiver.Worker(self.delivered.append, lambda error: self.reported.append(str(error)))
        self.app = webhook_receiver.make_app(self.worker, **options)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/audit"

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Serve, and stop as SIGTERM stops it: at the end every batch is examined and nothing waits."""
        loggers = [logging.getLogger(name) for name in ("uvicorn.error", "uvicorn.asgi")]
        levels = [logger.level for logger in loggers]  # uvicorn sets them for the whole process
        server = uvicorn.Server(webhook_receiver.configure(self.app, log_level="critical"))
        thread = Thread(target=server.run, kwargs={"sockets": [self.socket]})
        thread.start()
        try:
            yield
        finally:
            server.should_exit = True
            thread.join(30)
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
        assert not thread.is_alive()
        assert not self.worker.thread.is_alive()

    def raw(self, sent: bytes, *, waits: float = 0.0) -> bytes:
        """Send these bytes, hang up after so many seconds, and return what came back."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as client:
            client.sendall(sent)
            client.settimeout(waits or 20)
            answer = b""
            with contextlib.suppress(ConnectionResetError, TimeoutError):
                if not waits:
                    client.shutdown(socket.SHUT_WR)
                while part := client.recv(65536):
                    answer += part
            return answer


def request(body: bytes, length: int | None = None) -> bytes:
    """Write a POST; the length may lie."""
    head = f"POST /audit HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body) if length is None else length}\r\n\r\n"
    return head.encode() + body


async def slowly(body: bytes) -> AsyncIterator[bytes]:
    """Send a body in ten pieces."""
    size = len(body) // 10 + 1
    for start in range(0, len(body), size):
        yield body[start : start + size]
        await asyncio.sleep(0.01)


async def post(client: httpx.AsyncClient, url: str, body: bytes, *, slow: bool = False) -> None:
    """Post a batch until it is taken, as the API server does."""
    for _ in range(20):
        answer = await client.post(url, content=slowly(body) if slow else body)
        if answer.status_code == 200:
            return
    raise AssertionError("never taken")


async def post_all(receiver: Receiver, bodies: Sequence[bytes], broken: Sequence[tuple[bytes, float]]) -> None:
    """Post from four clients at once, so many batches after so many; one is slow, one posts each batch twice."""
    async with httpx.AsyncClient(timeout=20) as client:
        others = [asyncio.to_thread(receiver.raw, sent, waits=waits) for sent, waits in broken]
        disturbing = asyncio.gather(*others)
        for start in range(0, len(bodies), CLIENTS):
            posts = [
                post(client, receiver.url, body, slow=number == 1)
                for number, body in enumerate(bodies[start : start + CLIENTS])
            ]
            await asyncio.gather(*posts, post(client, receiver.url, bodies[start]))
        await disturbing


def test_the_webhook_receiver_delivers_every_finding_once() -> None:
    """5,000 recorded events in batches of 400 from four clients, with a retried batch and others that misbehave.

    What four clients post at once is examined in any order. That changes only what `unusual-origin` learns first.
    """
    log, typed = records(METADATA)[:EVENTS], events(METADATA)[:EVENTS]
    bodies = [event_list(log[start : start + BATCH]) for start in range(0, EVENTS, BATCH)]
    for start in range(0, EVENTS, BATCH * CLIENTS):
        times = [event.time for event in typed[start : start + BATCH * CLIENTS] if event.time]
        assert max(times) - min(times) < ALLOWED_LATENESS
    whole = request(bodies[0])
    broken = [
        (b"", 0.0),
        (b"\x16\x03\x01\x02\x00\x01\x00", 0.0),
        (whole[:30], 0.5),
        (whole[: len(whole) // 2], 0.0),
        (whole[: len(whole) // 2], 0.5),
        (request(b"\x00" * 1000), 0.0),
        (request(event_list(log[:2]), length=300), 0.0),
    ]
    receiver = Receiver()
    with receiver.running():
        asyncio.run(post_all(receiver, bodies, broken))
        asyncio.run(post_all(receiver, bodies[3:4], []))

    expected = [finding for finding in detect(typed) if finding.rule.id != "unusual-origin"]
    delivered = [finding for finding in receiver.delivered if finding.rule.id != "unusual-origin"]
    assert KEYED & {finding.rule.id for finding in expected}
    assert fingerprints(delivered) == fingerprints(expected)
    assert receiver.reported.count("a client left before its batch was complete") == 2
    assert sum("not JSON" in line for line in receiver.reported) == 1
    assert len(receiver.reported) == 4


def test_the_webhook_receiver_answers_when_the_findings_are_out() -> None:
    """A sink that fails makes the API server post again; the finding comes once, though it was found before.

    While it fails no other batch is examined, so that no more findings wait than those of one.
    """
    receiver = Receiver()
    asked: list[str] = []

    def deliver(finding: Finding) -> None:
        asked.append(finding.fingerprint)
        if len(asked) <= 3:
            raise OSError("the sink is down")
        receiver.delivered.append(finding)

    receiver.worker.deliver = deliver
    batches = [event_list([label["event"]]) for label in mints()[:2]]
    expected = [fingerprints(list(detect(batch))) for batch in batches]
    with receiver.running(), httpx.Client() as client:
        assert [client.post(receiver.url, content=batch).status_code for batch in batches] == [503, 503]
        assert receiver.delivered == []
        assert receiver.reported == [f"{len(expected[0])} findings wait: the sink is down"] * 3
        assert client.post(receiver.url, content=batches[0]).status_code == 200
        assert fingerprints(receiver.delivered) == expected[0]
        assert [client.post(receiver.url, content=batch).status_code for batch in batches] == [200, 200]

    assert fingerprints(receiver.delivered) == sorted([*expected[0], *expected[1]])


def test_the_webhook_receiver_keeps_what_is_readable() -> None:
    """An event that cannot be read is reported, its neighbours are examined, and the API server need not try again."""
    receiver = Receiver(token="geheim", max_body=100_000)  # noqa: S106 - nobody's
    batch = event_list([{"auditID": 1, "verb": "create"}, mints()[0]["event"]])
    with receiver.running(), httpx.Client(headers={"Authorization": "Bearer geheim"}) as client:
        assert client.post(receiver.url, content=batch).status_code == 200
        assert fingerprints(receiver.delivered) == fingerprints(list(detect(mints()[0]["event"])))
        assert len(receiver.reported) == 1
        assert client.post(receiver.url, content=b"x" * 100_001).status_code == 413
        assert receiver.reported[1:] == ["a batch of more than 100000 bytes was refused"]
        assert client.post(receiver.url, content=batch, headers={"Authorization": "Bearer x"}).status_code == 401
        assert client.get(receiver.url).status_code == 405


def test_the_webhook_receiver_does_not_wait_for_ever() -> None:
    """While the sink hangs, or a client, a batch is refused in time.

    Of two batches one was begun and one was not; both come again, and every finding comes once.
    """
    receiver = Receiver(patience=0.2)
    released = Event()

    def deliver(finding: Finding) -> None:
        assert released.wait(30)
        receiver.delivered.append(finding)

    receiver.worker.deliver = deliver
    other = next(label["event"] for label in mints() if label["event"]["user"] != mints()[0]["event"]["user"])
    batches = [event_list([mints()[0]["event"]]), event_list([other])]
    with receiver.running():
        assert [httpx.post(receiver.url, content=batch).status_code for batch in batches] == [503, 503]
        assert receiver.raw(request(batches[0])[:-1], waits=20).startswith(b"HTTP/1.1 408 ")
        assert receiver.delivered == []
        released.set()
        asyncio.run(post_all(receiver, batches, []))

    assert fingerprints(receiver.delivered) == fingerprints([*detect(batches[0]), *detect(batches[1])])
    assert receiver.reported[:3] == ["a batch waits for those before it"] * 2 + ["a client was too slow"]
