# SPDX-License-Identifier: Apache-2.0
"""What an exclusion says of one event, fact by fact, where no exclusion that ships has the case."""

from __future__ import annotations

from datetime import date
from typing import Any

import attrs
import pytest

from builders import exclusion_of, token_request
from k8stokendetect import Actor, Provenance, detect, parse_event
from k8stokendetect.exclusions import find_exclusion
from k8stokendetect.exclusions.index import NameIndex
from k8stokendetect.exclusions.kubernetes import KUBELET
from k8stokendetect.exclusions.verdict import REFUSED, verdict

AUTHENTICATED = "system:authenticated"
FACTS: dict[str, Any] = {
    "namespaces": ("*",),
    "because": "The site's own minter.",
    "hides": "Whatever it mints.",
    "provenance": (Provenance(source="us", checked=date(2026, 11, 25)),),
}
ACCOUNTS_OF_OPS = ("system:serviceaccounts", "system:serviceaccounts:ops", AUTHENTICATED)


def is_excluded(username: str, groups: tuple[str, ...], actor: Actor) -> bool:
    """Tell whether an exclusion of this actor, for any target, excludes a mint by the caller."""
    exclusion = exclusion_of(**FACTS, id="site", rules=("token-request",), actor=actor)
    (finding,) = detect(
        token_request(username, groups=groups),
        detectors=["token-request"],
        exclusions=[exclusion],
        keep_excluded=True,
    )
    return finding.excluded_by == "site"


@pytest.mark.parametrize("groups", [(AUTHENTICATED,), ACCOUNTS_OF_OPS], ids=["one group", "all groups"])
@pytest.mark.parametrize("name", ["a:b", "a:b:c"])
def test_a_name_that_no_service_account_can_have_is_not_excluded(name: str, groups: tuple[str, ...]) -> None:
    """A pattern fits it, but the API server's two groups are known only for NAMESPACE:NAME; OIDC can yield any name."""
    actor = Actor(username="system:serviceaccount:ops:*")

    assert not is_excluded(f"system:serviceaccount:ops:{name}", groups, actor)
    assert is_excluded("system:serviceaccount:ops:a", ACCOUNTS_OF_OPS, actor)


@pytest.mark.parametrize(
    ("groups", "excluded"),
    [
        (("minters",), True),
        (("minters", AUTHENTICATED), True),
        (("minters", "devs"), False),
        (("minters", AUTHENTICATED, "devs"), False),
        ((AUTHENTICATED,), False),
    ],
)
def test_only_groups_allows_the_groups_named_and_system_authenticated(
    groups: tuple[str, ...], *, excluded: bool
) -> None:
    """The API server gives `system:authenticated` to everybody, so nobody has to name it."""
    actor = Actor(username="ci-minter", groups=("minters",), only_groups=True)

    assert excluded is is_excluded("ci-minter", groups, actor)


@pytest.mark.parametrize(("code", "why"), [(201, ()), (401, (REFUSED,)), (403, (REFUSED,)), (404, ()), (500, ())])
def test_only_an_answer_of_401_or_403_says_that_a_component_was_refused(code: int, why: tuple[str, ...]) -> None:
    """What is not found, or fails, was allowed."""
    caller: dict[str, Any] = {"groups": ("system:nodes", AUTHENTICATED), "userAgent": "kubelet/v1.36.2 (linux/amd64)"}
    judged = verdict(find_exclusion("kubelet"), parse_event(token_request("system:node:worker-1", code=code, **caller)))

    assert judged is not None
    assert tuple(one.why for one in judged.failed) == why


@pytest.mark.parametrize(("code", "excluded_by"), [(201, "kubelet"), (403, None)])
def test_a_refused_call_is_not_excluded(code: int, excluded_by: str | None) -> None:
    """A component may do what it does by design: a call refused with 403 is somebody else's."""
    record = token_request(
        "system:node:worker-1",
        groups=("system:nodes", AUTHENTICATED),
        userAgent="kubelet/v1.36.2 (linux/amd64)",
        code=code,
        issued=None,
    )
    findings = detect(record, detectors=["token-request-uri"], keep_excluded=True)

    assert [excluded_by] == [finding.excluded_by for finding in findings]


@pytest.mark.parametrize(
    ("rules", "groups", "reported"),
    [
        (("token-request-denied",), ("builders",), []),
        (("token-request",), ("builders",), ["token-request-denied"]),
        (None, ("builders",), ["token-request-denied"]),
        (("token-request-denied",), ("others",), ["token-request-denied"]),
    ],
)
def test_only_an_exclusion_that_names_refusals_excludes_them(
    rules: tuple[str, ...] | None, groups: tuple[str, ...], reported: list[str]
) -> None:
    """Not one that narrows itself to other rules or to none; and every other proof has to hold."""
    actor = Actor(username="ci-builder", groups=("builders",))
    exclusion = exclusion_of(**FACTS, id="ci", rules=rules, actor=actor)
    record = token_request("ci-builder", groups=(*groups, AUTHENTICATED), code=403, issued=None)

    findings = detect(record, detectors=["token-request-denied"], exclusions=[exclusion])

    assert [finding.rule.id for finding in findings] == reported


def test_a_name_finds_its_components_in_the_order_in_which_they_were_given() -> None:
    """Of two that fit equally well, the first decides; names and patterns are one list."""
    known = [
        (exclusion_of(**FACTS, id=str(number), actor=Actor(username=names, groups=("g",))).component, number)
        for number, names in enumerate((("ci-*",), ("ci-a", "x"), ("ci-*", "ci-a"), ("y",), ("ci-a",)))
    ]

    assert NameIndex(known).of("ci-a") == (0, 1, 2, 4)
    assert NameIndex(known).of("x") == (1,)
    assert NameIndex(known).of("z") == ()


def test_what_is_kept_with_an_event_is_of_the_same_component() -> None:
    """One that is made where another was forgotten has its id, and other proofs."""
    event = parse_event(token_request("system:node:n", groups=("system:nodes",), userAgent="kubelet/v1"))
    for number in range(50):
        namespace = "*" if number % 2 else "elsewhere"
        component = attrs.evolve(KUBELET.component, namespaces=(namespace,))
        judged = verdict(attrs.evolve(KUBELET, component=component), event)
        assert judged is not None
        assert judged.excludes is (namespace == "*")
        del component, judged
