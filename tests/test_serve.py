# SPDX-License-Identifier: Apache-2.0
"""The receiver as an API server, an attacker, a person with a browser and Prometheus see it."""

from __future__ import annotations

import base64
import contextlib
import logging
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from click.testing import CliRunner

from api_server import HEADERS, ApiServer, event_list
from k8stokendetect.cli import main
from k8stokendetect.engine.pipeline import Pipeline
from k8stokendetect.errors import ConfigError
from k8stokendetect.serve import Settings, service
from k8stokendetect.serve.auth import Tokens
from k8stokendetect.serve.budget import Budget, Share
from k8stokendetect.serve.examiner import Examiner
from k8stokendetect.serve.lock import locked
from k8stokendetect.serve.metrics import Metrics
from k8stokendetect.serve.protocol import BoundedProtocol
from k8stokendetect.serve.reporting import MOST_A_MINUTE, Log, relayed
from k8stokendetect.serve.tls import TlsFiles
from serving import TOKEN, FakeServer, Lines, attack, batches, eventually, expected, findings_of, serving, written


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    """Return a file with a token."""
    path = tmp_path / "tokens"
    path.write_text(f"{TOKEN}\n")
    return path


class Authority:
    """An authority with a server's and clients' certificates, as PEM files.

    Arguments:
        folder: where they are written.

    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.ca = trustme.CA()
        self.ca.cert_pem.write_to_path(folder / "ca.pem")
        self.issue(folder)

    def issue(self, folder: Path) -> None:
        """Write a certificate for the server."""
        server = self.ca.issue_cert("127.0.0.1")
        server.private_key_pem.write_to_path(folder / "key.pem")
        for number, pem in enumerate(server.cert_chain_pems):
            pem.write_to_path(folder / "cert.pem", append=number > 0)

    def files(self) -> TlsFiles:
        """Return what a service is given."""
        folder = self._folder
        return TlsFiles(certificate=folder / "cert.pem", key=folder / "key.pem", client_ca=folder / "ca.pem")

    def client(self, name: str = "", ca: trustme.CA | None = None) -> ssl.SSLContext:
        """Return what a client needs that trusts the server; with a name it has a certificate, of this authority."""
        context = ssl.create_default_context()
        self.ca.configure_trust(context)
        if name:
            (ca or self.ca).issue_cert(common_name=name).configure_cert(context)
        return context


def test_mutual_tls_lets_in_whom_the_authority_knows_by_name(tmp_path: Path) -> None:
    """As a kube-apiserver's own ports do: every alert of what it posts comes; nobody else gets to speak HTTP."""
    authority, lines = Authority(tmp_path), Lines()
    events = attack()[:100]
    settings = {"tls": authority.files(), "client_names": frozenset({"kube-apiserver"})}
    with serving(tmp_path / "s", [f"file:{tmp_path / 'out'}"], lines=lines, **settings) as (_, port, _):
        url = f"https://127.0.0.1:{port}/audit"
        for context in (
            authority.client(),
            authority.client("kube-apiserver", trustme.CA()),
            authority.client("system:node:worker"),
        ):
            with pytest.raises(httpx.TransportError), httpx.Client(verify=context) as client:
                client.post(url, content=b"{}")
        with pytest.raises((OSError, httpx.TransportError)):
            httpx.post(url.replace("https", "http"), content=b"{}")
        server = ApiServer(url, context=authority.client("kube-apiserver"))
        assert all(server.post(body) for body in batches(events))
        server.client.close()
    assert set(findings_of(tmp_path / "out")) == expected(events)
    assert "warning: a client was refused: its certificate does not have the name of --client-name" in lines


