# SPDX-License-Identifier: Apache-2.0
"""The service: puts its parts together, listens, and stops in order."""

from __future__ import annotations

import asyncio
import contextlib
import io
import resource
import signal
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

import attrs
import uvicorn
from starlette.applications import Starlette

from k8stokendetect.cluster import Cluster
from k8stokendetect.detectors import Detector
from k8stokendetect.engine.detection import Detection, detection
from k8stokendetect.engine.memory import Memory
from k8stokendetect.engine.tally import Tally
from k8stokendetect.errors import ConfigError, K8sTokenDetectError
from k8stokendetect.events import Platform
from k8stokendetect.exclusions import Exclusion
from k8stokendetect.reprs import with_short_repr
from k8stokendetect.serve.app import PATIENCE, Receiver
from k8stokendetect.serve.auth import Tokens
from k8stokendetect.serve.board import Board
from k8stokendetect.serve.budget import Budget
from k8stokendetect.serve.examiner import Examiner
from k8stokendetect.serve.lock import locked
from k8stokendetect.serve.metrics import Metrics
from k8stokendetect.serve.outbox import Outbox
from k8stokendetect.serve.protocol import new_loop, protocol
from k8stokendetect.serve.reporting import Log, relayed
from k8stokendetect.serve.tls import TlsFiles
from k8stokendetect.sinks import Sinks

MIB: Final = 1024 * 1024
MAX_BODY: Final = 16 * MIB
"""Bytes of one batch; with `--audit-webhook-truncate-enabled` the API server posts 10 MiB and some hundred bytes."""

ALL_BODIES: Final = 64 * MIB
ROOM: Final = 128 * MIB
"""Bytes of batches that may wait to be examined."""

RELOAD: Final = 10.0
"""Seconds between two looks at the TLS files."""

GRACE: Final = 10.0
"""Seconds that the sinks get at the end."""


@with_short_repr
@attrs.frozen(kw_only=True)
class Settings:
    """How to serve.

    Arguments:
        listen: address and port for the API server.
        health: address and port for health and metrics without TLS and without being asked; None for none.
        tls: None: without TLS, on this machine only.
        client_names: what clients' certificates may be called; empty for any that was verified.
        token_file: tokens, one a line; None: no token is asked for.
        folder: for state and journals; no other process may use it.
        keep: how long the page shows an incident after its last request.
        max_body: bytes of one batch.
        patience: seconds for a batch to arrive, and then to be on the disk.
        grace: seconds that the sinks get at the end.
        options: for the page: the command line without credentials.

    """

    listen: tuple[str, int]
    folder: Path
    health: tuple[str, int] | None = None
    tls: TlsFiles | None = None
    client_names: frozenset[str] = frozenset()
    token_file: Path | None = None
    keep: timedelta = timedelta(days=1)
    max_body: int = MAX_BODY
    patience: float = PATIENCE
    grace: float = GRACE
    options: tuple[str, ...] = ()

    def check(self) -> None:
        """Refuse to listen where anyone could post or look; raises ConfigError."""
        if self.tls is None and not _is_here(self.listen[0]):
            raise ConfigError("without TLS, only this machine can be served: give --tls-cert and --tls-key")
        has_ca = self.tls is not None and self.tls.client_ca is not None
        if self.token_file is None and not has_ca:
            raise ConfigError("anyone could post findings and read the page: give --client-ca, --token-file or both")
        if self.client_names and not has_ca:
            raise ConfigError("--client-name is the name on client certificates: it needs --client-ca")


def _is_here(host: str) -> bool:
    return host in {"127.0.0.1", "::1", "localhost"}


