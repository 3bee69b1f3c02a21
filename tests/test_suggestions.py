# SPDX-License-Identifier: Apache-2.0
"""`--suggest-exclusions`: what is confirmed silences what a person saw, and nothing else."""

from __future__ import annotations

import copy
import json
import re
import tomllib
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any, Final

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from k8stokendetect import DEFAULT_EXCLUSIONS, ConfigError, Exclusion, Finding, detect, load_exclusions, parse_event
from k8stokendetect.cli import main
from k8stokendetect.cli.suggesting import Suggester
from k8stokendetect.detectors import BUILTIN
from k8stokendetect.exclusions import OPTIONAL_EXCLUSIONS
from k8stokendetect.exclusions.write import quoted, to_toml
from k8stokendetect.identity import CREDENTIAL_ID, REASON
from k8stokendetect.suggestions import Suggestions, callers
from k8stokendetect.suggestions.writing import UNCHECKED, suggestions_to_toml
from k8stokendetect.testing import service_account_user, token_request, use_of
from recordings import METADATA, REQUEST_RESPONSE, records

TODAY: Final = date(2026, 11, 27)


def suggested(log: Iterable[dict[str, Any]], **options: Any) -> tuple[Suggestions, list[Finding]]:
    """Scan a log with the collector among the detectors."""
    found = Suggestions()
    findings = list(detect(list(log), detectors=[*(cls() for cls in BUILTIN), found], **options))
    for finding in findings:
        found.note(finding)
    return found, findings


def confirmed(text: str, tmp_path: Path, *ids: str) -> tuple[Exclusion, ...]:
    """Remove the first `# ` of the entries of these ids, as a person does, or of all, with the day; load the file."""
    parts = text.split("\n\n")
    kept = [part for part in parts if not ids or any(f'# id = "{id_}"' in part for id_ in ids)]
    path = tmp_path / "confirmed.toml"
    dated = "\n\n".join(kept).replace(f'checked = "{UNCHECKED}"', f"checked = {TODAY}")
    path.write_text(re.sub(r"(?m)^# ", "", dated), encoding="utf-8")
    return load_exclusions(path)


LOGS: Final = {"metadata": records(METADATA)[3700:4300], "bodies": records(REQUEST_RESPONSE)}
"""Recorded attacks, and two operators at work; the second has request bodies."""


@pytest.mark.parametrize("name", LOGS)
def test_who_is_confirmed_is_silent_and_nobody_else(name: str, tmp_path: Path) -> None:
    """Scanned again, a confirmed caller's mints and what its tokens did are gone; every other finding stays."""
    log = LOGS[name]
    found, before = suggested(log)
    text = suggestions_to_toml(found)
    left = {one.username for one in found.left()}
    users = [one.exclusion.component.actor.username[0] for one in found.all()]
    for user in dict.fromkeys(users[:3]):
        ids = [one.exclusion.id for one in found.all() if one.exclusion.component.actor.username == (user,)]
        after = list(detect(log, exclusions=(*DEFAULT_EXCLUSIONS, *confirmed(text, tmp_path, *ids))))
        still = {finding.fingerprint for finding in after}
        gone = [finding for finding in before if finding.fingerprint not in still]
        mints = [one for one in after if one.rule.id == "token-request" and one.event.user == user]
        assert [one for one in gone if one.rule.id == "token-request"]
        assert all(user in {ref.user for ref in (one.event, *one.related)} for one in gone)
        assert user in left or not mints
    silent = detect(log, exclusions=(*DEFAULT_EXCLUSIONS, *confirmed(text, tmp_path)))
    assert {one.event.user for one in silent if one.rule.id == "token-request"} == left


def mint(target: str = "staging/app", **fields: Any) -> dict[str, Any]:
    """Return a mint by a pipeline that runs in a pod."""
    usual: dict[str, Any] = {
        "user": service_account_user("ci/deployer", "JTI=1", pod="deployer-1"),
        "user_agent": "deployer/1.2 (linux)",
        "ip": "10.1.2.3",
        "expiration_seconds": 600,
    }
    return token_request(target=target, **(usual | fields))


SEEN: Final = [mint(time=f"2026-11-23T21:43:{second}Z") for second in range(10, 20)] + [
    mint("prod/api"),
    mint("prod/db"),
]


def deployer(**changed: Any) -> dict[str, Any]:
    """Return the user with other values; None takes one away."""
    user: dict[str, Any] = copy.deepcopy(mint()["user"])
    extra = user["extra"] | changed.pop("extra", {})
    return user | {"extra": {key: value for key, value in extra.items() if value}} | changed


