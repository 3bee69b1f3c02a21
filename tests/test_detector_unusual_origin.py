# SPDX-License-Identifier: Apache-2.0
"""unusual-origin: what is new about a mint once its actor is known."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest

from builders import token_request
from k8stokendetect import ConfigError, Finding, Severity, detect, parse_event
from k8stokendetect.convert.structure import plain
from k8stokendetect.detectors.unusual_origin import UnusualOrigin
from k8stokendetect.engine import Memory
from k8stokendetect.testing import request as api_request
from k8stokendetect.testing import service_account_user
from paths import resolve
from recordings import METADATA, METADATA_1_27, REQUEST_RESPONSE, Request, labelled_token_requests, records

LABELLED = pytest.mark.parametrize("path", [METADATA, METADATA_1_27], ids=["1.36", "1.27"])
START = datetime(2026, 11, 23, 12, tzinfo=UTC)
ID = "authentication.kubernetes.io/credential-id"
KUBECTL = "kubectl/v1.36.2 (linux/amd64)"
MANAGER, KUBELET = "system:kube-controller-manager", "system:node:worker-1"
ADDON, WORKLOAD = "system:serviceaccount:kube-system:addon", "system:serviceaccount:prod:web"


def mint(
    number: int, name: str = "alice", peer: str = "192.0.2.7", agent: str | None = KUBECTL, used: str | None = None
) -> dict[str, Any]:
    """Return the mint of that number, one each minute."""
    return token_request(
        auditID=f"mint-{number}",
        user={"username": name, "groups": ["system:authenticated"], "extra": {ID: [used]} if used else {}},
        sourceIPs=["198.51.100.1", peer],
        userAgent=agent,
        issued=f"JTI={number}",
        requestReceivedTimestamp=(START + timedelta(minutes=number)).isoformat(),
    )


def certificate(letter: str) -> str:
    """Return the id of a certificate."""
    return f"X509SHA256={letter * 64}"


def found(source: list[dict[str, Any]], detector: UnusualOrigin | None = None) -> list[Finding]:
    """Return what the detector reports, also of what exclusions set aside elsewhere."""
    return list(detect(source, detectors=[detector or UnusualOrigin()]))


def after(count: int, *last: dict[str, Any], **usual: Any) -> list[Finding]:
    """Return what is reported after so many usual mints."""
    return found([*(mint(number, **usual) for number in range(count)), *last])


@LABELLED
def test_what_is_new_in_the_recording(path: Path) -> None:
    """Twenty mints teach; then a client that was not among an actor's own, counted from the labelled events."""
    clients: dict[str, set[str]] = {}
    count: dict[str, int] = {}
    expected = set()
    mints = [item for item in labelled_token_requests(path).items() if item[1]["kind"] == "mint-ok"]
    for request, label in sorted(mints, key=lambda item: item[0].received):
        known = clients.setdefault(label["user"], set())
        client = label["event"].get("userAgent", "").split("/")[0]
        if client not in known and count.get(label["user"], 0) >= 20:
            expected.add(request)
        known.add(client)
        count[label["user"]] = count.get(label["user"], 0) + 1
    findings = found(records(path))

    assert {Request.of(finding) for finding in findings} == expected
    assert len(findings) == len(expected) == 4
    labels = labelled_token_requests(path)
    assert all(labels[request]["malicious"] for request in expected)
    node = [finding for finding in findings if finding.event.user == KUBELET]
    assert [labels[Request.of(finding)]["scenario"] for finding in node] == ["08-attack-node-misuse"]
    assert [finding.severity for finding in node] == [Severity.MEDIUM]


def test_the_excerpt_holds_nothing_new() -> None:
    """Every actor acts from one place, with one client and one credential."""
    assert found(records(REQUEST_RESPONSE)) == []


@pytest.mark.parametrize(
    ("last", "what"),
    [
        (mint(20, peer="192.0.3.7"), "a network not seen in 20 earlier mints"),
        (mint(20, agent="curl/8.5.0"), "a client not seen in 20 earlier mints"),
        (mint(20, agent=None), "a client not seen in 20 earlier mints"),
        (mint(20, used=certificate("b")), "a certificate not seen in 20 earlier mints"),
        (mint(20, used="JTI=1"), "a certificate not seen in 20 earlier mints"),
        (mint(20, peer="2001:db8::1", agent="x"), "a client and a network not seen in 20 earlier mints"),
    ],
)
def test_what_is_new(last: dict[str, Any], what: str) -> None:
    """Said in the summary; the facts are in the evidence, and lead to where they stand."""
    (finding,) = after(20, last, used=certificate("a"))
    assert finding.summary.endswith(what)
    assert finding.severity == Severity.LOW
    for item in finding.evidence:
        assert plain(item.value) == resolve(item.path, last)
    assert len({item.path for item in finding.evidence}) == len(finding.evidence)


