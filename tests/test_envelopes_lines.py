# SPDX-License-Identifier: Apache-2.0
"""Lines that hold no event by themselves."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import token_request
from k8stokendetect import ReadError, detect, read
from k8stokendetect.envelopes.lines import LineFormats, object_ref
from k8stokendetect.errors import K8sTokenDetectError
from recordings import METADATA, REQUEST_RESPONSE, records
from strategies import texts

EVENT = json.dumps(token_request())


def ids(content: str | bytes) -> tuple[list[str], list[str]]:
    """Read audit ids and errors."""
    errors: list[K8sTokenDetectError] = []
    content = content.encode() if isinstance(content, str) else content
    return [event.audit_id for event in read(content, on_error=errors.append)], [str(error) for error in errors]


@pytest.mark.parametrize(
    "line",
    [
        f"master-0 {EVENT}",
        f"2025-09-05T00:27:36.123Z {EVENT}",
        f"2025-09-05T00:27:36.123Z master-0 {EVENT}",
        f"2025-09-05T00:27:36.123456789+02:00 stdout F {EVENT}",
        f"2025-09-05T00:27:36.123Z stderr F {EVENT}",
        f"2025-09-05T00:27:36Z stdout P {EVENT[:100]}\n2025-09-05T00:27:37Z stdout F {EVENT[100:]}",
        "\n".join(
            (
                f"2025-09-05T00:27:36Z stdout P {EVENT[:9]}",
                "2025-09-05T00:27:36Z stderr P x",
                "2025-09-05T00:27:36Z stderr F ",
                f"2025-09-05T00:27:37Z stdout P {EVENT[9:50]}",
                f"2025-09-05T00:27:37Z stdout F {EVENT[50:]}",
            )
        ),
    ],
)
def test_prefixes_and_pieces(line: str) -> None:
    """OpenShift's node name, the time of a CloudWatch export, the container runtime's lines and their pieces."""
    assert ids(f"{line}\n{EVENT}\n")[0] == [token_request()["auditID"]] * 2


def test_a_piece_without_its_end_is_reported() -> None:
    """Whether the file ends there or the line grows for ever."""
    assert ids(f"2025-09-05T00:27:36Z stdout P {EVENT[:50]}") == (
        [],
        ["<bytes>: the last piece of a long line is missing"],
    )
    formats = LineFormats(100)
    piece = b"2025-09-05T00:27:36Z stdout P " + b"x" * 60
    assert formats(piece) == []
    records = formats(piece)
    assert records is not None
    assert isinstance(records[0], ReadError)
    assert list(formats.rest()) == []


def test_objects_that_stand_together() -> None:
    """Firehose writes one after another."""
    assert ids(EVENT * 3) == ([token_request()["auditID"]] * 3, [])


LEGACY = (
    '2021-09-13T10:00:06.658111Z AUDIT: id="da76" stage="ResponseComplete" ip="192.168.1.101" method="create" '
    'user="alice" groups="\\"dev\\",\\"system:authenticated\\"" as="<self>" asgroups="<lookup>" '
    'user-agent="kubectl/v1.22" namespace="prod" uri="/api/v1/namespaces/prod/serviceaccounts/%70ay/token?x=1" '
    'response="201"'
)


def test_the_legacy_format() -> None:
    """Text with quoted pairs: what it has becomes an Event, what it lacks is said."""
    (event,) = read(LEGACY.encode())

    assert (event.audit_id, event.verb, event.code, event.peer_ip) == ("da76", "create", 201, "192.168.1.101")
    assert (event.actor.username, event.actor.groups) == ("alice", ("dev", "system:authenticated"))
    assert (str(event.service_account), event.resource) == ("prod/pay", "serviceaccounts/token")
    assert event.assumed is None
    assert event.time is not None
    assert {"extra", "annotations", "bodies", "source IPs"} == event.lost
    assert {finding.rule.id for finding in detect(LEGACY.encode())} == {"token-request", "token-request-uri"}
    (impersonated,) = read(LEGACY.replace("<self>", "bob").replace("<lookup>", '\\"devs\\"').encode())
    assert impersonated.assumed is not None
    assert (impersonated.assumed.username, impersonated.assumed.groups) == ("bob", ("devs",))
    (waiting,) = read(LEGACY.replace('"201"', '"<deferred>"').encode())
    assert waiting.code is None


@pytest.mark.parametrize(
    ("uri", "ref"),
    [
        (
            "/api/v1/namespaces/a/pods/b/exec?x",
            {"namespace": "a", "resource": "pods", "name": "b", "subresource": "exec"},
        ),
        ("/api/v1/namespaces/a", {"resource": "namespaces", "namespace": "a", "name": "a"}),
        ("/apis/apps/v1/deployments/", {"apiGroup": "apps", "resource": "deployments"}),
        ("/readyz", None),
        ("", None),
    ],
)
def test_object_refs_from_paths(uri: str, ref: dict[str, str] | None) -> None:
    """As the API server parses them."""
    assert object_ref(uri) == (None if ref is None else ref | {"apiVersion": "v1"})


@given(
    st.lists(
        texts | st.sampled_from([EVENT, LEGACY, "x y {", "2025-09-05T00:27:36Z stdout P ", " AUDIT: "]), max_size=4
    )
)
def test_any_line_is_read_or_reported(parts: list[str]) -> None:
    """Nothing raises, and nothing that is not blank vanishes."""
    content = "".join(parts).encode()
    events, errors = ids(content)
    assert events or errors or not content.replace(b"\xef\xbb\xbf", b"").strip() or b" std" in content


def test_no_error_of_a_line_repeats_it() -> None:
    """It may hold a token."""
    secrets: list[Any] = ids(f"2025-09-05T00:27:36Z stdout F {{secret\nx {{secret\n{LEGACY.replace('id=', 'secret=')}")[
        1
    ]
    assert len(secrets) == 3
    assert "secret" not in str(secrets)


def test_every_recorded_path_gives_the_recorded_object() -> None:
    """But for what is not in the path: a created object's name, that of a field selector, uid and version."""
    for record in (*records(METADATA), *records(REQUEST_RESPONSE)):
        logged = {k: v for k, v in record.get("objectRef", {}).items() if k not in ("uid", "resourceVersion")}
        found = object_ref(record["requestURI"])
        if found is not None and "name" not in found:
            logged.pop("name", None)
        assert found == (logged or None), record["requestURI"]


