# SPDX-License-Identifier: Apache-2.0
"""Incidents: what belongs to one attack is one, and what does not is not; see also test_incidents_advice."""

from __future__ import annotations

import functools
import json
import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import about, body, token_request
from k8stokendetect import ConfigError, Finding, ReadError, Rule, Severity, detect, parse_event
from k8stokendetect.findings import EventRef
from k8stokendetect.incidents import Incident, Incidents, incidents
from k8stokendetect.outputs.native import to_incident_line
from recordings import METADATA, METADATA_1_27, events, labelled_token_requests, labels, records
from strategies import JWT, audit_events, damaged_events

MINT = Rule("token-request", "Mint", Severity.MEDIUM)
USE = Rule("minted-token-used", "Use", Severity.HIGH)
START = datetime(2026, 11, 23, 21, tzinfo=UTC)
HOUR = timedelta(hours=1)


def ref(user: str = "alice", target: str | None = "prod/payments-sa", minutes: float = 0, **fields: Any) -> EventRef:
    """Return a reference to a successful mint, or to what the fields say."""
    known: dict[str, Any] = {
        "verb": "create",
        "code": 201,
        "source_ips": ("192.0.2.7",),
        "time": START + timedelta(minutes=minutes),
        "audit_id": f"{user} {target} {minutes} {sorted(fields.items())}",
    }
    return EventRef(**known | {"user": user, **about(target)} | fields)


def found(event: EventRef, *related: EventRef, rule: Rule = MINT) -> Finding:
    """Return a finding about a request."""
    return Finding(rule=rule, severity=rule.severity, summary="It happened", event=event, related=related)


def used(
    mint: EventRef, *, minutes: float = 1, verb: str = "list", target: str = "secrets prod", **fields: Any
) -> Finding:
    """Return the finding about a use of a minted token."""
    user = "system:serviceaccount:" + str(mint.target).replace("/", ":")
    event = ref(user, target, minutes, verb=verb, **{"code": 200, "used_credential": mint.minted_credential} | fields)
    return found(event, mint, rule=USE)


def links(number: int) -> list[Finding]:
    """Return the mints of a chain, each with the token of the one before."""
    user, target = "system:serviceaccount:a:b", "a/b"
    return [
        found(ref(user, target, place, minted_credential=f"JTI={place + 1}", used_credential=f"JTI={place}"))
        for place in range(number)
    ]


def one(*findings: Finding) -> Incident:
    """Return the only incident of some findings."""
    (incident,) = incidents(findings)
    return incident


@functools.cache
def parents(path: Path) -> dict[tuple[str, str], str]:
    """Return the auditID of the mint whose token a request carried, by auditID and user: the first alone may repeat."""
    return {(label["auditID"], label["user"]): label["minted_by"] for label in labels(path) if label.get("minted_by")}


@functools.cache
def recorded(path: Path) -> tuple[Finding, ...]:
    """Return the findings of today's rules, and the uses that the labels know, as minted-token-used reports them."""
    mints = {request.audit_id: parse_event(label["event"]) for request, label in labelled_token_requests(path).items()}
    minted_by = parents(path)
    uses = []
    for event in events(path):
        chain: list[EventRef] = []
        mint = minted_by.get((event.audit_id, event.user.username))
        while mint:
            chain.insert(0, EventRef.of(mints[mint]))
            mint = minted_by.get((mint, chain[0].user))
        if chain:
            uses.append(found(EventRef.of(event), *chain, rule=USE))
    return (*detect(records(path), detectors=["token-request", "token-request-uri"]), *uses)


def scenario(path: Path, name: str) -> list[Finding]:
    """Return the recorded findings whose request the labels count to a scenario."""
    wanted = {label["auditID"] for label in labels(path) if label["scenario"] == name}
    return [finding for finding in recorded(path) if finding.event.audit_id in wanted and not finding.excluded_by]


