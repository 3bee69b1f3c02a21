# SPDX-License-Identifier: Apache-2.0
"""Plug-ins, by real entry points of distributions on sys.path: loaded on request, and never half."""

from __future__ import annotations

import base64
import importlib
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from builders import token_request
from k8stokendetect import ConfigError, Detector, ReadError, Tally, detect, read
from k8stokendetect.cli import main
from k8stokendetect.detectors import BUILTIN, OPTIONAL, TokenRequest
from k8stokendetect.envelopes import ENVELOPES
from k8stokendetect.envelopes.base import Envelope, Inner
from k8stokendetect.envelopes.unknown import UNKNOWN
from k8stokendetect.plugins import (
    DETECTORS,
    ENVELOPES_GROUP,
    FORMATS,
    OUTPUTS,
    load_detectors,
    load_envelopes,
    load_outputs,
)
from recordings import METADATA

CODE = """
import base64, json
from k8stokendetect import Detector, Evidence, Rule, Severity
from k8stokendetect.envelopes.base import Inner


class Minted(Detector):
    rule = Rule("acme.minted", "Minted", Severity.HIGH, "Prose.", response="Do.")
    watches = frozenset({"serviceaccounts/token"})

    def inspect(self, event):
        if event.mints_token:
            yield self.finding(event, "minted, says acme", Evidence("user.username", event.actor.username, "who"))


class Other(Minted):
    rule = Rule("acme.other", "Other", Severity.LOW)


class Configured(Minted):
    def __init__(self, group):
        self.group = group


class Quits(Minted):
    def __init__(self):
        raise RuntimeError("no licence file")


class Builtin(Minted):
    rule = Rule("token-request", "Mine now", Severity.LOW)


other = Other()
number = 7


def cef(finding):
    return f"CEF:0|{finding.rule.id}"


def fails(finding):
    raise ValueError("no room") if finding.rule.id == "acme.minted" else KeyError("x")


def silent(finding):
    return None


def recognises(record):
    return isinstance(record, dict) and "acme" in record


def events(record):
    yield Inner(base64.b64decode(record["acme"]).decode())
"""

Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install distributions: a module and the metadata that pip would write."""
    monkeypatch.syspath_prepend(tmp_path)
    modules = set(sys.modules)

    def installed(group: str, points: dict[str, str], name: str = "acme-rules", code: str = CODE) -> Path:
        (tmp_path / f"{name.replace('-', '_')}.py").write_text(code, encoding="utf-8")
        info = tmp_path / f"{name.replace('-', '_')}-1.5.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n", encoding="utf-8")
        lines = [f"[{group}]", *(f"{key} = {value}" for key, value in points.items()), ""]
        with (info / "entry_points.txt").open("a", encoding="utf-8") as file:
            file.write("\n".join(lines))
        importlib.invalidate_caches()
        return tmp_path

    yield installed
    for module in set(sys.modules) - modules:
        del sys.modules[module]


LOADERS: dict[str, Callable[[], Any]] = {
    DETECTORS: load_detectors,
    ENVELOPES_GROUP: load_envelopes,
    OUTPUTS: load_outputs,
}


def test_detectors_are_made_of_classes_and_taken_as_instances(install: Install) -> None:
    """In the order of their rule ids; they run beside the built-in ones."""
    install(DETECTORS, {"b": "acme_rules:Minted", "a": "acme_rules:other"})
    detectors = [detector for detector in load_detectors() if detector.rule.id.startswith("acme.")]

    assert [detector.rule.id for detector in detectors] == ["acme.minted", "acme.other"]
    assert detectors[1] is sys.modules["acme_rules"].other
    found = [finding.rule.id for finding in detect(token_request(), detectors=["token-request", *detectors])]
    assert sorted(found) == ["acme.minted", "acme.other", "token-request"]


def test_outputs_are_called_by_the_names_of_their_entry_points(install: Install) -> None:
    """Which become formats of the command."""
    install(OUTPUTS, {"cef": "acme_rules:cef"})
    (finding, *_) = detect(token_request(), exclusions=())
    assert load_outputs()["cef"](finding) == f"CEF:0|{finding.rule.id}"


def test_nothing_is_loaded_unless_asked(install: Install, tmp_path: Path) -> None:
    """Neither by importing `plugins` nor by a scan without --plugins."""
    folder = install(DETECTORS, {"a": "acme_rules:Minted"}, code="raise SystemExit('was imported')")
    (tmp_path / "log").write_text(json.dumps(token_request()), encoding="utf-8")
    run = "main(['scan', 'log', '--format', 'json', '--findings', '--fail-on', 'critical'])"
    code = f"import k8stokendetect.plugins; from k8stokendetect.cli import main; {run}"
    result = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(folder)}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip

    assert (result.returncode, "was imported" in result.stderr) == (0, False)
    assert '"rule_id":"token-request"' in result.stdout


@pytest.mark.parametrize("group", LOADERS)
@pytest.mark.parametrize(
    ("code", "value", "reason"),
    [
        ("raise RuntimeError('no licence')", "acme_rules:Minted", "cannot be imported: RuntimeError: no licence"),
        ("import nowhere_at_all", "acme_rules:Minted", "cannot be imported: ModuleNotFoundError: No module named"),
        ("raise SystemExit", "acme_rules:Minted", "cannot be imported: SystemExit"),
        ("def broken(:", "acme_rules:Minted", "cannot be imported: SyntaxError"),
        (CODE, "acme_rules:Absent", "cannot be imported: AttributeError"),
        (CODE, "acme_gone:Minted", "cannot be imported: ModuleNotFoundError"),
        (CODE, "acme_rules:number", "not a"),
    ],
)
def test_a_broken_one_is_an_error_that_names_it(
    group: str, code: str, value: str, reason: str, install: Install
) -> None:
    """The distribution with its version, the entry point, and why."""
    install(group, {"vault": value}, code=code)
    with pytest.raises(ConfigError) as error:
        LOADERS[group]()
    assert str(error.value).startswith(f'plug-in acme-rules 1.5 ("vault" = {value}): {reason}')


@pytest.mark.parametrize(
    ("group", "value", "reason"),
    [
        (DETECTORS, "acme_rules", "not a Detector class, nor an instance of one"),
        (DETECTORS, "acme_rules:cef", "not a Detector class, nor an instance of one"),
        (DETECTORS, "acme_rules:Detector", "cannot be created: TypeError"),
        (DETECTORS, "acme_rules:Configured", "cannot be created: TypeError"),
        (DETECTORS, "acme_rules:Quits", "cannot be created: RuntimeError: no licence file"),
        (DETECTORS, "acme_rules:Builtin", "rule 'token-request' is a built-in one"),
        (ENVELOPES_GROUP, "acme_rules:cef", "not an envelope: it lacks `recognises` or `events`"),
        (OUTPUTS, "acme_rules", "not a function from a finding to text"),
    ],
)
def test_one_of_a_wrong_kind_is_an_error_that_names_it(group: str, value: str, reason: str, install: Install) -> None:
    """Told when it is loaded, not when an event comes."""
    install(group, {"vault": value})
    with pytest.raises(ConfigError) as error:
        LOADERS[group]()
    assert f'acme-rules 1.5 ("vault" = {value}): {reason}' in str(error.value)


@pytest.mark.parametrize(
    ("group", "name", "value", "reason"),
    [
        (DETECTORS, "x", "{}:Minted", "rule 'acme.minted' is also that of acme-rules 1.5"),
        (OUTPUTS, "cef", "{}:cef", "'cef' is also the name of acme-rules 1.5"),
        (ENVELOPES_GROUP, "acme", "{}", "'acme' is also the name of acme-rules 1.5"),
    ],
)
def test_two_that_clash_are_an_error_that_names_both(
    group: str, name: str, value: str, reason: str, install: Install
) -> None:
    """Neither wins: which one would depends on the order in which they were installed."""
    install(group, {name: value.format("acme_rules")})
    install(group, {name: value.format("bravo_rules")}, name="bravo-rules")
    with pytest.raises(ConfigError) as error:
        LOADERS[group]()
    assert str(error.value).startswith('plug-in bravo-rules 1.5 ("')
    assert reason in str(error.value)


@pytest.mark.parametrize("name", FORMATS)
def test_no_output_takes_the_name_of_a_built_in_format(name: str, install: Install) -> None:
    """Whoever reads the lines would not know."""
    install(OUTPUTS, {name: "acme_rules:cef"})
    with pytest.raises(ConfigError, match=f"{name!r} is a built-in one"):
        load_outputs()


def test_no_envelope_takes_the_name_of_a_built_in_one(install: Install) -> None:
    """Errors name the envelope."""
    install(ENVELOPES_GROUP, {"native": "acme_rules"})
    with pytest.raises(ConfigError, match="'native' is a built-in one"):
        load_envelopes()


def wrapped(*events: dict[str, Any]) -> bytes:
    """Wrap events as the plug-in's envelope has them: not a word of them stands in the bytes."""
    lines = [json.dumps({"acme": base64.b64encode(json.dumps(event).encode()).decode()}) for event in events]
    return "\n".join(lines).encode()


