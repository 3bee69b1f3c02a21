# SPDX-License-Identifier: Apache-2.0
"""What a cluster's log has shown: a fact that others carry and this one lacks fails; one that nobody has does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from builders import token_request
from k8stokendetect import ConfigError, Event, Tally, detect, parse_event
from k8stokendetect.cli.scan import summary
from k8stokendetect.engine import Memory
from k8stokendetect.engine.profile import ENOUGH, ClusterProfile

CASE = Path(__file__).parent / "data" / "trust" / "a4-kcm-name-without-credential-id.log"
ID = "authentication.kubernetes.io/credential-id"
POD = "authentication.kubernetes.io/pod-name"


def kubelet(number: int, used: str | None = None, agent: str | None = "kubelet/v1.36.2", **fields: Any) -> Any:
    """Return a kubelet's mint."""
    user = {
        "username": f"system:node:worker-{number % 5}",
        "groups": ["system:nodes", "system:authenticated"],
        "extra": {ID: [used]} if used else {},
    }
    time = f"2026-11-23T12:{number // 60:02}:{number % 60:02}Z"
    return token_request(
        auditID=f"m{number}", user=user, userAgent=agent, issued=None, requestReceivedTimestamp=time, **fields
    )


def calico(number: int, **user: Any) -> Any:
    """Return a mint by calico-node."""
    name = "system:serviceaccount:kube-system:calico-node"
    groups = ["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"]
    who = {"username": name, "groups": groups, "uid": "u", "extra": {ID: [f"JTI={number}"], POD: ["calico-node-1"]}}
    time = f"2026-11-23T13:{number // 60:02}:{number % 60:02}Z"
    target = "kube-system/calico-cni-plugin"
    return token_request(
        target=target, auditID=f"c{number}", user=who | user, issued=None, requestReceivedTimestamp=time
    )


def reported(events: list[Any]) -> list[str]:
    """Return the audit ids of the mints that are reported."""
    return [one.event.audit_id for one in detect(events, detectors=["token-request"])]


def test_a_control_plane_name_without_a_certificates_id_is_a_lookalike() -> None:
    """OIDC, static tokens and front proxies yield any name; its token is followed."""
    found = {finding.rule.id: finding for finding in detect(CASE)}
    assert str(found["token-request-lookalike"].severity) == "high"
    assert found["token-request"].event.peer_ip == "10.9.9.9"


def test_certificates_need_an_id_once_twenty_had_one() -> None:
    """Not before, and not where tokens alone have ids (1.30 and 1.31)."""
    with_id = [kubelet(number, f"X509SHA256={64 * 'a'}") for number in range(ENOUGH)]
    assert reported([*with_id, kubelet(50)]) == ["m50"]
    assert reported([*with_id[1:], kubelet(50)]) == []
    with_tokens = [kubelet(number) | {"annotations": {ID: f"JTI={number}"}} for number in range(2 * ENOUGH)]
    assert reported(with_tokens) == []


def test_service_accounts_need_an_id_and_a_uid_once_twenty_had_one() -> None:
    """Somebody whom OIDC calls `system:serviceaccount:…` has neither."""
    usual = [calico(number) for number in range(ENOUGH)]
    assert reported(usual) == []
    assert reported([*usual, calico(50, extra={POD: ["calico-node-1"]})]) == ["c50"]
    assert reported([*usual, calico(50, uid="")]) == ["c50"]
    assert reported([*usual[1:], calico(50, uid="")]) == []


def test_a_user_agent_that_nobody_has_was_dropped_on_the_way() -> None:
    """Nobody is accused for that; where others have one, its absence counts."""
    nameless = [kubelet(number, agent=None) for number in range(27)]
    tally = Tally()
    assert list(detect(nameless, tally=tally)) == []
    assert tally.excluded.total() >= len(nameless)
    assert reported([kubelet(0), *nameless[1:]]) == [f"m{number}" for number in range(1, 27)]
    assert tally.dropped == {"user agents"}, "it is said once"


@pytest.mark.parametrize(
    ("events", "dropped"),
    [
        ([kubelet(number) for number in range(30)], set()),
        ([kubelet(number, agent=None) for number in range(ENOUGH - 1)], set()),
        ([calico(number, uid="") for number in range(30)], {"uids"}),
        ([calico(number) for number in range(30)], set()),
        (
            [kubelet(number) | {"user": {"username": "system:node:worker-1"}} for number in range(30)],
            {"groups"},
        ),
    ],
)
def test_what_nobody_has_is_said_once(events: list[Any], dropped: set[str]) -> None:
    """Where enough should have it; it goes with the tally, and the command prints it."""
    tally = Tally()
    list(detect(events, tally=tally))
    assert tally.dropped == dropped
    assert ("no record has: " in summary(tally)) == bool(dropped)


def test_it_goes_on_in_the_next_call_and_is_saved() -> None:
    """With the same memory, and with one that was made of its JSON; not in another cluster."""
    memory = Memory()
    list(detect([kubelet(number, f"X509SHA256={64 * 'a'}") for number in range(ENOUGH)], memory=memory))
    for known in (memory, Memory.from_dict(memory.to_dict())):
        assert len(list(detect([kubelet(50)], detectors=["token-request"], memory=known))) == 1
    assert list(detect([kubelet(50)], detectors=["token-request"])) == []


@pytest.mark.parametrize(
    "document",
    [None, [], {"seen": {"user agents": "many"}, "forged": []}, {"seen": {"uids": True}, "forged": []}, {"seen": {}}],
    ids=repr,
)
def test_a_damaged_profile_is_refused(document: Any) -> None:
    """As all of a damaged memory."""
    with pytest.raises(ConfigError):
        ClusterProfile.from_dict(document)
    with pytest.raises(ConfigError):
        Memory.from_dict(Memory().to_dict() | {"profiles": {"": document}})


def test_most_events_are_left_as_they_are() -> None:
    """What has all facts is not copied."""
    profile = ClusterProfile({"certificate ids": ENOUGH, "user agents": 1})
    event: Event = parse_event(kubelet(0, f"X509SHA256={64 * 'a'}"))
    assert profile.learn(event) is event
    assert profile.learn(parse_event(kubelet(0))).usual == {"certificate ids"}
