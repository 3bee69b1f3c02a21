# SPDX-License-Identifier: Apache-2.0
"""The tree of an incident: identities, tokens and acts on at most 40 lines, none of which steers the terminal."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8stokendetect import Finding, ReadError, Severity, parse_event
from k8stokendetect.findings import EventRef
from k8stokendetect.incidents import incidents
from k8stokendetect.outputs.tree import to_tree
from recordings import METADATA, METADATA_1_27
from strategies import audit_events, texts
from test_incidents import found, links, one, recorded, ref, scenario, used


def test_a_chain_is_a_tree_from_the_identity_to_the_last_act() -> None:
    """Scenario 05 of the recording, where each token was used from another address."""
    lines = to_tree(one(*scenario(METADATA, "05-attack-chain"))).splitlines()
    tree = [
        line.split("  ")[0].rstrip() if "─" not in line else line.rpartition("─ ")[2].split("  ")[0] for line in lines
    ]

    assert lines[0].startswith("HIGH  alice minted 3 tokens for dev/chain-a, dev/chain-b and prod/chain-c")
    assert lines[1].startswith("  2026-11-23 21:43:48Z")
    assert "chain of 3 tokens" in lines[1]
    assert tree[2:7] == [
        "alice at 127.0.0.1",
        "minted a token for dev/chain-a",
        "minted a token for dev/chain-b, from 127.0.0.5",
        "minted a token for prod/chain-c, from 127.0.0.6",
        "list secrets prod, from 127.0.0.7",
    ]
    assert [line.index("└") for line in lines[3:7]] == [0, 3, 6, 9]
    assert lines[7] == "what to do:"


def test_branches_and_folded_acts() -> None:
    """Equal acts are one line; a token's id stands where there is one token only."""
    mint = ref(minted_credential="JTI=1")
    twins = [found(ref(target="dev/b", minutes=n, minted_credential=f"JTI=b{n}")) for n in (2, 3)]
    uses = [used(mint, minutes=n) for n in range(4, 16)]

    assert to_tree(one(found(mint), *twins, *uses)).splitlines()[1:7] == [
        "  2026-11-23 21:00:00Z to 21:15:00Z  15 findings  incident " + one(found(mint)).id,
        "alice at 192.0.2.7",
        "├─ minted a token for prod/payments-sa  21:00:00  MEDIUM token-request  JTI=1",
        "│  └─ list secrets prod ×12  21:04:00-21:15:00  HIGH minted-token-used",  # noqa: RUF001
        "└─ minted a token for dev/b ×2  21:02:00-21:03:00  MEDIUM token-request",  # noqa: RUF001
        "what to do:",
    ]


def test_mints_with_equal_consequences_are_folded_with_them() -> None:
    """Ten tokens that were each used once are two lines."""
    mints = [ref(minutes=n, minted_credential=f"JTI={n}") for n in range(10)]
    text = to_tree(one(*map(found, mints), *(used(mint, minutes=20) for mint in mints)))

    assert "└─ minted a token for prod/payments-sa ×10" in text  # noqa: RUF001
    assert text.count("list secrets prod") == 3  # the title, the tree, the advice


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (ref(code=403), "└─ asked for a token of prod/payments-sa: refused with 403  "),
        (ref(code=None), "└─ asked for a token of prod/payments-sa: answer not known  "),
        (ref(code=405, verb="get"), "└─ get serviceaccounts/token prod/payments-sa: refused with 405  "),
        (ref(impersonating="bob"), "└─ minted a token for prod/payments-sa, impersonating bob  "),
        (ref(target=None, minted_credential="JTI=1"), "└─ minted a token for an unnamed service account  "),
        (ref(target=None, verb="", code=200), "└─ an unknown verb of a path without a resource  "),
        (ref("", code=401), "an unauthenticated client at 192.0.2.7\n"),
        (ref("", code=401, source_ips=()), "an unauthenticated client\n"),
        (ref(source_ips=()), "alice\n"),
        (ref(time=None), "time unknown"),
    ],
)
def test_an_act_says_what_is_known(event: EventRef, text: str) -> None:
    """And what is not."""
    assert text in to_tree(one(found(event)))


