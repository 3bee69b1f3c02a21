# SPDX-License-Identifier: Apache-2.0
"""Lines that are no JSON by themselves."""

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
        ("/api/v1/namespaces/a", {"resource": "namespaces", "name": "a"}),
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
