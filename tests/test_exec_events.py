# SPDX-License-Identifier: Apache-2.0
"""Commands in a Linux audit log: every encoding of the kernel's, records mixed, lost and damaged, and no token."""

from __future__ import annotations

import base64
import gzip
import io
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditd import log, records
from k8stokendetect import ConfigError, K8sTokenDetectError, ReadError
from k8stokendetect.commands.auditd import LONGEST_LINE, parse_line
from k8stokendetect.commands.exec_events import PENDING_EVENTS, ExecEvent, ExecLog, Grouping, read_auditd
from strategies import JWT

HAND_WRITTEN = b"""\
node=web-1 type=SYSCALL msg=audit(1700000000.123:456): arch=c000003e syscall=59 success=yes exit=0 a0=55d0 a1=55d8 \
a2=55e0 a3=8 items=2 ppid=1000 pid=1001 auid=1000 uid=0 gid=0 euid=0 suid=0 fsuid=0 egid=0 sgid=0 fsgid=0 tty=pts0 \
ses=3 comm="kubectl" exe="/usr/local/bin/kubectl" subj=unconfined key="exec"\x1dARCH=x86_64 SYSCALL=execve \
AUID="alice" UID="root" GID="root" EUID="root"
node=web-1 type=EXECVE msg=audit(1700000000.123:456): argc=5 a0="kubectl" a1="create" a2=746F6B656E a3="sa" \
a4=2D2D61756469656E63653D6120C3A9
node=web-1 type=CWD msg=audit(1700000000.123:456):  cwd="/root"
node=web-1 type=PATH msg=audit(1700000000.123:456): item=0 name="/usr/local/bin/kubectl" inode=13 nametype=NORMAL
node=web-1 type=PROCTITLE msg=audit(1700000000.123:456): proctitle=6B75626563746C00637265617465
"""

arguments = st.binary(max_size=60).map(lambda text: text.replace(b"\0", b"")) | st.sampled_from(
    [b"", b"create", b"a b", b'"', b"4142", "é中".encode(), b"\xff\x1d", b"type=EXECVE msg=audit(1.000:1): argc=0"]
)
vectors = st.lists(arguments, min_size=1, max_size=6)


def read(content: bytes) -> tuple[list[ExecEvent], list[K8sTokenDetectError]]:
    """Return what is read, and the errors."""
    errors: list[K8sTokenDetectError] = []
    return list(read_auditd(content, on_error=errors.append)), errors


def shown(argv: list[bytes]) -> tuple[str, ...]:
    """Return an argument vector as an event has it."""
    return tuple(text.decode("utf-8", "backslashreplace") for text in argv)


def test_an_event_as_auditd_writes_it() -> None:
    """Every field, from the names that the enriched format adds to the hex of a space and of an accent."""
    assert read(HAND_WRITTEN) == (
        [
            ExecEvent(
                arguments=("kubectl", "create", "token", "sa", "--audience=a é"),
                source="execve",
                complete=True,
                time=datetime(2023, 11, 14, 22, 13, 20, 123000, UTC),
                stamp="1700000000.123",
                serial=456,
                node="web-1",
                exe="/usr/local/bin/kubectl",
                comm="kubectl",
                uid=0,
                auid=1000,
                user="root",
                login="alice",
                pid=1001,
                ppid=1000,
                ses=3,
                tty="pts0",
                success=True,
                key="exec",
                origin="<bytes>:1",
            )
        ],
        [],
    )


@given(vectors, st.integers(8, 100))
def test_every_vector_comes_back(argv: list[bytes], room: int) -> None:
    """Quoted, in hex, and in pieces over several records."""
    events, errors = read(log(*records(*argv, room=room)))

    assert errors == []
    assert [(event.arguments, event.complete) for event in events] == [(shown(argv), True)]


@given(st.lists(vectors, min_size=1, max_size=4), st.integers(8, 100), st.randoms(use_true_random=False))
def test_records_may_come_mixed_and_in_any_order(argvs: list[list[bytes]], room: int, random: object) -> None:
    """Of several events at once, those of one event shuffled, each is put together."""
    lines = [line for serial, argv in enumerate(argvs) for line in records(*argv, serial=serial, room=room)]
    random.shuffle(lines)  # type: ignore[attr-defined]  # Hypothesis's own Random
    events, errors = read(log(*lines))

    assert errors == []
    assert {event.serial: event.arguments for event in events} == dict(enumerate(map(shown, argvs)))
    assert len(events) == len(argvs)


