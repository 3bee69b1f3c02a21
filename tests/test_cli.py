# SPDX-License-Identifier: Apache-2.0
"""The command, as a shell sees it: findings on stdout, the rest on stderr, and an exit status that says it."""

from __future__ import annotations

import gzip
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from click.testing import CliRunner, Result

from builders import token_request
from k8stokendetect import DEFAULT_EXCLUSIONS, Alert, Finding, Tally, detect
from k8stokendetect.cli.app import main
from k8stokendetect.cli.scan import summary
from k8stokendetect.cli.shared import SHOWN_ERRORS
from k8stokendetect.commands import BUILTIN_COMMANDS
from k8stokendetect.detectors import BUILTIN, OPTIONAL
from k8stokendetect.exclusions import OPTIONAL_EXCLUSIONS
from k8stokendetect.incidents import Incident, Incidents, alerts, incidents
from k8stokendetect.outputs.ecs import to_ecs_line
from k8stokendetect.outputs.ocsf import to_ocsf_line
from k8stokendetect.outputs.text import inert
from recordings import METADATA, REQUEST_RESPONSE
from strategies import JWT

ToLine: TypeAlias = Callable[[Alert | Finding | Incident], str]

COMMAND = [sys.executable, "-m", "k8stokendetect"]


def run(*arguments: object, stdin: bytes = b"") -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin)


def log(tmp_path: Path, *records: Any, name: str = "audit.log") -> Path:
    """Write a log; bytes as they are, mappings as JSON."""
    path = tmp_path / name
    lines = [record if isinstance(record, bytes) else json.dumps(record).encode() for record in records]
    path.write_bytes(b"\n".join(lines))
    return path


BENIGN = token_request(
    "system:node:worker-1", groups=("system:nodes", "system:authenticated"), userAgent="kubelet/v1.36.2 (linux/amd64)"
)


def test_findings_go_to_stdout_and_the_tally_to_stderr() -> None:
    """Text a person can read, then what to do, then one line that accounts for every event."""
    result = run("scan", METADATA, "--findings")
    tally = Tally()
    findings = list(detect(METADATA, tally=tally))

    assert result.exit_code == 1
    assert all(inert(finding.summary) in result.stdout for finding in findings)
    assert all(f"What to do about {rule}: " in result.stdout for rule in tally.findings)
    assert [summary(tally)] == result.stderr.splitlines()
    assert summary(tally).startswith("events read: 6,758; findings: ")


def test_incidents_are_what_is_printed_by_default(tmp_path: Path) -> None:
    """As trees, the worst first, with what to do; as JSON on request; the page is written beside."""
    found = incidents(detect(METADATA))
    page = tmp_path / "report.html"
    result = run("scan", METADATA, "--report", page)
    lines = run("scan", METADATA, "--format", "json", "--incidents").stdout.splitlines()

    trees = result.stdout.partition("\n\n#1  ")[2]
    heads = [line.split("  ", 2)[1:] for line in f"#1  {trees}".splitlines() if re.match(r"#\d+  [A-Z]+  ", line)]
    assert result.exit_code == 1
    assert result.stdout.startswith(f"{len(found)} incidents, 203 alerts, 365 findings, 2026-11-23 21:43:45Z to ")
    assert result.stdout.count("what to do:") == len(found) < 20
    assert [head[0] for head in heads] == [str(incident.severity).upper() for incident in found]
    assert all(inert(incident.title).startswith(head[1][:60]) for incident, head in zip(found, heads, strict=True))
    assert [json.loads(line)["id"] for line in lines] == [incident.id for incident in found]
    assert all(incident.id in page.read_text(encoding="utf-8") for incident in found)


def test_a_report_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """Before anything is read; one that fails in the end costs no finding."""
    result = run("scan", log(tmp_path, token_request()), "--report", tmp_path / "no" / "report.html")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "cannot be written" in result.stderr
    full = run("scan", log(tmp_path, token_request()), "--report", "/dev/full")
    assert (full.exit_code, "No space left" in full.stderr, "alice" in full.stdout) == (2, True, True)
    follow = run("scan", log(tmp_path, token_request()), "--follow", "--report", "x")
    assert (follow.exit_code, "--follow does not end" in follow.stderr) == (2, True)