def docker(text: str, stream: str = "stdout") -> str:
    """Return one line of Docker's json-file."""
    return json.dumps({"log": text, "stream": stream, "time": "2026-11-23T21:42:42.1Z"})


LONG = json.dumps(token_request(userAgent="x" * 40_000)) + "\n"


def test_docker_s_pieces_of_a_long_line_are_joined() -> None:
    """It cuts after 16 KiB; the last piece has the newline. The other stream's lines may stand between them."""
    pieces = [LONG[i : i + 16384] for i in range(0, len(LONG), 16384)]
    lines = [docker(pieces[0]), docker("x\n", "stderr"), docker(pieces[1]), docker(pieces[2]), docker(EVENT + "\n")]
    assert ids("\n".join(lines)) == ([token_request()["auditID"]] * 2, [])


def test_pieces_of_docker_that_make_no_json_hide_nothing() -> None:
    """A piece whose end is missing is an error that reveals what it is, and the event after it is read."""
    begun = docker(LONG[:16384])
    found, errors = ids(f"{begun}\n{docker(EVENT)}")
    assert (found, len(errors)) == ([token_request()["auditID"]], 1)
    findings = list(detect(begun.encode(), on_error=lambda _: None))
    assert [finding.rule.id for finding in findings] == ["unreadable-token-request"]
    formats = LineFormats(20_000)
    assert formats.joined(json.loads(begun)) == []
    assert len(formats.joined(json.loads(begun))) == 2, "longer than a record: handed on in pieces"
    assert list(formats.rest()) == []


OTHER_LOGS = [
    "I1112 10:00:00.000001       1 server.go:12] started",
    "2026-11-20T10:00:00.1Z stderr F W1112 10:00:00.000001       1 reflector.go:561] failed to list",
    "2026-11-20T10:00:00.1Z stdout F any words",
    "Nov 12 10:00:00 cp-1 sshd[123]: Accepted publickey",
    "<38>1 2026-11-12T10:00:00Z cp-1 sshd 12 - - Accepted publickey",
    "2026-11-12T10:00:00.123456+00:00 cp-1 kubelet[9]: started",
    'time="2026-11-12T10:00:00Z" level=info msg="Starting k3s"',
]