@pytest.mark.parametrize(
    ("usual", "last"),
    [
        ({}, mint(20)),
        ({}, mint(20, peer="192.0.2.250")),
        ({}, mint(20, peer="::ffff:192.0.2.250")),
        ({"peer": "2001:db8::1"}, mint(20, peer="2001:db8::ffff:1")),
        ({}, mint(20, agent="kubectl/v1.37.0 (darwin/arm64)")),
        ({}, mint(20, used=certificate("a"))),
        ({"used": "JTI=1"}, mint(20, used="JTI=2")),
        ({"used": certificate("a")}, mint(20)),
        ({}, mint(20) | {"sourceIPs": ["203.0.113.9", "192.0.2.7"]}),
        ({}, mint(20) | {"sourceIPs": None}),
        ({}, mint(20, peer="203.0.113.9") | {"responseStatus": {"code": 403}, "annotations": {}}),
        ({}, mint(20, "bob", "203.0.113.9")),
    ],
)
def test_what_is_not_new(usual: dict[str, Any], last: dict[str, Any]) -> None:
    """A neighbour's address, another version, the next token, ids after an upgrade, a refused call, a new actor."""
    assert after(20, last, **usual) == []


@pytest.mark.parametrize(
    ("usual", "last", "new"),
    [
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff", False),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", True),
        ("192.0.2.7", "192.0.2.255", False),
        ("192.0.2.7", "192.0.3.0", True),
    ],
)
def test_a_network_is_a_64_of_ipv6_and_a_24_of_ipv4(usual: str, last: str, *, new: bool) -> None:
    """A /64 is one subnet; a site has 65,536 of them in its /48."""
    assert new is bool(after(20, mint(20, peer=last), peer=usual))


def test_the_first_mints_teach_in_silence() -> None:
    """Twenty of them by default; what they taught is known afterwards, what was reported stays foreign."""
    log = [mint(number, peer=f"192.0.{number % 10}.7") for number in range(20)]
    assert found([*log, mint(20, peer="192.0.9.1")]) == []
    assert len(found([*log, mint(20, peer="192.0.10.1"), mint(21, peer="192.0.10.2")])) == 2
    assert len(found([*log[:2], mint(20, peer="192.0.9.1")], UnusualOrigin(learn=2))) == 1


@pytest.mark.parametrize(
    ("name", "severity"),
    [
        (MANAGER, Severity.MEDIUM),
        (KUBELET, Severity.MEDIUM),
        (ADDON, Severity.MEDIUM),
        (WORKLOAD, Severity.LOW),
        ("alice", Severity.LOW),
        ("aksService", Severity.LOW),
    ],
)
def test_system_identities_are_medium(name: str, severity: Severity) -> None:
    """They hardly ever move."""
    (finding,) = after(20, mint(20, name, peer="203.0.113.9"), name=name)
    assert finding.severity == severity


@pytest.mark.parametrize(
    ("name", "severity"),
    [(MANAGER, None), (KUBELET, Severity.INFORMATIONAL), ("alice", None), (WORKLOAD, None)],
)
def test_a_second_certificate_of_a_system_identity_is_reported_at_once(name: str, severity: Severity | None) -> None:
    """Also while it is being learned; a kubelet's alone is informational, for it is renewed.

    A controller manager's is the business of second-control-plane-credential.
    """
    findings = after(1, mint(1, name, used=certificate("b")), name=name, used=certificate("a"))
    assert [finding.severity for finding in findings] == [severity] * (severity is not None)


def test_a_renewed_certificate_that_is_used_again_is_in_conflict() -> None:
    """Within a minute both may be in use; afterwards neither is taken for the node's own, and both are named."""
    old, new = certificate("a"), certificate("b")
    seen = [mint(number, KUBELET, used=used) for number, used in enumerate((old, old, new, old, new, old, old))]
    assert [str(one.severity) for one in found(seen)] == ["informational", "medium", "medium"]
    assert [str(one.severity) for one in found([*seen[:3], mint(2, KUBELET, used=old)])] == ["informational"]
    assert new in found(seen)[-1].summary or new[:20] in found(seen)[-1].summary