def test_what_was_remembered_is_kept_from_run_to_run(tmp_path: Path) -> None:
    """A mint in one file, its use in the next, scanned apart; a file that is no state is refused."""
    events = [json.loads(line) for line in gzip.decompress(METADATA.read_bytes()).split(b"\n") if line]
    half, state = len(events) // 2, tmp_path / "state.json"
    first, second = log(tmp_path, *events[:half], name="1.log"), log(tmp_path, *events[half:], name="2.log")
    options = ("--format", "json", "--findings", "--rule", "minted-token-used", "--state", state)
    printed = [run("scan", path, *options).stdout.splitlines() for path in (first, second)]
    apart = {json.loads(line)["fingerprint"] for lines in printed for line in lines}

    whole = detect(events, detectors=["minted-token-used"])
    assert apart == {finding.fingerprint for finding in whole}
    assert printed[1], "some uses are in the second file"
    state.write_text("{}", encoding="utf-8")
    result = run("scan", first, *options)
    assert (result.exit_code, "not a state that this command wrote" in result.stderr) == (2, True)


def test_json_is_a_line_an_alert() -> None:
    """The same as the library's; with --findings a line for each."""
    printed = run("scan", REQUEST_RESPONSE, "--format", "json", "--findings").stdout
    parts = [json.loads(line) for line in printed.splitlines()]
    lines = [json.loads(line) for line in run("scan", REQUEST_RESPONSE, "--format", "json").stdout.splitlines()]
    known = {incident.id for incident in incidents(detect(REQUEST_RESPONSE))}

    assert [finding.fingerprint for finding in detect(REQUEST_RESPONSE)] == [part["fingerprint"] for part in parts]
    assert [alert.fingerprint for alert in alerts(detect(REQUEST_RESPONSE))] == [line["fingerprint"] for line in lines]
    assert sorted(one for line in lines for one in line["findings"]) == sorted(part["fingerprint"] for part in parts)
    assert sum(line["incident"] in known for line in lines) > 0.9 * len(lines)


@pytest.mark.parametrize(("form", "to_line"), [("ecs", to_ecs_line), ("ocsf", to_ocsf_line)])
def test_the_forms_of_a_siem_are_a_line_an_alert_a_finding_or_an_incident(form: str, to_line: ToLine) -> None:
    """The library's documents; a record without a time gets that of now, and ECS says when it was written."""
    options = ["--format", form, "--keep-excluded"]
    findings = list(detect(REQUEST_RESPONSE, keep_excluded=True))

    def printed(level: str) -> list[str]:
        lines = run("scan", REQUEST_RESPONSE, *options, level).stdout.splitlines()
        assert all('"ingested":' in line for line in lines) == (form == "ecs")
        return [re.sub(r',"ingested":"20[^"]*"', "", line) for line in lines]

    assert [to_line(finding) for finding in findings] == printed("--findings")
    assert [to_line(incident) for incident in incidents(findings)] == printed("--incidents")
    assert [to_line(alert) for alert in alerts(findings, Incidents())] == printed("--alerts")


def test_a_finding_without_a_time_is_not_of_1970(tmp_path: Path) -> None:
    """A SIEM would take it for long past, and alert nobody."""
    path = log(tmp_path, token_request(requestReceivedTimestamp=None, stageTimestamp=None))
    now = datetime.now(UTC)
    (ecs,) = run("scan", path, "--format", "ecs", "--rule", "token-request").stdout.splitlines()
    (ocsf,) = run("scan", path, "--format", "ocsf", "--rule", "token-request").stdout.splitlines()
    assert datetime.fromisoformat(json.loads(ecs)["@timestamp"]) >= now
    assert json.loads(ocsf)["time"] >= now.timestamp() * 1000 - 1