@settings(max_examples=60)
@given(st.data())
def test_damage_never_raises_and_shows_no_token(data: st.DataObject) -> None:
    """Lines that are lost, cut or overwritten; what is left of a token is not in an event or an error either."""
    argv = ["curl", "-H", f"Authorization: Bearer {JWT}", "x" * 50, "https://10.0.0.1/"]
    lines = [line.encode() for line in records(*argv, room=data.draw(st.integers(20, 400)), exe="/usr/bin/curl")]
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(lines) - 1))
        how = data.draw(st.sampled_from(["lose", "cut", "twice", "noise"]))
        if how == "cut":
            lines[place] = lines[place][: data.draw(st.integers(0, len(lines[place])))]
        elif how == "noise":
            lines[place] = data.draw(st.binary(max_size=80))
        else:
            lines[place : place + 1] = [lines[place]] * 2 * (how == "twice")
        lines = lines or [b"-"]
    events, errors = read(b"\n".join(lines))
    text = repr(events) + "".join(map(str, errors))

    assert not any(part in text for part in JWT.split(".")[1:])
    assert all(isinstance(error, ReadError) for error in errors)


@given(st.binary(max_size=300))
def test_any_bytes_can_be_read(content: bytes) -> None:
    """Whatever stands behind a record's head: an event, an error, or a record about nothing; never an exception."""
    for head in (b"", b"type=EXECVE msg=audit(1.000:1): ", b"type=SYSCALL msg=audit(1.000:1): "):
        read(head + content)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("not a record", "not a record of an audit log"),
        ('{"kind":"Event"}', "not a record of an audit log"),
        ("type=EXECVE msg=audit(99999999999.000:1): argc=0", None),
        ('type=EXECVE msg=audit(1.000:1): argc=1 a0="cut', "neither quoted nor hex"),
        ("type=EXECVE msg=audit(1.000:1): argc=1 a0=414", "neither quoted nor hex"),
        ("type=EXECVE msg=audit(1.000:1): argc=x", "a length is not a number"),
        ('type=EXECVE msg=audit(1.000:1): argc=1 a0="x" y', "a field without a value"),
        ('type=EXECVE msg=audit(1.000:1): argc=3 a0="x" a2="y"', "arguments of a command are missing"),
        ('type=EXECVE msg=audit(1.000:1): argc=1 a0_len=9 a0[0]="x"', "arguments of a command are missing"),
        ('type=EXECVE msg=audit(1.000:1): argc=1 a0_len=4 a0[0]="xx" a0[0]="xx"', "arguments of a command are missing"),
        ('type=EXECVE msg=audit(1.000:1): argc=1 a0_len=z a0="x"', "a length is not a number"),
        ('type=EXECVE msg=audit(1.000:1): argc=1 a0[1]="x"', "arguments of a command are missing"),
        ('type=EXECVE msg=audit(1.000:1): argc=1 a9999999="x"', "arguments of a command are missing"),
        ("type=SYSCALL msg=audit(1.000:1): arch=c000003e syscall=59 success=yes", "the EXECVE record"),
        ("type=SYSCALL msg=audit(1.000:1): arch=c00000b7 syscall=221 success=yes", "the EXECVE record"),
        ("type=SYSCALL msg=audit(1.000:1): arch=c000003e syscall=59 success=no", None),
        ("type=SYSCALL msg=audit(1.000:1): arch=c000003e syscall=257 success=yes", None),
        ("x" * LONGEST_LINE + "y" * 9, "line longer than"),
    ],
)
def test_what_cannot_be_read_is_said(line: str, reason: str | None) -> None:
    """With file and line, and the next event is read all the same."""
    events, errors = read(log(line, *records("next", second=1700000010)))

    assert [event.arguments for event in events if event.serial == 456] == [("next",)]
    assert all(not event.complete for event in events if event.serial != 456 and reason)
    assert [str(error).startswith("<bytes>:1: ") for error in errors] == [True] * len(errors)
    assert (reason is None) is (errors == [])
    assert reason is None or reason in str(errors[0])


def test_records_that_say_nothing_about_a_command_are_counted() -> None:
    """PATH, CWD and records of programs, such as USER_CMD; EOE is an end and nothing else."""
    user = "type=USER_CMD msg=audit(1700000000.000:400): pid=1 msg='cwd=\"/root\" cmd=123 terminal=pts/1 res=success'"
    source = ExecLog(log(user, *records("a"), "type=EOE msg=audit(1700000000.123:456): "))

    assert [event.arguments for event in source.stream() if isinstance(event, ExecEvent)] == [("a",)]
    assert source.skipped == 3
    damaged = ExecLog(b"type=PROCTITLE msg=audit(1.000:1): proctitle=4")
    assert [type(item) for item in damaged.stream()] == [ReadError]
    assert damaged.skipped == 0


