# SPDX-License-Identifier: Apache-2.0
"""Logs in stores and on web servers: read like local ones, and no credential is ever repeated."""

from __future__ import annotations

import gzip
import http.server
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from click.testing import CliRunner

from builders import token_request
from k8stokendetect import ConfigError, detect, read
from k8stokendetect.cli import main
from k8stokendetect.errors import K8sTokenDetectError
from k8stokendetect.input import pool
from k8stokendetect.input.remote import Remote, is_url, without_credentials
from packing import tar_of, zip_of
from test_archives import servers
from test_compression import CONTENT, IDS, LINES, outcome

SECRET = "c2VjcmV0"  # noqa: S105 - what no output may hold
HTML = b"<!DOCTYPE html><html><body>Sign in</body></html>"


@pytest.fixture
def store() -> Iterator[Any]:
    """Return a store in memory, empty at first and at last."""
    memory = fsspec.filesystem("memory")
    memory.rm("/", recursive=True) if memory.ls("/") else None
    yield memory
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]


class Web(http.server.BaseHTTPRequestHandler):
    """Serves some logs; it knows ranges only where asked to."""

    files: dict[str, bytes]
    asked: list[str]

    def do_HEAD(self) -> None:
        """Answer without a body."""
        self._answer(has_body=False)

    def do_GET(self) -> None:
        """Answer with a body."""
        self._answer(has_body=True)

    def _answer(self, *, has_body: bool) -> None:
        path = self.path.partition("?")[0]
        self.asked.append(self.path)
        if path.startswith("/status/"):
            self.send_response(int(path.removeprefix("/status/")))
            self.end_headers()
            return
        content = self.files.get(path.removeprefix("/ranges"))
        self.send_response(200 if content is not None else 404)
        content = content or b""
        if path.startswith("/ranges"):
            self._part(content, has_body=has_body)
            return
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content if has_body else b"")

    def _part(self, content: bytes, *, has_body: bool) -> None:
        self._headers_buffer.clear()  # type: ignore[attr-defined]
        begin, _, end = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        part = content[int(begin) : int(end) + 1 if end else None] if has_body else content
        self.send_response(206 if "Range" in self.headers else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Range", f"bytes {begin}-{int(begin) + len(part) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part if has_body else b"")

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@pytest.fixture
def web() -> Iterator[str]:
    """Serve on the loopback interface; return the URL without its scheme."""
    Web.asked = []
    Web.files = {
        "/audit.log": CONTENT,
        "/audit.log.gz": gzip.compress(CONTENT),
        "/logs.zip": zip_of({"a.log": b"".join(LINES[:30]), "b.log": b"".join(LINES[30:])}),
        "/login": HTML,
        "/long.log": CONTENT * 200,
    }
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Web)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_file_a_folder_and_a_pattern(store: Any) -> None:
    """Compressed and archived ones too; dot files are left out, and origins name the file."""
    store.pipe("/logs/a.log", b"".join(LINES[:20]))
    store.pipe("/logs/old/b.log.gz", gzip.compress(b"".join(LINES[20:40])))
    store.pipe("/logs/old/c.zip", zip_of({"audit.log": b"".join(LINES[40:])}))
    store.pipe("/logs/.hidden", b"x")
    assert outcome("memory://logs/") == outcome("memory://logs") == outcome([Remote("memory://logs/")]) == (IDS, [])
    assert outcome("memory://logs/a.log") == (IDS[:20], [])
    assert outcome("memory://logs/old/*.log.*") == (IDS[20:40], [])
    assert outcome("memory://logs/*") == (IDS, [])
    origins = [str(event.origin) for event in read("memory://logs/")]
    assert (origins[0], origins[-1]) == ("memory:///logs/a.log:1", "memory:///logs/old/c.zip!audit.log:20")
    assert read("memory://logs/a.log").bytes_read == 0
    log = read("memory://logs/a.log")
    list(log)
    assert log.bytes_read == sum(map(len, LINES[:20]))