def test_a_name_is_one_caller_only_in_one_cluster_and_a_system_name_only_with_one_credential() -> None:
    """Two clusters, and two certificates of the controller manager; a service account's token changes every hour."""
    both = [found(ref("alice", cluster=cluster)) for cluster in ("prod", "dev")]
    assert len(incidents(both)) == 2
    manager, account = "system:kube-controller-manager", "system:serviceaccount:ci:deployer"
    for user, number in ((manager, 3), (account, 1), ("alice", 1)):
        calls = [found(ref(user, used_credential=f"X509SHA256={i % 3}", minutes=i)) for i in range(9)]
        assert len(incidents(calls)) == number


@pytest.mark.parametrize("path", [METADATA, METADATA_1_27])
def test_the_chain_of_scenario_05_is_one_incident_of_depth_3_that_ends_at_the_read_of_secrets(path: Path) -> None:
    """Alice mints chain-a, that chain-b, that chain-c, which lists secrets; with and without credential ids."""
    incident = one(*scenario(path, "05-attack-chain"))

    assert incident.depth == 3
    assert incident.actors == (
        "alice",
        "system:serviceaccount:dev:chain-a",
        "system:serviceaccount:dev:chain-b",
        "system:serviceaccount:prod:chain-c",
    )
    assert incident.service_accounts == ("dev/chain-a", "dev/chain-b", "prod/chain-c")
    assert (incident.findings[-1].event.verb, incident.findings[-1].event.target) == ("list", "secrets prod")
    assert incident.title == (
        "alice minted a token for dev/chain-a, and 2 more with it, and listed the secrets in prod as prod/chain-c"
    )


@pytest.mark.parametrize("path", [METADATA, METADATA_1_27])
def test_a_recording_gives_one_incident_for_each_first_caller(path: Path) -> None:
    """Every recorded attack begins with a user who is nobody's token; the lab ran for less than an hour."""
    mints = {request.audit_id: label["user"] for request, label in labelled_token_requests(path).items()}

    def first(audit_id: str, user: str) -> str:
        while (audit_id, user) in parents(path):
            audit_id = parents(path)[audit_id, user]
            user = mints[audit_id]
        return user

    expected = defaultdict(set)
    for finding in recorded(path):
        name = first(finding.event.audit_id, finding.event.user)
        if not finding.excluded_by:
            expected["" if name == "system:anonymous" else name].add(finding.fingerprint)
    result = incidents(recorded(path))

    assert {frozenset(f.fingerprint for f in incident.findings) for incident in result} == {
        frozenset(prints) for prints in expected.values()
    }
    assert len(result) < 20


@pytest.mark.parametrize("path", [METADATA, METADATA_1_27])
def test_the_order_of_findings_does_not_matter(path: Path) -> None:
    """Several API servers write several logs."""
    shuffled = list(recorded(path))
    random.Random(5).shuffle(shuffled)  # noqa: S311 - the same order every time

    assert incidents(shuffled) == incidents(recorded(path))


def test_a_use_belongs_to_its_mint_whenever_it_was() -> None:
    """A token may live for a year; other calls of the same user a day later are another incident."""
    mint = ref(minted_credential="JTI=1")
    late = used(mint, minutes=60 * 24 * 300)
    other = found(ref(minutes=60 * 24, minted_credential="JTI=2"))
    result = incidents([found(mint), other, late])

    assert [set(incident.findings) for incident in result] == [{found(mint), late}, {other}]


def test_a_use_that_names_no_mint_is_joined_by_the_credential_alone() -> None:
    """A rule may report what a token did without knowing where it comes from."""
    mint = found(ref(minted_credential="JTI=1"))
    use = found(ref("system:serviceaccount:prod:payments-sa", "pods", 9000, verb="list", used_credential="JTI=1"))

    assert len(one(mint, use).findings) == 2
    assert len(one(use, mint).findings) == 2


def test_two_attackers_who_reach_one_service_account_stay_two_incidents() -> None:
    """The chain decides, not the name of the service account, nor that both aimed at it."""
    mints = [ref(user, minted_credential=f"JTI={user}") for user in ("alice", "bob")]
    result = incidents([*map(found, mints), *(used(mint) for mint in mints)])

    assert {frozenset(i.actors) for i in result} == {
        frozenset({user, "system:serviceaccount:prod:payments-sa"}) for user in ("alice", "bob")
    }