def test_a_certificate_that_was_renewed_is_used_without_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is damaged meanwhile changes nothing, and is reported."""
    monkeypatch.setattr(service, "RELOAD", 0.02)
    authority, lines = Authority(tmp_path), Lines()
    with serving(tmp_path / "s", lines=lines, tls=authority.files()) as (_, port, _):

        def serial() -> str:
            context = authority.client("kube-apiserver")
            with (
                socket.create_connection(("127.0.0.1", port)) as plain,
                context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
            ):
                return str((connection.getpeercert() or {})["serialNumber"])

        first = serial()
        (tmp_path / "cert.pem").write_text("damaged")
        eventually(lambda: any("not a certificate and its key" in line for line in lines))
        assert serial() == first
        authority.issue(tmp_path)
        eventually(lambda: serial() != first)


def test_a_token_is_asked_for_and_may_change(tmp_path: Path, tokens: Path) -> None:
    """The API server sends it as a bearer token, a browser as the password of a person."""
    with serving(tmp_path / "s", token_file=tokens, health=("127.0.0.1", 0)) as (_, port, health):
        base = f"http://127.0.0.1:{port}"
        with httpx.Client(base_url=base) as client:
            answers = [client.get("/"), client.get("/metrics"), client.post("/audit", content=event_list([]))]
            answers += [
                client.get("/", auth=("me", "wrong")),
                client.get("/", headers={"Authorization": f"Basic {TOKEN}"}),
            ]
            assert [answer.status_code for answer in answers] == [401] * 5
            assert 'Basic realm="' in answers[0].headers["www-authenticate"]
            assert client.get("/healthz").text == "ok"
            bearer = {"Authorization": f"Bearer {TOKEN}"}
            assert client.post("/audit", content=event_list([]), headers=HEADERS | bearer).status_code == 200
            assert client.get("/", auth=("anyone", TOKEN)).status_code == 200
            tokens.write_text(f"another-token-of-nobody\n{TOKEN}\n")
            assert client.get("/", auth=("", "another-token-of-nobody")).status_code == 200
            tokens.write_text("another-token-of-nobody\n")
            assert client.get("/", headers=bearer).status_code == 401
        inside = f"http://127.0.0.1:{health}"
        assert "k8stokendetect_requests_total" in httpx.get(f"{inside}/metrics").text
        assert httpx.get(f"{inside}/healthz").status_code == 200
        assert [httpx.get(f"{inside}{path}").status_code for path in ("/", "/audit")] == [404, 404]


def test_no_page_makes_a_browser_post(tmp_path: Path, tokens: Path) -> None:
    """A browser knows the token of the person in front of it, and sends it with whatever a page of others posts."""
    always = HEADERS | {"Authorization": f"Bearer {TOKEN}"}
    cases = [
        ({"Authorization": f"Basic {base64.b64encode(f'me:{TOKEN}'.encode()).decode()}"}, 401),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/jsonp"}, 415),
        ({"Content-Type": ""}, 415),
        ({"Origin": "https://example.com"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Content-Type": "Application/JSON; charset=utf-8"}, 200),
    ]
    with serving(tmp_path / "s", token_file=tokens) as (_, port, _):
        url = f"http://127.0.0.1:{port}/audit"
        got = [httpx.post(url, content=event_list([]), headers=always | headers).status_code for headers, _ in cases]
    assert got == [status for _, status in cases]


def test_a_restart_does_not_look_as_if_no_batch_ever_came() -> None:
    """Before the first batch the metric has the time of the start, or an alert on its age fires at once."""
    before = int(time.time())
    (age,) = re.findall(r"(?m)^k8stokendetect_last_batch_timestamp_seconds (\S+)", Metrics().text().decode())

    assert float(age) >= before


def test_tokens_that_cannot_be_read_any_more_stay_valid_and_are_reported(tokens: Path) -> None:
    """A file that is being replaced must not let events be lost."""
    said: list[str] = []
    known = Tokens(tokens, lambda kind, text: said.append(f"{kind}: {text}"))
    for damage in (b"", b"short\n"):
        tokens.write_bytes(damage)
        assert known.accepts(f"Bearer {TOKEN}")
    tokens.unlink()
    assert known.accepts(f"bearer  {TOKEN} ")
    assert not any(known.accepts(header) for header in ("", "Bearer", f"Token {TOKEN}", "Basic !!", "Bearer \udcff"))
    assert len(said) >= 3
    assert not [line for line in said if TOKEN in line]


@contextlib.contextmanager
def open_port(port: int, sent: bytes) -> Iterator[socket.socket]:
    """Connect and send some bytes."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(sent)
        yield client


def answer_of(port: int, sent: bytes) -> int:
    """Send some bytes, and return the status that comes back; 0 where the server hung up on bytes it did not want."""
    answer = b""
    with contextlib.suppress(ConnectionResetError, BrokenPipeError), open_port(port, sent) as client:
        while part := client.recv(65536):
            answer += part
    return int(answer[9:12] or b"0")


def request(headers: str, body: bytes = b"") -> bytes:
    """Write a POST."""
    always = f"Host: a\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n"
    return f"POST /audit HTTP/1.1\r\n{always}{headers}\r\n".encode() + body


