# SPDX-License-Identifier: Apache-2.0
"""token-request-command: what asks for a token on a command line, what only looks like it, and what comes of it."""

from __future__ import annotations

import io
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from auditd import log, records
from builders import token_request
from k8stokendetect import (
    ConfigError,
    DetectorError,
    Evidence,
    Finding,
    K8sTokenDetectError,
    ReadError,
    Rule,
    Severity,
    Tally,
    detect,
)
from k8stokendetect.cli.app import scan_host
from k8stokendetect.commands import (
    BUILTIN_COMMANDS,
    ExecDetector,
    ExecEvent,
    TokenRequestCommand,
    detect_commands,
    read_auditd,
)
from k8stokendetect.incidents import incidents
from k8stokendetect.outputs.native import to_line
from k8stokendetect.outputs.text import to_text
from strategies import JWT, names

ROOT = Path(__file__).parents[1]
PATH = "/api/v1/namespaces/prod/serviceaccounts/sa/token"
GLOBAL = (
    ["-v", "9"],
    ["--as=x"],
    ["--as", "create"],
    ["--kubeconfig", "token"],
    ["--insecure-skip-tls-verify"],
    ["-o", "json"],
    ["--request-timeout=5s"],
    ["--context", "c"],
    ["--duration", "8760h"],
)


def scanned(*arguments: object, stdin: bytes = b"") -> Result:
    """Run `scan-host` in this process; it exits, and does not fail."""
    result = CliRunner().invoke(scan_host, [str(argument) for argument in arguments], input=stdin)
    assert isinstance(result.exception, SystemExit) or result.exception is None
    return result


def found(*argv: str, **options: Any) -> list[Finding]:
    """Return what is reported about one command."""
    return list(detect_commands(log(*records(*argv, **options))))


def targets(*argv: str, **options: Any) -> list[str]:
    """Return the targets of what is reported: all that the command says of them."""
    return [finding.key for finding in found(*argv, **options)]


