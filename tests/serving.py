# SPDX-License-Identifier: Apache-2.0
"""What the tests of the receiver share: batches of recorded events, a service in a thread, fake receivers of alerts."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Self

from api_server import event_list
from k8stokendetect import DEFAULT_EXCLUSIONS, Alert, Finding, detect
from k8stokendetect.detectors import BUILTIN
from k8stokendetect.incidents import alerts
from k8stokendetect.serve import Service, Settings
from k8stokendetect.serve.reporting import Log
from k8stokendetect.sinks import open_all
from recordings import METADATA, labelled_token_requests, records

TOKEN: Final = "a-token-of-nobody-0123456789"  # noqa: S105 - nobody's
BATCH: Final = 20


def attack() -> list[dict[str, Any]]:
    """Return recorded events around the mints of attackers: some dozens that give findings of many rules."""
    wanted = {
        label["event"]["auditID"]
        for label in labelled_token_requests(METADATA).values()
        if label["malicious"] or label["kind"] != "mint-ok"
    }
    log = records(METADATA)
    places = [place for place, event in enumerate(log) if event["auditID"] in wanted][:60]
    return log[places[0] : places[-1] + 1][:240]


def batches(events: Sequence[dict[str, Any]], size: int = BATCH) -> list[bytes]:
    """Return the bodies that an API server posts."""
    return [event_list(events[start : start + size]) for start in range(0, len(events), size)]


def expected(events: Sequence[dict[str, Any]], rules: Sequence[str] | None = None) -> set[str]:
    """Return the fingerprints of what one uninterrupted call finds."""
    return {finding.fingerprint for finding in detect(events, detectors=rules)}


def some_alerts() -> list[Alert]:
    """Return alerts about recorded events."""
    return list(alerts(detect(attack())))


def written(path: Path) -> list[dict[str, Any]]:
    """Return the alerts in a file."""
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()] if path.exists() else []


def findings_of(path: Path) -> list[str]:
    """Return the fingerprints of the findings of all alerts in a file."""
    return [name for alert in written(path) for name in alert["findings"]]


class Lines(list[str]):
    """Collects what an operator would read."""

    def log(self) -> Log:
        """Return what writes here."""
        return Log(self.append)


@contextlib.contextmanager
def serving(
    folder: Path, sinks: Sequence[str] = (), *, lines: Lines | None = None, **settings: Any
) -> Iterator[tuple[Service, int, int | None]]:
    """Run a service in a thread until the end of the block; gives it with its ports."""
    lines = lines if lines is not None else Lines()
    given = {"listen": ("127.0.0.1", 0), "folder": folder, **settings}
    service = Service(
        Settings(**given),
        open_all(sinks, dead_letters=folder.parent / "dead.jsonl", on_error=lambda error: lines.append(str(error))),
        lambda: [cls() for cls in BUILTIN],
        DEFAULT_EXCLUSIONS,
        log=lines.log(),
    )
    ports: list[tuple[int, int | None]] = []
    opened = threading.Event()

    def ready(port: int, health: int | None) -> None:
        ports.append((port, health))
        opened.set()

    thread = threading.Thread(target=service.run, args=(ready,))
    thread.start()
    try:
        assert opened.wait(30), lines
        yield service, *ports[0]
    finally:
        eventually(lambda: service.stop() is not None or not thread.is_alive())
        thread.join(30)
    assert not thread.is_alive()


def eventually(holds: Callable[[], object], seconds: float = 20) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


class FakeServer:
    """An HTTP server on a loopback port that answers as it is told, and keeps what it got.

    Arguments:
        answers: each a status and headers; the last is repeated.

    """

    def __init__(self, *answers: tuple[int, dict[str, str]]) -> None:
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.answers = list(answers) or [(200, {})]
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                fake.got.append((self.path, dict(self.headers), body))
                status, headers = fake.answers.pop(0) if len(fake.answers) > 1 else fake.answers[0]
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hook/secret-part"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def bodies(self) -> list[Any]:
        """Return the JSON documents that came."""
        return [json.loads(body) for _, _, body in self.got]


def found_in(*sources: Sequence[Finding]) -> list[str]:
    """Return fingerprints in an order of their own."""
    return sorted(finding.fingerprint for source in sources for finding in source)