def test_a_use_says_what_its_place_does_not() -> None:
    """Another address, another user than the token's, a mint that no finding is about."""
    mint = ref(minted_credential="JTI=1")
    use = found(ref("mallory", "pods", 1, verb="list", used_credential="JTI=1", source_ips=()), mint)
    text = to_tree(one(use))

    assert "known from a later finding only" in text
    assert "list pods, as mallory, from an unknown address" in text


def test_an_incident_over_midnight_says_both_days() -> None:
    """The second time alone would mislead."""
    assert "  2026-11-23 21:00:00Z to 2026-11-24 01:00:00Z  " in to_tree(
        one(*(found(ref(minutes=n * 60)) for n in range(5)))
    )


def test_a_long_story_keeps_to_forty_lines_and_the_worst_comes_first() -> None:
    """A flood of harmless calls pushes nothing urgent off the page; what was cut is counted."""
    flood = [found(ref(target=f"ns/sa-{n}", minutes=n / 100, code=403)) for n in range(500)]
    mint = ref(minutes=10, minted_credential="JTI=1")
    lines = to_tree(one(*flood, found(mint), used(mint, minutes=11))).splitlines()

    assert len(lines) == 40
    assert lines[3].startswith("├─ minted a token for prod/payments-sa")
    assert lines[4].startswith("│  └─ list secrets prod")
    (cut,) = [line for line in lines if line.startswith("  … ")]
    assert int(cut.split()[1]) == 503 - (lines.index(cut) - 2)


def test_advice_and_tree_share_the_room() -> None:
    """Neither pushes the other away."""
    mints = [ref(target=f"ns/sa-{n}", minutes=n / 100, minted_credential=f"JTI={n}") for n in range(100)]
    lines = to_tree(one(*map(found, mints))).splitlines()
    middle = lines.index("what to do:")

    assert len(lines) == 40
    assert min(middle, len(lines) - middle) >= 18


@pytest.mark.parametrize("path", [METADATA, METADATA_1_27])
def test_every_recorded_incident_fits(path: Any) -> None:
    """With its severity and title first, and what to do."""
    for incident in incidents(recorded(path)):
        lines = to_tree(incident).splitlines()

        assert len(lines) <= 40
        assert lines[0] == f"{str(incident.severity).upper()}  {incident.title}"
        assert "what to do:" in lines


def test_a_deep_chain_is_drawn_without_recursion() -> None:
    """And its indentation ends somewhere."""
    lines = to_tree(one(*links(3000))).splitlines()

    assert len(lines) <= 40
    assert max(map(len, lines[2:])) < 200


@given(texts, texts, texts, texts)
def test_no_value_steers_the_terminal(user: str, target: str, peer: str, assumed: str) -> None:
    """Whatever a client chose: every line is printable."""
    event = ref(user, target, source_ips=(peer,), impersonating=assumed, minted_credential=target, verb=peer)
    text = to_tree(one(found(event)))

    assert all(line.isprintable() for line in text.split("\n"))
    assert len(text.split("\n")) <= 40


@given(st.lists(audit_events, min_size=1, max_size=5))
def test_any_events_make_a_tree(mappings: list[dict[str, Any]]) -> None:
    """Nothing raises, and no finding is lost from the count."""
    findings: list[Finding] = []
    for mapping in mappings:
        try:
            findings.append(found(EventRef.of(parse_event(mapping)), *(finding.event for finding in findings[-1:])))
        except ReadError:
            continue
    for incident in incidents(findings):
        assert f"  {len(incident.findings)} finding" in to_tree(incident)
        assert incident.severity is Severity.MEDIUM
