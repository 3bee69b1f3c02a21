# SPDX-License-Identifier: Apache-2.0
"""What is answered to whom: batches, the page, health and metrics.

kube-apiserver takes any answer from 200 to 206 for success and anything else for a reason to post the batch again:
five attempts, 10 s, 15 s, 22 s and 34 s apart by default, each given up after 30 s; then the batch is dropped
(https://github.com/kubernetes/apiserver/blob/24a394e516bfda066d7e2221d7d92c052de27c54/plugin/pkg/audit/webhook/webhook.go
`retryOnError`, and pkg/util/webhook/webhook.go there). Within an attempt its client asks again where 429 or 5xx comes
with `Retry-After` in seconds
(https://github.com/kubernetes/client-go/blob/32ce75a7d6bc6960fd048d3d1e3b34185418d8c8/rest/with_retry.go).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from k8stokendetect.serve.auth import Tokens
from k8stokendetect.serve.batch import RefusedError, lines_of
from k8stokendetect.serve.board import Board
from k8stokendetect.serve.budget import Budget, Share
from k8stokendetect.serve.cloud_batch import cloud_lines_of
from k8stokendetect.serve.examiner import Examiner, Full
from k8stokendetect.serve.metrics import Metrics

PATIENCE: Final = 25.0
"""Seconds for a batch to arrive, and then for it to be on the disk; the API server gives up after 30."""

_CLOSE: Final = {"Connection": "close"}
_LATER: Final = {"Retry-After": "2"}
_ASK: Final = {"WWW-Authenticate": 'Basic realm="k8stokendetect"'}
_PAGE: Final = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

Endpoint = Callable[[Request], Awaitable[Response]]
Lines = Callable[[bytes], list[bytes]]


class Receiver:
    """Answers.

    Arguments:
        examiner: takes batches.
        board: makes the page.
        metrics: counted up.
        report: takes what goes wrong, as kind and text.
        tokens: that are asked for; None for none.
        max_body: bytes of one body.
        budget: bytes of all bodies at once.
        patience: seconds for a body, and for its examination.

    """

    def __init__(
        self,
        examiner: Examiner,
        board: Board,
        metrics: Metrics,
        report: Callable[[str, str], object],
        tokens: Tokens | None,
        *,
        max_body: int,
        budget: Budget,
        patience: float,
    ) -> None:
        self._examiner = examiner
        self._board = board
        self._metrics = metrics
        self._report = report
        self._tokens = tokens
        self._max_body = max_body
        self._budget = budget
        self._patience = patience
        self._intake = ThreadPoolExecutor(1, "intake")
        self._pages = ThreadPoolExecutor(1, "pages")

    def app(self) -> Starlette:
        """Return the application of the port that the API server posts to."""
        return self._routed(
            Route("/", self._counted("page", self._asked(self._page)), methods=["GET"]),
            Route("/audit", self._counted("audit", self._asked(self._batch)), methods=["POST"]),
            Route("/cloud", self._counted("cloud", self._asked(self._cloud_batch)), methods=["POST"]),
            Route("/metrics", self._counted("metrics", self._asked(self._show_metrics)), methods=["GET"]),
            Route("/healthz", self._counted("healthz", _last(self._health)), methods=["GET"]),
        )

    def inside(self) -> Starlette:
        """Return the application of the port for the kubelet and Prometheus, where nobody is asked who they are."""
        return self._routed(
            Route("/metrics", self._counted("metrics", _last(self._show_metrics)), methods=["GET"]),
            Route("/healthz", self._counted("healthz", _last(self._health)), methods=["GET"]),
        )

    def _routed(self, *routes: Route) -> Starlette:
        app = Starlette(routes=routes, exception_handlers={HTTPException: self._nothing})
        app.router.redirect_slashes = False
        return app

    async def _nothing(self, request: Request, error: Exception) -> Response:
        """Answer what is asked for in vain, by anybody."""
        status = error.status_code if isinstance(error, HTTPException) else 404
        self._metrics.requests.labels("other", str(status)).inc()
        self._report("warning path", f"nothing is here for {_peer(request)}: {request.method} {request.url.path}")
        return Response(status_code=status, headers=_CLOSE)

    def stop(self) -> None:
        """Finish what is being done."""
        self._intake.shutdown()
        self._pages.shutdown()

    def _counted(self, name: str, endpoint: Endpoint) -> Endpoint:
        async def counting(request: Request) -> Response:
            answer = await endpoint(request)
            self._metrics.requests.labels(name, str(answer.status_code)).inc()
            return answer

        return counting

    def _asked(self, endpoint: Endpoint) -> Endpoint:
        """Ask for a token first."""

        async def asking(request: Request) -> Response:
            if self._knows(request):
                return await endpoint(request)
            self._report(
                "warning client", f"a client without a valid token at {_peer(request)} asked for {request.url.path}"
            )
            return Response(status_code=401, headers={**_ASK, **_CLOSE})

        return asking

    def _knows(self, request: Request) -> bool:
        """Tell whether a client has a token; a browser sends a person's with whatever another site makes it post."""
        given = request.headers.get("authorization", "")
        is_post = request.method == "POST"
        if self._tokens is None:
            return True
        return not (is_post and given.strip().lower().startswith("basic")) and self._tokens.accepts(given)

    async def _health(self, _: Request) -> Response:
        is_well = self._examiner.is_alive() and not self._examiner.failure
        return Response("ok" if is_well else "not examining", 200 if is_well else 503, media_type="text/plain")

    async def _show_metrics(self, _: Request) -> Response:
        return Response(self._metrics.text(), headers={"Content-Type": self._metrics.content_type})

    async def _page(self, _: Request) -> Response:
        loop = asyncio.get_running_loop()
        page = await loop.run_in_executor(self._pages, self._board.page)
        return Response(page, media_type="text/html", headers=_PAGE)

    async def _cloud_batch(self, request: Request) -> Response:
        return await self._batch(request, cloud_lines_of)

    async def _batch(self, request: Request, lines: Lines = lines_of) -> Response:
        try:
            size = self._announced(request)
        except RefusedError as error:
            return self._refused(request, error)
        share = Share(self._budget)
        try:
            return await self._taken(request, size, share, lines)
        except RefusedError as error:
            return self._refused(request, error)
        finally:
            share.give_back()

    async def _taken(self, request: Request, size: int, share: Share, lines: Lines) -> Response:
        """Take a batch, and answer when it is on the disk."""
        try:
            async with asyncio.timeout(self._patience):
                body = await _read(request, size, share)
        except TimeoutError:
            raise RefusedError(408, "it did not arrive in time") from None
        except ClientDisconnect:
            raise RefusedError(400, "the client disconnected before it was complete") from None
        if body is None:
            self._report("warning busy", "too many batches at once; the API server is asked to retry")
            return Response(status_code=503, headers={**_LATER, **_CLOSE})
        try:
            await self._take(body, lines)
        except Full:
            self._report("warning busy", "batches wait to be examined; the API server is asked to retry")
        except OSError as error:
            self._report("error disk", f"a batch could not be kept: {error.strerror}; the API server is asked to retry")
        else:
            return Response(status_code=200)
        return Response(status_code=503, headers=_LATER)

    async def _take(self, body: bytes, lines: Lines) -> None:
        """Read a batch and put it on the disk; one that waits too long is left: the API server posts it again."""
        loop = asyncio.get_running_loop()
        working = loop.run_in_executor(self._intake, self._keep, body, lines)
        try:
            async with asyncio.timeout(self._patience):
                await working
        except TimeoutError:
            raise Full from None

    def _keep(self, body: bytes, lines: Lines) -> None:
        if found := lines(body):
            self._examiner.take(found)
        self._metrics.body_bytes.inc(len(body))

    def _announced(self, request: Request) -> int:
        """Return how long the body may be, before any of it is read.

        The API server says that it is JSON (client-go rest/request.go). A page can make a browser say so only after the
        browser has asked the receiver, which permits nothing (https://fetch.spec.whatwg.org/#cors-safelisted-request-header),
        and a browser says where a post comes from (https://fetch.spec.whatwg.org/#origin-header).
        """
        if "origin" in request.headers or "sec-fetch-site" in request.headers:
            raise RefusedError(403, "a browser sent it")
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise RefusedError(415, "it is not sent as application/json")
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            raise RefusedError(415, "it is compressed, which API servers do not do")
        length = request.headers.get("content-length")
        if length is None:
            return self._max_body
        if not length.isdecimal() or int(length) > self._max_body:
            raise RefusedError(413, f"it is longer than {self._max_body} bytes")
        return int(length)

    def _refused(self, request: Request, error: RefusedError) -> Response:
        self._report("warning batch", f"a batch of {_peer(request)} was refused: {error.reason}")
        return Response(status_code=error.status, headers=_CLOSE)


def _last(endpoint: Endpoint) -> Endpoint:
    """Let nobody who is not asked who they are keep a connection."""

    async def closing(request: Request) -> Response:
        answer = await endpoint(request)
        answer.headers.update(_CLOSE)
        return answer

    return closing


def _peer(request: Request) -> str:
    return request.client.host if request.client else "an unknown address"


async def _read(request: Request, most: int, share: Share) -> bytes | None:
    """Read a body; None when too much of others is held."""
    body = bytearray()
    async for part in request.stream():
        if len(body) + len(part) > most:
            raise RefusedError(413, f"it is longer than {most} bytes")
        if not share.take(len(part)):
            return None
        body += part
    return bytes(body)