@pytest.mark.parametrize(
    ("fail_on", "status"), [("informational", 1), ("low", 1), ("Medium", 1), ("high", 0), ("critical", 0)]
)
def test_the_exit_status_depends_on_the_severity(fail_on: str, status: int, tmp_path: Path) -> None:
    """0 when nothing is at or above --fail-on, 1 when something is."""
    assert status == run("scan", log(tmp_path, token_request()), "--fail-on", fail_on).exit_code
    assert run("scan", log(tmp_path, BENIGN), "--fail-on", fail_on).exit_code == 0


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (b"no JSON", "audit.log:2: not JSON"),
        (b"{}", "audit.log:2: JSON, but not an audit event"),
        (
            b'{"auditID":"a","verb":"get","user":{"groups":"x"},"objectRef":{"resource":"serviceaccounts","subresource":"token"}}',
            "audit.log:2: expected a list of strings",
        ),
        (b'{"auditID":"' + b"\x1b[2J", "audit.log:2: not JSON"),
    ],
)
def test_an_unreadable_record_is_2_and_the_rest_is_examined(damage: bytes, message: str, tmp_path: Path) -> None:
    """The error names file and line; every readable event gives its finding."""
    result = run(
        "scan",
        log(tmp_path, token_request(), damage, token_request(auditID="b")),
        "--rule",
        "token-request",
        "--findings",
    )

    assert result.exit_code == 2
    assert result.stdout.count("alice minted a token") == 2
    assert message in result.stderr
    assert "unreadable: 1" in result.stderr
    assert "\x1b" not in result.output


def test_bad_sources_are_2_and_named(tmp_path: Path) -> None:
    """A missing file, a folder without logs, a truncated gzip; the good file between them is examined."""
    good = log(tmp_path, token_request())
    empty = tmp_path / "empty"
    empty.mkdir()
    cut = tmp_path / "cut.gz"
    cut.write_bytes(gzip.compress(METADATA.read_bytes())[:5000])
    result = run("scan", tmp_path / "missing.log", empty, good, cut, "--rule", "token-request", "--findings")

    assert result.exit_code == 2
    assert "alice minted a token" in result.stdout
    for message in (
        "missing.log: cannot be opened: No such file or directory",
        "empty: the folder holds no log files",
        "cut.gz",
    ):
        assert message in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rule", "token-requst"], "unknown rule 'token-requst'; did you mean 'token-request'"),
        (["--enable", "external-secret"], "unknown exclusion 'external-secret'; did you mean 'external-secrets'"),
        (["--exclusions", "nowhere.toml"], "nowhere.toml: cannot be read: No such file or directory"),
        (["--platform", "ekz"], "'ekz' is not one of"),
        (["--fail-on", "urgent"], "'urgent' is not one of"),
        (["--format", "ocfs"], "unknown format 'ocfs'; did you mean 'ocsf'"),
        (["--nonsense"], "No such option"),
    ],
)
def test_a_wrong_option_is_2_and_named(options: list[str], message: str, tmp_path: Path) -> None:
    """Nothing is read with half of what was asked for."""
    result = run("scan", log(tmp_path, token_request()), *options)

    assert result.exit_code == 2
    assert message in result.stderr
    assert "minted" not in result.output


def test_exclusions_from_a_file_by_name_and_kept(tmp_path: Path) -> None:
    """Two operators switched on, by option and by file, and shown on request."""
    toml = tmp_path / "mine.toml"
    toml.write_text('enable = ["cert-manager"]\n')
    options = [
        "--rule",
        "token-request",
        "--format",
        "json",
        "--findings",
        "--enable",
        "external-secrets",
        "--exclusions",
        toml,
    ]
    reported = run("scan", METADATA, *options)
    kept = run("scan", METADATA, *options, "--keep-excluded")

    assert len(reported.stdout.splitlines()) == 79
    assert len(kept.stdout.splitlines()) == 79 + 177 + 8
    assert "excluded by kubelet" in run("scan", log(tmp_path, BENIGN), "--keep-excluded").stdout


def test_the_platform_switches_on_its_provider(tmp_path: Path) -> None:
    """AksService is excused on AKS only."""
    aks = token_request("aksService", "kube-system/job-controller", groups=("system:masters", "system:authenticated"))
    path = log(tmp_path, aks)

    assert (run("scan", path).exit_code, run("scan", path, "--platform", "aks").exit_code) == (1, 0)


