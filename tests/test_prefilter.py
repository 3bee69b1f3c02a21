# SPDX-License-Identifier: Apache-2.0
"""The prefilter: what each watch and each signal wants, told from a projection of text and of mappings alike."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from builders import token_request
from k8stokendetect import ConfigError
from k8stokendetect.events import Signal
from k8stokendetect.reading import prefilter as prefilter_module
from k8stokendetect.reading.prefilter import Prefilter, has_token_sign, parse_watch
from k8stokendetect.reading.projection import NO_PROJECTION, project, project_record
from strategies import JWT
from test_detector_minted_token_used import MINTED, pods, use

LONG = "x" * 130


def wants(record: dict[str, Any], *watches: str | Signal, followed: tuple[str, ...] = ()) -> bool:
    """Ask about the text and about the mapping, which must agree."""
    prefilter = Prefilter(watches, followed)
    by_text = prefilter.wants(project(json.dumps(record).encode()))
    assert by_text is prefilter.wants(project_record(record))
    return by_text


def on(resource: str, verb: str = "get", **ref: str) -> dict[str, Any]:
    """Return a request for an object."""
    return pods(verb=verb) | {"objectRef": {"resource": resource, **ref}}


@pytest.mark.parametrize(
    ("watch", "record", "wanted"),
    [
        ("serviceaccounts/token", token_request(), True),
        ("serviceaccounts/token", token_request(verb="get"), True),
        ("serviceaccounts/token", on("serviceaccounts"), False),
        ("serviceaccounts/token", on("pods") | {"annotations": token_request()["annotations"]}, True),
        ("pods", on("nodes") | {"annotations": token_request()["annotations"]}, False),
        ("secrets", on("secrets", "delete"), True),
        ("create secrets", on("secrets", "create"), True),
        ("create secrets", on("secrets", "list"), False),
        ("create pods/exec", on("pods", "create", subresource="exec"), True),
        ("widgets.example.com", on("widgets", apiGroup="example.com"), True),
        ("widgets.example.com", on("widgets", apiGroup="other.com"), False),
        ("patch widgets.example.com/scale", on("widgets", "patch", apiGroup="example.com", subresource="scale"), True),
        ("widgets", on("widgets", apiGroup="other.com"), True),
        ("*", on("pods"), True),
    ],
)
def test_a_watch_is_a_resource_perhaps_with_a_verb_or_a_group(watch: str, record: dict[str, Any], wanted: bool) -> None:  # noqa: FBT001
    """An event that issued a credential counts as a token request, whatever its objectRef says."""
    assert wants(record, watch) is wanted


@pytest.mark.parametrize(
    ("signal", "record", "wanted"),
    [
        (Signal.USE_OF_REPORTED, use(), False),
        (Signal.USE_OF_REPORTED, use(None), True),
        (Signal.USE_OF_ANY, use(), True),
        (Signal.USE_OF_ANY, use(None), True),
        (Signal.USE_OF_ANY, pods(user={"username": "alice"}), False),
        (Signal.LEGACY_TOKEN, use(annotations={"authentication.k8s.io/legacy-token": "x"}), True),
        (Signal.CONTRADICTED, use(annotations={"authentication.k8s.io/legacy-token": "x"}), True),
        (Signal.CONTRADICTED, pods(annotations={"authentication.kubernetes.io/issued-credential-id": "JTI=1"}), True),
        (Signal.CONTRADICTED, pods(), False),
        (Signal.LIVE_TOKEN, pods(userAgent=LONG), False),
        (Signal.LIVE_TOKEN, pods(userAgent=JWT), True),
        (Signal.LIVE_TOKEN, pods(requestURI=f"/x?t={LONG}{JWT}"), True),
        (Signal.LIVE_TOKEN, pods(requestURI=f"/x?t={LONG}"), False),
        (Signal.LIVE_TOKEN, pods(requestURI=f"/x?t={LONG}{JWT}".replace("eyJ", "%2565yJ")), True),
        (Signal.LIVE_TOKEN, pods(requestObject={"spec": {"token": "opaque"}}), True),
        (Signal.LIVE_TOKEN, pods(responseObject={"data": [JWT]}), True),
        (Signal.LIVE_TOKEN, pods(responseObject={"data": "no token"}), False),
        (Signal.LIVE_TOKEN, pods(impersonatedUser={"username": JWT}), True),
        (Signal.LIVE_TOKEN, pods(responseStatus={"code": 422, "message": LONG + JWT}), True),
        (Signal.LIVE_TOKEN, pods(responseStatus={"code": 409, "message": LONG}), False),
        (Signal.UNREADABLE, pods(requestURI="/api/v1/namespaces/a/serviceaccounts/b/token"), True),
        (Signal.UNREADABLE, pods(requestURI="/api/v1/namespaces/a/serviceaccounts/b/%74oken"), True),
        (Signal.UNREADABLE, pods(requestURI="/api/v1/pods?labelSelector=app%3Dx"), False),
    ],
)
def test_each_signal_has_its_events(signal: Signal, record: dict[str, Any], wanted: bool) -> None:  # noqa: FBT001
    """Without the signal, none of them is wanted."""
    assert wants(record, signal) is wanted
    assert wants(record, "nothing/else") is False


def test_what_is_followed_is_wanted_and_noted_once_in_order() -> None:
    """The reader looks for what was added in what it skipped."""
    assert wants(use(), Signal.USE_OF_REPORTED, followed=(MINTED,))
    assert not wants(use("JTI=other"), Signal.USE_OF_REPORTED, followed=(MINTED,))
    prefilter = Prefilter([Signal.USE_OF_REPORTED])
    for name in (MINTED, "JTI=b", MINTED):
        prefilter.follow(name)
    assert prefilter.added == [MINTED, "JTI=b"]


@pytest.mark.parametrize(
    ("credential", "told"),
    [(["JTI=a", "JTI=b"], "JTI=a"), (["X509SHA256=8a"], ""), (["jti=a"], ""), ([""], ""), ([], ""), (None, "")],
)
def test_what_is_unwanted_names_the_token_that_it_was_made_with(credential: list[str] | None, told: str) -> None:
    """A certificate is minted by nobody; what is wanted gives None."""
    record = pods(user={"username": "u", "extra": {"authentication.kubernetes.io/credential-id": credential}})
    if credential is None:
        record = pods(user={"username": "u"})
    assert Prefilter(["secrets"]).unwanted(project_record(record)) == told
    assert Prefilter(["pods"]).unwanted(project_record(record)) is None


@pytest.mark.parametrize(
    "sign", [b"eyJ", b"eyA", b"ZXl", b"ewo", b"ewk", b"ew0", b'"token"', b"%65yJ", b"%2565", rb"\u0065"]
)
@pytest.mark.parametrize("before", [b"", b"{J A X w % \\ "])
def test_each_sign_of_a_token_is_found_at_each_end(sign: bytes, before: bytes) -> None:
    """Also behind the single bytes that are searched for first, which are no sign by themselves."""
    assert has_token_sign(before + sign)
    assert has_token_sign(sign + before)
    assert not has_token_sign(before)


@pytest.mark.parametrize(
    ("uri", "wanted"),
    [
        ("/api/v1/namespaces/a/serviceaccounts/b/token?x=1", True),
        ("//%61pi/v1/namespaces/a/serviceaccounts/b/token", True),
        ("/api/v1/namespaces/a/pods/b", False),
        ("/healthz", False),
        ("/apis", False),
    ],
)
def test_a_lost_object_ref_is_recovered_from_the_path(uri: str, wanted: bool) -> None:  # noqa: FBT001
    """As the reader does."""
    assert wants(pods(requestURI=uri) | {"objectRef": None}, "serviceaccounts/token") is wanted


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "EventList"},
        {"kind": None},
        {"apiVersion": None},
        {"auditID": ""},
        {"auditID": 5},
        {"auditID": LONG},
        {"verb": None},
        {"user": []},
        {"user": {"extra": {"authentication.kubernetes.io/credential-id": "JTI=x"}}},
        {"annotations": {"authentication.k8s.io/legacy-token": None}},
        {"p_log_type": "Amazon.EKS.Audit"},
        {"log": "x"},
    ],
)
def test_what_is_no_plain_event_has_no_projection(change: dict[str, Any]) -> None:
    """The full reader decides."""
    record = pods() | change
    with pytest.raises(NO_PROJECTION):
        project(json.dumps(record).encode())
    with pytest.raises(NO_PROJECTION):
        project_record(record)


def test_names_and_repetitions_are_read_as_json_has_them() -> None:
    """An escaped key is the same key, and of equal keys the last one counts."""
    text = json.dumps(token_request()).encode()
    hidden = text.replace(b'"objectRef"', b'"\\u006fbjectRef"')
    twice = text.replace(b'"objectRef"', b'"objectRef":{"resource":"pods"},"objectRef"')
    for written in (hidden, twice):
        assert msgspec.json.decode(written) == token_request()
        assert Prefilter(["serviceaccounts/token"]).wants(project(written))


@pytest.mark.parametrize("watch", ["", " ", " pods", "pods ", "get the pods", "get  pods"])
def test_a_watch_that_is_none_is_refused(watch: str) -> None:
    """It would never match."""
    with pytest.raises(ConfigError, match="not a watch"):
        parse_watch(watch)


def test_what_is_followed_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest is forgotten first."""
    monkeypatch.setattr(prefilter_module, "MOST_FOLLOWED", 20)
    prefilter = Prefilter([Signal.USE_OF_REPORTED])
    for number in range(100):
        prefilter.follow(f"JTI={number}")

    assert list(prefilter.followed) == [f"JTI={number}" for number in range(100 - len(prefilter.followed), 100)]
    assert 18 <= len(prefilter.followed) <= 20
