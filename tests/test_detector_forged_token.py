# SPDX-License-Identifier: Apache-2.0
"""forged-token: requests of service accounts whose token has no id, where tokens have ids."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest

from k8stokendetect import Finding, Severity, detect, parse_event
from k8stokendetect.convert.structure import plain
from k8stokendetect.detectors.forged_token import ForgedToken
from paths import resolve
from recordings import METADATA, METADATA_1_27, REQUEST_RESPONSE, records

START = datetime(2026, 11, 23, 12, tzinfo=UTC)
ID = "authentication.kubernetes.io/credential-id"


def use(
    seconds: float, credential: str | None = None, account: str = "prod:web", extra: Any = None, **fields: Any
) -> dict[str, Any]:
    """Return a request by a service account."""
    namespace = account.partition(":")[0]
    user = {
        "username": f"system:serviceaccount:{account}",
        "groups": ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"],
        "extra": (extra or {}) | ({ID: [credential]} if credential else {}),
    }
    event = {
        "auditID": f"{account} {seconds}",
        "level": "Metadata",
        "stage": "ResponseComplete",
        "requestURI": "/api/v1/namespaces/prod/secrets",
        "verb": "list",
        "user": user,
        "sourceIPs": ["192.0.2.7"],
        "userAgent": "curl/8.5.0",
        "objectRef": {"resource": "secrets", "namespace": "prod", "apiVersion": "v1"},
        "responseStatus": {"metadata": {}, "code": 200},
        "requestReceivedTimestamp": (START + timedelta(seconds=seconds)).isoformat(),
        "annotations": {"authorization.k8s.io/decision": "allow"},
    }
    return {key: value for key, value in (event | fields).items() if value is not None}


SHOWN = use(0, "JTI=1", "kube-system:coredns")
FORGED = use(1)


def found(source: Any, detector: ForgedToken | None = None) -> list[Finding]:
    """Return what the detector reports."""
    return list(detect(source, detectors=[detector or ForgedToken()]))


@pytest.mark.parametrize("path", [METADATA, METADATA_1_27, REQUEST_RESPONSE], ids=["1.36", "1.27", "excerpt"])
def test_nothing_in_the_recordings(path: Path) -> None:
    """No token was forged in any of them, and 1.27 writes no ids but one under impersonation, which is forged."""
    assert found(records(path)) == []


def test_a_recorded_use_without_its_id_is_a_forged_one() -> None:
    """Each request by a service account at the end of the recording, with what its token said taken away."""
    log = records(METADATA)
    last = [record for record in log if "JTI=" in str(record["user"].get("extra", {}).get(ID, ""))][-50:]
    bare = [record | {"user": {k: v for k, v in record["user"].items() if k != "extra"}} for record in last]

    assert all(record["user"]["username"].startswith("system:serviceaccount:") for record in last)
    assert len(found([*log, *bare])) == 50


def test_a_token_without_an_id_where_tokens_have_ids() -> None:
    """Critical; it says since when ids are written, and its evidence resolves."""
    (finding,) = found([SHOWN, FORGED])
    assert finding.severity == Severity.CRITICAL
    assert finding.event.audit_id == "prod:web 1"
    assert finding.caveats == ("token ids have been in this log since 2026-11-23 12:00:00 UTC",)
    assert finding.evidence
    for item in finding.evidence:
        assert plain(item.value) == resolve(item.path, FORGED)
    bound = use(2, extra={"authentication.kubernetes.io/pod-name": ["web-1"]})
    assert len(found([SHOWN, bound, use(3, responseStatus={"code": 403})])) == 2


GROUPS = {"username": "system:serviceaccount:prod:web", "groups": ["system:authenticated"]}


@pytest.mark.parametrize(
    "event",
    [
        use(1, "JTI=2"),
        use(1, "X509SHA256=ab"),
        use(1, annotations={"authentication.k8s.io/legacy-token": "system:serviceaccount:prod:web"}),
        use(1, stage="RequestReceived", annotations=None, responseStatus=None),
        use(1, user=GROUPS),
        use(1, user={"username": "alice", "groups": ["system:authenticated"]}),
        use(1, user={"username": "system:anonymous", "groups": ["system:unauthenticated"]}),
        use(1, user={}, stage="ResponseStarted", annotations=None),
        use(1, user={"username": "alice"}, impersonatedUser=FORGED["user"]),
        use(1, requestReceivedTimestamp=None),
    ],
    ids=lambda event: str(event["user"])[:60],
)
def test_what_is_no_forged_token(event: dict[str, Any]) -> None:
    """An id, a certificate, a Secret's token, a stage too early, no account's groups, others, no time to compare."""
    assert found([SHOWN, event]) == []


@pytest.mark.parametrize(
    "event",
    [
        use(0, "X509SHA256=ab"),
        use(0, impersonatedUser=SHOWN["user"], user={"username": "alice"}),
        use(0, user={"username": "oidc:bob", "extra": {ID: ["JTI=1"]}}),
        use(2, "JTI=1"),
    ],
)
def test_what_does_not_show_that_tokens_have_ids(event: dict[str, Any]) -> None:
    """A certificate, an id that a caller chose for whom it impersonates, an OIDC token's, one that comes later."""
    assert found([event, FORGED]) == []


@pytest.mark.parametrize("lost", ["extra", "annotations"])
def test_a_log_that_does_not_carry_what_would_show_it(lost: str) -> None:
    """Nothing is concluded from what is not there."""
    forged = attrs.evolve(parse_event(FORGED), lost=frozenset({lost}))
    assert found([parse_event(SHOWN), forged]) == []


def test_each_cluster_for_itself() -> None:
    """One that is older writes no ids."""
    shown = attrs.evolve(parse_event(SHOWN), cluster="new")
    assert found([shown, attrs.evolve(parse_event(FORGED), cluster="old")]) == []
    assert len(found([shown, attrs.evolve(parse_event(FORGED), cluster="new")])) == 1


def test_an_upgrade_is_medium_for_a_day() -> None:
    """Five service accounts without ids before the first id; fewer are no sign of one."""
    old = [use(n - 100, account=f"prod:sa-{n}") for n in range(5)]
    day = 24 * 3600
    (soon,) = found([*old, SHOWN, use(day)])
    assert soon.severity == Severity.MEDIUM
    assert "predate an upgrade" in soon.caveats[-1]
    (later,) = found([*old, SHOWN, use(day + 1)])
    (few,) = found([*old[:4], SHOWN, FORGED])
    assert (later.severity, few.severity) == (Severity.CRITICAL, Severity.CRITICAL)
    assert found([old[0], use(-50), *old[:4], SHOWN, FORGED])[0].severity == Severity.MEDIUM, "five accounts"
    assert found([*[old[0] | {"auditID": str(n)} for n in range(9)], SHOWN, FORGED])[0].severity == Severity.CRITICAL


def test_what_it_knows_of_a_cluster_is_kept() -> None:
    """As JSON, over a restart."""
    first, second = ForgedToken(), ForgedToken()
    found([SHOWN], first)
    second.restore(json.loads(json.dumps(first.state())))
    assert len(found([FORGED], second)) == 1
    assert found([FORGED]) == []