def test_the_chain_decides_also_where_the_use_names_no_mint_and_is_read_first() -> None:
    """A mint made with a minted token, as token-request reports it: the credential tells whose it is."""
    mints = [found(ref(user, minted_credential=f"JTI={user}")) for user in ("alice", "bob")]
    user = "system:serviceaccount:prod:payments-sa"
    further = [found(ref(user, "dev/builder", 1, used_credential=f"JTI={name}")) for name in ("alice", "bob")]

    assert len(incidents([*mints, *further])) == 2
    assert incidents([*further, *mints]) == incidents([*mints, *further])


@pytest.mark.parametrize(("minutes", "number"), [(60, 1), (60.01, 2)])
def test_calls_of_one_user_belong_together_within_the_window(minutes: float, number: int) -> None:
    """One hour between neighbours unless told otherwise."""
    assert len(incidents([found(ref()), found(ref(target="dev/builder", minutes=minutes))])) == number


def test_the_window_is_between_neighbours() -> None:
    """Somebody who comes back every forty minutes is one incident; with a smaller window each time is one."""
    findings = [found(ref(minutes=40 * number)) for number in range(10)]

    assert len(incidents(findings)) == 1
    assert len(incidents(findings, window=timedelta(minutes=39))) == 10


def test_different_users_at_one_address_are_two() -> None:
    """A proxy has one address for everybody."""
    assert len(incidents([found(ref("alice")), found(ref("bob"))])) == 2


def test_all_nameless_callers_who_were_refused_are_one() -> None:
    """A 401 has no user, and anybody is system:anonymous: 30,000 peers are one incident, not 30,000."""
    callers = [
        ref("", code=401, source_ips=("198.51.100.9", "192.0.2.1")),
        ref("system:anonymous", code=403, source_ips=("192.0.2.1",)),
        ref("", code=401, source_ips=("192.0.2.1", "192.0.2.2")),
    ]
    incident = one(*map(found, callers))
    assert incident.title == (
        "an unauthenticated client at 192.0.2.1 and 2 others asked 3 times for a token of prod/payments-sa; none was "
        "issued"
    )
    assert len(incidents([*map(found, callers), found(attrs.evolve(callers[0], audit_id="4", cluster="other"))])) == 2


def test_nameless_callers_who_were_served_are_told_apart_by_the_peer() -> None:
    """A client chooses all addresses but the last."""
    callers = [
        ref("system:anonymous", source_ips=("198.51.100.9", "192.0.2.1")),
        ref("system:anonymous", source_ips=("192.0.2.1",)),
        ref("system:anonymous", source_ips=("192.0.2.1", "192.0.2.2")),
    ]
    assert sorted(len(incident.findings) for incident in incidents(map(found, callers))) == [1, 2]


def test_findings_of_one_request_belong_together() -> None:
    """Two rules about one request of a token whose mint is known have no other bond."""
    event = ref(
        "system:serviceaccount:prod:payments-sa", "dev/builder", minted_credential="JTI=2", used_credential="JTI=1"
    )
    uri = found(event, rule=Rule("token-request-uri", "Path", Severity.LOW))

    assert one(found(event), uri).findings == (found(event), uri)


def test_an_audit_id_that_a_client_repeats_joins_nobody() -> None:
    """The time at which the request was received is not the client's to choose."""
    assert len(incidents([found(ref(audit_id="x")), found(ref("bob", audit_id="x", minutes=1))])) == 2


def test_what_an_exclusion_set_aside_is_ignored() -> None:
    """It neither shows nor joins."""
    (reported,) = detect(token_request(), detectors=["token-request"])
    (excused,) = detect(
        token_request("system:kube-controller-manager", "kube-system/replicaset-controller"),
        detectors=["token-request"],
        keep_excluded=True,
    )

    assert excused.excluded_by
    assert one(reported, excused).findings == (reported,)
    assert Incidents().fold(excused) is None


