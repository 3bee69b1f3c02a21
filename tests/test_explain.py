# SPDX-License-Identifier: Apache-2.0
"""`k8stokendetect explain`: all that is known about a request, found by any of its ids, and never a token."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
from click.testing import CliRunner, Result

from builders import token_request
from k8stokendetect import Alert, Finding, detect, read
from k8stokendetect.cli.app import main
from k8stokendetect.cli.naming import MOST_OF_A_NAME
from k8stokendetect.event_ref import EventRef, request_id
from k8stokendetect.incidents import alerts, incidents
from k8stokendetect.reading.lookup import events_of
from recordings import METADATA
from strategies import JWT

ATTACK = Path(__file__).parents[1] / "examples" / "attack.log"
USED = "minted-token-used"
KUBELET = token_request(
    "system:node:worker-1", groups=("system:nodes", "system:authenticated"), userAgent="kubelet/v1.36.2 (linux/amd64)"
)


def run(*arguments: object) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(main, ["explain", *map(str, arguments)])


def log(tmp_path: Path, *records: Any, name: str = "audit.log") -> Path:
    """Write a log."""
    path = tmp_path / name
    path.write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def found() -> Sequence[Finding]:
    """Return what is found in the example."""
    return list(detect(ATTACK))


@pytest.fixture(scope="module")
def use(found: Sequence[Finding]) -> Alert:
    """Return the alert about a use of a minted token, which several rules reported."""
    return next(alert for alert in alerts(found) if alert.rules[0].id == USED and len(alert.rules) > 1)


def test_every_id_leads_to_the_same_explanation(use: Alert) -> None:
    """That of the request, of each finding, of the alert: words, facts, event, and the mint's event."""
    ids = [use.id, use.fingerprint, *(finding.fingerprint for finding in use.findings)]
    (text,) = {run(id_, ATTACK).stdout for id_ in ids}

    assert text.startswith(f"request {use.id}\n")
    assert all(said in text for finding in use.findings for said in (finding.summary, finding.rule.id))
    assert all(f"{item.path} = " in text and item.why in text for item in use.evidence)
    assert f'"auditID": "{use.event.audit_id}"' in text
    assert use.mint is not None
    assert f'"auditID": "{use.mint.audit_id}"' in text
    assert str(use.event.origin) in text


def test_a_request_has_other_names_too(use: Alert, tmp_path: Path) -> None:
    """Its file and line, also without the folders, its auditID; a credential names who issued it and who used it."""
    mint, credential = use.mint, use.event.used_credential
    assert mint is not None
    assert mint.minted_credential == credential
    (text,) = {run(name, ATTACK).stdout for name in (use.id, use.event.origin, Path(str(use.event.origin)).name)}
    by_audit_id = run(use.event.audit_id.upper(), ATTACK, "--format", "json").stdout.splitlines()
    by_credential = run(credential, ATTACK, "--format", "json").stdout.splitlines()
    uses = [event for event in read(ATTACK) if event.used_credential == credential]

    assert text.startswith(f"request {use.id}\n")
    assert [json.loads(line)["request_id"] for line in by_audit_id] == [use.id]
    expected = {mint.request_id, *map(request_id, uses)}
    assert {json.loads(line)["request_id"] for line in by_credential} == expected
    assert (
        run(str(credential).removeprefix("JTI=").upper(), ATTACK, "--format", "json").stdout.splitlines()
        == by_credential
    )
    for name in ("attack.log:99999", "other.log:1", "JTI=nobody", "00000000-0000-0000-0000-000000000000"):
        result = run(name, ATTACK)
        assert (result.exit_code, result.stdout) == (2, "")
        assert f"no request in these logs has the place, credential or auditID {name}" in result.stderr
    named = log(tmp_path, KUBELET, name="audit.log:1")
    assert run(named, named).stderr.startswith("error: the id comes first")


