# SPDX-License-Identifier: Apache-2.0
"""Receive the batches that a kube-apiserver's audit webhook posts, and deliver every finding.

Install `k8stokendetect[examples]` and run `python webhook_receiver.py`. Set WEBHOOK_CERT, WEBHOOK_KEY and
WEBHOOK_CLIENT_CA (PEM files: only clients with a certificate from that CA are let in), WEBHOOK_HOST and WEBHOOK_TOKEN
(a bearer token). The API server's `--audit-webhook-config-file` is a kubeconfig: `server: https://HOST:8443/audit` and
`certificate-authority` of the cluster, `client-certificate`, `client-key` and `token` of the user.
"""

import asyncio
import hmac
import os
import ssl
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from queue import SimpleQueue
from threading import Thread
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from k8stokendetect import Finding, detect
from k8stokendetect.engine import Memory
from k8stokendetect.outputs.native import to_line

MAX_BODY: Final = 16 * 1024 * 1024  # bytes; with --audit-webhook-truncate-enabled a batch has at most 10 MiB
CONNECTIONS: Final = 16  # each may hold one body: 256 MiB at most
PATIENCE: Final = 25.0  # seconds; the API server gives up after 30 and posts the batch again

CLOSE: Final = {"Connection": "close"}  # the rest of the body is not read


class Worker:
    """Examines one batch after the other in one thread; what detectors remember goes from batch to batch."""

    def __init__(self, deliver: Callable[[Finding], object], report: Callable[[object], object]) -> None:
        self.deliver, self.report = deliver, report
        self._batches: SimpleQueue[tuple[bytes, Future[bool]] | None] = SimpleQueue()
        self._undelivered: deque[Finding] = deque()
        self._memory = Memory()
        self.thread = Thread(target=self._run, name="detect")

    def submit(self, body: bytes) -> Future[bool]:
        """Queue a batch; the result is True when everything found so far is delivered."""
        done: Future[bool] = Future()
        self._batches.put((body, done))
        return done

    def stop(self) -> None:
        """Examine what is queued, and end."""
        self._batches.put(None)
        self.thread.join()

    def _run(self) -> None:
        while (batch := self._batches.get()) is not None:
            body, done = batch
            if done.set_running_or_notify_cancel():  # else the client gave up, and will post it again
                if self._flush():
                    self._undelivered.extend(detect(body, memory=self._memory, on_error=self.report))
                done.set_result(self._flush())
        if not self._flush():
            for finding in self._undelivered:
                self.report(f"never delivered: {to_line(finding)}")

    def _flush(self) -> bool:
        """Deliver what is left: with one memory each finding comes once, however often its batch is posted."""
        try:
            while self._undelivered:
                self.deliver(self._undelivered[0])
                self._undelivered.popleft()
        except Exception as error:  # noqa: BLE001 - whatever a sink may raise
            self.report(f"{len(self._undelivered)} findings wait: {error}")
        return not self._undelivered


async def read_body(request: Request, limit: int) -> bytes | None:
    """Return the body, or None if it is longer than the limit."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > limit:
            return None
    return bytes(body)


def make_app(worker: Worker, token: str = "", max_body: int = MAX_BODY, patience: float = PATIENCE) -> Starlette:
    """Return the application: 200 for a batch whose findings are delivered, even if records were unreadable."""

    async def receive(request: Request) -> Response:
        given = request.headers.get("authorization", "")
        if token and not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
            return Response(status_code=401)
        body = None
        try:
            async with asyncio.timeout(patience):
                body = await read_body(request, max_body)
                if body is None:
                    worker.report(f"a batch of more than {max_body} bytes was refused")
                    return Response(status_code=413, headers=CLOSE)
                delivered = worker.thread.is_alive() and await asyncio.wrap_future(worker.submit(body))
        except TimeoutError:
            worker.report("a client was too slow" if body is None else "a batch waits for those before it")
            return Response(status_code=408 if body is None else 503, headers=CLOSE)
        except ClientDisconnect:
            worker.report("a client left before its batch was complete")
            return Response(status_code=400)
        return Response(status_code=200 if delivered else 503)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        worker.thread.start()
        yield
        await asyncio.to_thread(worker.stop)

    return Starlette(routes=[Route("/audit", receive, methods=["POST"])], lifespan=lifespan)


def configure(app: Starlette, **options: Any) -> uvicorn.Config:
    """Return the server's configuration with its limits; options are uvicorn's."""
    return uvicorn.Config(
        app, limit_concurrency=CONNECTIONS, timeout_graceful_shutdown=int(PATIENCE), access_log=False, **options
    )


if __name__ == "__main__":
    env = os.environ
    findings_out = Worker(
        lambda finding: print(to_line(finding), flush=True), lambda error: print(error, file=sys.stderr)
    )
    uvicorn.Server(
        configure(
            make_app(findings_out, env.get("WEBHOOK_TOKEN", "")),
            host=env.get("WEBHOOK_HOST", "127.0.0.1"),
            port=8443,
            ssl_certfile=env["WEBHOOK_CERT"],
            ssl_keyfile=env["WEBHOOK_KEY"],
            ssl_ca_certs=env["WEBHOOK_CLIENT_CA"],
            ssl_cert_reqs=ssl.CERT_REQUIRED,
        )
    ).run()