@pytest.mark.parametrize(
    ("command", "target"),
    [
        ("kubectl create token sa", "sa"),
        ("kubectl -n prod --as=x create token sa --audience vault --duration 8760h", "prod/sa"),
        ("kubectl --kubeconfig k create token sa -nprod", "prod/sa"),
        ("kubectl create -n=prod token sa", "prod/sa"),
        ("kubectl create token sa --namespace other --namespace=prod", "prod/sa"),
        ("/usr/local/bin/kubectl create token sa", "sa"),
        ("kubectl-1.33 create token sa", "sa"),
        ("kubectl.exe create token serviceaccount/sa", "sa"),
        ("oc create token sa -n prod", "prod/sa"),
        ("oc sa get-token sa -n prod", "prod/sa"),
        ("oc serviceaccounts new-token sa", "sa"),
        (f"kubectl create --raw {PATH} -f -", "prod/sa"),
        (f"kubectl create -f - --raw=https://h{PATH}", "prod/sa"),
        ("sudo -u root kubectl create token sa -n prod", "prod/sa"),
        ("env KUBECONFIG=/k timeout 5 kubectl create token sa", "sa"),
        ("minikube kubectl -- create token sa", "sa"),
        ("kubectl exec -it web-1 -- kubectl create token sa", "sa"),
        ("docker run --rm bitnami/kubectl:1.33 create token sa", "sa"),
        ("k create token sa", "sa"),
        ("/opt/echo create token sa -n prod", "prod/sa"),
        ("sh -c 'kubectl create token sa'", "sa"),
        ("busybox sh -c 'cd /; kubectl create token sa -n prod | tee x'", "prod/sa"),
        ("bash -lc 'T=$(kubectl create token sa); echo done'", "sa"),
        ("""bash -c 'curl -H "Authorization: Bearer $(kubectl create token sa)" https://h'""", "sa"),
        ("""bash -c 'echo "x `kubectl create token sa`"'""", "sa"),
        ("""bash -c 'sh -c "kubectl create token sa -n prod"'""", "prod/sa"),
        ("bash -c 'if true\nthen kubectl create \\\n token sa\nfi'", "sa"),
        ("""sh -c "ku''bectl create to''ken sa" """, "sa"),
        ("sh -c 'K=kubectl; $K create token sa'", "sa"),
        ("ssh web-1 'kubectl create token sa -n prod'", "prod/sa"),
        ("env -S 'kubectl create token sa'", "sa"),
        ("""python3 -c 'import os; os.system("kubectl create token sa")'""", "sa"),
        (f"curl -X POST https://10.0.0.1{PATH}", "prod/sa"),
        (f"curl -sk --url=https://10.0.0.1{PATH}?dryRun=All -d @b", "prod/sa"),
        (f"wget -qO- --post-data {{}} https://10.0.0.1{PATH}", "prod/sa"),
        (f"busybox wget --post-data {{}} https://10.0.0.1/{PATH}/", "prod/sa"),
        (f"/opt/x http://localhost:8001{PATH}", "prod/sa"),
        (
            f"curl https://h{PATH.replace('serviceaccounts', '%73erviceaccounts').replace('token', 'tok%2565n')}",
            "prod/sa",
        ),
        (f"curl https://h{PATH.upper().replace('/PROD/', '/prod/').replace('/SA/', '/sa/')}", "prod/sa"),
        (f"curl https://h{PATH.replace('/sa/', '/sa/./x/../')}", "prod/sa"),
        (f"curl https://h{PATH.replace('/', '//')}", "prod/sa"),
        ("curl https://h/api/v1/namespaces/prod/serviceaccounts/$SA/token", "prod"),
        ("""python3 -c 'post(f"{h}/api/v1/namespaces/{n}/serviceaccounts/{s}/token")'""", ""),
        ("""perl -e 'post($h."/serviceaccounts/".$sa."/token")'""", ""),
    ],
)
def test_a_request_is_found(command: str, target: str) -> None:
    """Whatever the place of the flags, the program's path and the quotes; the target as far as the command says it."""
    assert targets(*shlex.split(command)) == [target]


@pytest.mark.parametrize(
    "command",
    [
        "kubectl create token --help",
        "kubectl create token -h",
        "kubectl help create token sa",
        "kubectl create serviceaccount token",
        "kubectl get sa token",
        "kubectl create secret generic token",
        "kubectl -n create get token sa",
        "kubectl create -f prod/serviceaccounts/sa/token.yaml",
        "kubectl auth can-i create serviceaccounts/token",
        "kubectl get --raw /api/v1/namespaces/prod/serviceaccounts/sa",
        "kubeadm token create",
        "vault token create sa",
        "gh auth token",
        "cat /var/run/secrets/kubernetes.io/serviceaccount/token",
        "grep kubectl create token history",
        f"grep -r {PATH} /var/log",
        "man kubectl create token",
        "echo kubectl create token sa",
        "sh -c 'echo kubectl create token sa'",
        "git commit -m 'run kubectl create token sa'",
        "vi kubectl-create-token.md",
        "sh -c 'ls'",
        "kubectl",
        "kubectl create",
        "x",
    ],
)
def test_what_only_looks_like_it(command: str) -> None:
    """Help, other objects, other programs' tokens, and programs that only read or print such words."""
    assert targets(*shlex.split(command)) == []


@given(
    st.permutations([["create"], ["token"], ["sa"], ["-n", "prod"]]).filter(
        lambda words: [word for word in words if len(word) == 1] == [["create"], ["token"], ["sa"]]
    ),
    st.lists(st.sampled_from(GLOBAL), max_size=4),
    st.randoms(use_true_random=False),
)
def test_flags_may_stand_anywhere(words: list[list[str]], flags: list[list[str]], random: Any) -> None:
    """Also those whose values are kubectl's own words."""
    for flag in flags:
        words.insert(random.randint(0, len(words)), flag)

    assert targets("kubectl", *(part for word in words for part in word)) == ["prod/sa"]