def test_the_title_stands_in_for_arguments_that_were_not_logged() -> None:
    """Where no rule logs execve, or its record was lost; 128 bytes may have been cut."""
    *_, title = records("kubectl", "create", "token", "sa")
    long = records("sh", "-c", "x" * 200)

    (event,), errors = read(log(title))
    assert (event.source, event.arguments, event.complete) == ("proctitle", ("kubectl", "create", "token", "sa"), True)
    assert (event.who, event.pid, errors) == ("", None, [])
    (event,), errors = read(log(long[0], long[-1]))
    assert (event.arguments, event.complete) == (("sh", "-c", "x" * 122), False)
    assert event.who == "alice"
    assert "the EXECVE record of a command is missing" in str(errors[0])
    syscall, _, cwd, path, title = records("kubectl", "create", "token", "sa")
    (event,), errors = read(log(syscall, 'type=EXECVE msg=audit(1700000000.123:456): argc=4 a0="kubectl"', title))
    assert (event.arguments, event.complete) == (("kubectl", "create", "token", "sa"), False)
    assert len(errors) == 1
    assert cwd
    assert path


def test_an_event_waits_two_seconds_for_its_records() -> None:
    """As auparse does; what comes later is an event of its own, and each host has its own clock."""
    first = records("a" * 90, "b" * 90, room=40, node="web-1")
    later = records("next", serial=457, second=1700000003, node="web-1")
    other = records("next", serial=9, second=1700000099, node="web-2")
    split = [*first[:3], *later, *first[3:]]

    events, errors = read(log(*split))
    assert [event.complete for event in events if event.serial == 456] == [False, False]
    assert all("missing" in str(error) for error in errors)
    assert len(errors) == 2
    events, errors = read(log(*first[:3], *other, *first[3:]))
    assert {event.node: event.complete for event in events} == {"web-1": True, "web-2": True}
    assert errors == []


def test_memory_is_bounded() -> None:
    """The oldest of too many unfinished events goes on as it is, and nothing is lost."""
    grouping, seen = Grouping(), 0
    for serial in range(PENDING_EVENTS + 10):
        record = parse_line(b'type=EXECVE msg=audit(1700000000.123:%d): argc=2 a0="x"' % serial)
        assert record is not None
        seen += sum(1 for _ in grouping.put(record, ""))
    assert seen == 10
    assert sum(1 for _ in grouping.rest()) == PENDING_EVENTS
    huge = [f"type=EXECVE msg=audit(1700000000.123:{n}): argc=2 a0={'41' * 30000}".encode() for n in range(600)]
    grouping, seen = Grouping(), 0
    for line in huge:
        record = parse_line(line)
        assert record is not None
        seen += sum(1 for _ in grouping.put(record, ""))
    assert 30 < seen < 100


@pytest.mark.parametrize(
    "prefix",
    ["", "Nov 14 22:13:20 web-1 audisp-syslog: ", "[ 12.345678] audit: ", "<13>Nov 14 web-1 auditd[7]: "],
)
def test_the_forms_of_syslog_and_of_the_kernel_log(prefix: str) -> None:
    """A prefix, a space instead of the separator, numbers instead of names, no `msg=`."""
    lines = [prefix + line.replace("\x1d", " ") for line in records("a", "b c")]
    names = {"SYSCALL ": "1300 ", "EXECVE ": "1309 ", "PROCTITLE ": "1327 ", "msg=": ""}
    numbered = lines
    for name, number in names.items():
        numbered = [line.replace(name, number, 1) for line in numbered]

    for content in (log(*lines), log(*numbered)):
        (event,), errors = read(content)
        assert (event.arguments, event.login, event.user, errors) == (("a", "b c"), "alice", "root", [])


def test_a_value_cannot_pass_for_a_record() -> None:
    """A space is written in hex, so no argument can begin a line or a field."""
    (event,), errors = read(log(*records("x", 'a1="y" type=EXECVE msg=audit(1.000:1): argc=0\ntype=EOE', "auid=0")))

    assert event.arguments[1].startswith('a1="y"')
    assert (event.auid, errors) == (1000, [])


def test_who_ran_it() -> None:
    """Who logged in, by name or number; else whose rights it has; nobody where neither is known."""
    syscall = "type=SYSCALL msg=audit(1.000:1): success=no uid={} auid={} ses=4294967295 tty=(none) exe=(null){}"
    title = "type=PROCTITLE msg=audit(1.000:1): proctitle=61"
    cases = {
        (33, 1000, ""): "uid 1000",
        (33, 4294967295, ""): "uid 33",
        (33, 4294967295, '\x1dUID="www-data" AUID="unset"'): "www-data",
        (33, 1000, '\x1dUID="www-data" AUID="bob"'): "bob",
        (33, 1000, '\x1dUID="unknown(33)" AUID="unknown(1000)"'): "uid 1000",
        ("x", "", ""): "",
    }
    for fields, who in cases.items():
        (event,), _ = read(log(syscall.format(*fields), title))
        assert event.who == who
        assert (event.ses, event.tty, event.exe, event.success) == (None, "", "", False)