def test_an_envelope_is_given_to_read(install: Install, tmp_path: Path) -> None:
    """And `detect` finds what is in it, of which no word stands in the bytes; files in the order of their time."""
    install(ENVELOPES_GROUP, {"acme": "acme_rules"})
    envelopes = [envelope for envelope in load_envelopes() if getattr(envelope, "__name__", "") == "acme_rules"]
    assert envelopes
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/1.log").write_bytes(wrapped(token_request(), token_request(auditID="b")))
    earlier = token_request(auditID="c", requestReceivedTimestamp="2026-11-23T21:00:00.000000Z")
    (tmp_path / "logs/2.log").write_bytes(wrapped(earlier))

    found = list(detect(read(tmp_path / "logs", envelopes=envelopes), detectors=["token-request"]))
    assert [finding.event.audit_id for finding in found] == ["c", token_request()["auditID"], "b"]
    assert [event.lost for event in read(tmp_path / "logs", envelopes=envelopes)] == [frozenset()] * 3
    assert [event.lost for event in read(tmp_path / "logs")] == [{UNKNOWN}] * 3, "it is found, but not understood"


def test_no_line_is_passed_over_that_only_a_plug_in_can_read(install: Install, tmp_path: Path) -> None:
    """Not even one that holds a harmless event as text beside its own, as a wrapper that is known would."""
    install(ENVELOPES_GROUP, {"acme": "acme_rules"})
    other = {"kind": "Event", "auditID": "x", "verb": "get", "stageTimestamp": "2026-11-23T21:00:00Z"}
    text = json.dumps(other, separators=(",", ":"))
    (record,) = map(json.loads, wrapped(token_request()).splitlines())
    path = tmp_path / "audit.log"
    path.write_text(json.dumps(record | {"context": text}, separators=(",", ":")) + "\n", encoding="utf-8")

    log = read(path, envelopes=[sys.modules["acme_rules"]] if load_envelopes() else [])
    assert [finding.rule.id for finding in detect(log, detectors=["token-request"])] == ["token-request"]