@given(st.lists(names.filter(lambda name: "token" not in name), max_size=6))
def test_other_commands_are_not_reported(words: list[str]) -> None:
    """Without the word there is no request."""
    assert targets("kubectl", "create", *words) == []


WORDS = (
    r"""kubectl create token sa sh -c -n -- --raw --duration 9h = $( ` ' " \ ; ( %74 serviceaccounts /x/../ /token"""
)
WORD = st.sampled_from(WORDS.split()) | st.text(max_size=3)


@given(st.lists(st.lists(WORD, max_size=8).map(" ".join), max_size=6))
def test_no_command_makes_it_fail(argv: list[str]) -> None:
    """Whatever the quotes and the flags: a finding or none, never a failure."""
    tally = Tally()
    arguments = [text.replace("\0", "").encode("utf-8", "replace") for text in argv]
    list(detect_commands(log(*records(*arguments)), tally=tally))

    assert (tally.events, tally.failures) == (1, 0)


def test_the_kernel_knows_the_program_whatever_it_is_called() -> None:
    """A link or an argument 0 may name another one; a program that is not known at all is a caveat."""
    (known,) = found("ls", "create", "token", "sa", exe="/usr/local/bin/kubectl")
    (unknown,) = found("k", "create", "token", "sa", exe="/opt/k")

    assert "ran kubectl create token" in known.summary
    assert "ran k with the words of kubectl create token" in unknown.summary
    assert not [caveat for caveat in known.caveats if "by its name" in caveat]
    assert [caveat for caveat in unknown.caveats if "by its name" in caveat]


def resolve(path: str, event: ExecEvent) -> Any:
    """Return what stands at an evidence's path."""
    name, _, number = path.removesuffix("]").partition("[")
    value = getattr(event, name)
    return value[int(number)] if number else value


def test_the_finding_says_who_asked_for_what_on_which_terms() -> None:
    """Who logged in, whom kubectl impersonates, target, lifetime and audience, each with its place."""
    argv = (
        "kubectl -n prod --as=admin create token sa --audience vault --duration=8760h --bound-object-kind Pod".split()
    )
    lines = records(*argv, node="web-1", exe="/usr/bin/kubectl")
    (finding,), (event,) = list(detect_commands(log(*lines))), list(read_auditd(log(*lines)))

    assert finding.summary == "alice ran kubectl create token, a request for a token of prod/sa, on web-1"
    assert (finding.severity, finding.rule.id, finding.rule.techniques) == (
        Severity.MEDIUM,
        "token-request-command",
        ("T1552.007",),
    )
    ref = finding.event
    assert (ref.audit_id, ref.user, ref.target, ref.impersonating, ref.verb, ref.origin) == (
        "web-1 audit(1700000000.123:456)",
        "alice",
        "prod/sa",
        "admin",
        "execve",
        "<bytes>:1",
    )
    assert ref.time == event.time
    values = {(item.path, str(item.value)): item.why for item in finding.evidence}
    assert "365 days" in values["arguments[9]", "8760h"]
    assert values["arguments[8]", "vault"] == "--audience: whom the token is for"
    assert ("exe", "/usr/bin/kubectl") in values
    assert all(
        resolve(item.path, event) == item.value or str(item.value) in resolve(item.path, event)
        for item in finding.evidence
    )
    assert finding.caveats == ("whether a token was issued is not known: the API server's audit log says so",)


@pytest.mark.parametrize(
    ("duration", "days"),
    [
        ("24h", None),
        ("24h1s", "1 days"),
        ("1h30m", None),
        ("2880m", "2 days"),
        ("999999999999h", "4.17e+10"),
        ("x", None),
    ],
)
def test_a_long_lifetime_is_said(duration: str, days: str | None) -> None:
    """In Go's notation; the severity stays medium: what was granted is the API server's to say."""
    (finding,) = found("kubectl", "create", "token", "sa", "--duration", duration)
    (why,) = [item.why for item in finding.evidence if "--duration" in item.why]

    assert ("more than a day" in why) is (days is not None)
    assert (days or "") in why
    assert finding.severity == Severity.MEDIUM