POD: Final = {"authentication.kubernetes.io/pod-name": None, "authentication.kubernetes.io/pod-uid": None}
REASONED: Final = 'RBAC: allowed by RoleBinding "x/prod" of Role "x" to ServiceAccount "deployer/ci"'
ATTACKS: Final = {
    "another target": mint("staging/root"),
    "another namespace": mint("kube-system/app"),
    "a pair of names that was not seen": mint("staging/db"),
    "the other way round": mint("prod/app"),
    "a client certificate": mint(user=deployer(extra={CREDENTIAL_ID: ["X509SHA256=1"]})),
    "a token that is bound to no pod": mint(user=deployer(extra=POD)),
    "another group": mint(user=deployer(groups=[*deployer()["groups"], "admins"])),
    "without its groups": mint(user=deployer(groups=["system:authenticated"])),
    "impersonation": mint(impersonatedUser={"username": "system:serviceaccount:prod:api"}),
    "a capital letter": mint(user=deployer(username="system:serviceaccount:ci:Deployer")),
    "a letter that looks alike": mint(user=deployer(username="system:serviceaccount:ci:depl\u043eyer")),
    "a name around it": mint(user=deployer(username="system:serviceaccount:ci:deployer2")),
    "another client": mint(user_agent="curl/8.5"),
    "from the internet": mint(ip="203.0.113.9"),
    "by another binding": mint(annotations={REASON: REASONED}),
    "for another audience": mint(audiences=["sts.amazonaws.com"]),
    "for longer": mint(expiration_seconds=86_400),
    "bound to a pod": mint(bound={"kind": "Pod", "name": "a", "uid": "b"}),
    "a body that was cut away": mint(requestObject=None),
    "a disguised URI": mint(query="?dryRun=All"),
    "after it expired": mint(time="2027-11-24T00:00:00Z"),
}


def test_what_differs_in_one_proof_is_still_reported(tmp_path: Path) -> None:
    """Two tables for one caller, since one would also cover pairs that were not seen; with each proof of the log."""
    found, findings = suggested(SEEN)
    first, second = found.all(TODAY)
    exclusions = (*DEFAULT_EXCLUSIONS, *confirmed(suggestions_to_toml(found), tmp_path))

    assert (first.mints, second.mints, len({one.event.request_id for one in findings})) == (10, 2, 12)
    assert {one.exclusion.component.names for one in (first, second)} == {("app",), ("api", "db")}
    assert first.exclusion.expires == date(2027, 2, 25)
    assert (first.warnings, first.enable) == ((), "")
    assert list(detect(SEEN, exclusions=exclusions)) == []
    for what, attack in ATTACKS.items():
        reported = [one.rule.id for one in detect([attack], exclusions=exclusions)]
        assert "token-request" in reported, what


def test_each_table_has_its_own_first_line_and_number_and_times(tmp_path: Path) -> None:
    """Not its caller's: who follows the line must find a mint that this table covers."""
    log, toml = tmp_path / "audit.log", tmp_path / "suggested.toml"
    log.write_text("".join(json.dumps(record) + "\n" for record in SEEN), encoding="utf-8")
    run(str(log), "--suggest-exclusions", str(toml))
    text = toml.read_text(encoding="utf-8")

    assert [text.count(part) for part in ("## 10 mints of", "## 2 mints of", 'audit.log:1"', 'audit.log:12"')] == [
        1
    ] * 4


def test_the_day_of_the_check_is_left_to_the_person(tmp_path: Path) -> None:
    """Nobody looked yet: without the day the entry is refused, and the error says where and how."""
    path = tmp_path / "unchecked.toml"
    text = suggestions_to_toml(suggested(SEEN)[0])
    path.write_text(re.sub(r"(?m)^# ", "", text), encoding="utf-8")

    with pytest.raises(ConfigError, match=r"a date such as 2026-11-24, got a string @ .*provenance.0..checked"):
        load_exclusions(path)
    assert {one.component.provenance[0].checked for one in confirmed(text, tmp_path)} == {TODAY}


def test_what_may_not_be_excluded_is_counted_and_not_suggested() -> None:
    """With the reason; and who has only a name, which proves nothing, or one that would be a pattern."""
    log = [
        token_request("system:anonymous", groups=["system:unauthenticated"]),
        token_request("root", groups=["system:masters", "system:authenticated"]),
        token_request("alice", groups=["devs"], impersonatedUser={"username": "bob"}),
        token_request({"username": "carol", "uid": "1", "groups": ["system:authenticated"]}),
        token_request("a*", groups=["devs"]),
        mint(requestObject=None),
        mint(query="?dryRun=All"),
    ]
    found, _ = suggested(log)
    text = suggestions_to_toml(found)

    assert found.all() == []
    assert [one.username for one in found.left() if one.mints != 1] == []
    names = {"system:anonymous", "root", "alice", "carol", "a*", "system:serviceaccount:ci:deployer"}
    assert {one.username for one in found.left()} == names
    for reason in (
        "never excluded",
        "whom nothing limits",
        "impersonated",
        "a username alone proves nothing",
        "cut away",
    ):
        assert reason in text
    assert tomllib.loads(text) == {}


