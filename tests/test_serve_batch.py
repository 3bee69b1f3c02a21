# SPDX-License-Identifier: Apache-2.0
"""A batch becomes lines that may be kept; what no API server sends is refused before anything looks into it."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from api_server import event_list
from k8stokendetect import detect
from k8stokendetect.serve.batch import DEEPEST, STAND_IN, RefusedError, lines_of
from recordings import METADATA, REQUEST_RESPONSE, WEBHOOK, records

HEAD = b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":['
SIZE = 1_000_000


def found(source: Any) -> list[tuple[str, str]]:
    """Name what `detect` reports, and how loudly."""
    return sorted((finding.fingerprint, str(finding.severity)) for finding in detect(source, on_error=lambda _: None))


def test_the_lines_of_a_recorded_batch_say_what_the_batch_says() -> None:
    """Webhook bodies as a kube-apiserver posted them."""
    with gzip.open(WEBHOOK) as file:
        bodies = file.read().splitlines()
    lines = [line for body in bodies for line in lines_of(body)]

    assert len(lines) == sum(len(json.loads(body)["items"]) for body in bodies)
    assert found(b"\n".join(lines)) == found(b"\n".join(bodies))


@pytest.mark.parametrize("path", [METADATA, REQUEST_RESPONSE], ids=lambda path: path.name)
def test_the_lines_hold_no_token_and_still_say_that_there_was_one(path: Any) -> None:
    """The journal is on the disk; `token-in-audit-log` speaks all the same, also after a crash."""
    log = records(path)[-2500:]
    lines = lines_of(event_list(log))
    tokens = {token for event in log if (token := _token(event))}

    assert bool(tokens) == (path == REQUEST_RESPONSE)
    assert not [token for token in tokens if token.encode() in b"".join(lines)]
    assert (STAND_IN.encode() in b"".join(lines)) == bool(tokens)
    assert found(b"\n".join(lines)) == found(event_list(log))


def _token(event: dict[str, Any]) -> str:
    body = event.get("responseObject")
    status = body.get("status") if isinstance(body, dict) else None
    token = status.get("token", "") if isinstance(status, dict) else ""
    return token if token.startswith("eyJ") else ""


def mint() -> dict[str, Any]:
    """Return a recorded mint by a person."""
    named = (event for event in records(METADATA) if event.get("objectRef", {}).get("subresource") == "token")
    return next(
        event for event in named if not event["user"]["username"].startswith("system:") and "annotations" in event
    )


def test_a_deep_body_costs_itself_only() -> None:
    """The API server takes bodies of 10,000 levels; the mint next to it keeps its own body, and its own says so."""
    bodies = [0, {"spec": {"audiences": ["vault"]}, "more": [{"a": 1}, {"level": "Metadata"}]}]
    hostile = event_list(with_body(mint(), body) for body in bodies)
    hostile = hostile.replace(b'"requestObject":0', b'"requestObject":' + _deep(9_000))
    one, other = (next(detect(line, detectors=["token-request"])) for line in lines_of(hostile))

    assert other.event.audiences == ("vault",)
    assert any("nested deeper" in caveat for caveat in one.caveats)
    assert not any("nested deeper" in caveat for caveat in other.caveats)


def with_body(event: dict[str, Any], body: Any) -> dict[str, Any]:
    """Return an event with a request body at the place where Go writes it."""
    behind = ("requestReceivedTimestamp", "stageTimestamp", "annotations")
    before = {key: value for key, value in event.items() if key not in behind}
    return before | {"requestObject": body} | {key: event[key] for key in behind}


def test_a_key_that_is_called_like_a_body_hides_nothing() -> None:
    """An impersonated user's extra may have any keys; the mint behind them is found."""
    extra = {"requestObject": ["x"], "requestReceivedTimestamp": ["y"]}
    event = with_body({"level": "Request", "impersonatedUser": {"username": "bob", "extra": extra}} | mint(), 0)
    hostile = event_list([event]).replace(b'"requestObject":0', b'"requestObject":' + _deep(200))

    assert [finding.event.impersonating for finding in detect(lines_of(hostile)[0], detectors=["token-request"])] == [
        "bob"
    ]


def _deep(levels: int) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