def test_an_incident_counts_what_happened() -> None:
    """The worst severity, the first and the last time, the credentials on both sides."""
    mint = ref(minted_credential="JTI=1", used_credential="X509SHA256=ab")
    incident = one(used(mint, minutes=7), found(mint))

    assert incident.severity is Severity.HIGH
    assert (incident.first_seen, incident.last_seen) == (START, START + timedelta(minutes=7))
    assert incident.credentials == ("X509SHA256=ab", "JTI=1")
    assert incident.depth == 1
    assert [finding.rule for finding in incident.findings] == [MINT, USE]


def test_the_id_stays_when_the_incident_grows() -> None:
    """It rests on the earliest finding."""
    mint = ref(minted_credential="JTI=1")

    assert one(found(mint)).id == one(used(mint), found(mint)).id != one(found(ref("bob"))).id


def test_the_worst_comes_first_then_the_earliest() -> None:
    """So that whoever reads one line reads the right one."""
    critical = found(ref("carol", minutes=500), rule=USE)

    assert [i.actors[0] for i in incidents([found(ref("bob", minutes=9)), found(ref()), critical])] == [
        "carol",
        "alice",
        "bob",
    ]


@pytest.mark.parametrize(
    ("findings", "title"),
    [
        ([found(ref())], "alice minted a token for prod/payments-sa; no use was reported"),
        (
            [found(ref(code=403)), found(ref(target="dev/builder", code=404, minutes=1))],
            "alice asked twice for a token of prod/payments-sa and dev/builder; none was issued",
        ),
        ([found(ref(code=None))], "alice asked for a token of prod/payments-sa; whether one was issued is not known"),
        ([found(ref(target="secrets dev", verb="list"))], "It happened"),
        ([found(ref(target=f"a/{name}", minutes=minutes)) for minutes, name in enumerate("bcde")],
         "alice minted 4 tokens for a/b, a/c and 2 more accounts; no use was reported"),
        (
            [used(ref(minted_credential="JTI=1"), code=403)],
            (
                "alice minted a token for prod/payments-sa; "
                "every reported use was refused"
            ),
        ),
    ],
)  # fmt: skip
def test_a_title_says_who_did_what_to_whom_and_how_it_ended(findings: list[Finding], title: str) -> None:
    """One sentence, whatever is known."""
    assert one(*findings).title == title


def test_the_end_is_the_worst_that_worked() -> None:
    """A refused or harmless last call does not hide that secrets were read."""
    mint = ref(minted_credential="JTI=1")
    critical = Rule("minted-token-used", "Use", Severity.CRITICAL)
    read = found(used(mint, minutes=2).event, mint, rule=critical)
    harmless = used(mint, minutes=3, target="pods prod")
    refused = found(used(mint, minutes=4, target="nodes", code=403).event, mint, rule=critical)

    assert ", and listed the secrets in prod as prod/payments-sa" in one(found(mint), read, harmless, refused).title


def test_a_stream_is_folded_as_it_comes() -> None:
    """Each finding gives the incident it now belongs to; two may become one."""
    story = Incidents()
    first, second = found(ref()), found(ref(minutes=100))
    between = found(ref(minutes=50))

    assert [story.fold(first), story.fold(second)] == [one(first), one(second)]
    assert len(story.all()) == 2
    assert story.fold(between) == one(first, second, between)
    assert story.all() == [one(first, second, between)]


def test_a_stream_forgets_what_is_over() -> None:
    """So that memory does not grow; a later use of its token continues it, under the same id."""
    story = Incidents()
    mint = ref(minted_credential="JTI=1", used_credential="JTI=0")
    recent = found(ref("bob", minutes=90))
    story.add(found(mint))
    story.add(recent)

    assert story.close(START + HOUR) == []
    assert story.close(START + timedelta(minutes=61)) == [one(found(mint))]
    assert story.all() == [one(recent)]
    later = story.fold(used(mint, minutes=95))
    assert later == attrs.evolve(one(used(mint, minutes=95)), continues=True)
    assert (later.id, story.id_of(used(mint, minutes=95))) == (one(found(mint)).id, later.id)
    assert one(used(mint, minutes=95)).actors == ("alice", "system:serviceaccount:prod:payments-sa")
    assert len(story.close((START + 9 * HOUR).replace(tzinfo=None))) == 2
    assert not any((story.all(), story._mints, story._uses, story._active, story._requests))  # noqa: SLF001


