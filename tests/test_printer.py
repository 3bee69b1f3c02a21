# SPDX-License-Identifier: Apache-2.0
"""What the command prints and when: colours, files, limits, and what is printed while a log is still read."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from builders import token_request
from k8stokendetect import Alert, ConfigError, Severity
from k8stokendetect.cli.incident_pages import IncidentPages
from k8stokendetect.cli.printer import Printer
from k8stokendetect.cli.screen import Screen
from k8stokendetect.cli.selecting import Choice
from recordings import METADATA, few
from test_cli import COMMAND, log, run
from test_incidents import START, found, one, ref, used

HIGH = used(ref(minted_credential="JTI=1"))


def on_a_terminal(*arguments: object, **env: str) -> str:
    """Return what the command writes on a terminal."""
    ours, theirs = pty.openpty()
    command = [*COMMAND, *map(str, arguments)]
    with subprocess.Popen(  # noqa: S603 - our own command
        command,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TERM": "xterm"} | env,
    ):
        os.close(theirs)
        text = b""
        while chunk := _read(ours):
            text += chunk
    os.close(ours)
    return text.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""


def test_a_terminal_gets_colours_and_lines_that_fit(tmp_path: Path) -> None:
    """But not with NO_COLOR, nor where standard output is a file."""
    path = log(tmp_path, token_request())
    coloured = on_a_terminal("scan", path, COLUMNS="70")

    assert "\x1b[33mMED" in coloured
    plain = re.sub("\x1b\\[[0-9;]*m", "", coloured)
    assert max(len(line) for line in plain.split("\r\n") if "kubectl" not in line) <= 70
    assert "\x1b" not in on_a_terminal("scan", path, NO_COLOR="1")
    assert "\x1b" not in on_a_terminal("scan", path, TERM="dumb")
    assert "\x1b" not in run("scan", path).stdout


def test_output_goes_to_a_file(tmp_path: Path) -> None:
    """All of it; a file that cannot be written is refused before anything is read."""
    path, written = log(tmp_path, token_request()), tmp_path / "out.txt"
    result = run("scan", path, "--output", written)
    refused = run("scan", path, "--output", tmp_path / "no" / "out.txt")

    assert result.stdout == ""
    assert written.read_text(encoding="utf-8") == run("scan", path).stdout
    assert (refused.exit_code, "out.txt: cannot be written" in refused.stderr) == (2, True)
    assert "events read" not in refused.stderr


def test_quiet_is_quiet(tmp_path: Path) -> None:
    """Errors are printed all the same."""
    assert run("scan", "-q", log(tmp_path, token_request())).stderr == ""
    assert "not JSON" in run("scan", "-q", log(tmp_path, b"no JSON")).stderr


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("level", ["--alerts", "--findings", "--incidents"])
def test_what_is_not_printed_is_counted(form: str, level: str, tmp_path: Path) -> None:
    """And does not count for the exit status."""
    path = log(tmp_path, *few(METADATA, 2))
    whole = run("scan", path, "--format", form, level, "--limit", "0")
    some = run("scan", path, "--format", form, level, "--actor", "bob")
    none = run("scan", path, "--format", form, level, "--since", "2026-11-25", "--min-severity", "high")

    assert (whole.exit_code, some.exit_code, none.exit_code) == (1, 1, 0)
    assert len(whole.stdout) > len(some.stdout) > len(none.stdout) == 0
    assert f"{level.strip('-')} not printed, by option: --actor " in some.stderr
    assert "--since " in none.stderr
    assert "not printed" not in whole.stderr


def test_a_limit_is_a_limit() -> None:
    """In lines, alerts or trees; the rest is counted."""
    lines = run("scan", METADATA, "--format", "json", "--limit", "3")
    text = run("scan", METADATA, "--limit", "3")

    assert len(lines.stdout.splitlines()) == 3
    assert "--limit 200" in lines.stderr
    assert text.stdout.count("what to do:") == 3
    assert "… 12 more: 7 high, 3 medium, 2 low. --limit 0 prints all" in text.stdout
    assert "… 12 more trees: --limit 0 prints all" in text.stdout
    assert text.exit_code == lines.exit_code == 1


def test_what_is_live_is_printed_when_it_is_found_and_when_it_is_complete(tmp_path: Path) -> None:
    """HIGH and above at once, in one line for each incident and severity; the tree when nothing will be added."""
    out = tmp_path / "out.txt"
    live = Printer("text", output=str(out), live=True)

    def lines() -> list[str]:
        return out.read_text(encoding="utf-8").splitlines()

    live.take(found(HIGH.related[0]))
    assert lines() == []
    live.take(HIGH)
    assert [line.split()[0] for line in lines()] == ["HIGH"]
    live.take(used(HIGH.related[0], minutes=2))
    assert len(lines()) == 1
    for incident in live.groups.close(START + timedelta(hours=2)):
        live.incident_complete(incident)
    assert lines()[1].startswith("#1  HIGH  alice minted a token for prod/payments-sa, and listed")
    before = len(lines())
    live.finish()
    assert lines()[before].startswith("1 incident, 3 alerts, 3 findings")


def test_a_long_read_names_urgent_alerts_on_standard_error(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """So that nobody has to wait for the overview; a flood of them is cut."""
    screen = Screen(str(tmp_path / "out"))
    pages = IncidentPages(screen, Choice(), live=False, patience=0)
    for number in range(30):
        for _ in range(2):
            pages.urgent(Alert.of([found(ref(f"user-{number}"), rule=HIGH.rule)], f"{number}"))
    screen.close()

    printed = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in printed] == [*["HIGH"] * 20, "…"]
    assert printed[-1] == "… more of them follow in the overview"


def test_an_alert_is_complete_when_the_source_waits(tmp_path: Path) -> None:
    """Findings about one request are joined; what comes later about another begins a new line."""
    out = tmp_path / "out.json"
    lines = Printer("json", output=str(out))
    first, second = found(ref()), found(ref(minutes=1))
    lines.take(first)
    lines.take(found(ref(), rule=HIGH.rule))
    lines.flush()
    lines.flush()
    lines.take(second)
    lines.finish()
    written = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]

    assert [len(alert["findings"]) for alert in written] == [2, 1]
    assert {alert["incident"] for alert in written} == {one(first, second).id}
    assert lines.worst == Severity.HIGH


def test_a_plug_ins_output_takes_findings() -> None:
    """Asked for alerts, it says so."""
    with pytest.raises(ConfigError, match="--alerts: the format 'cef' of a plug-in writes findings"):
        Printer("cef", level="alerts", more={"cef": lambda _: ""})