def test_a_network_is_learned_once_the_one_before_has_been_silent_for_a_day() -> None:
    """Until then each mint from it is reported."""
    day = 24 * 60
    home = [mint(number) for number in range(20)]
    moved = [mint(number, peer="198.18.0.1") for number in (30, 40, 20 + day, 30 + day)]
    assert len(found([*home, *moved])) == 3


def test_a_kubelets_certificate_from_elsewhere_is_no_renewal() -> None:
    """With another network or client it is medium."""
    for changed in ({"peer": "203.0.113.9"}, {"agent": "curl/8"}):
        last = mint(1, KUBELET, used=certificate("b"), **changed)
        (finding,) = after(1, last, name=KUBELET, used=certificate("a"))
        assert finding.severity == Severity.MEDIUM


def test_the_evidence_says_what_is_new_and_no_more() -> None:
    """Of a renewal nothing but the certificate; whoever acts from the usual network does not come from elsewhere."""
    renewal = [mint(number, KUBELET, used=certificate(used)) for number, used in ((20, "b"), (30, "a"))]
    client = mint(20, KUBELET, agent="curl/8", used=certificate("a"))
    both = mint(20, KUBELET, "203.0.113.9", "curl/8", certificate("a"))
    why = [
        finding.evidence[0].why
        for events in (renewal, [client], [both])
        for finding in after(20, *events, name=KUBELET, used=certificate("a"))
    ]

    assert why == [
        "only the certificate is new",
        "who has a newer certificate",
        "whose usual mints have another client",
        "whose usual mints have another client and another network",
    ]


def test_a_certificate_of_a_system_service_account_is_reported_at_once() -> None:
    """It has tokens; a certificate of that name is somebody's own."""
    (finding,) = after(1, mint(1, ADDON, used=certificate("b")), name=ADDON, used="JTI=1")
    assert finding.severity == Severity.MEDIUM
    assert after(1, mint(1, ADDON, used="JTI=2"), name=ADDON, used="JTI=1") == []


def test_the_baseline_can_be_saved_and_shared() -> None:
    """As JSON; another instance goes on with it. It is kept for ninety days."""
    first, second = UnusualOrigin(), UnusualOrigin()
    found([mint(number) for number in range(20)], first)
    second.restore(json.loads(json.dumps(first.state())))

    assert found([mint(20)], second) == []
    assert len(found([mint(21, peer="203.0.113.9")], second)) == 1
    day = 24 * 60
    assert len(found([mint(80 * day, peer="203.0.113.9")], first)) == 1
    assert found([mint(171 * day, peer="198.51.100.9")], first) == []


def test_memory_is_bounded_and_reports_go_on() -> None:
    """Fifty of a kind; each further one is reported whenever it comes, and that is said."""
    detector = UnusualOrigin()
    found(
        [mint(number, agent=f"{'x' * 1000}{number}" if number < 3 else f"c{number}") for number in range(70)], detector
    )
    ((_, state, _),) = detector.states
    assert len(state.seen["client"]) == 50
    assert max(map(len, state.seen["client"])) == 100
    for number in (100, 101):
        (finding,) = found([mint(number, agent="curl/8")], detector)
        assert finding.caveats == ("already 50 of client are known: this one is not remembered",)


def test_an_address_that_is_none_is_taken_as_it_is() -> None:
    """Some wrappers write a host's name there."""
    (finding,) = after(20, mint(20, peer="gateway-2.example"), peer="gateway-1.example")
    assert "from gateway-2.example" in finding.summary


@pytest.mark.parametrize("learn", [0, -1, "20", 2.5, True, None], ids=repr)
def test_nonsense_is_refused(learn: Any) -> None:
    """When it is made."""
    with pytest.raises(ConfigError):
        UnusualOrigin(learn=learn)