def test_of_many_uses_of_a_credential_some_are_shown_and_all_are_counted(tmp_path: Path) -> None:
    """The request that issued it is among them, wherever it stands."""
    times = [f"2026-11-23T21:43:{second}.000000Z" for second in range(10, 40)]
    user = {"username": "eve", "extra": {"authentication.kubernetes.io/credential-id": ["JTI=many"]}}
    uses = [token_request(user=user, requestReceivedTimestamp=time, issued=None, verb="get") for time in times]
    mint = token_request(issued="JTI=many", requestReceivedTimestamp="2026-11-23T21:44:00.000000Z", auditID="last")
    path = log(tmp_path, *uses, mint)
    result = run("JTI=many", path, "--format", "json")

    assert len(result.stdout.splitlines()) == MOST_OF_A_NAME + 1
    assert '"auditID": "last"' in result.stdout
    assert "note: JTI=many: 10 more events of other requests" in result.stderr


def test_an_incidents_id_leads_to_all_of_its_requests(found: Sequence[Finding]) -> None:
    """The first is explained, the others are listed last, but not those excluded, or of rules that are off."""
    (worst, *_) = incidents(found)
    requests = list(dict.fromkeys(finding.event.request_id for finding in worst.findings))
    text = run(worst.id, ATTACK).stdout
    (line,) = run(worst.id, ATTACK, "--format", "json").stdout.splitlines()

    head = f"request {worst.id}\n  the first of {len(requests)} requests of the incident of this id"
    assert text.startswith(head)
    assert text.index('"auditID": ') < text.index("\nthe other requests of the incident:\n") < text.index(requests[1])
    assert json.loads(line)["incident_requests"] == requests
    assert all(f"  {id_}  " in text for id_ in requests if id_ != worst.id)
    assert "of this id" not in run(requests[-1], ATTACK).stdout


def test_what_to_do_is_what_the_incident_says(found: Sequence[Finding], use: Alert) -> None:
    """The same steps, each command on a line of its own; a request that is in no incident has none."""
    incident = next(one for one in incidents(found) if use.id in {finding.event.request_id for finding in one.findings})
    text = run(use.id, ATTACK).stdout
    (line,) = run(use.id, ATTACK, "--format", "json").stdout.splitlines()

    assert json.loads(line)["incident"] == incident.id
    assert json.loads(line)["advice"] == [step.to_dict() for step in incident.advice]
    assert all(f"\n     {step.command}\n" in text for step in incident.advice if step.command)
    assert f"incident {incident.id}: " in text
    alone = next(event for event in read(ATTACK) if request_id(event) not in {one.event.request_id for one in found})
    (line,) = run(request_id(alone), ATTACK, "--format", "json").stdout.splitlines()
    assert (json.loads(line)["incident"], json.loads(line)["advice"]) == (None, [])


def test_json_is_a_line_a_request_with_its_event(use: Alert) -> None:
    """In the order of the log, each once."""
    assert use.mint is not None
    result = run(use.fingerprint, use.mint.request_id, use.id, ATTACK, "--format", "json")
    lines = [json.loads(line) for line in result.stdout.splitlines()]

    assert result.exit_code == 0
    assert [line["request_id"] for line in lines] == [use.mint.request_id, use.id]
    assert lines[1]["alerts"][0]["summary"] == use.summary
    assert lines[1]["event"]["auditID"] == use.event.audit_id
    assert lines[1]["mint"] == lines[0]["event"]


def test_what_was_said_earlier_about_a_request_is_there_whichever_id_is_given() -> None:
    """In the recording `pod-token-moved`, off by default, speaks after others did about the same request."""
    rules = ["token-request", "token-request-uri", "pod-token-moved"]
    late = [finding for finding in detect(METADATA, detectors=rules) if finding.rule.id == "pod-token-moved"]
    (line,) = run(late[-1].fingerprint, METADATA, "--format", "json").stdout.splitlines()
    (alert,) = json.loads(line)["alerts"]

    assert [rule["id"] for rule in alert["rules"]] == ["pod-token-moved", *rules[:2]]