def test_standard_input(tmp_path: Path) -> None:
    """Plain or gzip, by the name `-`."""
    content = log(tmp_path, token_request()).read_bytes()
    for stdin in (content, gzip.compress(content)):
        result = process("scan", "-", "--rule", "token-request", "--findings", input=stdin)
        assert b"  stdin:1" in result.stdout
        assert result.returncode == 1


def test_duplicates_across_files_are_one_finding(tmp_path: Path) -> None:
    """All files are one stream."""
    path = log(tmp_path, token_request())
    result = run("scan", path, path, "--rule", "token-request", "--findings")

    assert result.stdout.count("minted a token") == 1
    assert "repeated: 1" in result.stderr


def test_many_errors_are_printed_in_part_and_counted_whole(tmp_path: Path) -> None:
    """A binary file must not fill the screen."""
    result = run("scan", log(tmp_path, *[b"x"] * 1000))

    assert len(result.stderr.splitlines()) == SHOWN_ERRORS + 2
    assert "unreadable: 1,000" in result.stderr


def test_no_token_on_the_screen() -> None:
    """Of a log that holds 80 of them."""
    for form in ("text", "json"):
        result = run("scan", REQUEST_RESPONSE, "--format", form, "--keep-excluded")
        assert "JTI=" in result.stdout
        assert "eyJ" not in result.output


def test_a_broken_line_with_a_token_is_not_repeated(tmp_path: Path) -> None:
    """Not even in the error."""
    result = run("scan", log(tmp_path, b'{"x":"' + JWT.encode()))
    assert result.exit_code == 2
    assert "eyJ" not in result.output


def test_rules_and_exclusions_explain_themselves() -> None:
    """Each rule with its blind spots, each exclusion with its price and source."""
    rules, exclusions = run("rules").stdout, run("exclusions").stdout

    for cls in (*BUILTIN, *OPTIONAL, *BUILTIN_COMMANDS):
        state = "on" if cls in BUILTIN else "off" if cls in OPTIONAL else "scan-host"
        assert f"{cls.rule.id}  {cls.rule.severity}  {state}  {', '.join(cls.rule.techniques)}" in rules
        assert all(text in rules for text in (cls.rule.description, *cls.rule.blind_spots, cls.rule.response))
    for state, entries in (("on", DEFAULT_EXCLUSIONS), ("off", OPTIONAL_EXCLUSIONS)):
        for entry in entries:
            assert f"{entry.id}  {state}  " in exclusions
            assert all(
                text in exclusions for text in (entry.because, entry.hides, entry.component.provenance[0].source)
            )


def test_no_summary_of_a_command_is_cut() -> None:
    """In a window of 80 cells; each has at most 50 characters."""
    listed = run("--help").stdout.partition("Commands:\n")[2]

    assert listed.count("\n") == len(main.commands)
    assert "..." not in listed
    assert all(len(command.short_help or "") in range(1, 51) for command in main.commands.values())


def test_version_and_help() -> None:
    """Both answer without a log."""
    assert run("--version").output.startswith("k8stokendetect, version ")
    assert "scan" in run("-h").output