def test_a_stream_makes_room_for_what_is_new() -> None:
    """The incidents go first in which nothing happened for longest; what a caller of theirs does next continues one."""
    story = Incidents()
    for minutes in range(4):
        story.add(found(ref("alice", minutes=minutes)))
    story.add(found(ref("bob", minutes=30)))

    assert story.make_room(5) == []
    (closed,) = story.make_room(4)
    assert (closed.actors, len(closed.findings), story.findings()) == (("alice",), 4, [found(ref("bob", minutes=30))])
    assert story.fold(found(ref("alice", minutes=40))) == attrs.evolve(
        one(found(ref("alice", minutes=40))), id=closed.id, continues=True
    )
    last = story.fold(found(ref("alice", minutes=140)))
    assert last is not None
    assert not last.continues


@pytest.mark.parametrize("window", [-HOUR, 3600, None])
def test_a_window_that_is_none_is_refused(window: Any) -> None:
    """At the call."""
    with pytest.raises(ConfigError, match="window"):
        incidents([], window=window)


def test_a_log_that_goes_in_circles_is_told_all_the_same() -> None:
    """No token can be minted with itself; a damaged log may say so."""
    ids = ["JTI=1", "JTI=2", "JTI=3"]
    circle = [
        found(ref("system:serviceaccount:a:b", "a/b", n, minted_credential=ids[n], used_credential=ids[n - 1]))
        for n in range(3)
    ]

    assert one(*circle).depth == 3
    assert one(found(ref(minted_credential="JTI=1", used_credential="JTI=1"))).depth == 1


def test_a_chain_of_thousands_is_told_all_the_same() -> None:
    """No recursion."""
    assert one(*links(3000)).depth == 3000


def test_the_json_line_has_its_stable_names() -> None:
    """Printable ASCII only, in one line; alerts and findings are named by their ids."""
    incident = one(found(ref("al\u2028ice\x7f\x1b")))
    line = to_incident_line(incident)
    mapping = json.loads(line)

    assert line.isascii()
    assert line.isprintable()
    assert set(mapping) == {
        "id", "severity", "title", "actors", "service_accounts", "credentials",
        "first_seen", "last_seen", "depth", "continues", "enable", "advice", "access", "findings",
        "alerts", "number_of_alerts", "number_of_findings",
    }  # fmt: skip
    assert mapping["first_seen"] == "2026-11-23T21:00:00Z"
    assert mapping["findings"] == [incident.findings[0].fingerprint]
    assert mapping["alerts"][0]["id"] == incident.findings[0].event.request_id
    assert json.loads(to_incident_line(one(found(ref(time=None)))))["first_seen"] is None


def test_no_token_stands_in_an_incident() -> None:
    """Wherever a client or the API server put it."""
    event = token_request(f"a {JWT}", userAgent=JWT, query=f"?x={JWT}", requestObject=body(audiences=(JWT,)))
    line = to_incident_line(one(*detect(event, exclusions=())))

    assert JWT.rpartition(".")[2] not in line


@given(st.lists(audit_events | damaged_events(), max_size=4))
def test_whatever_is_found_belongs_to_exactly_one_incident(mappings: list[dict[str, Any]]) -> None:
    """And nothing raises."""
    findings: list[Finding] = []
    for mapping in mappings:
        try:
            event = parse_event(mapping)
        except ReadError:
            continue
        findings.append(found(EventRef.of(event), *(finding.event for finding in findings[-2:]), rule=USE))
        findings += detect([event], exclusions=(), on_error=lambda _: None)
    result = incidents(findings)

    assert sorted(f.fingerprint for i in result for f in i.findings) == sorted(f.fingerprint for f in findings)
    assert all(to_incident_line(incident).isascii() for incident in result)
