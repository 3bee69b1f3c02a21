# SPDX-License-Identifier: Apache-2.0
"""pod-token-moved: pods' tokens that are used from two places at once."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from k8stokendetect import ConfigError, Finding, Severity, detect
from k8stokendetect.convert.structure import plain
from k8stokendetect.detectors.pod_token_moved import PodTokenMoved
from paths import resolve
from recordings import METADATA, METADATA_1_27, REQUEST_RESPONSE, labels, records

START = datetime(2026, 11, 23, 12, tzinfo=UTC)
PREFIX = "authentication.kubernetes.io/"
POD, THIEF, OTHER = "10.0.1.5", "203.0.113.9", "10.0.2.6"


def use(minute: float, peer: str, credential: str = "JTI=1", **fields: Any) -> dict[str, Any]:
    """Return a request with a pod's token."""
    extra = {f"{PREFIX}credential-id": [credential], f"{PREFIX}pod-name": ["web-1"], f"{PREFIX}node-name": ["n1"]}
    return {
        "auditID": f"{peer} {minute}",
        "stage": "ResponseComplete",
        "verb": "list",
        "user": {"username": "system:serviceaccount:prod:web", "extra": extra},
        "sourceIPs": ["198.51.100.1", peer],
        "objectRef": {"resource": "secrets", "namespace": "prod", "apiVersion": "v1"},
        "responseStatus": {"code": 200},
        "requestReceivedTimestamp": (START + timedelta(minutes=minute)).isoformat(),
    } | fields


def found(source: list[dict[str, Any]], detector: PodTokenMoved | None = None, **options: Any) -> list[Finding]:
    """Return what the detector reports."""
    return list(detect(source, detectors=[detector or PodTokenMoved(**options)]))


def moved(*uses: dict[str, Any], **options: Any) -> list[str]:
    """Return which requests are reported."""
    return [finding.event.audit_id for finding in found(list(uses), **options)]


def test_the_recorded_theft_and_nothing_else() -> None:
    """A stolen pod token used from another address while its pod works on: both requests of the thief, by label."""
    stolen = {
        label["auditID"]
        for label in labels(METADATA)
        if label["scenario"].startswith("05-")
        and label["malicious"]
        and label["resource"] == "serviceaccounts/token"
        and label["user"] == "system:serviceaccount:default:web"
    }
    findings = found(records(METADATA))

    assert len(stolen) == 2
    assert {finding.event.audit_id for finding in findings} == stolen
    assert {finding.severity for finding in findings} == {Severity.HIGH}
    by_id = {record["auditID"]: record for record in records(METADATA)}
    for finding in findings:
        for item in finding.evidence:
            assert plain(item.value) == resolve(item.path, by_id[finding.event.audit_id])


@pytest.mark.parametrize("path", [METADATA_1_27, REQUEST_RESPONSE], ids=["1.27", "excerpt"])
def test_nothing_in_the_other_recordings(path: Path) -> None:
    """No ids in 1.27; no token is used from two addresses in the excerpt."""
    assert found(records(path)) == []


def test_a_second_address_while_the_first_is_in_use() -> None:
    """Reported when the pod is heard of again, about the other's request; then each further one at once."""
    assert moved(use(0, POD), use(1, THIEF)) == []
    assert moved(use(0, POD), use(1, THIEF), use(2, POD)) == [f"{THIEF} 1"]
    log = (use(0, POD), use(1, THIEF), use(2, THIEF), use(3, POD), use(4, THIEF), use(5, POD))
    assert moved(*log) == [f"{THIEF} 1", f"{THIEF} 2", f"{THIEF} 4"]
    assert moved(use(0, POD), use(5, THIEF), use(14, POD)) == [f"{THIEF} 5"]
    (finding,) = found([*log[:2], use(2, POD)])
    assert finding.summary == (
        f"a pod's token of prod/web was used from {THIEF} while {POD} uses it: list secrets prod"
    )
    assert len(finding.caveats) == 1