class Thief:
    """Takes every record and hides it."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def recognises(self, record: Any, /) -> bool:
        """Say that it is mine."""
        self.asked.append(record)
        return True

    def events(self, record: Any, /) -> Iterator[Inner]:  # noqa: ARG002 - that of an Envelope
        """Hide it."""
        yield Inner(None, skipped="none of your business")


def test_no_plug_in_takes_events_away_from_the_built_in_envelopes() -> None:
    """It is asked about nothing that one of those recognises; what it skips is counted."""
    thief, tally = Thief(), Tally()
    errors: list[Any] = []
    log = read(METADATA, envelopes=[thief], on_error=errors.append)
    found = [finding.fingerprint for finding in detect(log, tally=tally)]
    assert found == [finding.fingerprint for finding in detect(METADATA)]
    assert (thief.asked, errors, tally.skipped) == ([], [], 0)

    nothing_known = b'{"what": "is this"}'
    assert list(detect(read(nothing_known, envelopes=[thief]), tally=tally)) == []
    assert (thief.asked, tally.skipped) == ([{"what": "is this"}], 1)
    assert len(ENVELOPES) == 12


class Broken:
    """Recognises everything, and does something wrong."""

    def __init__(self, events: Callable[[Any], Any]) -> None:
        self.events = events

    def recognises(self, _: Any, /) -> bool:
        """Say that it is mine."""
        return True


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        (lambda record: record["secret"], "envelope Broken failed: KeyError"),
        (lambda _: iter(()), "envelope Broken yielded nothing for a record that it recognised"),
        (lambda record: [record], "envelope Broken yielded something other than an Inner"),
        (lambda _: None, "envelope Broken failed: TypeError"),
        (lambda record: [Inner(record)], "wrapped more than 8 times"),
        (lambda _: [Inner(7, is_event=True)], "expected an audit event as a JSON object"),
    ],
)
def test_an_envelope_that_fails_is_an_error_and_not_silence(events: Callable[[Any], Any], reason: str) -> None:
    """Without the record, which may hold a token; the events around it are read."""
    errors: list[Any] = []
    content = b"\n".join([json.dumps(token_request()).encode(), b'{"what":"?"}', json.dumps(token_request()).encode()])
    log = read(content, envelopes=[Broken(events)], on_error=errors.append)

    assert len(list(log)) == 2
    assert [str(error) for error in errors] == [f"<bytes>:2: {error.reason}" for error in errors]
    assert [type(error) for error in errors] == [ReadError]
    assert reason in str(errors[0])


@pytest.mark.parametrize("envelope", [object(), 7, None, TokenRequest])
def test_what_is_no_envelope_is_refused_at_the_call(envelope: Any) -> None:
    """Not at the first record."""
    with pytest.raises(ConfigError, match="not an envelope"):
        read(b"", envelopes=[envelope])


def run(*arguments: object) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Write a log of two requests, one in the plug-in's envelope."""
    path = tmp_path / "audit.log"
    path.write_bytes(json.dumps(token_request()).encode() + b"\n" + wrapped(token_request(auditID="b")))
    return path