def test_who_is_part_of_something_urgent_comes_last_and_with_a_warning() -> None:
    """Also who minted the token that did it; the rest is in the order of how often they minted."""
    web = service_account_user("dev/web", "JTI=7", pod="web-1")
    stolen = [mint("prod/api", user=web, time=f"2026-11-23T21:50:{second}Z") for second in range(10, 40)]
    used = use_of(stolen[0], "list", "secrets", ip="203.0.113.7", time="2026-11-23T21:51:00Z")
    rare = mint(user=service_account_user("ci/rare", "JTI=9", pod="rare-1"), time="2026-11-23T21:55:00Z")
    found, findings = suggested([rare, *SEEN, *stolen, used])

    assert max(finding.severity for finding in findings) >= 4
    names = [one.exclusion.component.actor.username[0].rpartition(":")[2] for one in found.all()]
    assert list(dict.fromkeys(names)) == ["deployer", "rare", "web"]
    assert [bool(one.warnings) for one in found.all()] == [False, False, False, True]
    assert "HIGH OR CRITICAL (minted-token-used)" in found.all()[-1].warnings[0]
    assert "## WARNING: PART OF SOMETHING HIGH OR CRITICAL" in suggestions_to_toml(found)


def test_an_excluded_caller_is_not_suggested_and_a_known_one_is_named() -> None:
    """By whatever exclusion of the scan; the one that ships is named where it fits."""
    operator = mint(user=service_account_user("external-secrets/external-secrets", "JTI=1", pod="es-1"))
    found, _ = suggested([operator])
    (one,) = found.all()
    exclusions = (*DEFAULT_EXCLUSIONS, *OPTIONAL_EXCLUSIONS)
    enabled = Suggestions(exclusions)
    assert list(detect([operator], detectors=[enabled], exclusions=exclusions, keep_excluded=True)) == []

    assert one.enable == "external-secrets"
    line = "## This fits `external-secrets`; if you run it: `--enable external-secrets`. It covers more than this."
    assert line in suggestions_to_toml(found).splitlines()
    assert (enabled.all(), enabled.left()) == ([], [])
    assert "Everyone who minted a token is excluded already" in suggestions_to_toml(enabled)


HOSTILE: Final = (
    'x"\n[[exclusion]]\nid = "all"\n',
    "x\n# [[exclusion]]",
    "x\\",
    "x\u202e\u2028\x85\x00\x7f\r",
    "\U0001f600 #",
    "'''" + '"""',
)


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_of_the_log_leaves_its_quotes_or_its_comment(name: str, tmp_path: Path) -> None:
    """Names, groups, clients, bindings: the file has the lines that we write, and confirmed it means this name."""
    reason = f'RBAC: allowed by RoleBinding "{name}"'
    user = {"username": name, "groups": [name, "system:authenticated"]}
    found, _ = suggested([token_request(user, user_agent=f"{name}/1", annotations={REASON: reason})])
    text = suggestions_to_toml(found)

    assert all(line.startswith("#") or not line for line in text.split("\n"))
    assert text.replace("\n", "").isprintable()
    assert tomllib.loads(text) == {}
    (exclusion,) = confirmed(text, tmp_path)
    actor = exclusion.component.actor
    assert (actor.username, actor.groups, actor.reason) == ((name,), (name,), reason)


def test_a_file_name_that_is_no_text_stops_nothing(tmp_path: Path) -> None:
    """A byte that is no UTF-8 is written out; TOML itself cannot express it, which is said of any other text."""
    found = Suggestions()
    found.inspect(parse_event(mint(), origin="audit\udcff.log:1"))

    (exclusion,) = confirmed(suggestions_to_toml(found), tmp_path)
    assert exclusion.component.provenance[0].source == r"audit\udcff.log:1"
    with pytest.raises(ConfigError, match="TOML cannot express"):
        quoted("\udcff")


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_a_quoted_text_is_that_text(text: str) -> None:
    """For the parser of the standard library."""
    assert tomllib.loads(f"a = {quoted(text)}") == {"a": text}


@pytest.mark.parametrize("exclusion", [*DEFAULT_EXCLUSIONS, *OPTIONAL_EXCLUSIONS], ids=lambda one: one.id)
def test_an_exclusion_that_is_written_is_read_again(exclusion: Exclusion, tmp_path: Path) -> None:
    """Everyone that ships, with everything that one can say."""
    path = tmp_path / "one.toml"
    path.write_text(to_toml(exclusion), encoding="utf-8")

    assert load_exclusions(path) == (exclusion,)