def test_a_long_command_is_cut_around_what_tells() -> None:
    """A script of 100,000 characters is no evidence anybody reads."""
    script = "x" * 60_000 + f" {PATH} " + "y" * 40_000
    (finding,) = found("python3", "-c", script)
    (shown,) = [item.value for item in finding.evidence if item.path == "arguments[2]"]

    assert PATH in str(shown)
    assert len(to_line(finding)) < 10_000


def test_caveats_say_what_was_not_seen() -> None:
    """A title, lost arguments, no namespace, nobody logged in, a token that was removed."""
    lines = records("kubectl", "create", "token", "sa", "--token", JWT)
    (title,) = detect_commands(lines[-1].encode())
    errors: list[K8sTokenDetectError] = []
    (cut,) = detect_commands(log(lines[0], lines[1].replace("argc=6", "argc=7")), on_error=errors.append)

    assert [word for word in ("title", "nobody", "live token", "namespace") if word in " ".join(title.caveats)] == [
        *("title", "nobody", "live token", "namespace")
    ]
    assert "arguments are missing" in cut.caveats
    assert len(errors) == 1
    for finding in (title, cut):
        assert not any(part in to_line(finding) + to_text(finding) for part in JWT.split("."))


def test_outputs_and_incidents_take_it_like_any_other() -> None:
    """The same names in the JSON line, a tree for people, one incident."""
    (finding,) = found("kubectl", "create", "token", "sa", "-n", "prod")
    line = json.loads(to_line(finding))

    assert (line["rule_id"], line["severity"], line["target"]) == ("token-request-command", "medium", "prod/sa")
    assert line["event"]["audit_id"] == "audit(1700000000.123:456)"
    assert finding.summary in to_text(finding)
    assert len(incidents([finding])) == 1


def test_everything_is_counted() -> None:
    """Commands, findings, repetitions, unreadable lines and records about nothing."""
    lines = records("kubectl", "create", "token", "sa")
    other = records("kubectl", "create", "token", "sa", serial=457, second=1700000060)
    tally, errors = Tally(), list[K8sTokenDetectError]()
    content = log(*lines, *lines, "damaged", *records("ls", serial=458), *other)
    findings = list(detect_commands(content, on_error=errors.append, tally=tally))

    assert [finding.event.audit_id[-4:-1] for finding in findings] == ["456", "457"]
    assert (tally.events, tally.findings.total(), tally.duplicates) == (4, 2, 1)
    assert (tally.unreadable, tally.skipped, tally.failures) == (1, 8, 0)
    assert list(map(type, errors)) == [ReadError]


def test_one_process_is_reported_once_however_often_its_title_is_logged() -> None:
    """Rules about files log the title at each call; another process, and the same command later, are new."""

    def opened(serial: int, second: int, pid: int) -> Iterator[str]:
        call, *_, title = records("kubectl", "create", "token", "sa", serial=serial, second=second, pid=pid)
        yield call.replace("syscall=59", "syscall=257").replace("SYSCALL=execve", "SYSCALL=openat")
        yield title

    calls = [(1, 1700000000, 7), (2, 1700000001, 7), (3, 1700000002, 8), (4, 1700007300, 7)]
    tally = Tally()
    findings = list(detect_commands(log(*(line for call in calls for line in opened(*call))), tally=tally))

    assert [finding.event.audit_id[-2] for finding in findings] == ["1", "3", "4"]
    assert tally.duplicates == 1


class Failing(ExecDetector):
    """A detector that raises."""

    rule = Rule("test.failing", "Fails", Severity.LOW)

    def inspect_command(self, event: ExecEvent, /) -> Iterator[Finding]:
        """Report the first command, fail at the second."""
        if event.serial == 2:
            raise ValueError("as it does")
        yield self.finding(event, f"{event.who} ran {event.arguments[0]}", Evidence("exe", event.exe, "the program"))


