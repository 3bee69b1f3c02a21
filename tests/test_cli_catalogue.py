# SPDX-License-Identifier: Apache-2.0
"""Help that lists options by group, and `rules` and `exclusions`, which describe all that there are, or some."""

from __future__ import annotations

import json

import click
import pytest

from k8stokendetect.cli import main
from k8stokendetect.cli.grouping import MOST_UNGROUPED, Command
from k8stokendetect.detectors import BUILTIN, OPTIONAL
from k8stokendetect.exclusions import DEFAULT_EXCLUSIONS, OPTIONAL_EXCLUSIONS
from test_cli import run


@pytest.mark.parametrize("name", main.commands)
def test_many_options_are_all_listed_in_groups(name: str) -> None:
    """Each once; a command with few has one list."""
    command = main.commands[name]
    context = click.Context(command)
    options = [one for one in command.get_params(context) if isinstance(one, click.Option)]

    assert isinstance(command, Command)
    groups = command.groups(context)
    assert ("Options" not in groups) == (len(options) > MOST_UNGROUPED)
    assert sorted(str(one.name) for listed in groups.values() for one in listed) == sorted(str(o.name) for o in options)


def test_groups_come_in_the_order_in_which_a_user_needs_them() -> None:
    """First what is read, last what is rarely asked for."""
    text = run("scan", "--help").stdout
    titles = [line.removesuffix(":") for line in text.splitlines() if line.endswith(":") and not line.startswith(" ")]

    assert titles == [
        "What to read", "What to look for", "What to leave out", "How to show it", "Follow a growing log",
        "Alerts and state", "Other options",
    ]  # fmt: skip


def test_one_rule_is_described_in_full() -> None:
    """Severity, technique, needs, and how to write it as Sigma; others are not."""
    text = run("rules", "token-request-unbound").stdout

    assert text.startswith("token-request-unbound  low  on  T1552.007\n")
    assert "    needs: token requests at level Metadata: " in text
    assert "    needs to work in full: token requests at level Request: " in text
    assert "    what to do: " in text
    assert "    as Sigma: k8stokendetect sigma token-request-unbound\n" in text
    assert "    as Sigma: Sigma cannot express it: it joins two logs" in run("rules", "minted-token-exchanged").stdout
    assert "audit-policy --clouds" in run("rules", "minted-token-exchanged").stdout
    assert text.count("what to do") == 1


def test_one_exclusion_is_described_in_full() -> None:
    """Proofs, cost and source."""
    text = run("exclusions", "kubelet").stdout

    assert text.startswith("kubelet  on  every platform\n")
    assert all(f"    {part}: " in text for part in ("proofs", "because", "hides", "and with it", "source"))
    assert text.count("    hides: ") == 1


def test_json_has_the_same_entries() -> None:
    """A line each: all, or those named, in the order given and each once."""
    rules = [json.loads(line) for line in run("rules", "--format", "json").stdout.splitlines()]
    exclusions = [json.loads(line) for line in run("exclusions", "--format", "json").stdout.splitlines()]
    two = run("exclusions", "vault-csi-provider", "kubelet", "kubelet", "--format", "json").stdout.splitlines()

    assert {cls.rule.id for cls in (*BUILTIN, *OPTIONAL)} < {rule["id"] for rule in rules}
    assert [entry["id"] for entry in exclusions] == [one.id for one in DEFAULT_EXCLUSIONS + OPTIONAL_EXCLUSIONS]
    assert all(entry["proofs"] and entry["hides"] and entry["provenance"] for entry in exclusions)
    assert [json.loads(line)["id"] for line in two] == ["vault-csi-provider", "kubelet"]
    (rule,) = [json.loads(line) for line in run("rules", "token-request", "--format", "json").stdout.splitlines()]
    assert (rule["severity"], rule["state"], rule["in_sigma"], rule["needs"][0]["level"]) == (
        "medium", "on", True, "Metadata",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("command", "name", "near"),
    [("rules", "tokn-request", "token-request"), ("exclusions", "kublet", "kubelet")],
)
def test_an_unknown_name_is_an_error_with_the_nearest(command: str, name: str, near: str) -> None:
    """And nothing is printed of those that are known."""
    result = run(command, "token-request" if command == "rules" else "flux", name)

    assert result.exit_code == 2
    assert result.stdout == ""
    assert f"unknown {command[:-1]} {name!r}; did you mean {near!r}" in result.stderr
