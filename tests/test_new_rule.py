# SPDX-License-Identifier: Apache-2.0
"""A new rule is its own file, its place in `detectors/__init__.py` and its test: all else follows from the class."""

from __future__ import annotations

import pytest

from builders import token_request
from k8stokendetect import Detector, Event, Finding, Rule, Severity, Tally, detect
from k8stokendetect.audit_policy import Level
from k8stokendetect.audit_policy.needs import MINTS, NEEDS, USES, Need, needs_of
from k8stokendetect.detectors import BUILTIN, OPTIONAL, Traits
from k8stokendetect.sigma.forms import FORMS, NOT_IN_SIGMA
from k8stokendetect.spark.plan import INDEPENDENT

KUBELET = token_request(
    "system:node:worker-1", groups=("system:nodes", "system:authenticated"), userAgent="kubelet/v1.36.2 (linux/amd64)"
)


class NewRule(Detector):
    """A mint for the `default` account, with the body logged."""

    rule = Rule("token-request-default", "Token minted for default", Severity.LOW)
    watches = frozenset({"serviceaccounts/token"})
    traits = Traits(body="what was asked for stands in the request's body", not_in_sigma="nobody has written its form")

    def matches(self, event: Event, /) -> bool:
        """Look at the target."""
        return event.mints_token

    def describe(self, event: Event, /) -> Finding:
        """Report it."""
        return self.finding(event, "minted")


def test_exclusions_reach_it() -> None:
    """It watches serviceaccounts/token, and says nothing else."""
    tally = Tally()
    assert not list(detect(KUBELET, detectors=[NewRule()], tally=tally))
    assert tally.excluded == {"kubelet": 1}


def test_the_audit_policy_knows_what_it_needs() -> None:
    """From what it watches, and what it finds in the body."""
    assert (Need(MINTS, Level.REQUEST, NewRule.traits.body),) == needs_of(NewRule)


@pytest.mark.parametrize(
    ("watches", "requests"),
    [
        ({"create clusterroles"}, ("roles",)),
        ({"delete pods", "update widgets.example.com"}, (("delete", "", "pods"), ("update", "example.com", "widgets"))),
    ],
    ids=["RBAC", "others"],
)
def test_so_it_does_of_other_resources(watches: set[str], requests: tuple[object, ...]) -> None:
    """Each with its verb and API group."""
    (need,) = needs_of(type("Other", (NewRule,), {"watches": frozenset(watches)}))

    assert requests in (need.kind.requests, tuple(need.kind.name.split()[:1]))


def test_every_rule_that_ships_says_in_its_own_file_what_the_rest_asks() -> None:
    """The audit policy, Sigma and Spark read it from the class."""
    shipped = (*BUILTIN, *OPTIONAL)

    assert [cls.rule.id for cls in shipped] == [*NEEDS]
    assert {cls for cls in shipped if cls.traits.not_in_sigma} == {*NOT_IN_SIGMA}
    assert not {*NOT_IN_SIGMA} & {form.detector for form in FORMS}
    assert {cls.rule.id for cls in shipped if cls.traits.separate_keys} == INDEPENDENT
    assert {USES, MINTS} == {need.kind for need in NEEDS["minted-token-used"]}
