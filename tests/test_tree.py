# SPDX-License-Identifier: Apache-2.0
"""The tree of an incident: callers, tokens and acts, in lines that fit, none of which steers a terminal or a shell."""

from __future__ import annotations

import re
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8stokendetect import Finding, ReadError, Rule, Severity, parse_event
from k8stokendetect.findings import EventRef
from k8stokendetect.incidents import Incident, incidents
from k8stokendetect.outputs.columns import cells
from k8stokendetect.outputs.text import neutral
from k8stokendetect.outputs.tree import LONGEST, to_tree
from recordings import METADATA, METADATA_1_27
from strategies import audit_events, texts
from test_incidents import found, links, one, recorded, ref, scenario, used


def acts(incident: Incident, **options: Any) -> list[str]:
    """Return the lines of the tree itself."""
    lines = to_tree(incident, **options).splitlines()
    return [line for line in lines if "─ " in line]


def test_a_chain_is_a_tree_from_the_identity_to_the_last_act() -> None:
    """Scenario 05 of the recording, where each token was used from another address."""
    incident = one(*scenario(METADATA, "05-attack-chain"))
    lines = to_tree(incident).splitlines()

    assert lines[0] == f"HIGH  {incident.title}"
    assert lines[1].startswith("  2026-11-23 21:43:48Z  4 alerts, 9 findings  chain of 3 tokens  incident ")
    assert lines[2] == "▸ alice from 127.0.0.1"
    assert [re.split("  (?=record|minted-|token-)", line[18:])[0] for line in lines[3:7]] == [
        "└─ minted a token for dev/chain-a",
        "   └─ minted a token for dev/chain-b, from 127.0.0.5",
        "      └─ minted a token for prod/chain-c, from 127.0.0.6",
        "         └─ listed the secrets in prod, from 127.0.0.7",
    ]
    assert lines[7] == "what to do:"


def test_branches_and_folded_acts() -> None:
    """Equal acts are one line; a token's id stands where there is one token only."""
    mint = ref(minted_credential="JTI=1")
    twins = [found(ref(target="dev/b", minutes=n, minted_credential=f"JTI=b{n}")) for n in (2, 3)]
    uses = [used(mint, minutes=n) for n in range(4, 16)]

    assert to_tree(one(found(mint), *twins, *uses)).splitlines()[1:7] == [
        "  2026-11-23 21:00:00Z to 21:15:00Z  15 alerts, 15 findings  incident " + one(found(mint)).id,
        "▸ alice from 192.0.2.7",
        "MEDIUM   21:00:00 ├─ minted a token for prod/payments-sa  token-request  JTI=1",
        "HIGH     21:04:00 │  └─ listed the secrets in prod 12 times, until 21:15:00  minted-token-used",
        "MEDIUM   21:02:00 └─ minted a token for dev/b twice, until 21:03:00  token-request",
        "what to do:",
    ]


def test_how_often_stands_before_the_address() -> None:
    """What stands behind an address would be taken for a number of addresses."""
    mint = ref(minted_credential="JTI=1")
    uses = [
        used(mint, minutes=n, source_ips=("192.0.2.9",), code=code) for n, code in enumerate((200, 200, 403, 403, 403))
    ]
    text = to_tree(one(found(mint), *uses, *(found(ref(impersonating="bob", minutes=n)) for n in (7, 8, 9))))

    assert "listed the secrets in prod twice, from 192.0.2.9, until" in text
    assert "tried 3 times to list the secrets in prod (refused, 403), from 192.0.2.9, until" in text
    assert "minted a token for prod/payments-sa, impersonating bob, 3 times, until" in text


def test_mints_with_equal_consequences_are_folded_with_them() -> None:
    """Ten tokens that were each used once are two lines."""
    mints = [ref(minutes=n, minted_credential=f"JTI={n}") for n in range(10)]
    text = to_tree(one(*map(found, mints), *(used(mint, minutes=20) for mint in mints)))

    assert "└─ minted a token for prod/payments-sa 10 times" in text
    assert text.count("listed the secrets in prod") == 2  # the title, the tree


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (ref(code=403), "└─ tried to mint a token for prod/payments-sa (refused, 403)"),
        (ref(code=500), "└─ tried to mint a token for prod/payments-sa (failed, 500)"),
        (ref(code=None), "└─ tried to mint a token for prod/payments-sa (answer not logged)"),
        (ref(code=405, verb="get"), "└─ tried to read the token of serviceaccount prod/payments-sa (refused, 405)"),
        (ref(impersonating="bob"), "└─ minted a token for prod/payments-sa, impersonating bob"),
        (ref(target=None, minted_credential="JTI=1"), "└─ minted a token for an unnamed service account"),
        (ref(target=None, verb="", code=200), "└─ sent an unknown verb to a path that was not logged"),
        (ref("", code=401), "▸ unauthenticated clients from 192.0.2.7\n"),
        (ref("", code=401, source_ips=()), "▸ unauthenticated clients\n"),
        (ref(source_ips=()), "▸ alice\n"),
        (ref("system:serviceaccount:dev:web"), "▸ dev/web from 192.0.2.7\n"),
        (ref("dev/web"), "▸ user dev/web from 192.0.2.7\n"),
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

    assert "known only from a later finding" in text
    assert "listed all pods, as mallory, from an unknown address" in text