def test_the_command_runs_plug_ins_when_asked(install: Install, log: Path) -> None:
    """Detectors, envelopes and formats of them; `--rule` chooses among all."""
    install(DETECTORS, {"a": "acme_rules:Minted", "b": "acme_rules:Other"})
    install(ENVELOPES_GROUP, {"acme": "acme_rules"})
    install(OUTPUTS, {"cef": "acme_rules:cef"})

    every = run("scan", log, "--plugins", "--format", "cef")
    lines = every.stdout.splitlines()
    assert (every.exit_code, "unreadable: 0" in every.stderr) == (1, True)
    assert [lines.count(f"CEF:0|{rule}") for rule in ("acme.minted", "acme.other", "token-request")] == [2, 2, 2]
    chosen = run("scan", log, "--plugins", "--format", "cef", "--rule", "acme.other", "--rule", "token-request")
    assert set(chosen.stdout.splitlines()) == {"CEF:0|acme.other", "CEF:0|token-request"}
    assert set(run("scan", log, "--plugins", "--format", "cef", "--rule", "acme.other").stdout.splitlines()) == {
        "CEF:0|acme.other"
    }


def test_without_being_asked_the_command_knows_none(install: Install, log: Path) -> None:
    """And says what is missing."""
    install(DETECTORS, {"a": "acme_rules:Minted"})
    install(OUTPUTS, {"cef": "acme_rules:cef"})
    form = run("scan", log, "--format", "cef")
    rule = run("scan", log, "--rule", "acme.minted")

    assert (form.exit_code, rule.exit_code, form.stdout, rule.stdout) == (2, 2, "", "")
    assert "unknown format 'cef'" in form.stderr
    assert "--plugins" in form.stderr
    assert "unknown rule 'acme.minted'" in rule.stderr
    assert "acme.minted" not in run("rules").stdout


