# SPDX-License-Identifier: Apache-2.0
"""A new rule is its own file, its place in `detectors/__init__.py` and its cases: all else follows from the class."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from builders import token_request
from k8stokendetect import Detector, Event, Finding, Rule, Severity, Tally, detect
from k8stokendetect.audit_policy import Level
from k8stokendetect.audit_policy.needs import MINTS, NEEDS, USES, Need, needs_of
from k8stokendetect.detectors import BUILTIN, OPTIONAL, Traits
from k8stokendetect.sigma.forms import FORMS, NOT_IN_SIGMA

KUBELET = token_request(
    "system:node:worker-1", groups=("system:nodes", "system:authenticated"), userAgent="kubelet/v1.36.2 (linux/amd64)"
)


class NewRule(Detector):
    """A mint for the `prod` account, with the body logged."""

    rule = Rule("token-request-prod", "Token minted in prod", Severity.LOW)
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
    """The audit policy and Sigma read it from the class."""
    shipped = (*BUILTIN, *OPTIONAL)

    assert [cls.rule.id for cls in shipped] == [*NEEDS]
    assert {cls for cls in shipped if cls.traits.not_in_sigma} == {*NOT_IN_SIGMA}
    assert not {*NOT_IN_SIGMA} & {form.detector for form in FORMS}
    assert {USES, MINTS} == {need.kind for need in NEEDS["minted-token-used"]}


ROOT = Path(__file__).parents[1]
OWN_FILE = '''# SPDX-License-Identifier: Apache-2.0
"""token-request-dev: a token was minted for an account of namespace dev."""

from k8stokendetect.detectors.base import MINTS, Detector, Traits
from k8stokendetect.detectors.wording import mint_evidence, minted
from k8stokendetect.events import Event
from k8stokendetect.findings import Finding, Rule, Severity


class TokenRequestDev(Detector):
    """A mint in development."""

    rule = Rule(
        "token-request-dev",
        "Token minted in development",
        Severity.LOW,
        description="Nobody should need one there.",
        techniques=("T1552.007",),
        tactics=("credential-access",),
        references=("https://attack.mitre.org/techniques/T1552/007/",),
        false_positives=("People who try out the command.",),
        blind_spots=("Development in other namespaces.",),
        response="Ask the caller.",
    )
    watches = MINTS
    traits = Traits(not_in_sigma="nobody has written its form")

    def matches(self, event: Event, /) -> bool:
        """Look at the namespace of the target."""
        return event.mints_token and event.service_account is not None and event.service_account.namespace == "dev"

    def describe(self, event: Event, /) -> Finding:
        """Say who minted."""
        return self.finding(event, minted(event), *mint_evidence(event))
'''
CASES = """    "token-request-dev": ([token_request(target="dev/web")], [MINT]),
"""


def change(path: Path, before: str, after: str) -> None:
    """Put a text into a file, before another one."""
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after + before, 1), encoding="utf-8")


OF_THE_RUN = ("SLIPCOVER", "PYTEST", "PYTHONPYCACHEPREFIX")
"""What the run of these tests sets for itself."""


def test_three_files_are_all_that_a_new_rule_touches(tmp_path: Path) -> None:
    """In a copy of the repository, the tests that go over all rules pass: nothing else has to know of it.

    Except the page of rules in the documentation, docs/detectors.md, where it gets a row.
    """
    for folder in ("src", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("data"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "tests/data").symlink_to(ROOT / "tests/data")
    detectors = tmp_path / "src/k8stokendetect/detectors"
    (detectors / "token_request_dev.py").write_text(OWN_FILE, encoding="utf-8")
    name = "TokenRequestDev"
    change(
        detectors / "__init__.py",
        "from k8stokendetect.detectors.token_request_denied",
        f"from k8stokendetect.detectors.token_request_dev import {name}\n",
    )
    change(detectors / "__init__.py", "    TokenRequestDenied,\n", f"    {name},\n")
    change(tmp_path / "tests/test_conformance.py", '    "token-request-denied": (', CASES)

    every = f"{name} or token-request-dev or every_file or every_detector or every_rule or rule_ids"
    files = [
        f"tests/test_{part}.py" for part in ("conformance", "detectors", "layout", "new_rule", "sigma", "exclusions")
    ]
    result = subprocess.run(  # noqa: S603 - our own tests
        [
            sys.executable,
            "-m",
            "pytest",
            "-n",
            "0",
            "-q",
            "--assert=plain",
            "-p",
            "no:cacheprovider",
            "-k",
            every,
            *files,
        ],
        cwd=tmp_path,
        env={
            key: value for key, value in os.environ.items() if not key.startswith(("SLIPCOVER", "PYTEST", "PYTHONPYC"))
        }
        | {"PYTHONPATH": str(tmp_path / "src")},
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 0, result.stdout