@pytest.mark.parametrize(
    "argv",
    [
        ["curl", "-H", f"Authorization: Bearer {JWT}"],
        ["curl", f"https://x/?access_token={JWT}"],
        ["kubectl", "--token", JWT],
        ["kubectl", f"--token={JWT}"],
        ["sh", "-c", f"echo {base64.b64encode(JWT.encode()).decode()}"],
        ["sh", "-c", f"curl -H 'Authorization: Bearer {JWT}' https://x"],
        ["x" * 500 + " " + JWT],
    ],
)
@pytest.mark.parametrize("room", [30, 7500])
def test_a_live_token_never_leaves_the_reader(argv: list[str], room: int) -> None:
    """Whole, in pieces and in hex, in the arguments and in the title; the rest of the command stays."""
    lines = records(*argv, room=room, exe=f"/opt/{JWT}")  # a name that an attacker chose
    for content in (log(*lines), log(lines[0], lines[-1])):
        (event,), _ = read(content)
        assert not any(part in repr(event) for part in (*JWT.split("."), base64.b64encode(JWT.encode()).decode()))
    (event,), _ = read(log(*lines))
    assert event.carried_token
    assert len(event.arguments) == len(argv)


def test_half_a_token_does_not_leave_the_reader_either() -> None:
    """What stands behind a piece that is lost or cut is left out: without its header nothing tells it for a token."""
    header = len("Bearer " + JWT.split(".", maxsplit=1)[0])
    argument = ("Bearer " + JWT).encode()
    length, tail = f"a1_len={2 * len(argument)}", argument[header:].hex()
    head = "type=EXECVE msg=audit(1.000:1): argc=2"
    lost = f"a1[2]={tail}"
    cut = f"a1[1]={tail}"
    for first, second in ((f"{length} a1[0]", lost), (f"{length} a1[0]", cut), ("a1[0]", cut)):
        (event,), errors = read(log(f'{head} a0="x" {first}={b"Bearer ".hex()}', f"{head} {second}"))

        assert (event.arguments, event.complete) == (("x", "Bearer "), False)
        assert len(errors) == 1


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["curl", "-H", "Authorization: Bearer sha256~Zm9vYmFyYmF6cXV4"], "Authorization: Bearer <token removed>"),
        (["oc", "login", "--token=sha256~Zm9v"], "--token=<token removed>"),
        (["oc", "login", "--token", "sha256~Zm9v"], "<token removed>"),
        (["sh", "-c", 'curl -H "Authorization: Bearer $(cat /t)"'], 'curl -H "Authorization: Bearer $(cat /t)"'),
        (["sh", "-c", "kubectl --token $T get pods"], "kubectl --token $T get pods"),
        (["echo", "the bearer of news"], "the bearer of news"),
    ],
)
def test_tokens_that_are_no_jwt(argv: list[str], expected: str) -> None:
    """What stands where a token stands is removed; a variable is none."""
    (event,), _ = read(log(*records(*argv)))

    assert event.arguments[-1] == expected
    assert event.carried_token is ("removed" in expected)


def test_sources(tmp_path: Path) -> None:
    """A folder of rotated files in the order of their records, gzip, streams, lists; an event over two files."""
    lines = records("a", "b" * 90, room=40)
    (tmp_path / "audit.log").write_bytes(log(*lines[3:], *records("z", serial=457)))
    (tmp_path / "audit.log.1").write_bytes(gzip.compress(log(*lines[:3])))
    files = [tmp_path / "audit.log", tmp_path / "audit.log.1"]
    content = log(*lines, *records("z", serial=457))

    sources: list[object] = [
        tmp_path,
        str(tmp_path),
        files,
        content,
        [content],
        io.BytesIO(content),
        bytearray(content),
    ]
    for source in sources:
        events = list(read_auditd(source))  # type: ignore[arg-type]  # several types at once
        assert [(event.arguments, event.complete) for event in events] == [(("a", "b" * 90), True), (("z",), True)]


def test_sources_that_are_none(tmp_path: Path) -> None:
    """A wrong type fails at the call; what cannot be read is reported when it is its turn."""
    for source in (1, None, "", io.StringIO("x")):
        with pytest.raises(ConfigError):
            read_auditd(source)  # type: ignore[arg-type]  # as said
    with pytest.raises(ConfigError):
        read_auditd(b"", on_error=1)  # type: ignore[arg-type]  # as said
    errors: list[K8sTokenDetectError] = []
    for bad in (tmp_path, tmp_path / "none", ["audit.log"], [1], b"BZh9", str(tmp_path / "x\0")):
        assert list(read_auditd(bad, on_error=errors.append)) == []  # type: ignore[arg-type]  # as said
    assert len(errors) == 6
    with pytest.raises(ReadError):
        list(read_auditd(b"no record"))
