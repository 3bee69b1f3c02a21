# SPDX-License-Identifier: Apache-2.0
"""The requests behind an incident: which was made with whose token, how long the chain is, how it ended."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import about
from k8stokendetect import Finding, Rule, Severity
from k8stokendetect.findings import EventRef
from k8stokendetect.incidents.deeds import done, weight
from k8stokendetect.incidents.story import depths, requests_of, title

START = datetime(2026, 11, 25, tzinfo=UTC)
ACCOUNT = "system:serviceaccount:prod:sa"


def mint(number: int = 1, user: str = "alice", target: str | None = "prod/sa", **fields: Any) -> EventRef:
    """Return a mint of the token `JTI=number`, in minute `number`."""
    known = {"verb": "create", "code": 201, "minted_credential": f"JTI={number}"}
    return request(number, user, target, **known | fields)


def use(of: int, number: int = 50, target: str | None = "secrets prod", **fields: Any) -> EventRef:
    """Return a request with the token `JTI=of`, in minute `number`."""
    user = fields.pop("user", ACCOUNT)
    return request(number, user, target, **{"verb": "list", "code": 200, "used_credential": f"JTI={of}"} | fields)


def request(number: int, user: str, target: str | None, **fields: Any) -> EventRef:
    """Return any request."""
    time = START + timedelta(minutes=number)
    return EventRef(audit_id=str(number), user=user, **{"time": time} | about(target) | fields)


def found(event: EventRef, *related: EventRef, rule: str = "r", severity: Severity = Severity.LOW) -> Finding:
    """Return a finding about a request."""
    return Finding(
        rule=Rule(rule, "R", severity), severity=severity, summary=f"{rule} fired", event=event, related=related
    )


def parents(*findings: Finding) -> dict[str, str | None]:
    """Return the auditID of the mint that each request depends on, by its own."""
    requests = requests_of(findings)
    return {
        request.ref.audit_id: requests[request.parent].ref.audit_id if request.parent else None
        for request in requests.values()
    }


def story(*findings: Finding) -> str:
    """Return the sentence."""
    return title(requests_of(findings), findings)


def test_each_request_stands_there_once_with_all_its_rules() -> None:
    """And with the worst severity that one of them gave it."""
    (only,) = requests_of(
        [found(mint(), rule="b"), found(mint(), rule="a", severity=Severity.HIGH), found(mint(), rule="b")]
    ).values()

    assert (only.rules, only.severity, only.ref) == (("b", "a"), Severity.HIGH, mint())


def test_a_mint_that_is_known_from_its_use_alone_has_no_rule() -> None:
    """It is in the story all the same."""
    first, second = requests_of([found(use(1), mint(), severity=Severity.HIGH)]).values()

    assert (first.ref, first.rules, first.severity) == (mint(), (), Severity.INFORMATIONAL)
    assert (second.rules, second.severity) == (("r",), Severity.HIGH)


def test_requests_are_in_the_order_of_time_and_those_without_a_time_come_first() -> None:
    """Whatever the order of the findings."""
    refs = [mint(3), mint(1), mint(2), mint(4, time=None)]

    assert [request.ref.audit_id for request in requests_of(map(found, refs)).values()] == ["4", "1", "2", "3"]


@pytest.mark.parametrize(
    ("findings", "expected"),
    [
        ([found(mint()), found(use(1))], {"1": None, "50": "1"}),
        ([found(use(1), mint())], {"1": None, "50": "1"}),
        ([found(use(2), mint())], {"1": None, "50": None}),
        ([found(use(1, used_credential=None), mint(minted_credential=None))], {"1": None, "50": "1"}),
        ([found(use(1, used_credential=None, user="eve"), mint(minted_credential=None))], {"1": None, "50": None}),
        ([found(use(1, used_credential=None), mint(minted_credential=None, code=403))], {"1": None, "50": None}),
        ([found(use(2), mint(1), mint(2, ACCOUNT, used_credential="JTI=1"))], {"1": None, "2": "1", "50": "2"}),
        ([found(use(7), mint(), mint(7, "bob")), found(mint(7, "bob"))], {"1": None, "7": None, "50": "7"}),
    ],
    ids=["by id", "related", "another id", "by name", "another name", "refused mint", "chain", "not a chain"],
)
def test_which_token_a_request_was_made_with(findings: list[Finding], expected: dict[str, str | None]) -> None:
    """Credential ids decide, the service account's name does where there are none."""
    assert parents(*findings) == expected