def test_lines_of_other_programs_in_the_same_file_are_skipped_and_counted() -> None:
    """The API server writes both to its standard output, a journal holds all programs'."""
    text = json.dumps(token_request(), separators=(",", ":"))
    log = read("\n".join([*OTHER_LOGS, text, *OTHER_LOGS]).encode())
    assert [event.audit_id for event in log] == [token_request()["auditID"]]
    assert log.skipped == 2 * len(OTHER_LOGS)


@pytest.mark.parametrize("line", [f'{line} {{"auditID":"x' for line in OTHER_LOGS])
def test_a_line_that_speaks_of_an_event_is_not_skipped(line: str) -> None:
    """Whatever it begins with."""
    errors: list[K8sTokenDetectError] = []
    log = read(line.encode(), on_error=errors.append)
    assert list(log) == []
    assert (len(errors), log.skipped) == (1, 0)


def test_the_legacy_format_behind_prefixes_and_in_wrappers() -> None:
    """As Fluentd, a syslog server and `grep -H` hand it on."""
    for line in (
        LEGACY,
        f"Nov 12 10:00:00 cp-1 kube-apiserver[7]: {LEGACY}",
        f"audit.log:{LEGACY}",
        f"2026-11-20T10:00:00.1Z stdout F {LEGACY}",
        json.dumps({"log": LEGACY + "\n", "stream": "stdout", "time": "x"}),
        json.dumps({"MESSAGE": LEGACY}),
    ):
        (event,) = read(line.encode())
        assert (event.audit_id, event.time) == (next(iter(read(LEGACY.encode()))).audit_id, event.time)


@pytest.mark.parametrize("files", [("", ""), ("a.log:", "a.log:"), ("a.log:", "b.log:")])
def test_a_line_whose_end_was_lost_swallows_no_other(files: tuple[str, str]) -> None:
    """As where a log was rotated between two pieces, of one file or of several that `grep -H` read."""
    begun = '{"kind":"Event","auditID":"a","verb":"get","requestObject":'
    lines = [f"{files[0]}2026-11-20T10:00:00Z stdout P {begun}", f"{files[1]}2026-11-20T10:00:01Z stdout F {EVENT}"]
    found, errors = ids("\n".join(lines))
    assert found == [token_request()["auditID"]]
    assert len(errors) == 1


def test_pieces_of_many_containers_are_bounded_together() -> None:
    """Nothing waits that would take more than one record may."""
    formats = LineFormats(100_000)
    pieces = [{"log": "x" * 20_000, "stream": "stdout", "container_id": str(number)} for number in range(50)]
    passed = [record for piece in pieces for record in formats.joined(piece)]
    assert len(passed) + len(list(formats.rest())) == 50
    assert len(passed) >= 44


def test_pieces_are_joined_by_container() -> None:
    """Two pods whose pieces lie between each other's, as Fluent Bit ships them."""
    text = json.dumps(token_request(userAgent="x" * 40_000))
    mine, other = (
        {"stream": "stdout", "kubernetes": {"pod_name": name, "namespace_name": "kube-system", "container_name": "c"}}
        for name in ("kube-apiserver-a", "kube-apiserver-b")
    )
    half = len(text) // 2
    lines = [
        mine | {"log": text[:half], "logtag": "P"},
        other | {"log": "I1112 10:00:00.000001 1 x.go:1] y", "logtag": "F"},
        mine | {"log": text[half:], "logtag": "F"},
    ]
    log = read("\n".join(map(json.dumps, lines)).encode())
    assert [event.audit_id for event in log] == [token_request()["auditID"]]
    assert log.skipped == 1


def test_an_object_ref_that_was_lost_is_recovered_from_the_uri() -> None:
    """The API server parses it from there; the finding says so."""
    record = token_request()
    del record["objectRef"], record["annotations"]
    (finding,) = detect(json.dumps(record).encode(), detectors=["token-request"])
    assert finding.event.target == "prod/payments-sa"
    assert any("objectRef (recovered from the request URI)" in caveat for caveat in finding.caveats)
    (event,) = read(token_request(objectRef=None, requestURI="/healthz"))
    assert (event.object_ref, event.lost) == (None, frozenset())
