# SPDX-License-Identifier: Apache-2.0
"""Live tokens never leave the reader, and nothing else is mistaken for one."""

from __future__ import annotations

import base64
import json
from typing import Any

import attrs
import pytest
from hypothesis import given

from builders import token_request
from k8stokendetect import ReadError, detect
from k8stokendetect.convert.credentials import REDACTED, clean_text
from k8stokendetect.convert.redaction import redact
from recordings import DATA
from strategies import JWT, json_values

SECRET = base64.b64encode(JWT.encode()).decode()


@pytest.mark.parametrize(
    ("change", "carried"),
    [
        ({"responseObject": {"kind": "TokenRequest", "status": {"token": "opaque", "expirationTimestamp": "x"}}}, True),
        ({"responseObject": {"kind": "TokenRequest", "status": {"token": JWT}}}, True),
        ({"requestObject": {"kind": "TokenReview", "spec": {"token": "opaque"}}}, True),
        ({"requestObject": {"status": {"token": "what a client sent", "expirationTimestamp": None}}}, False),
        ({"responseObject": {"kind": "Secret", "data": {"token": SECRET}}}, True),
        ({"responseObject": {"kind": "SecretList", "items": [{"data": {"token": SECRET}}]}}, True),
        ({"responseObject": {"kind": "Secret", "data": {"password": "opaque"}}}, False),
        ({"responseObject": {"kind": "List", "items": [{"type": "Opaque", "stringData": {"x": "opaque"}}]}}, False),
        ({"responseObject": {"kind": "List", "items": [{"spec": {"token": "opaque"}}]}}, True),
        ({"requestURI": f"/x?t=eyJAAAAAAA.{JWT}"}, True),
        ({"requestURI": f"/x?state=eyJmb28iOiJiYXIifQ.{JWT}"}, True),
        ({"requestURI": "/x?t=" + JWT.replace("eyJ", "%65yJ")}, True),
        ({"requestURI": "/x?t=" + JWT.replace(".", "%252E")}, True),
        ({"userAgent": "eyAiYWxnIjoiUlMyNTYifQ." + JWT.split(".", 1)[1]}, True),
        ({"userAgent": JWT.split(".")[0] + "..aXY.Y3Q.dGFn"}, True),
        ({"requestURI": f"/api/v1/watch?access_token={JWT}"}, True),
        ({"requestURI": "/x?t=" + JWT.replace(".", "%2E")}, True),
        ({"userAgent": JWT}, True),
        ({"annotations": {JWT: "x"}}, True),
        ({"user": {"username": JWT, "extra": {"k": [JWT]}}}, True),
        ({}, False),
    ],
)
def test_where_tokens_stand(change: dict[str, Any], *, carried: bool) -> None:
    """In bodies by the field they stand in, anywhere by what they look like."""
    cleaned, found = redact(token_request(**change))

    assert carried is found
    assert not any(token in str(cleaned) for token in (*JWT.split("."), SECRET, "opaque", "what a client sent"))


@pytest.mark.parametrize(
    "text",
    [
        "greyJohn.smith@corp.example",
        "HeyJude-with-a-long-name.example.com/v1",
        "eyJ",
        "eyJhbGciOiJSUzI1NiJ9",
        "ZXlKIGFtIG5vdCBhIHRva2Vu",
        "100%25%2Feven",
        "",
    ],
)
def test_what_is_no_token(text: str) -> None:
    """A name that happens to hold these letters, or a header without a payload, is left alone."""
    assert text == clean_text(text)


@pytest.mark.parametrize("unit", ["eyJ", "eyJ.", "ZXlK", "a.", "%65yJ", "eyJhbGciOiJSUzI1NiIsImtpZCI6ImEifQ"])
def test_hostile_text_costs_linear_time(unit: str) -> None:
    """A query string of 300 kB at level Metadata; quadratic work on it would take minutes, and the suite with it."""
    text = unit * (300_000 // len(unit))
    assert isinstance(clean_text(text), str)


def test_the_words_around_a_token_stay() -> None:
    """Only the token goes."""
    assert f"Bearer {REDACTED}; next" == clean_text(f"Bearer {JWT}; next")
    assert f"{REDACTED} and {REDACTED}" == clean_text(f"{JWT} and {JWT}")


@given(json_values)
def test_a_record_without_a_token_is_returned_as_it_is(value: Any) -> None:
    """No copy, no change."""
    record = {"requestObject": {"x": value}}
    try:
        cleaned, found = redact(record)
    except ReadError:  # an integer beyond 64 bits
        return
    assert cleaned is record
    assert not found


@pytest.mark.parametrize("value", [{1: "x"}, object(), b"x", float])
def test_what_json_cannot_hold_is_a_read_error(value: Any) -> None:
    """A mapping that never was JSON is refused with a reason."""
    with pytest.raises(ReadError, match="not a JSON value"):
        redact({"auditID": value})


def test_half_a_surrogate_pair_in_a_mapping_is_read_as_in_a_text() -> None:
    """Python's json leaves it there, wherever a client put it: no event is lost for it."""
    half = "\ud800"
    base = json.loads((DATA.parents[1] / "examples" / "attack.log").read_bytes().splitlines()[72])
    deep: Any = half
    for _ in range(200):
        deep = [deep]
    for change in ({"userAgent": half}, {"requestObject": {half: half}}, {"user": {"username": half}}, {"x": half},
                   {"requestObject": deep}):  # fmt: skip
        record = base | change
        assert list(detect([record])) == [
            attrs.evolve(one, event=attrs.evolve(one.event, origin="record 1"))
            for one in detect(json.dumps(record).encode())
        ] != []  # fmt: skip


def test_too_deep_nesting_is_a_read_error() -> None:
    """Hostile input must not exhaust the stack; nor a mapping that contains itself."""
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    cyclic: dict[str, Any] = {}
    cyclic["x"] = cyclic
    for value in (deep, cyclic):
        with pytest.raises(ReadError, match="not a JSON value"):
            redact({"requestObject": value})
