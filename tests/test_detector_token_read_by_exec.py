# SPDX-License-Identifier: Apache-2.0
"""token-read-by-exec: which commands read a mounted token."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

import pytest

from k8stokendetect import Finding, Severity, detect
from k8stokendetect.detectors.token_read_by_exec import token_command
from k8stokendetect.testing import request

RULE = "token-read-by-exec"
MOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


def uri(*words: str, subresource: str = "exec") -> str:
    """Return the URI of an exec."""
    query = urlencode([*(("command", word) for word in words), ("container", "app"), ("stdout", "true")])
    return f"/api/v1/namespaces/shop/pods/web-1/{subresource}?{query}"


def run(*words: str, verb: str = "get", subresource: str = "exec", **fields: Any) -> dict[str, Any]:
    """Return the event of an exec; 101 unless said otherwise."""
    given: dict[str, Any] = {"code": 101, "requestURI": uri(*words, subresource=subresource)} | fields
    return request(verb, f"pods/{subresource}", namespace="shop", name="web-1", **given)


def found(*events: dict[str, Any]) -> list[Finding]:
    """Return what the rule reports."""
    return list(detect(events, detectors=[RULE]))


@pytest.mark.parametrize(
    "words",
    [
        ("cat", f"{MOUNT}/token"),
        ("sh", "-c", f"cat {MOUNT}/token | wc -c"),
        ("sh", "-c", f"cat {MOUNT}/ca.crt;cat {MOUNT}/token"),
        ("sh", "-c", f"cd {MOUNT} && cat token"),
        ("sh", "-c", f"cat {MOUNT}/namespace {MOUNT}/t*"),
        ("sh", "-c", "cat /var/run/sec''rets/kubernetes.io/serviceaccount/tok\\en"),
        ("cat", "/run/secrets/eks.amazonaws.com/serviceaccount/token"),
        ("cat", "/proc/1/root//var//run//secrets/kubernetes.io/serviceaccount/token"),
        ("tar", "cf", "-", MOUNT),
        ("cat", "/var/lib/kubelet/pods/0f6c/volumes/kubernetes.io~projected/kube-api-access-x/token"),
    ],
)
@pytest.mark.parametrize("verb", ["get", "create"])
def test_a_command_that_reads_the_token_is_reported(words: tuple[str, ...], verb: str) -> None:
    """By websocket and by SPDY; the whole command is shown."""
    (finding,) = found(run(*words, verb=verb))
    assert finding.severity == Severity.MEDIUM
    assert "alice read the token mounted in pod shop/web-1 from 192.0.2.7" in finding.summary
    assert finding.caveats


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("id",),
        ("ls", "-la", MOUNT),
        ("cat", f"{MOUNT}/ca.crt"),
        ("sh", "-c", f"cat {MOUNT}/namespace; date"),
        ("cat", "/etc/secrets/token"),
    ],
)
def test_other_commands_are_not(words: tuple[str, ...]) -> None:
    """What is mounted together with the token is public."""
    assert found(run(*words)) == []


def test_attach_and_other_parameters() -> None:
    """An attach counts like an exec; a container's name is no command."""
    assert len(found(run("cat", f"{MOUNT}/token", subresource="attach"))) == 1
    assert token_command(f"/x?container={quote(MOUNT)}/token") is None


def test_percent_encoding_hides_nothing() -> None:
    """Neither of letters nor of the parameter's name."""
    hidden = "".join(f"%{ord(letter):02x}" for letter in f"{MOUNT}/token")
    assert token_command(f"/x?%63ommand=cat&command={hidden}") == f"cat {MOUNT}/token"


@pytest.mark.parametrize("code", [400, 403, 404, 500])
def test_a_refused_one_is_low(code: int) -> None:
    """It is an attempt."""
    (finding,) = found(run("cat", f"{MOUNT}/token", code=code))
    assert finding.severity == Severity.LOW
    assert "tried to read" in finding.summary


def test_a_request_is_reported_once() -> None:
    """At ResponseStarted and ResponseComplete alike, not at RequestReceived alone."""
    event = run("cat", f"{MOUNT}/token")
    assert len(found(event | {"stage": "ResponseStarted"}, event)) == 1
    assert found(event | {"stage": "RequestReceived", "responseStatus": None}) == []