def test_an_address_that_the_client_may_have_chosen_is_no_network() -> None:
    """Where a wrapper keeps one address of several, nobody knows whether it is the peer's."""
    events = [parse_event(token_request(auditID=str(n), sourceIPs=[f"192.0.{n}.7"])) for n in range(3)]
    assert len(list(detect(events, detectors=[UnusualOrigin(learn=1)]))) == 2
    lossy = [attrs.evolve(event, lost=frozenset({"source IPs"})) for event in events]
    assert list(detect(lossy, detectors=[UnusualOrigin(learn=1)])) == []


def of_node(number: float, peer: str, **fields: Any) -> dict[str, Any]:
    """Return a kubelet's mint."""
    made = mint(0, KUBELET, peer, "kubelet/v1.36.2", certificate("a"))
    time = (START + timedelta(minutes=number)).isoformat()
    issued = {"authentication.kubernetes.io/issued-credential-id": f"JTI=n{number}"}
    return made | {"auditID": f"n{number}", "requestReceivedTimestamp": time, "annotations": issued} | fields


AT_HOME = [of_node(number, "10.0.0.7") for number in range(20)]


def peers(*events: dict[str, Any]) -> list[str | None]:
    """Return from where the mints came that are reported after those at home."""
    return [finding.event.audit_id for finding in found([*AT_HOME, *events])]


def test_a_node_that_moves_is_reported_once() -> None:
    """However often it mints in its new network, for whatever pods; a day later that is its own."""
    moved = [of_node(30 + number / 10, "10.5.0.7") for number in range(100)]
    assert peers(*moved) == ["n30.0"]
    later = [of_node(30 + 60 * hour, "10.5.0.7") for hour in range(1, 30)]
    assert peers(*moved, *later) == ["n30.0"]
    assert peers(*moved, *later, of_node(2000, "10.9.0.7")) == ["n30.0", "n2000"]


def test_a_nodes_certificate_that_is_used_elsewhere_is_reported_for_each_mint() -> None:
    """Once the node itself goes on, as kubelets do within the hour: it has not moved."""
    theft = [of_node(30 + number / 10, "10.5.0.7") for number in range(5)]
    assert peers(*theft) == ["n30.0"]
    back = of_node(60, "10.0.0.7")
    assert peers(*theft, back) == ["n30.0", "n30.1", "n30.2", "n30.3", "n30.4"]
    assert peers(*theft, back, of_node(61, "10.5.0.7")) == [*peers(*theft, back), "n61"]
    findings = found([*AT_HOME, *theft, back])
    assert {finding.severity for finding in findings} == {Severity.MEDIUM}
    for finding, event in zip(findings[1:], theft[1:], strict=True):
        assert [plain(item.value) for item in finding.evidence] == [resolve(finding.evidence[0].path, event)]


def test_two_networks_by_turns_are_not_reported_for_ever() -> None:
    """As behind proxies that change: twenty a day."""
    turns = [of_node(30 + number * 2, "10.5.0.7" if number % 2 else "10.0.0.7") for number in range(200)]
    assert 10 < len(peers(*turns)) <= 21


def test_a_last_mint_under_way_is_no_sign_that_both_are_in_use() -> None:
    """Connections stay open for a while."""
    assert peers(of_node(30, "10.5.0.7"), of_node(30.1, "10.5.0.7"), of_node(30.2, "10.0.0.7")) == ["n30"]


def test_from_a_third_network_what_waited_is_reported() -> None:
    """A node does not move twice a day."""
    second = [of_node(30, "10.5.0.7"), of_node(31, "10.5.0.7")]
    assert peers(*second, of_node(32, "10.6.0.7")) == ["n30", "n31", "n32"]


def test_tokens_that_are_judged_late_are_followed() -> None:
    """What they are used for from then on."""
    theft = [of_node(30 + number, "10.5.0.7") for number in range(3)]
    user = service_account_user("prod/payments-sa", "JTI=n31", pod="web-1")
    use = api_request("list", "secrets", user=user, ip="10.5.0.7", time=START + timedelta(minutes=90))
    rules = ["unusual-origin", "minted-token-used"]
    log = [*AT_HOME, *theft, of_node(60, "10.0.0.7"), use]
    memory = Memory()
    findings = [
        *detect(log[:-1], detectors=rules, memory=memory),
        *detect(log[-1:], detectors=rules, memory=Memory.from_dict(json.loads(json.dumps(memory.to_dict())))),
    ]
    assert [one.rule.id for one in findings][-1] == "minted-token-used"
    assert [one.rule.id for one in detect(log, detectors=rules)][-1] == "minted-token-used"
