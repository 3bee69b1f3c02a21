# SPDX-License-Identifier: Apache-2.0
"""legacy-token-secret: such a Secret made, by its type or by who fills it, and each token's uses from new addresses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from k8stokendetect import Finding, Severity, detect
from k8stokendetect.convert.redaction import redact
from k8stokendetect.convert.structure import plain
from k8stokendetect.detectors.legacy_token_secret import LegacyTokenSecret
from paths import resolve
from recordings import METADATA, METADATA_1_27, REQUEST_RESPONSE, labels, records

TYPED = {"kind": "Secret", "apiVersion": "v1", "type": "kubernetes.io/service-account-token"}
OPAQUE = TYPED | {"type": "Opaque"}
MANAGER = {"username": "system:kube-controller-manager", "groups": ["system:authenticated"]}


def found(*source: dict[str, Any]) -> list[Finding]:
    """Return what the detector reports."""
    return list(detect(list(source), detectors=[LegacyTokenSecret()]))


def secret(verb: str = "create", second: int = 0, **fields: Any) -> dict[str, Any]:
    """Return a written Secret, at level Metadata unless said otherwise."""
    return {
        "kind": "Event",
        "level": "Metadata",
        "auditID": f"{verb}-{second}",
        "stage": "ResponseComplete",
        "requestURI": "/api/v1/namespaces/dev/secrets",
        "verb": verb,
        "user": {"username": "bob", "groups": ["devs", "system:authenticated"]},
        "sourceIPs": ["192.0.2.7"],
        "objectRef": {"resource": "secrets", "namespace": "dev", "name": "builder-legacy", "apiVersion": "v1"},
        "responseStatus": {"metadata": {}, "code": 201 if verb == "create" else 200},
        "requestReceivedTimestamp": f"2026-11-23T21:{43 + second // 60:02}:{second % 60:02}.000000Z",
    } | fields


def use(peer: str = "192.0.2.7", second: int = 0, name: str = "builder-legacy", **fields: Any) -> dict[str, Any]:
    """Return a request made with a token from a Secret."""
    account = "system:serviceaccount:dev:builder"
    return secret(
        "list",
        second,
        user={"username": account, "groups": ["system:serviceaccounts", "system:serviceaccounts:dev"]},
        sourceIPs=["203.0.113.9", peer],
        objectRef={"resource": "pods", "namespace": "dev"},
        annotations={
            "authentication.k8s.io/legacy-token": account,
            "authentication.k8s.io/legacy-token-manual-secret": name,
        },
    ) | {"auditID": f"{peer}-{second}-{name}", **fields}


@pytest.mark.parametrize(
    ("record", "fires"),
    [
        (secret(level="Request", requestObject=TYPED), True),
        (secret(level="Request", requestObject=OPAQUE), False),
        (secret(level="RequestResponse", responseObject=TYPED), True),
        (secret("update", level="Request", requestObject=TYPED), True),
        (secret("patch", level="Request", requestObject={"type": TYPED["type"]}), True),
        (secret("patch", level="Request", requestObject={"metadata": {}}, responseObject=TYPED), False),
        (secret("get", responseObject=TYPED), False),
        (secret(requestObject=TYPED, responseStatus={"code": 403}), False),
        (secret(requestObject=TYPED, stage="RequestReceived"), False),
        (secret("update", requestObject=TYPED, user=MANAGER), False),
        (secret("update", requestObject=TYPED, user=MANAGER | {"uid": "1"}), True),
        (secret("update", requestObject=TYPED, user=MANAGER, impersonatedUser={"username": "bob"}), True),
        (secret(requestObject=TYPED, objectRef={"resource": "pods"}), False),
        (secret(), False),
    ],
)
def test_a_secret_of_that_type_is_reported(record: dict[str, Any], *, fires: bool) -> None:
    """Where the type is logged, unless the proven token controller writes it."""
    findings = found(record)

    assert [finding.severity for finding in findings] == [Severity.MEDIUM] * fires
    for finding in findings:
        assert all(plain(item.value) == resolve(item.path, redact(record)[0]) for item in finding.evidence)


@pytest.mark.parametrize(
    ("later", "fires"),
    [
        (secret("update", 1, user=MANAGER), True),
        (secret("update", 60, user=MANAGER), True),
        (secret("update", 61, user=MANAGER), False),
        (secret("patch", 1, user=MANAGER), False),
        (secret("update", 1), False),
        (secret("update", 1, user=MANAGER | {"groups": ["devs", "system:authenticated"]}), False),
        (secret("update", 1, user=MANAGER, objectRef={"resource": "secrets", "namespace": "dev", "name": "x"}), False),
        (secret("update", 1, user=MANAGER, responseStatus={"code": 409}), False),
    ],
)
def test_at_level_metadata_the_token_controller_gives_it_away(later: dict[str, Any], *, fires: bool) -> None:
    """It fills a new Secret within a minute; the finding is about who made it."""
    findings = found(secret(), later)

    assert len(findings) == fires
    for finding in findings:
        assert (finding.event.user, finding.related[0].user) == ("bob", "system:kube-controller-manager")
        assert all(plain(item.value) == resolve(item.path, secret()) for item in finding.evidence)


@pytest.mark.parametrize(
    ("case", "name"), [("k2-secret-generateName", "tok-x7k2p"), ("k3-secret-server-side-apply", "tok")]
)
def test_so_it_does_where_the_name_is_not_logged_or_the_secret_is_applied(case: str, name: str) -> None:
    """The same as they were done to a real server, without bodies."""
    (finding,) = detect(Path(__file__).parent / "data" / "trust" / f"{case}.log")

    assert (finding.rule.id, finding.event.user) == ("legacy-token-secret", "mallory")
    assert finding.summary == f"mallory made a Secret for a token that never expires: secrets prod/{name}"
    assert len(finding.caveats) == 1 + (name != "tok")


NAMELESS = {"resource": "secrets", "namespace": "dev", "apiVersion": "v1"}
FILLED = secret("update", 20, user=MANAGER, objectRef=NAMELESS | {"name": "token-abcde"})


@pytest.mark.parametrize(
    ("before", "makers"),
    [
        ([secret(objectRef=NAMELESS)], ["bob"]),
        ([secret(objectRef=NAMELESS, user={"username": "eve"}), secret(second=1, objectRef=NAMELESS)], ["eve"]),
        ([secret(objectRef=NAMELESS), FILLED | {"requestReceivedTimestamp": "2026-11-23T21:43:02Z"}], ["bob"]),
        (
            [secret(objectRef=NAMELESS), secret(second=2, user={"username": "eve"}, objectRef=FILLED["objectRef"])],
            ["eve"],
        ),
        ([secret(objectRef=NAMELESS, requestReceivedTimestamp="2026-11-23T21:42:19Z")], []),
        ([secret(objectRef=NAMELESS | {"namespace": "prod"})], []),
        ([secret(objectRef=NAMELESS, level="Request", requestObject=OPAQUE)], []),
        ([secret(objectRef=NAMELESS, responseStatus={"code": 409})], []),
        ([secret("patch", objectRef=FILLED["objectRef"], responseStatus={"code": 201})], ["bob"]),
        ([secret("patch", objectRef=FILLED["objectRef"])], []),
    ],
)
def test_who_made_what_the_token_controller_fills(before: list[dict[str, Any]], makers: list[str]) -> None:
    """A Secret of that name comes first, then the first without a name; each is filled once."""
    assert [finding.event.user for finding in found(*before, FILLED)] == makers


def test_each_secret_without_a_name_is_filled_once() -> None:
    """Two were made and two are filled; their types were not logged, nor were their names."""
    other = FILLED | {"auditID": "other", "objectRef": NAMELESS | {"name": "token-fghij"}}

    makers = [secret(objectRef=NAMELESS, user={"username": name}, auditID=name) for name in ("bob", "eve")]
    assert [finding.event.user for finding in found(*makers, FILLED, other)] == ["bob", "eve"]


def test_a_secret_of_that_type_without_a_name_is_reported_once() -> None:
    """Where its type is logged; what fills it says nothing more."""
    (finding,) = found(secret(objectRef=NAMELESS, level="Request", requestObject=TYPED), FILLED)

    assert finding.summary.startswith("bob made a Secret for a token that never expires dev/(a name not logged)")


def test_an_opaque_secret_that_is_seen_to_be_one_is_not_taken_for_it() -> None:
    """Whatever the controller manager does with it."""
    assert not found(secret(level="Request", requestObject=OPAQUE), secret("update", 1, user=MANAGER))


def test_each_use_from_a_new_address_is_reported_once() -> None:
    """The last of sourceIPs counts; another Secret of the same account is another token."""
    findings = found(use(second=0), use(second=1), use("192.0.2.8", 2), use(second=3), use(second=4, name="other"))

    assert [finding.event.audit_id for finding in findings] == [
        "192.0.2.7-0-builder-legacy",
        "192.0.2.8-2-builder-legacy",
        "192.0.2.7-4-other",
    ]
    assert ["another address" in finding.summary for finding in findings] == [False, True, False]
    for item in findings[0].evidence:
        assert plain(item.value) == resolve(item.path, use())


def test_a_token_of_another_kind_is_no_use() -> None:
    """Without the annotation; a forged one in the user's extra is none."""
    assert not found(use(annotations={}))
    extra = {"authentication.k8s.io/legacy-token": ["x"]}
    assert not found(use(annotations={}, user={"username": "bob", "extra": extra}))
    account = use()["user"]["username"]
    assert found(use(annotations={"authentication.k8s.io/legacy-token": account}, responseStatus={"code": 403}))
    assert not found(use(annotations={"authentication.k8s.io/legacy-token": "another"}))


@pytest.mark.parametrize("path", [METADATA, METADATA_1_27])
def test_on_the_recordings(path: Path) -> None:
    """The labelled creation and the labelled use, nothing else; that the Secret was read is another matter."""
    wanted = {
        label["auditID"]
        for label in labels(path)
        if label["scenario"] == "12-legacy-token-secret" and label["verb"] in {"create", "list"}
    }

    assert len(wanted) == 2
    assert sorted(finding.event.audit_id for finding in found(*records(path))) == sorted(wanted)
    assert not found(*records(REQUEST_RESPONSE))