def test_a_circle_is_cut_somewhere() -> None:
    """No token can be minted with itself, but a damaged log may say so."""
    circle = [found(mint(n, ACCOUNT, used_credential=f"JTI={n % 3 + 1}")) for n in (1, 2, 3)]

    assert list(parents(*circle).values()).count(None) == 1
    assert parents(found(mint(1, ACCOUNT, used_credential="JTI=1"))) == {"1": None}


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), max_size=12))
def test_whatever_the_log_says_the_requests_are_a_forest(links: list[tuple[int, int]]) -> None:
    """Each chain ends, and the depth of a mint is one more than that of its parent."""
    findings = [found(mint(10 * n + to, minted_credential=f"JTI={to}", used_credential=f"JTI={by}")) for n, (to, by) in
                enumerate(links)]  # fmt: skip
    requests = requests_of(findings)
    known = depths(requests)

    for id_, one in requests.items():
        assert known[id_] == 1 + (known[one.parent] if one.parent else 0)


def test_the_depth_counts_mints_and_not_uses() -> None:
    """A use of the third token is at depth three."""
    chain = [mint(1), mint(2, ACCOUNT, used_credential="JTI=1"), mint(3, ACCOUNT, used_credential="JTI=2"), use(3)]
    requests = requests_of(map(found, chain))

    assert [depths(requests)[id_] for id_ in requests] == [1, 2, 3, 3]
    assert depths({}) == {}


@pytest.mark.parametrize(
    ("findings", "expected"),
    [
        ([found(mint())], "alice minted a token for prod/sa; no use was reported"),
        (
            [found(mint(target=None))],
            "alice minted a token for an unnamed service account; no use was reported",
        ),
        (
            [found(mint(n, target=f"a/{name}")) for n, name in enumerate("bcd")],
            "alice minted 3 tokens for a/b, a/c and 1 more account; no use was reported",
        ),
        (
            [found(mint(n, target=f"a/{name}")) for n, name in enumerate("bcdef")],
            "alice minted 5 tokens for a/b, a/c and 3 more accounts; no use was reported",
        ),
        (
            [found(mint(1)), found(mint(2, ACCOUNT, "dev/b", used_credential="JTI=1"))],
            "alice minted a token for prod/sa, and 1 more with it, for dev/b",
        ),
        (
            [
                *(found(mint(n, target=f"a/{name}")) for n, name in enumerate("bcde", 1)),
                *(found(mint(n, "system:serviceaccount:a:e", f"x/{n}", used_credential="JTI=4")) for n in (7, 8)),
                found(use(8, user="system:serviceaccount:x:8")),
            ],
            "alice minted 4 tokens, and 2 more with them, and listed the secrets in prod as x/8",
        ),
        (
            [
                *(found(mint(n, target=f"a/{name}")) for n, name in enumerate("bcde", 1)),
                found(request(9, "alice", "secrets prod", verb="list", code=200), severity=Severity.HIGH),
                found(use(4, code=403, user="system:serviceaccount:a:e")),
            ],
            "alice minted 4 tokens for a/b, a/c and 2 more accounts, and listed the secrets in prod",
        ),
        (
            [*(found(mint(n, target=f"a/{name}")) for n, name in enumerate("bcde", 1)), found(use(4, user="thief"))],
            "alice minted 4 tokens for a/e, a/b and 2 more accounts, and listed the secrets in prod as thief",
        ),
        (
            [found(mint(n, code=403, minted_credential=None, target=f"a/{name}")) for n, name in enumerate("bcde", 1)],
            "alice asked 4 times for a token of a/b, a/c and 2 more accounts; none was issued",
        ),
        (
            [found(mint(1)), found(mint(2, "bob", "prod/sa"))],
            "alice and 1 other minted 2 tokens for prod/sa; no use was reported",
        ),
        (
            [found(mint(n, user)) for n, user in enumerate(["alice", "bob", "carol"])],
            "alice and 2 others minted 3 tokens for prod/sa; no use was reported",
        ),
        (
            [found(mint(code=403, minted_credential=None))],
            "alice asked for a token of prod/sa; none was issued",
        ),
        (
            [found(mint(n, code=code, minted_credential=None)) for n, code in ((1, 403), (2, None))],
            "alice asked twice for a token of prod/sa; whether one was issued is not known",
        ),
        (
            [found(request(1, "alice", "secrets prod", verb="list")), found(use(9), rule="w", severity=Severity.HIGH)],
            "w fired",
        ),
    ],
)
def test_the_story_in_one_sentence(findings: list[Finding], expected: str) -> None:
    """Who did what to whom, and how it ended."""
    assert story(*findings) == expected