class Service:
    """A receiver and everything behind it.

    Arguments:
        settings: how to serve.
        sinks: where alerts go.
        make_detectors: makes fresh ones.
        exclusions: whose components are not reported.
        platform: where the events come from, for the exclusions.
        cluster: a snapshot.
        cluster_name: the cluster that the events are of.
        azure_subjects: of federated credentials in Azure, by their ids.
        log: takes lines for the operator.

    Attributes:
        stop: ends the service in order, from any thread, once it runs.

    Raises:
        ConfigError: when something cannot be used.

    """

    def __init__(
        self,
        settings: Settings,
        sinks: Sinks,
        make_detectors: Callable[[], Sequence[Detector]],
        exclusions: Sequence[Exclusion],
        *,
        platform: Platform | None = None,
        cluster: Cluster | None = None,
        cluster_name: str | None = None,
        azure_subjects: Mapping[str, str] | None = None,
        log: Log | None = None,
    ) -> None:
        settings.check()
        self._settings = settings
        self._log = log or Log()
        self._sinks = sinks
        self.stop: Callable[[], object] = lambda: None
        self._tally = Tally()
        self._metrics = Metrics()
        self._context = settings.tls.context() if settings.tls else None
        tokens = Tokens(settings.token_file, self._log) if settings.token_file else None
        self._lock = locked(settings.folder)
        rules = [detector.rule for detector in make_detectors()]
        self._outbox = Outbox(settings.folder / "alerts", sinks.deliveries, self._log, rules)
        self._board = Board(cluster, settings.keep, self._tally, settings.options)

        def detecting(batches: Iterator[io.BytesIO], memory: Memory) -> Detection:
            return detection(
                batches,
                detectors=make_detectors(),
                exclusions=exclusions,
                platform=platform,
                on_error=self._say,
                tally=self._tally,
                cluster=cluster,
                cluster_name=cluster_name,
                memory=memory,
                azure_subjects=azure_subjects,
            )

        self._examiner = Examiner(settings.folder, detecting, self._outbox, self._board, self._metrics, self._log, ROOM)
        for _, alerts in self._outbox.read():
            self._board.restore(alerts)
        self._metrics.observe(self._tally, sinks.deliveries, self._examiner.waiting, self._outbox.undelivered)
        self._receiver = Receiver(
            self._examiner,
            self._board,
            self._metrics,
            self._log,
            tokens,
            max_body=settings.max_body,
            budget=Budget(max(ALL_BODIES, settings.max_body)),
            patience=settings.patience,
        )

    def _say(self, error: K8sTokenDetectError) -> None:
        self._log(f"error {type(error).__name__}", str(error))

    def run(self, ready: Callable[[int, int | None], object] | None = None) -> int:
        """Serve until SIGTERM or SIGINT, and return the exit status: 0, or 2 when nothing was examined any more.

        Arguments:
            ready: called with the ports once they are open.

        """
        _allow_many_files()
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._lock)
            stack.enter_context(relayed(self._log, "uvicorn.error", "asyncio"))
            sockets = [self._bound(self._settings.listen)]
            if self._settings.health is not None:
                sockets.append(self._bound(self._settings.health))
            for each in sockets:
                stack.enter_context(each)
            self._outbox.start()
            self._examiner.start()
            ports = [each.getsockname()[1] for each in sockets]
            if ready is not None:
                ready(ports[0], ports[1] if len(ports) > 1 else None)
            try:
                with asyncio.Runner(loop_factory=new_loop) as runner:
                    runner.run(self._serve(sockets))
            finally:
                self._receiver.stop()
                self._examiner.stop()
                self._outbox.flush(self._settings.grace)
                self._sinks.stopping.set()
                self._outbox.stop()
        return 2 if self._examiner.failure else 0

    def _bound(self, address: tuple[str, int]) -> socket.socket:
        host, port = address
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            return socket.create_server((host, port), family=family, backlog=512, reuse_port=False)
        except OSError as error:
            raise ConfigError(f"{host}:{port}: cannot listen: {error.strerror}") from None

    async def _serve(self, sockets: Sequence[socket.socket]) -> None:
        servers = [self._server(self._receiver.app(), self._context)]
        if len(sockets) > 1:
            servers.append(self._server(self._receiver.inside(), None))

        def stop() -> None:
            for server in servers:
                server.should_exit = True

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(ValueError, RuntimeError):  # another thread than the main one gets no signals
                loop.add_signal_handler(number, stop)
        self.stop = lambda: loop.call_soon_threadsafe(stop)
        watching = asyncio.create_task(self._watch(stop))
        await asyncio.gather(*(server.serve(sockets=[bound]) for server, bound in zip(servers, sockets, strict=True)))
        watching.cancel()

    def _server(self, app: Starlette, context: ssl.SSLContext | None) -> uvicorn.Server:
        names = self._settings.client_names if context is not None else frozenset[str]()
        config = uvicorn.Config(
            app,
            http=protocol(names, self._refuse_name),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=90,
            timeout_graceful_shutdown=int(self._settings.patience) + 1,
            ssl_context_factory=None if context is None else lambda *_: context,
        )
        return _Server(config)

    def _refuse_name(self) -> None:
        self._log(
            "warning certificate", "a client was refused: its certificate does not have the name of --client-name"
        )

    async def _watch(self, stop: Callable[[], object]) -> None:
        """Read the TLS files again when they change, and stop when nothing more is examined."""
        tls = self._settings.tls
        marks = tls.marks() if tls else ()
        while not self._examiner.failure:
            await asyncio.sleep(RELOAD)
            if tls is None or self._context is None or tls.marks() == marks:
                continue
            try:
                tls.load(self._context)
            except ConfigError as error:
                self._log("error certificate", f"{error}; the certificates read before are used")
            else:
                marks = tls.marks()
        stop()


class _Server(uvicorn.Server):
    """Leaves signals to the service, which has more to end than connections."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def _allow_many_files() -> None:
    """Allow as many open files as the system lets this process: a peer that only connects holds one."""
    with contextlib.suppress(ValueError, OSError):
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