@pytest.mark.parametrize(
    "uses",
    [
        [use(0, POD), use(1, OTHER), use(2, OTHER), use(12, OTHER), use(13, OTHER)],
        [use(0, POD), use(11, OTHER), use(22, POD)],
        [use(0, POD), use(1, OTHER), use(11.1, POD)],
        [use(0, POD), use(1, "2001:db8::5"), use(2, POD), use(3, "2001:db8::5")],
        [use(0, "2001:db8::5"), use(1, "2001:0db8:0::5"), use(2, "2001:db8::5")],
        [use(0, POD), use(1, OTHER, "JTI=2"), use(2, POD)],
        [use(n, POD) | {"sourceIPs": [f"203.0.113.{n}", POD]} for n in range(3)],
        [use(0, POD), use(1, OTHER, stage="RequestReceived"), use(2, POD)],
        [use(0, POD), use(1, OTHER, sourceIPs=None), use(2, POD)],
        [use(0, POD), use(1, OTHER, "X509SHA256=1"), use(2, POD)],
    ],
    ids=["sandbox", "slow", "long ago", "dual stack", "spelling", "token", "claimed", "stage", "no peer", "kind"],
)
def test_what_is_no_move(uses: list[dict[str, Any]]) -> None:
    """One change of address for good, uses far apart, both families of one pod, another token, a claimed address."""
    assert moved(*uses) == []


def test_a_token_of_no_pod_is_not_followed() -> None:
    """Who mints one by hand may use it from anywhere."""
    user = {"username": "system:serviceaccount:prod:web", "extra": {f"{PREFIX}credential-id": ["JTI=1"]}}
    assert moved(*(use(n, peer, user=user) for n, peer in enumerate((POD, THIEF, POD, THIEF)))) == []


def test_a_family_hides_no_theft_in_the_other() -> None:
    """Each has its own usual address."""
    log = (use(0, POD), use(1, "2001:db8::5"), use(2, "2001:db8:f::9"), use(3, POD), use(4, "2001:db8::5"))
    assert moved(*log) == ["2001:db8:f::9 2"]


def test_a_long_watch_that_ends_late_turns_no_time_back() -> None:
    """Its event tells when it began; what came since stays known."""
    late = use(-9, POD, auditID="watch", verb="watch")
    detector = PodTokenMoved()
    log = [use(0, POD), late, use(5, THIEF), use(6, POD)]
    assert [f.event.audit_id for record in log for f in found([record], detector)] == [f"{THIEF} 5"]


def test_networks_that_count_as_one_place() -> None:
    """NAT with several addresses; one outside is still a move."""
    log = [use(0, "192.0.2.1"), use(1, "192.0.2.2"), use(2, "192.0.2.1"), use(3, "2001:db8::1")]
    assert moved(*log, shared=["192.0.2.0/29"]) == []
    assert moved(*log) == ["192.0.2.2 1"]
    assert moved(*log, use(3, THIEF), use(4, "192.0.2.2"), shared=["192.0.2.0/29"]) == [f"{THIEF} 3"]


def test_what_it_remembers_is_bounded_and_kept() -> None:
    """Twenty uses wait; the state goes through JSON."""
    first, second = PodTokenMoved(), PodTokenMoved()
    found([use(0, POD), *(use(1 + n / 100, f"203.0.113.{n}") for n in range(30))], first)
    second.restore(json.loads(json.dumps(first.state())))
    reported = found([use(2, POD)], second)
    assert [finding.event.source_ips[-1] for finding in reported] == [f"203.0.113.{n}" for n in range(10, 30)]
    assert found([use(2, POD)]) == []
    assert len(found([use(3, "203.0.113.29")], second)) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"window": timedelta()},
        {"window": timedelta(hours=3)},
        {"window": 600},
        {"shared": "10.0.0.0/8"},
        {"shared": ["x"]},
        {"shared": 5},
        {"shared": ["10.0.0.1/8"]},
    ],
    ids=repr,
)
def test_nonsense_is_refused(options: Any) -> None:
    """When it is made."""
    with pytest.raises(ConfigError):
        PodTokenMoved(**options)
