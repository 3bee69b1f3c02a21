# SPDX-License-Identifier: Apache-2.0
"""Deep records are read without their bodies; no depth ends the process, whatever the recursion limit."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import body, token_request
from k8stokendetect import Finding, ReadError, detect
from k8stokendetect.convert.nesting import MAX_NESTING, is_deep, without_bodies
from k8stokendetect.convert.structure import parse_event
from k8stokendetect.envelopes import forms
from strategies import json_values
from test_detector_minted_token_used import MINTED, use

CAVEAT = "requestObject (nested deeper than 100 levels)"


def nested(depth: int, brackets: str = "[]") -> Any:
    """Return a value nested so deeply."""
    return json.loads(brackets[0] * depth + brackets[1] * depth)


def mint(depth: int, **fields: Any) -> bytes:
    """Write a mint whose body is nested so deeply: made as text, for the JSON module is limited, too."""
    deep = '{"a":' * depth + "1" + "}" * depth
    text = json.dumps(token_request(requestObject=body() | {"metadata": "DEEP"}, **fields), separators=(",", ":"))
    return text.replace('"DEEP"', deep).encode()


def found(content: bytes) -> tuple[list[Finding], list[Any]]:
    """Return findings and errors."""
    errors: list[Any] = []
    return list(detect(content, on_error=errors.append)), errors


def test_no_form_decodes_what_it_does_not_know() -> None:
    """It is tried before the nesting of a line is measured: whatever it ignored could be nested without end."""
    structs = [one for one in vars(forms).values() if isinstance(one, type) and issubclass(one, msgspec.Struct)]
    assert len(structs) > 5
    assert [one.__name__ for one in structs if not one.__struct_config__.forbid_unknown_fields] == []


@pytest.mark.parametrize("depth", [150, 300, 1100, 20_000])
@pytest.mark.parametrize("ending", [b"", b"\n"])
def test_a_mint_with_a_deep_body_is_found_and_followed(depth: int, ending: bytes) -> None:
    """By caller, answer and id, and the finding says what was left out."""
    findings, errors = found(mint(depth) + b"\n" + json.dumps(use()).encode() + ending)
    assert errors == []
    by_rule = {finding.rule.id: finding for finding in findings}
    assert by_rule["token-request"].event.user == "alice"
    assert by_rule["token-request"].event.minted_credential == MINTED
    assert any("nested deeper than 100 levels" in caveat for caveat in by_rule["token-request"].caveats)
    assert "minted-token-used" in by_rule


def test_an_audit_id_that_looks_like_other_fields_changes_nothing() -> None:
    """The client chooses it, and it stands before all else."""
    findings, errors = found(mint(1100, auditID='x","requestURI":"/healthz","requestObject":{"a":[[['))
    assert errors == []
    assert "token-request" in {finding.rule.id for finding in findings}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda event: {"message": event, "timestamp": 1},
        lambda event: {"log": event},
        lambda event: {"records": [{"category": "kube-audit", "properties": {"log": event}}] * 2},
        lambda event: {"category": "kube-audit", "properties": {"log": json.loads(event)}},
        lambda event: {"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": [json.loads(event)]},
    ],
)
@pytest.mark.parametrize("depth", [150, 400])
def test_in_wrappers(wrap: Any, depth: int) -> None:
    """As text in a wrapper, as an object in it, and in a list."""
    findings, errors = found(json.dumps(wrap(mint(depth).decode())).encode() + b"\n")
    assert errors == []
    assert any("nested deeper than 100 levels" in caveat for finding in findings for caveat in finding.caveats)


def test_a_mapping_with_a_deep_body() -> None:
    """As an embedding tool feeds it."""
    event = parse_event(token_request(requestObject={"spec": {}, "x": nested(150)}))
    assert event.request_object is None
    assert event.lost == {CAVEAT}
    assert event.mints_token


@pytest.mark.parametrize("part", ["responseStatus", "unknown"])
def test_what_is_deep_elsewhere_is_an_error(part: str) -> None:
    """Only bodies are left out: what else is deep, the API server did not write."""
    with pytest.raises(ReadError):
        parse_event(token_request() | {part: {"metadata": {"x": nested(150)}}})


@given(json_values)
def test_depth_is_measured_as_json_has_it(value: Any) -> None:
    """Brackets in strings do not count."""
    text = json.dumps({'a"[[\\': "[" * 200, "b": [value]})
    assert not is_deep(text.encode())
    for around in (MAX_NESTING - 1, MAX_NESTING, MAX_NESTING + 5):
        deep = ('{"a":' * around + text + "}" * around).encode()
        assert is_deep(deep) is (around + _depth(json.loads(text)) > MAX_NESTING)


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(_depth, inner), default=0)


@given(st.text(max_size=20), json_values)
def test_only_bodies_are_cut_out(text: str, value: Any) -> None:
    """Wherever they are, and nothing that only looks like one."""
    record = {text: text, "requestObject": {"x": value, "y": [text]}, "z": {"responseObject": [value], "w": text}}
    rest, cut = without_bodies(json.dumps(record).encode())
    assert cut == {"requestObject", "responseObject"}
    expected = {text: text, "requestObject": None, "z": {"responseObject": None, "w": text}}
    assert json.loads(rest) == expected | {"requestObject": None}


def test_no_depth_ends_the_process() -> None:
    """Also where the host has raised the recursion limit: a decoder that recurses so deeply would be a crash."""
    code = """
import sys
from k8stokendetect import detect
sys.setrecursionlimit(1_000_000)
deep, shut = b'[' * 60_000, b']' * 60_000
for text in (deep, b'{"a":' * 60_000, b'{"kind":"Event","requestObject":' + deep + shut + b'}'):
    for line in (text, text + b"\\n", text + b"\\n" + text):
        list(detect(line, on_error=lambda error: print("error")))
print("done")
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603 - our own code
    assert (result.returncode, result.stdout.splitlines()[-1]) == (0, "done")
    assert result.stdout.count("error") >= 9