def process(*arguments: object, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run the command as a process of its own; without the COLUMNS that readline sets where only children see it."""
    command = [*COMMAND, *map(str, arguments)]
    options.setdefault("env", dict(os.environ))
    return subprocess.run(command, capture_output=True, check=False, timeout=60, **options)  # noqa: S603 - our own command


def test_as_a_process() -> None:
    """`python -m k8stokendetect` is the command."""
    result = process("scan", METADATA, "--rule", "token-request", "--findings")

    assert result.returncode == 1
    assert result.stdout.count(b" minted a token for ") == 87


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
def test_a_terminal_without_unicode_loses_no_finding(tmp_path: Path, encoding: str) -> None:
    """Nor an error: what it cannot show is escaped."""
    path = log(tmp_path, token_request("zo\u00eb\u4e2d", userAgent="\u4e2d\u6587/1"), name="log\u4e2d.log")
    env = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    result = process("scan", path, tmp_path / "\u6587.log", "--findings", env=env)

    assert result.returncode == 2
    assert b"minted a token for prod/payments-sa from 192.0.2.7 with \\u4e2d\\u6587/1" in result.stdout
    assert b"\\u6587.log: cannot be opened" in result.stderr


def test_names_that_are_no_files(tmp_path: Path) -> None:
    """Empty is refused rather than taken for this folder; too long is an error like any other."""
    path = log(tmp_path, token_request())
    assert run("scan", "", path).exit_code == 2
    assert "minted" not in run("scan", "", path).output
    result = process("scan", "x" * 300, path)
    assert result.returncode == 2
    assert b"minted a token" in result.stdout
    assert b"File name too long" in result.stderr


def test_an_interrupt_ends_following_and_examines_what_waited(tmp_path: Path) -> None:
    """A use waits a minute for events that may come before it; an interrupt does not throw it away."""
    name = "authentication.kubernetes.io/credential-id"
    user = {"username": "system:serviceaccount:prod:payments-sa", "extra": {name: ["JTI=1"]}}
    ref = {"resource": "secrets", "namespace": "prod"}
    early = token_request(auditID="early", requestReceivedTimestamp="2026-11-23T21:00:00Z")  # is not waited for
    path = log(
        tmp_path, early, token_request(issued="JTI=1"), token_request(user=user, objectRef=ref, verb="list"), b""
    )
    command = [*COMMAND, "scan", "--follow", "--format", "json", "--findings", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:  # noqa: S603 - ours
        assert running.stdout is not None
        first = running.stdout.readline()
        running.send_signal(signal.SIGINT)
        lines = [json.loads(line) for line in (first, *running.stdout)]

    assert lines[0]["rule_id"] == "token-request"
    assert "minted-token-used" in {line["rule_id"] for line in lines}
    assert running.returncode == 1


def test_a_broken_pipe_ends_a_scan_in_order() -> None:
    """`| head -1` closes the pipe: no traceback, and the tally."""
    command = [*COMMAND, "scan", str(METADATA), "--format", "json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:  # noqa: S603 - ours
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.readline()
        running.stdout.close()
        said = running.stderr.read().decode()
    assert said.startswith("interrupted: its output was closed")
    assert "Traceback" not in said
    assert "events read: " in said
    assert running.returncode == 130


def test_a_missing_extra_says_what_to_install(tmp_path: Path) -> None:
    """Without click the library works and the command says what is missing."""
    (tmp_path / "click.py").write_text("raise ModuleNotFoundError(\"No module named 'click'\", name='click')\n")
    result = process("rules", env={**os.environ, "PYTHONPATH": str(tmp_path)})

    assert result.returncode == 2
    assert result.stderr == b"k8stokendetect: click is missing: pip install 'k8stokendetect[cli]'\n"


@pytest.mark.parametrize("stdout_is_terminal", [True, False])
def test_a_long_read_at_a_terminal_shows_a_bar(tmp_path: Path, *, stdout_is_terminal: bool) -> None:
    """On stderr only: findings stay on stdout where that goes elsewhere."""
    path = tmp_path / "big.log"
    padding = json.dumps({"auditID": "x", "verb": "get", "requestObject": "x" * 1_000_000}).encode() + b"\n"
    path.write_bytes(padding * 40 + json.dumps(token_request()).encode())
    ours, theirs = pty.openpty()
    with subprocess.Popen(  # noqa: S603 - our own command
        [*COMMAND, "scan", str(path), "--rule", "token-request", "--alerts"],
        stdin=subprocess.DEVNULL,
        stdout=theirs if stdout_is_terminal else subprocess.PIPE,
        stderr=theirs,
    ) as running:
        os.close(theirs)
        screen = b""
        while chunk := _read(ours):
            screen += chunk
        printed = running.stdout.read() if running.stdout else screen
    os.close(ours)

    assert b"reading" in screen
    assert b"events read: 41" in screen
    assert b"alice minted a token" in printed
    assert stdout_is_terminal or b"alice" not in screen


def _read(terminal: int) -> bytes:
    """Read what was shown; Linux answers EIO when the other side is gone."""
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""