class NoFinding(ExecDetector):
    """A detector that yields something else."""

    rule = Rule("test.nothing", "Yields text", Severity.LOW)

    def inspect_command(self, event: ExecEvent, /) -> Iterator[Finding]:
        """Yield what is no finding."""
        yield event.exe  # type: ignore[misc]  # as said


def test_detectors_of_ones_own() -> None:
    """The base, rule and `finding` of every detector; one that fails hides nothing from the others."""
    content = log(*records("a", serial=1), *records("kubectl", "create", "token", "b", serial=2))
    errors: list[K8sTokenDetectError] = []
    detectors: list[ExecDetector | str] = [Failing(), NoFinding(), "token-request-command"]
    findings = list(detect_commands(content, detectors=detectors, on_error=errors.append))

    assert [finding.rule.id for finding in findings] == ["test.failing", "token-request-command"]
    assert findings[0].summary == "alice ran a"
    assert [str(error).partition("detector ")[2][:19] for error in errors] == [
        *("test.nothing failed", "test.failing failed", "test.nothing failed")
    ]


def test_a_detector_of_commands_refuses_requests_aloud() -> None:
    """Given to `detect` it is a failure that is told, not a rule that never fires."""
    errors: list[K8sTokenDetectError] = []

    assert list(detect([token_request()], detectors=[TokenRequestCommand()], on_error=errors.append)) == []
    assert list(map(type, errors)) == [DetectorError]
    assert "detect_commands" in str(errors[0])


def test_wrong_arguments_fail_at_the_call() -> None:
    """Each is a ConfigError that says which."""
    wrong: list[dict[str, Any]] = [
        {"detectors": ["no-such-rule"]},
        {"detectors": "token-request-command"},
        {"detectors": [TokenRequestCommand]},
        {"detectors": [TokenRequestCommand(), "token-request-command"]},
        {"detectors": 1},
        {"on_error": 1},
        {"tally": 1},
    ]
    for options in wrong:
        with pytest.raises(ConfigError):
            detect_commands(b"", **options)
    with pytest.raises(ConfigError):
        detect_commands(io.StringIO("x"))  # type: ignore[arg-type]  # as said
    assert [cls.rule.id for cls in BUILTIN_COMMANDS] == ["token-request-command"]


def test_the_command() -> None:
    """Findings on standard output, the account on standard error, and an exit status that says it."""
    example = ROOT / "examples/host-audit.log"
    text = scanned(example)
    lines = scanned("--format", "json", "-", stdin=example.read_bytes())

    assert (text.exit_code, lines.exit_code) == (1, 1)
    assert [json.loads(line)["target"] for line in lines.stdout.splitlines()] == [
        "prod/payments-sa",
        "prod/payments-sa",
    ]
    assert "alice ran kubectl create token, a request" in text.stdout
    assert "alice ran curl with the path of the token subresource, a request" in text.stdout
    assert "What to do about token-request-command: " in text.stdout
    assert text.stderr.splitlines() == [
        "commands read: 3; findings: 2 (token-request-command 2); unreadable: 0; records without a command: 6"
    ]
    assert scanned("--fail-on", "high", example).exit_code == 0
    assert scanned("-", stdin=log(*records("ls"))).exit_code == 0
    assert scanned("-", stdin=b"no record").exit_code == 2
    assert scanned("").exit_code == 2
    assert scanned("-", stdin=b"\x1b\n" * 50).stderr.count("error: ") == 21


def test_the_page_says_what_is_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its command runs as it stands there, its numbers are printed, and its list of blind spots is the rule's."""
    monkeypatch.chdir(ROOT)
    page = (ROOT / "docs/host.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^    k8stokendetect scan-host (.+)$", page, re.MULTILINE)
    result = scanned(*shlex.split(command))

    assert result.exit_code == 1
    assert result.stderr.strip() in page
    for spot in TokenRequestCommand.rule.blind_spots:
        assert spot in " ".join(page.split())