def test_an_event_that_cannot_be_read_is_reported_with_what_it_shows() -> None:
    """Its neighbours are examined."""
    uri = "/api/v1/namespaces/prod/serviceaccounts/admin/token"
    broken = {"level": "Metadata", "auditID": "x", "requestURI": uri, "verb": "create", "user": json.loads(_deep(200))}
    errors: list[Any] = []
    lines = lines_of(event_list([broken, mint()]))
    rules = {finding.rule.id for finding in detect(b"\n".join(lines), on_error=errors.append)}

    assert {"token-request", "unreadable-token-request"} <= rules
    assert [error.revealed["requestURI"] for error in errors] == [uri]


@pytest.mark.parametrize(
    "value",
    [rb'"\ud800"', rb'"\udc00"', rb'"\ud83d\ud83d"', b"1e999", b"9" * 5000, b'"\xff"'],
    ids=lambda value: value[:12],
)
def test_a_value_that_only_go_takes_costs_nothing(value: bytes) -> None:
    """A refused batch is sent again, refused again, and dropped by the API server with all its events."""
    hostile = event_list([with_body(mint(), {"a": 0}), mint()]).replace(b'{"a":0}', b'{"a":' + value + b"}")
    lines = lines_of(hostile)
    errors: list[Any] = []
    findings = list(detect(b"\n".join(lines), detectors=["token-request"], on_error=errors.append))

    assert len(lines) == 2
    assert [finding.event.user for finding in findings] == [mint()["user"]["username"]] * len(findings)
    assert findings
    assert errors == []


def test_an_event_that_is_no_json_costs_itself() -> None:
    """The one next to it is kept."""
    hostile = event_list([with_body(mint(), {"a": 0}), mint()]).replace(b'{"a":0}', b'{"a":nothing}')
    errors: list[Any] = []
    findings = list(detect(b"\n".join(lines_of(hostile)), detectors=["token-request"], on_error=errors.append))

    assert len(findings) == len(errors) == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param(b"[" * SIZE, 400, id="brackets"),
        pytest.param(b'{"a":' * (SIZE // 5), 400, id="objects"),
        pytest.param(HEAD + b"[" * SIZE, 400, id="open items"),
        pytest.param(HEAD + b"[" * (SIZE // 2) + b"]" * (SIZE // 2) + b"]}", 400, id="deep items"),
        pytest.param(HEAD + _deep(DEEPEST + 1) + b"]}", 400, id="deeper than Go"),
        pytest.param(HEAD + b"{}," * (SIZE // 3) + b"{}]}", 413, id="many items"),
        pytest.param(HEAD + (_deep(200) + b",") * 1000 + b"{}]}", 400, id="many deep items"),
        pytest.param(b"\n" * SIZE, 400, id="lines"),
        pytest.param(gzip.compress(HEAD + b"]}"), 400, id="compressed"),
        pytest.param(b"\x00" * 100, 400, id="zeros"),
        pytest.param(b"", 400, id="nothing"),
        pytest.param(HEAD, 400, id="cut off"),
        pytest.param(HEAD + b"]}x", 400, id="text behind it"),
        pytest.param(b'{"kind":"Event","apiVersion":"audit.k8s.io/v1"}', 400, id="one event"),
        pytest.param(b'{"kind":"EventList","apiVersion":"v1","items":[]}', 400, id="core/v1"),
    ],
)
def test_what_no_api_server_sends_is_refused(body: bytes, status: int) -> None:
    """Without an attempt to find events in it: five megabytes of `[` took the reader of any log seconds."""
    with pytest.raises(RefusedError) as refused:
        lines_of(body)

    assert refused.value.status == status


@pytest.mark.parametrize("items", [b"", b"null"], ids=["empty", "null"])
def test_an_empty_batch_is_taken(items: bytes) -> None:
    """Go writes an empty list as null."""
    body = HEAD.replace(b"[", items + b"}" if items else b"[]}")

    assert lines_of(body) == []


def test_a_client_cannot_write_a_line_of_its_own() -> None:
    """A line end between two tokens of an event ends no line; one in a string is escaped anyway."""
    spaced = event_list([mint()]).replace(b'"level":', b'\n"level":')

    assert [line.count(b"\n") for line in lines_of(spaced)] == [0]
    assert found(lines_of(spaced)[0]) == found(mint())