def test_a_flood_of_callers_and_targets_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Further callers are counted; who minted for everybody gets no list of them; a second delivery counts nothing."""
    monkeypatch.setattr("k8stokendetect.suggestions.MOST_CALLERS", 3)
    monkeypatch.setattr("k8stokendetect.suggestions.MOST_TARGETS", 4)
    monkeypatch.setattr(callers, "MOST_TARGETS", 4)
    log = [mint(user=service_account_user(f"ns/{number}", "JTI=1", pod="p")) for number in range(3)]
    log += [mint(f"prod/{number}", user=service_account_user("ns/0", "JTI=1", pod="p")) for number in range(9)]
    log += [token_request({"username": f"u{number}", "groups": ["devs"]}) for number in range(9)]
    found, _ = suggested([*log, *copy.deepcopy(log)])

    assert len(found.all()) == 2
    assert found.left()[0].username == "system:serviceaccount:ns:0"
    assert len(found.left()) == 5
    assert sum(one.mints for one in found.left()) == 10 + 9


def run(*arguments: str) -> Any:
    """Run the command."""
    return CliRunner().invoke(main, ["scan", *arguments])


def test_the_command_writes_the_file_and_the_file_does_what_it_says(tmp_path: Path) -> None:
    """Nothing while every line is a comment; confirmed and given back with --exclusions, it excludes."""
    log, toml = tmp_path / "audit.log", tmp_path / "suggested.toml"
    log.write_text("".join(json.dumps(record) + "\n" for record in SEEN), encoding="utf-8")
    first = run(str(log), "--suggest-exclusions", str(toml))
    unread = run(str(log), "--exclusions", str(toml))
    confirmed(toml.read_text(encoding="utf-8"), tmp_path)
    again = run(str(log), "--exclusions", str(tmp_path / "confirmed.toml"))

    assert (first.exit_code, unread.exit_code, again.exit_code) == (1, 1, 0)
    assert "excluded: " in again.stderr
    assert f"warning: {toml}: excludes nobody" in unread.stderr
    ended = tmp_path / "ended.toml"
    text = (tmp_path / "confirmed.toml").read_text(encoding="utf-8")
    ended.write_text(re.sub("(?m)^expires = .*", "expires = 2020-01-01", text), encoding="utf-8")
    assert "excludes only what was logged until 2020-01-01" in run(str(log), "--exclusions", str(ended)).stderr
    assert "warning" not in again.stderr
    assert "warning" not in again.stderr
    assert "staging/app" in first.stdout
    assert f"{log}:1" in toml.read_text(encoding="utf-8")


def test_the_file_may_be_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing else goes there; without an option nothing is collected."""
    suggester = Suggester("-", DEFAULT_EXCLUSIONS, output="trees.txt")
    for finding in detect(SEEN, detectors=["token-request", *suggester.detectors]):
        suggester.note(finding)
    suggester.finish()
    Suggester(None, DEFAULT_EXCLUSIONS, output=None).finish()

    assert capsys.readouterr().out.count("# [[exclusion]]") == 2


@pytest.mark.parametrize("mine", ["## mine\n\n[[exclusion]]\n", "# a\r\n  enable = []\r\n", "no TOML \udcff"])
def test_a_file_in_which_somebody_confirmed_something_is_not_overwritten(mine: str, tmp_path: Path) -> None:
    """It is refused before anything is read; a file of comments is written again."""
    toml = tmp_path / "mine.toml"
    toml.write_bytes(mine.encode("utf-8", "surrogateescape"))
    result = run(str(METADATA), "--suggest-exclusions", str(toml))

    assert (result.exit_code, result.stdout) == (2, "")
    assert "mine.toml: holds more than comments and is not overwritten" in result.stderr
    assert toml.read_bytes() == mine.encode("utf-8", "surrogateescape")
    toml.write_text("\n  # only this\n", encoding="utf-8")
    Suggester(str(toml), DEFAULT_EXCLUSIONS, output=None).finish()
    assert "Everyone who minted a token is excluded already" in toml.read_text(encoding="utf-8")


def test_the_command_refuses_what_it_could_not_write_before_it_reads(tmp_path: Path) -> None:
    """Nothing is printed but the reason."""
    for arguments, reason in (
        (("--suggest-exclusions", str(tmp_path)), "cannot be written"),
        (("--suggest-exclusions", str(tmp_path / "no" / "folder")), "cannot be written"),
        (("--suggest-exclusions", "-"), "needs --output FILE"),
    ):
        result = run(str(METADATA), *arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        assert reason in result.stderr