def test_rules_lists_those_of_plug_ins_when_asked(install: Install) -> None:
    """Behind the built-in ones."""
    install(DETECTORS, {"a": "acme_rules:Minted"})
    printed = run("rules", "--plugins").stdout
    assert "acme.minted  high  plug-in" in printed
    assert all(f"{cls.rule.id}  " in printed.partition("acme.minted")[0] for cls in (*BUILTIN, *OPTIONAL))


@pytest.mark.parametrize("command", [["scan", "audit.log", "--plugins"], ["rules", "--plugins"]])
def test_the_command_does_not_start_with_a_broken_plug_in(command: list[str], install: Install, log: Path) -> None:
    """Nothing is read with half of what was asked for."""
    install(DETECTORS, {"a": "acme_rules:Quits"})
    result = run(*[log if word == "audit.log" else word for word in command])
    assert (result.exit_code, result.stdout) == (2, "")
    assert 'error: plug-in acme-rules 1.5 ("a" = acme_rules:Quits): cannot be created' in result.stderr


@pytest.mark.parametrize(
    ("value", "reason"), [("fails", "failed: ValueError: no room"), ("silent", "returned NoneType, not str")]
)
def test_a_finding_that_an_output_loses_is_reported(value: str, reason: str, install: Install, log: Path) -> None:
    """With the rule, the fingerprint and the place; the exit status is 2."""
    install(DETECTORS, {"a": "acme_rules:Minted"})
    install(OUTPUTS, {"cef": f"acme_rules:{value}"})
    result = run("scan", log, "--plugins", "--format", "cef", "--rule", "acme.minted", "--rule", "token-request-uri")

    assert (result.exit_code, result.stdout) == (2, "")
    assert f"error: output 'cef' {reason}; not printed: finding acme.minted " in result.stderr
    assert f", {log}:1" in result.stderr


def test_the_example_is_a_plug_in(install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the entry points of its own pyproject.toml; its tests run where it is installed."""
    folder = Path(__file__).parents[1] / "examples/plugin"
    monkeypatch.syspath_prepend(folder / "src")
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for group, points in project["entry-points"].items():
        install(group, points, name=project["name"], code="")
    path = tmp_path / "audit.log"
    path.write_text(json.dumps(token_request() | {"requestObject": {"spec": {"audiences": ["vault"]}}}))
    result = run("scan", path, "--plugins", "--format", "cef", "--rule", "example.vault-token")

    assert "example.vault-token  high  plug-in" in run("rules", "--plugins").stdout
    assert result.stdout.startswith("CEF:0|k8stokendetect|k8stokendetect|")
    assert "|example.vault-token|Token minted for Vault|8|" in result.stdout


def test_loading_gives_what_the_types_promise(install: Install) -> None:
    """An Envelope has two functions; a Detector is one of ours."""
    install(DETECTORS, {"a": "acme_rules:Minted"})
    install(ENVELOPES_GROUP, {"acme": "acme_rules"})
    detectors: tuple[Detector, ...] = load_detectors()
    envelopes: tuple[Envelope, ...] = load_envelopes()
    assert all(isinstance(detector, Detector) for detector in detectors)
    assert any(envelope.recognises({"acme": ""}) for envelope in envelopes)