def test_a_controller_that_filled_a_secret_is_no_caller() -> None:
    """What it did by design is below the request whose effect it shows, and nobody is told to act against it."""
    made = ref("bob", "secrets dev/builder", verb="create")
    filled = ref("system:kube-controller-manager", "secrets dev/builder", 1, verb="update", code=200)
    text = to_tree(one(found(made, filled, rule=Rule("legacy-token-secret", "Legacy", Severity.MEDIUM))))

    assert [line for line in text.splitlines() if line.startswith("▸")] == ["▸ bob from 192.0.2.7"]
    assert "by system:kube-controller-manager, by design: it shows what was done" in text
    assert text.count("system:kube-controller-manager") == 1


def test_a_flood_of_strangers_is_one_line() -> None:
    """Each from another address, over many hours, with another outcome of each request's own."""
    flood = [
        found(ref("", f"secrets ns-{n % 2}", n / 10, verb="list", code=401, source_ips=(f"10.0.{n // 250}.{n % 250}",)))
        for n in range(3000)
    ]
    (incident,) = incidents(flood)

    assert len(acts(incident)) == 2
    assert [line for line in to_tree(incident).splitlines() if line.startswith("▸")] == [
        "▸ unauthenticated clients from 10.0.0.0, 10.0.0.1, 10.0.0.2 and 2,997 more"
    ]


def test_an_incident_over_midnight_says_both_days() -> None:
    """The second time alone would mislead."""
    assert "  2026-11-23 21:00:00Z to 2026-11-24 01:00:00Z  " in to_tree(
        one(*(found(ref(minutes=n * 60)) for n in range(5)))
    )


def test_a_long_story_is_cut_and_says_how_to_see_the_rest() -> None:
    """A flood of harmless calls pushes nothing urgent off the page; what was cut is counted."""
    flood = [found(ref(target=f"ns/sa-{n}", minutes=n / 100, code=403)) for n in range(500)]
    mint = ref(minutes=10, minted_credential="JTI=1")
    incident = one(*flood, found(mint), used(mint, minutes=11))

    assert len(acts(incident)) == LONGEST - 1
    assert "├─ minted a token for prod/payments-sa" in acts(incident)[0]
    assert "│  └─ listed the secrets in prod" in acts(incident)[1]
    assert f"  … {502 - (LONGEST - 1)} more requests: --limit 0 prints all" in to_tree(incident)
    assert len(acts(incident, full=True)) == 502
    assert "--limit 0" not in to_tree(incident, full=True)


def test_long_advice_is_cut_the_same_way() -> None:
    """A hundred tokens are a hundred steps."""
    incident = one(
        *(found(ref(target=f"ns/sa-{n}", minutes=n / 100, minted_credential=f"JTI={n}")) for n in range(100))
    )

    assert f"  … {100 - LONGEST} more steps: --limit 0 prints all" in to_tree(incident)
    assert to_tree(incident, full=True).count("kubectl replace") == 100


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("path", [METADATA, METADATA_1_27])
def test_every_recorded_incident_fits_the_window(path: Any, width: int) -> None:
    """But for commands, which stand on lines of their own, whole."""
    for incident in incidents(recorded(path)):
        lines = to_tree(incident, width=width, full=True).splitlines()
        commands = [line.strip() for line in lines if line.strip().startswith("kubectl ")]

        assert all(cells(line) <= width for line in lines if not line.strip().startswith("kubectl "))
        assert commands == [neutral(step.command) for step in incident.advice if step.command]
        assert "what to do:" in lines


def test_a_deep_chain_is_drawn_without_recursion() -> None:
    """And its indentation ends somewhere."""
    lines = to_tree(one(*links(3000)), full=True, width=100).splitlines()

    assert len(lines) > 3000
    assert max(map(cells, lines[2:-2])) <= 100


@given(texts, texts, texts, texts, st.integers(20, 300))
def test_no_value_steers_the_terminal_or_a_shell(user: str, target: str, peer: str, assumed: str, width: int) -> None:
    """Whatever a client chose: every line is printable, fits, and has nothing that a shell acts on but in commands."""
    event = ref(user, target, source_ips=(peer,), impersonating=assumed, minted_credential=target, verb=peer)
    for incident in (one(found(event)), one(found(attrs.evolve(event, code=403, minted_credential=None)))):
        for line in to_tree(incident, width=width).split("\n"):
            assert line.isprintable()
            if not line.strip().startswith("kubectl "):
                assert cells(line) <= max(width, 40)
                assert not set("$`|&<>!'\"") & set(line)
                assert line.strip().split(" ")[0] in FIRST_WORDS or line.strip()[:1] in "├└│┆▸#…" or ". " in line[:8]


FIRST_WORDS = {"CRITICAL", "HIGH", "MEDIUM", "LOW", "INFO", "what", "2026-11-23", "time"}
"""What a line may begin with; anything else would be taken for a command where it is pasted into a shell."""


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
        assert f", {len(incident.findings):,} finding" in to_tree(incident)
        assert incident.severity is Severity.MEDIUM