def test_an_excluded_request_and_one_that_nobody_reports_are_explained(tmp_path: Path) -> None:
    """The exclusion is named; of the other only its event is known."""
    silent = token_request(
        verb="get", objectRef={"resource": "pods", "namespace": "prod"}, auditID="silent", issued=None
    )
    path = log(tmp_path, KUBELET, silent)
    kubelet, other = map(request_id, read(path))
    text = run(kubelet, other, path).stdout

    assert "excluded by kubelet" in text
    assert "what to do" not in text
    assert f"request {other}\n  No rule reported it." in text
    assert '"auditID": "silent"' in text


def test_no_token_is_printed(tmp_path: Path) -> None:
    """Redaction is that of reading, wherever a client put it, in both forms."""
    body = {"kind": "TokenRequest", "status": {"token": JWT}}
    path = log(tmp_path, token_request(userAgent=f"x {JWT}", requestURI=f"/x?token={JWT}", responseObject=body))
    id_ = request_id(next(iter(read(path))))

    for options in ([], ["--format", "json"]):
        result = run(id_, path, *options)
        assert result.exit_code == 0
        assert "<token removed>" in result.stdout
        assert not any(part in result.output for part in JWT.split("."))


def test_no_value_steers_the_terminal(tmp_path: Path) -> None:
    """Neither a name nor the event."""
    path = log(tmp_path, token_request("a\x1b[2J\u202eb", userAgent="\x9b2J\u2028"))
    text = run(request_id(next(iter(read(path)))), path).stdout

    assert all(char.isprintable() or char == "\n" for char in text)


def test_an_id_that_is_nowhere_is_an_error_and_the_others_are_explained(use: Alert) -> None:
    """Nothing is left out in silence."""
    result = run("0" * 32, use.id, ATTACK)

    assert result.exit_code == 2
    assert f"request {use.id}" in result.stdout
    assert f"no request, finding or alert in these logs has the id {'0' * 32}" in result.stderr


def test_a_record_that_cannot_be_read_is_reported_once(tmp_path: Path, use: Alert) -> None:
    """However often the log is read."""
    path = tmp_path / "audit.log"
    path.write_bytes(ATTACK.read_bytes() + b"\n{")

    for id_ in (use.id, use.fingerprint, "0" * 32):
        result = run(id_, path)
        assert result.exit_code == 2
        assert result.stderr.count("audit.log:") == 1


def test_what_cannot_be_read_twice_is_refused(tmp_path: Path) -> None:
    """Standard input, a pipe, a file that is not there; and arguments without an id or a log."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    for arguments in (["0" * 32, "-"], ["0" * 32, pipe], ["0" * 32, tmp_path / "no.log"], [ATTACK], ["0" * 32]):
        result = run(*arguments)
        assert result.exit_code == 2
        assert result.stderr.startswith("error: ")
        assert not result.stdout


def test_a_second_reading_finds_each_event_where_the_first_one_did(tmp_path: Path) -> None:
    """It comes last, after other stages; another's with the same auditID, which a client chooses, never comes."""
    refused = token_request(code=403, issued=None)
    stages = [{**refused, "stage": stage} for stage in ("RequestReceived", "ResponseComplete", "Panic")]
    path = log(tmp_path, token_request("mallory", code=403, issued=None), *stages, {"no": "event"})
    first = EventRef.of(list(read(path, on_error=lambda _: None))[2])
    gone = attrs.evolve(first, audit_id="of another log")

    for refs in ([first], [first, gone]):
        events = list(events_of(read(path), refs))
        assert [(id_, event.stage) for id_, event in events] == [
            (first.request_id, "RequestReceived"),
            (first.request_id, "ResponseComplete"),
        ]
    assert not list(events_of(read(path), []))


def test_an_event_with_an_odd_audit_id_is_found(tmp_path: Path) -> None:
    """A client chose a credential, or a text that was cut; both claim the same token, so neither is believed."""
    path = log(
        tmp_path,
        token_request(auditID=JWT),
        token_request(auditID="abcdef." + "0" * 16),
        token_request(auditID="x" * 2000),
    )
    refs = [finding.event for finding in detect(path, detectors=["token-request"])]

    assert len(refs) == 3
    assert sum("removed" in ref.audit_id for ref in refs) >= 1
    assert set(dict(events_of(read(path), refs))) == {ref.request_id for ref in refs}