@pytest.mark.parametrize(
    ("uses", "end"),
    [
        ([use(1)], ", and listed the secrets in prod as prod/sa"),
        ([use(1, code=403)], "; every reported use was refused"),
        ([use(1, code=None)], ", and tried to list the secrets in prod (answer not logged) as prod/sa"),
        ([use(1, 50), use(1, 51, "pods prod", code=403)], ", and listed the secrets in prod as prod/sa"),
        ([use(1, 50, "pods prod"), use(1, 51)], ", and listed the secrets in prod as prod/sa"),
        ([use(1, 50), use(1, 51, "pods prod")], ", and listed the secrets in prod as prod/sa"),
    ],
    ids=["worked", "refused", "answer unknown", "what worked", "the last", "not the last"],
)
def test_the_title_names_the_worst_that_succeeded(uses: list[EventRef], end: str) -> None:
    """Not the last."""
    findings = [found(mint()), *map(found, uses)]

    assert story(*findings) == f"alice minted a token for prod/sa{end}"
    random.Random(7).shuffle(findings)  # noqa: S311 - the same order every time
    assert story(*findings) == f"alice minted a token for prod/sa{end}"


def test_the_most_urgent_use_is_the_worst() -> None:
    """Even when a worse one by its kind came later, which was rated lower."""
    urgent = found(use(1, 50, "pods prod"), severity=Severity.CRITICAL)

    assert story(found(mint()), urgent, found(use(1, 51))).endswith(", and listed the pods in prod as prod/sa")


@pytest.mark.parametrize(
    ("verb", "what", "code", "phrase"),
    [
        ("list", ("secrets", "", ""), 200, "listed all secrets"),
        ("get", ("secrets", "a", "b"), 200, "read secret a/b"),
        ("create", ("clusterrolebindings", "", "x"), 201, "created clusterrolebinding x"),
        ("create", ("pods/exec", "a", "b"), 101, "ran a command in pod a/b"),
        ("get", ("nodes/proxy", "", "n"), 200, "reached through the API server node n"),
        ("create", ("selfsubjectrulesreviews", "", ""), 201, "asked what it may do"),
        ("patch", ("pods/status", "a", "b"), 200, "changed the status of pod a/b"),
        ("delete", ("networkpolicies", "a", "b"), 200, "deleted networkpolicy a/b"),
        ("delete", ("ingresses", "a", "b"), 200, "deleted ingress a/b"),
        ("brew", ("pods", "a", ""), 418, "tried to send brew to a pod in a (refused, 418)"),
        ("create", ("pods", "a", ""), 500, "tried to create a pod in a (failed, 500)"),
        ("get", ("pods", "a", "$(x)"), 404, r"tried to read pod a/\x24\x28x\x29 (refused, 404)"),
    ],
)
def test_what_was_done_in_plain_words(verb: str, what: tuple[str, str, str], code: int, phrase: str) -> None:
    """On what, as `namespace/name`."""
    resource, namespace, name = what
    ref = EventRef(audit_id="1", verb=verb, resource=resource, namespace=namespace, name=name, code=code)

    assert done(ref) == phrase


def test_a_path_without_a_resource_is_named_by_its_uri() -> None:
    """Without its query."""
    assert done(EventRef(audit_id="1", verb="get", request_uri="/metrics?x=1", code=200)) == "read /metrics"


def test_giving_rights_is_worse_than_reading() -> None:
    """Of what has one severity."""
    resources = ["clusterrolebindings", "secrets", "pods/exec", "pods", "configmaps", "selfsubjectreviews"]
    weights = [weight(EventRef(audit_id="1", verb="create", resource=resource)) for resource in resources]

    assert weights == sorted(weights, reverse=True)
    assert len(set(weights)) == len(weights)