def test_objects_are_read_in_the_order_of_their_events(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As local files are; with one open at a time, too, and in an archive."""
    for name, content in servers().items():
        store.pipe(f"/logs/{name}", content)
        path = tmp_path / name
        path.parent.mkdir()
        path.write_bytes(content)
    store.pipe("/packed/logs.tar", tar_of(servers()))
    expected = [event.audit_id for event in read(tmp_path)]
    assert [event.audit_id for event in read("memory://logs/")] == expected
    monkeypatch.setattr(pool, "MAX_OPEN", 1)
    assert [event.audit_id for event in read("memory://logs/")] == expected
    assert [event.audit_id for event in read("memory://packed/logs.tar")] == expected
    assert len(list(detect("memory://logs/", detectors=["minted-token-used"]))) == 20


def test_the_command_takes_urls_next_to_files(store: Any, tmp_path: Path) -> None:
    """And follows none."""
    store.pipe("/logs/a.log", b"".join(LINES[:20]))
    (tmp_path / "b.log").write_bytes(b"".join(LINES[20:]))
    result = CliRunner().invoke(main, ["scan", "memory://logs/a.log", str(tmp_path / "b.log")])
    assert "events read: 60;" in result.stderr
    result = CliRunner().invoke(main, ["scan", "--follow", "memory://logs/a.log"])
    assert (result.exit_code, result.stderr) == (2, "error: --follow takes one file on this machine\n")


@pytest.mark.parametrize("place", ["", "/ranges"])
def test_a_web_server_with_and_without_ranges(place: str, web: str) -> None:
    """A log, a compressed one, an archive, a long one, of a URL that carries its own signature."""
    for name in ("audit.log", "audit.log.gz", "logs.zip"):
        url = f"http://{web}{place}/{name}?X-Amz-Signature={SECRET}%2F%2B"
        assert outcome(url) == (IDS, [])
        assert Web.asked[-1].endswith(f"?X-Amz-Signature={SECRET}%2F%2B"), "as it was given"
    assert len(outcome(f"http://{web}{place}/long.log")[0]) == 12_000


def test_no_credential_is_repeated(web: str, store: Any) -> None:
    """Not in an error, an origin, a finding or a repr."""
    store.pipe("/logs/a.log", LINES[0] + b"{broken\n")
    urls = {
        f"http://user:{SECRET}@{web}/audit.log": None,
        f"http://{SECRET}@{web}/login?sig={SECRET}": "an HTML page, such as one that asks to log in",
        f"http://{web}/audit.log?sv=2024-11-04&sig={SECRET}#{SECRET}": None,
        f"http://{web}/missing?sig={SECRET}": "cannot be opened: no such file",
        f"http://{web}/status/403?sig={SECRET}": "cannot be opened: access is denied",
        f"http://{web}/status/500?sig={SECRET}": "cannot be opened: HTTP status 500",
        f"http://127.0.0.1:9/x?sig={SECRET}": "cannot be opened: ",
        f"memory://user:{SECRET}@logs/nothing?{SECRET}": "no such file, or an empty folder",
        f"s3://key:{SECRET}@bucket/x": "pip install s3fs to read s3:// paths",
        f"gs://bucket/x?token={SECRET}": "pip install gcsfs to read gs:// paths",
        f"abfss://logs@account.dfs.core.windows.net/x?sig={SECRET}": "pip install adlfs to read abfss:// paths",
        f"nonsense://{SECRET}:{SECRET}@x/": "fsspec knows no nonsense:// paths",
    }
    for url, reason in urls.items():
        log = read(url)
        items = [str(item) for item in log.stream()] + [
            repr(log),
            repr(Remote(url)),
            str(vars(Remote(url)).get("name")),
        ]
        errors_of_detect: list[K8sTokenDetectError] = []
        items += [str(finding.to_dict()) for finding in detect(url, on_error=errors_of_detect.append)]
        items += map(repr, errors_of_detect)
        assert not [item for item in items if SECRET in item]
        errors = outcome(url)[1]
        assert (reason is None) == (errors == [])
        assert reason is None or reason in errors[0]
        result = CliRunner().invoke(main, ["scan", url])
        assert SECRET not in result.output


def test_what_is_cut_from_a_url() -> None:
    """Users and passwords, queries and fragments; not the container of `abfss://`."""
    assert without_credentials("https://u:p@h/x?sig=1#f") == "https://h/x?…"
    assert without_credentials("https://token@h/x") == "https://h/x"
    assert without_credentials("https://h/x#f") == "https://h/x?…"
    assert without_credentials("abfss://logs@a.dfs.core.windows.net/x") == "abfss://logs@a.dfs.core.windows.net/x"
    assert without_credentials("s3://b/a@b:c/x") == "s3://b/a@b:c/x"


def test_a_url_is_no_path() -> None:
    """And a path none, a drive of Windows neither."""
    assert all(map(is_url, ["s3://b", "https://h/x", "simplecache::s3://b", "abfss://c@a/x"]))
    assert not any(map(is_url, ["audit.log", "/var/log/x", "C://x", "C:\\x", "a:b", "", "./s3://x", "a b://c"]))


def test_no_message_chooses_which_url_is_opened(store: Any) -> None:
    """A str in an iterable may come from a queue."""
    store.pipe("/logs/a.log", CONTENT)
    reason = "record 1: a str in an iterable: give bytes for content, a Path for a file"
    assert outcome(["memory://logs/a.log"]) == ([], [reason])
    with pytest.raises(ConfigError, match="looks like content"):
        read(json.dumps(token_request()))


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a URL in a mixed list, too; the others are read."""
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    reason = "s3://logs/x: pip install 'k8stokendetect[remote]' to read it"
    assert outcome("s3://logs/x") == ([], [reason])
    assert outcome([Remote("s3://logs/x"), CONTENT]) == (IDS, [reason])
