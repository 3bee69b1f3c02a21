# SPDX-License-Identifier: Apache-2.0
"""token-request-long-lived: over the threshold, as granted where logged, and the hour that is a year."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from builders import body, token_request
from k8stokendetect import ConfigError, Finding, Severity, detect
from k8stokendetect.convert.structure import plain
from k8stokendetect.detectors.token_request_long_lived import TokenRequestLongLived
from paths import resolve
from recordings import METADATA, METADATA_1_27, REQUEST_RESPONSE, records

DAY = 86400
POD = {"kind": "Pod", "name": "web-1"}
KUBELET: dict[str, Any] = {
    "user": {"username": "system:node:worker-1", "groups": ["system:nodes", "system:authenticated"]},
    "userAgent": "kubelet/v1.36.2 (linux/amd64) kubernetes/98b3519",
    "level": "RequestResponse",
}


def found(record: dict[str, Any], **options: Any) -> list[Finding]:
    """Return what the detector reports about one event."""
    return list(detect([record], detectors=[TokenRequestLongLived(**options)]))


def mint(**terms: Any) -> dict[str, Any]:
    """Return a mint whose request was logged."""
    return token_request(level="Request", requestObject=body(**terms))


@pytest.mark.parametrize(
    ("seconds", "severity"),
    [
        (3600, None),
        (DAY, None),
        (DAY + 1, Severity.MEDIUM),
        (7 * DAY - 1, Severity.MEDIUM),
        (7 * DAY, Severity.HIGH),
        (2**32, Severity.HIGH),
        (2**62, Severity.HIGH),
        (None, None),
    ],
)
def test_a_lifetime_over_the_threshold_is_reported(seconds: int | None, severity: Severity | None) -> None:
    """Over a day: medium; from seven days: high; also more seconds than a timedelta holds."""
    assert [finding.severity for finding in found(mint(seconds=seconds))] == [severity] * (severity is not None)


def test_the_thresholds_are_the_callers() -> None:
    """Both can be set, and nonsense is refused."""
    assert found(mint(seconds=3601), threshold=timedelta(hours=1))[0].severity == Severity.MEDIUM
    assert found(mint(seconds=3 * DAY), high_from=timedelta(days=2))[0].severity == Severity.HIGH
    nonsense: list[dict[str, Any]] = [
        {"threshold": timedelta(0)},
        {"threshold": 3600},
        {"high_from": timedelta(hours=1)},
        {"api_audiences": "https://a.example"},
        {"api_audiences": [""]},
        {"api_audiences": None},
    ]
    for options in nonsense:
        with pytest.raises(ConfigError):
            TokenRequestLongLived(**options)


@pytest.mark.parametrize(("granted", "fires"), [(3600, False), (30 * DAY, True), (None, True)])
def test_the_grant_counts_where_it_was_logged(granted: int | None, *, fires: bool) -> None:
    """A cap of the server's shows in the answer only."""
    record = mint(seconds=30 * DAY) | {"responseObject": body(seconds=granted)}

    assert fires is bool(found(record))


@pytest.mark.parametrize(
    ("terms", "fires"),
    [
        ({"bound": POD}, True),
        ({"bound": POD, "audiences": ("https://kubernetes.default.svc",)}, True),
        ({"bound": POD, "audiences": ("https://api.example",)}, True),
        ({"bound": POD, "audiences": ("vault",)}, False),
        ({"bound": POD, "audiences": ("vault", "https://kubernetes.default.svc")}, False),
        ({"bound": {"kind": "Secret", "name": "s"}}, False),
        ({"bound": {"kind": "Node", "name": "n"}}, False),
        ({}, False),
    ],
)
def test_3607_seconds_are_a_year(terms: dict[str, Any], *, fires: bool) -> None:
    """Bound to a pod and for the API server's audience; not otherwise (measured, kubernetes-facts 11)."""
    findings = found(mint(seconds=3607, **terms), api_audiences=["https://api.example"])

    assert [finding.severity for finding in findings] == [Severity.HIGH] * fires
    assert all("3607 s, which the API server extends" in finding.summary for finding in findings)
    assert not found(mint(seconds=3608, bound=POD))
    assert not found(mint(seconds=3607, bound=POD) | {"responseObject": body(seconds=600, bound=POD)})


def test_a_proven_kubelet_asks_for_it_for_every_pod() -> None:
    """One without the group, with another client or impersonating does not pass for a kubelet."""
    record = token_request(requestObject=body(seconds=3607, bound=POD), **KUBELET)

    assert not found(record)
    assert found(record | {"user": {"username": "system:node:worker-1", "groups": ["system:authenticated"]}})
    assert found(record | {"userAgent": "curl/8.5.0"})
    assert found(record | {"impersonatedUser": {"username": "bob"}})


@pytest.mark.parametrize(
    "fields",
    [
        {"responseStatus": {"code": 403}, "annotations": {}},
        {"stage": "RequestReceived", "annotations": {}, "responseStatus": {}},
        {"verb": "get", "annotations": {}},
        {"requestObject": None},
    ],
)
def test_nothing_is_said_without_a_mint_or_its_body(fields: dict[str, Any]) -> None:
    """Refused, not answered, another verb, or a lifetime that was not logged."""
    assert not found(mint(seconds=30 * DAY) | fields)


def test_on_the_recordings() -> None:
    """None: the longest recorded request is a day, the extended ones are the kubelet's, Metadata shows nothing."""
    recorded = records(REQUEST_RESPONSE)
    bodies = [record["requestObject"]["spec"] for record in recorded if "requestObject" in record]

    assert max(spec["expirationSeconds"] for spec in bodies) == DAY
    assert len([spec for spec in bodies if spec["expirationSeconds"] == 3607]) > 40
    for path in (METADATA, METADATA_1_27, REQUEST_RESPONSE):
        assert not list(detect(records(path), detectors=[TokenRequestLongLived()]))
    shorter = detect(recorded, detectors=[TokenRequestLongLived(timedelta(hours=23))])
    assert [(finding.event.user, finding.event.target) for finding in shorter] == [("alice", "prod/payments-sa")]


def test_the_evidence_resolves_and_the_caveats_say_what_was_not_seen() -> None:
    """Request and answer, each where it stands; without the answer a cap would not show."""
    record = mint(seconds=30 * DAY) | {"responseObject": body(seconds=20 * DAY)}
    (finding,) = found(record)

    assert [item.path for item in finding.evidence] == [
        "requestObject.spec.expirationSeconds",
        "responseObject.spec.expirationSeconds",
    ]
    assert all(plain(item.value) == resolve(item.path, record) for item in finding.evidence)
    assert finding.caveats == ()
    assert found(mint(seconds=30 * DAY))[0].caveats == ("a cap of the server's would not show: no answer was logged",)