def test_hostile_clients_are_bounded_and_the_api_server_is_served(
    tmp_path: Path, tokens: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too long, compressed, cut off, too slow in its headers or its body, and brackets: each costs only itself."""
    monkeypatch.setattr(BoundedProtocol, "header_time", 0.3)
    monkeypatch.setattr(BoundedProtocol, "most", 10)
    lines = Lines()
    events = attack()[:60]
    size = 5_000_000
    given = {"token_file": tokens, "max_body": size, "patience": 2.0}
    with serving(tmp_path / "s", [f"file:{tmp_path / 'out'}"], lines=lines, **given) as (
        _,
        port,
        _,
    ):
        with contextlib.ExitStack() as stack:
            for begun in (b"", b"POST /au", request("Content-Length: 10\r\n")[:-2]):
                for _ in range(20):
                    stack.enter_context(open_port(port, begun))
            assert httpx.get(f"http://127.0.0.1:{port}/healthz").text == "ok"
            assert answer_of(port, request(f"Content-Length: {size + 1}\r\n")) == 413
            endless = b"%x\r\n" % size + b" " * size + b"\r\n"
            assert answer_of(port, request("Transfer-Encoding: chunked\r\n", endless * 2)) in {0, 413}
            bomb = "Content-Encoding: gzip\r\nContent-Length: 10\r\n"
            assert answer_of(port, request(bomb)) == 415
            brackets = request(f"Content-Length: {size}\r\nConnection: close\r\n", b"[" * size)
            assert answer_of(port, brackets) == 400
            assert answer_of(port, request("Content-Length: 10\r\n", b"{")) == 408
            assert answer_of(port, b"GET / HTTP/1.1\r\nx: " + b"y" * 200_000) in {0, 400}
            assert answer_of(port, b"GET / HTTP/1.1\r\n") == 0
        server = ApiServer(f"http://127.0.0.1:{port}/audit", TOKEN)
        assert all(server.post(body) for body in batches(events))
        assert server.statuses == [200] * len(batches(events))
        server.client.close()
    assert set(findings_of(tmp_path / "out")) == expected(events)
    assert any("nested" in line or "not an EventList" in line for line in lines)


def test_nobody_unknown_keeps_a_connection(tmp_path: Path, tokens: Path) -> None:
    """Whatever a client without a token asks for, and on the health port, is the last thing on its connection."""
    with serving(tmp_path / "s", token_file=tokens, health=("127.0.0.1", 0)) as (_, port, health):
        asked = [("GET", "/healthz", 200), ("GET", "/", 401), ("POST", "/audit", 401), ("GET", "/x", 404)]
        asked += [("PUT", "/audit", 405), ("POST", "/", 405), ("POST", "/audit/", 404)]
        base = f"http://127.0.0.1:{port}"
        answers = [(httpx.request(method, base + path), status) for method, path, status in asked]
        inside = f"http://127.0.0.1:{health}"
        answers += [(httpx.get(inside + path), status) for path, status in (("/metrics", 200), ("/healthz", 200))]
        answers += [(httpx.get(f"{inside}/"), 404)]
        counted = httpx.get(f"{inside}/metrics").text
    assert [answer.status_code for answer, _ in answers] == [status for _, status in answers]
    assert [answer.headers.get("connection") for answer, _ in answers] == ["close"] * len(answers)
    assert 'k8stokendetect_requests_total{path="other",status="405"} 2.0' in counted


def test_a_crowd_of_connections_shuts_out_only_itself(
    tmp_path: Path, tokens: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when each has had an answer; the one that posts keeps its own where there are others to close."""
    monkeypatch.setattr(BoundedProtocol, "most", 4)
    body = event_list([])
    known = request(f"Content-Length: {len(body)}\r\n", body)
    with serving(tmp_path / "s", token_file=tokens) as (_, port, _), contextlib.ExitStack() as stack:
        posting = stack.enter_context(open_port(port, known))
        assert b"HTTP/1.1 200" in posting.recv(65536)
        for _ in range(20):
            stack.enter_context(open_port(port, b""))
        posting.sendall(known)
        assert b"HTTP/1.1 200" in posting.recv(65536)
        for _ in range(20):
            assert stack.enter_context(open_port(port, known)).recv(12) == b"HTTP/1.1 200"


def test_what_cannot_be_kept_is_asked_for_again(tmp_path: Path, tokens: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk, and too much that waits: 503 with `Retry-After`, which client-go heeds, and nothing is lost."""
    lines = Lines()
    events = attack()[:60]
    full = [True] * 3
    real = os.fdatasync

    def sync(file: int) -> None:
        if full:
            full.pop()
            raise OSError(28, "No space left on device")
        real(file)

    with serving(tmp_path / "s", [f"file:{tmp_path / 'out'}"], lines=lines, token_file=tokens) as (_, port, _):
        monkeypatch.setattr(os, "fdatasync", sync)
        server = ApiServer(f"http://127.0.0.1:{port}/audit", TOKEN)
        assert all(server.post(body) for body in batches(events))
        server.client.close()
    assert server.statuses == [503] * 3 + [200] * 3
    assert set(findings_of(tmp_path / "out")) == expected(events)
    assert any("No space left on device" in line for line in lines)


def test_bodies_share_a_budget() -> None:
    """What has arrived of a body is given back when it ends, whether all of it was taken or not."""
    budget = Budget(10)
    first, second = Share(budget), Share(budget)

    assert [first.take(4), second.take(4), first.take(4), first.take(2)] == [True, True, False, True]
    first.give_back()
    assert budget.left == 6
    second.give_back()
    assert budget.left == 10


def test_only_bytes_that_came_count_for_the_budget(
    tmp_path: Path, tokens: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slow clients that announce much leave room for others; where none is left the API server is told to wait."""
    size = 1_000_000
    budget = Budget(size)
    monkeypatch.setattr(service, "Budget", lambda _: budget)
    lines = Lines()
    with contextlib.ExitStack() as stack:
        _, port, _ = stack.enter_context(serving(tmp_path / "s", lines=lines, token_file=tokens, max_body=size))
        for headers in ("Transfer-Encoding: chunked\r\n", f"Content-Length: {size}\r\n") * 5:
            stack.enter_context(open_port(port, request(headers, b"1\r\n{\r\n")))
        server = ApiServer(f"http://127.0.0.1:{port}/audit", TOKEN)
        assert server.post(event_list([]))
        assert server.statuses == [200]
        large = stack.enter_context(open_port(port, request(f"Content-Length: {size}\r\n", b" " * (size - 200))))
        eventually(lambda: budget.left <= 200)
        assert not server.post(event_list([{"auditID": "x" * 300}]))
        assert server.statuses[-1] == 503
        large.close()
        eventually(lambda: server.post(event_list([])))
        server.client.close()
    assert "warning: too many batches at once; the API server is asked to retry" in lines


def test_a_batch_that_breaks_the_examination_is_put_aside(
    tmp_path: Path, tokens: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are examined, also after a restart, and a person finds it."""
    lines = Lines()
    events = attack()[:60]
    bodies = batches(events)
    broken = events[25]["auditID"]
    real = Pipeline.take

    def take(self: Any, event: Any, /) -> Any:
        if event.audit_id == broken:
            raise RuntimeError("a fault of ours")
        return real(self, event)

    monkeypatch.setattr(Pipeline, "take", take)
    for posted in (bodies, bodies[:1]):
        with serving(tmp_path / "s", [f"file:{tmp_path / 'out'}"], lines=lines, token_file=tokens) as (_, port, _):
            server = ApiServer(f"http://127.0.0.1:{port}/audit", TOKEN)
            assert all(server.post(body) for body in posted)
            server.client.close()
    found = findings_of(tmp_path / "out")
    assert set(found) >= expected(events[:20])
    assert sorted(found) == sorted(set(found))
    assert len([line for line in lines if "batch 2 is not examined" in line]) == 1
    assert broken in (tmp_path / "s/not-examined/batch-2.jsonl").read_text()


def test_alerts_wait_for_a_sink_that_is_down_and_survive_a_restart(tmp_path: Path, tokens: Path) -> None:
    """Its answer is 503 until the service is started again; then each alert comes once, with its incident."""
    events = attack()[:60]
    with FakeServer((503, {})) as fake:
        sinks = [f"webhook:{fake.url}", f"file:{tmp_path / 'out'}"]
        with serving(tmp_path / "s", sinks, token_file=tokens, grace=0.1) as (running, port, _):
            server = ApiServer(f"http://127.0.0.1:{port}/audit", TOKEN)
            assert all(server.post(body) for body in batches(events))
            server.client.close()
            assert running is not None
        tried = len(fake.got)
        fake.answers = [(200, {})]
        with serving(tmp_path / "s", sinks, token_file=tokens):
            eventually(lambda: len(fake.got) - tried >= len(written(tmp_path / "out")))
        sent = [alert["fingerprint"] for alert in fake.bodies()[tried:]]
    assert sent == [alert["fingerprint"] for alert in written(tmp_path / "out")]
    assert all(alert["incident"] for alert in written(tmp_path / "out"))
    assert not (tmp_path / "dead.jsonl").exists()


def test_the_page_shows_the_incidents_also_after_a_restart(tmp_path: Path, tokens: Path) -> None:
    """The report page, live, with what a client chose escaped."""
    events = attack()[:60]
    with serving(tmp_path / "s", token_file=tokens) as (_, port, _):
        server = ApiServer(f"http://127.0.0.1:{port}/audit", TOKEN)
        assert all(server.post(body) for body in batches(events))
        server.client.close()
    with serving(tmp_path / "s", token_file=tokens) as (_, port, _), httpx.Client(auth=("me", TOKEN)) as client:
        page = client.get(f"http://127.0.0.1:{port}/")
        assert page.headers["cache-control"] == "no-store"
        assert re.search(r"\b[1-9]\d* incident", page.text)
        assert client.post(f"http://127.0.0.1:{port}/metrics").status_code == 405


@pytest.mark.slow
def test_the_page_can_be_looked_at_in_a_browser(tmp_path: Path, tokens: Path) -> None:
    """In Chromium: a person who gives the token sees the incidents; nothing is loaded from elsewhere."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("needs Chromium")
    events = attack()
    with serving(tmp_path / "s", token_file=tokens) as (running, port, _):
        server = ApiServer(f"http://127.0.0.1:{port}/audit", TOKEN)
        assert all(server.post(body) for body in batches(events))
        server.client.close()
        assert running is not None
    with serving(tmp_path / "s", token_file=tokens) as (_, port, _):
        url = f"http://me:{TOKEN}@127.0.0.1:{port}/"
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
        done = subprocess.run(  # noqa: S603 - a browser on our own page
            [*command, "--dump-dom", "--virtual-time-budget=3000", url],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
    assert "</html>" in done.stdout
    assert re.search(r"\b[1-9]\d* incident", done.stdout)
    assert TOKEN not in done.stdout


def test_damage_to_what_was_saved_stops_nothing(tmp_path: Path, tokens: Path) -> None:
    """A state that is none is put aside, and what is kept of the batches is examined again: no alert comes twice."""
    lines = Lines()
    events = attack()[:60]
    sinks = [f"file:{tmp_path / 'out'}"]
    with serving(tmp_path / "s", sinks, token_file=tokens) as (_, port, _):
        server = ApiServer(f"http://127.0.0.1:{port}/audit", TOKEN)
        assert all(server.post(body) for body in batches(events))
        server.client.close()
    before = findings_of(tmp_path / "out")
    (tmp_path / "s/state.json").write_text('{"version": 1}')
    (journal,) = (tmp_path / "s/batches").iterdir()
    journal.write_bytes(journal.read_bytes()[:-5] + b"xxxxx")
    (tmp_path / "s/alerts/delivered-file").write_text("[]")
    with serving(tmp_path / "s", sinks, lines=lines, token_file=tokens) as (_, port, _):
        server = ApiServer(f"http://127.0.0.1:{port}/audit", TOKEN)
        assert all(server.post(body) for body in batches(events))
        server.client.close()

    assert findings_of(tmp_path / "out") == before
    assert (tmp_path / "s/state.json.damaged").exists()
    assert len([line for line in lines if line.startswith("error: ")]) == 3


def test_one_folder_has_one_process(tmp_path: Path) -> None:
    """Two would write into each other's journals."""
    with locked(tmp_path), pytest.raises(ConfigError, match="another process uses it"):
        locked(tmp_path)
    with locked(tmp_path):
        pass


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"listen": ("0.0.0.0", 0), "token_file": Path("x")}, "without TLS, only this machine"),  # noqa: S104
        ({}, "anyone could post"),
        ({"token_file": Path("x"), "client_names": frozenset({"a"})}, "it needs --client-ca"),
    ],
)
def test_nobody_is_let_in_unasked(settings: dict[str, Any], problem: str) -> None:
    """Without TLS, or without authentication, nothing listens where others are."""
    with pytest.raises(ConfigError, match=problem):
        Settings(**{"listen": ("127.0.0.1", 0), "folder": Path("s"), **settings}).check()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("--listen here", "expected ADDRESS:PORT"),
        ("--tls-cert a", "go together"),
        ("--client-ca a", "needs --tls-cert"),
        ("--token-file missing", "cannot be read"),
        ("--token-file short", "at least 16 characters"),
        ("--token-file tokens --keep long", "--keep"),
        ("--token-file tokens --sink slack:T000-secret", "name it as env:NAME"),
        ("--token-file tokens --tls-cert tokens --tls-key tokens", "not a certificate and its key"),
        ("--token-file tokens --rule nonsense", "unknown rule"),
    ],
)
def test_a_wrong_option_is_one_line_and_exit_2(options: str, problem: str, tmp_path: Path, tokens: Path) -> None:
    """Before anything listens; what may be a secret is not repeated."""
    (tmp_path / "short").write_text("short\n")
    with contextlib.chdir(tmp_path):
        result = CliRunner().invoke(main, ["serve", "--state", "s", *options.split()])

    assert tokens.exists()
    assert result.exit_code == 2
    assert problem in result.stderr
    assert result.stderr.count("\n") == 1
    assert "T000-secret" not in result.stderr


