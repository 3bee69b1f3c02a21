# SPDX-License-Identifier: Apache-2.0
"""`scan --report`: the page says what was read and how, and shows the events behind the steps without keeping them."""

from __future__ import annotations

import gzip
import hashlib
import html
import json
import os
import re
import threading
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from builders import token_request
from k8stokendetect.cli.app import main
from k8stokendetect.cli.reporting import Reporting
from strategies import JWT

ATTACK = Path(__file__).parents[1] / "examples" / "attack.log"
EVENT = '"auditID": "80e8e3f7-afbe-4423-a72e-d0bc837ee13f"'


def page_of(tmp_path: Path, *arguments: object, stdin: bytes = b"") -> str:
    """Scan, and return the text of the page."""
    page = tmp_path / "report.html"
    CliRunner().invoke(main, ["scan", "--report", str(page), *map(str, arguments)], input=stdin)
    return html.unescape(re.sub("<.*?>", "", page.read_text(encoding="utf-8")))


def log(tmp_path: Path, *records: Any) -> Path:
    """Write a log."""
    path = tmp_path / "audit.log"
    path.write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    return path


def test_the_page_names_and_hashes_what_was_read(tmp_path: Path) -> None:
    """The file itself, compressed as it lies there, in a folder, too; the options; how much was in it."""
    folder = tmp_path / "logs"
    folder.mkdir()
    packed = gzip.compress(ATTACK.read_bytes())
    (folder / "audit.log.gz").write_bytes(packed)
    text = page_of(tmp_path, folder, "--platform", "eks", "--cluster-name", "it's one")

    assert f"{folder / 'audit.log.gz'} {len(packed):,} bytes" in text
    assert f"SHA-256 {hashlib.sha256(packed).hexdigest()}" in text
    assert "106 events, " in text
    assert f"""scan --platform eks --report {tmp_path}/report.html --cluster-name 'it'"'"'s one' {folder}""" in text
    assert EVENT in text


def test_errors_are_on_the_page(tmp_path: Path) -> None:
    """With their places; a file that is not there has no hash, and says so."""
    path = log(tmp_path, token_request(), {"kind": "Event", "auditID": 1})
    text = page_of(tmp_path, path, tmp_path / "no.log")

    assert "2: what they are about was not examined" in text
    assert "audit.log:2: " in text
    assert "no.log: cannot be opened" in text
    assert "not hashed" in text


def test_what_rests_on_other_files_names_them(tmp_path: Path) -> None:
    """A snapshot of the cluster decides what is said."""
    cluster = ATTACK.parent / "attack-cluster.json"
    text = page_of(tmp_path, ATTACK, "--cluster", cluster)

    assert hashlib.sha256(cluster.read_bytes()).hexdigest() in text


def test_standard_input_is_not_kept(tmp_path: Path) -> None:
    """Neither its hash nor its events; the facts about the callers are on the page."""
    text = page_of(tmp_path, "-", stdin=ATTACK.read_bytes())

    assert "standard input" in text
    assert "not hashed: its content was not kept" in text
    assert "Its audit event was not kept" in text
    assert "annotations['authorization.k8s.io/reason']" in text
    assert EVENT not in text


def test_what_came_through_a_pipe_among_files_has_no_command(tmp_path: Path) -> None:
    """A command that does not find the event would mislead."""
    other = log(tmp_path, token_request("bob", "dev/other", auditID="of-the-file", issued="JTI=of-the-file"))
    text = page_of(tmp_path, other, "-", stdin=ATTACK.read_bytes())

    assert '"auditID": "of-the-file"' in text
    assert "Its audit event was not kept" in text
    assert "k8stokendetect explain" not in text


def test_a_named_pipe_is_read_once(tmp_path: Path) -> None:
    """A second reading would wait for ever."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    threading.Thread(target=pipe.write_bytes, args=(ATTACK.read_bytes(),), daemon=True).start()
    text = page_of(tmp_path, pipe)

    assert "not hashed: it is not a file" in text
    assert "Its audit event was not kept" in text


def test_credentials_on_the_command_line_are_not_repeated(tmp_path: Path) -> None:
    """A URL's password and signature, and a token somebody pasted."""
    text = page_of(
        tmp_path, "memory://user:secret@nowhere/audit.log?sig=signature", ATTACK, "--cluster-name", f"token={JWT}"
    )

    assert "memory://nowhere/audit.log?…" in text
    assert "not hashed: it is not a file on this machine" in text
    assert not any(part in text for part in ("secret@", "signature", *JWT.split(".")))


def test_a_file_that_changes_meanwhile_is_said_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its hash is no longer that of what was read."""
    path = log(tmp_path, token_request())
    made = Reporting.page

    def grown(self: Reporting, found: Any) -> str:
        with path.open("a") as file:
            file.write("\n")
        return made(self, found)

    assert "changed while it was read" not in page_of(tmp_path, path)
    monkeypatch.setattr(Reporting, "page", grown)
    assert "changed while it was read" in page_of(tmp_path, path)


def test_the_command_that_shows_an_event_works(tmp_path: Path) -> None:
    """As it stands on the page, with the options that decide which events there are."""
    path = log(
        tmp_path,
        *(token_request(auditID=f"{number}", issued=f"JTI={number}", userAgent=f"a{number}") for number in range(3)),
    )
    page = tmp_path / "report.html"
    runner = CliRunner()
    runner.invoke(main, ["scan", "--month-first", "--report", str(page), str(path)])
    assert "k8stokendetect explain" not in page.read_text(encoding="utf-8")  # every event is there

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("k8stokendetect.outputs.report._EVENTS", 0)
        runner.invoke(main, ["scan", "--month-first", "--report", str(page), str(path)])
    (command, *_) = re.findall("<code>k8stokendetect (explain .*?)</code>", page.read_text(encoding="utf-8"))
    result = runner.invoke(main, command.split())

    assert "--month-first" in command
    assert result.exit_code == 0
    assert '"kind": "Event"' in result.stdout