def test_without_the_extra_the_command_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line."""
    for name in [name for name in sys.modules if name.startswith("k8stokendetect.serve")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    result = CliRunner().invoke(main, ["serve", "--state", "s"])

    assert result.exit_code == 2
    assert result.stderr == "error: uvicorn is missing: pip install 'k8stokendetect[serve]'\n"


def test_a_flood_of_lines_is_counted() -> None:
    """An operator reads some of a kind in a minute, and how many more there were."""
    lines, now = Lines(), [0.0]
    log = Log(lines.append, lambda: now[0])
    for number in range(100):
        log("error sink", f"\x1b[2J{number}")
    log("error disk", "of another topic")
    for _ in range(MOST_A_MINUTE + 1):
        log("fatal", "the end")
    now[0] = 61.0
    log("error sink", "later")

    assert lines[0] == r"error: \x1b[2J0"
    assert lines[MOST_A_MINUTE:] == [
        "error sink: more to come; for the rest of this minute they are only counted",
        "error: of another topic",
        *["fatal: the end"] * (MOST_A_MINUTE + 1),
        "error sink: 80 more in the last minute",
        "error: later",
    ]


def test_one_flood_hides_no_other_line(tmp_path: Path, tokens: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no HTTP, or comes without a token, or cannot be read: the end of the examination is still told."""
    lines = Lines()
    unreadable = event_list([{"level": number} for number in range(2 * MOST_A_MINUTE)])

    def fail(*_: Any) -> Any:
        raise RuntimeError("a fault of ours")

    with serving(tmp_path / "s", lines=lines, token_file=tokens) as (_, port, _):
        for _ in range(2 * MOST_A_MINUTE):
            assert answer_of(port, b"\x16\x03\x01 no HTTP\r\n\r\n") == 400
            assert answer_of(port, b"POST /audit HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n") == 401
        server = ApiServer(f"http://127.0.0.1:{port}/audit", TOKEN)
        assert server.post(unreadable)
        assert not server.post(b"{}")
        eventually(lambda: [line for line in lines if line.startswith("error ReadError: more")])
        monkeypatch.setattr(Examiner, "_tick", fail)
        monkeypatch.setattr(Examiner, "_put_aside", lambda *_: False)
        server.post(batches(attack()[:20])[0])
        server.client.close()
        eventually(lambda: [line for line in lines if line.startswith("fatal: nothing more is examined")])
    assert len([line for line in lines if line == "warning: Invalid HTTP request received."]) == MOST_A_MINUTE
    assert len([line for line in lines if "without a valid token" in line]) == MOST_A_MINUTE
    assert [line for line in lines if "was refused" in line]


def test_what_a_library_logs_shows_no_body(caplog: pytest.LogCaptureFixture) -> None:
    """Of an error, where it came from; afterwards its logger does what it did."""
    lines = Lines()
    with relayed(lines.log(), "asyncio"):
        try:
            int(TOKEN)
        except ValueError:
            logging.getLogger("asyncio").exception("it failed\nbecause of %s", TOKEN)
        assert not caplog.records
    logging.getLogger("asyncio").warning("later")

    assert [re.sub(r":\d+$", "", line) for line in lines] == ["error: it failed: ValueError in test_serve.py"]
    assert caplog.messages == ["later"]


def test_nothing_of_a_service_stays_behind(tmp_path: Path, tokens: Path) -> None:
    """After its end no thread of it runs, and its folder can be used again."""
    before = threading.active_count()
    with serving(tmp_path / "s", token_file=tokens):
        pass
    assert threading.active_count() <= before
    with serving(tmp_path / "s", token_file=tokens):
        pass
