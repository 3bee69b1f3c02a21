# SPDX-License-Identifier: Apache-2.0
"""The benchmark's instruments: the log is what was asked for, everybody looks for the same, nobody is left out."""

from __future__ import annotations

import json
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

import calls
import ours
import plain
from generate import BLOCK, MIXES, WRAPPERS, lines, size_of, write
from growth import fit
from k8stokendetect import read
from k8stokendetect.detectors.token_request_uri import STANDARD_NAMESPACES, STANDARD_SERVICE_ACCOUNTS
from measure import Run, alternate
from peers import Log, Peer
from predicate import ACCOUNTS, NAMESPACES
from recordings import METADATA, METADATA_1_27, records
from report import render
from run import compare
from setup_mix import ABOUT_ACCESS, RECORDED
from targets import Row, Table, targets


def is_token_request(event: dict[str, Any]) -> bool:
    """Tell from the decoded event alone."""
    ref = event["objectRef"]
    return (ref["resource"], ref.get("subresource")) == ("serviceaccounts", "token")


@pytest.mark.parametrize(("wrapper", "mix"), [*((wrapper, "busy") for wrapper in WRAPPERS), ("native", "set-up")])
def test_the_same_arguments_give_the_same_log(tmp_path: Path, wrapper: str, mix: str) -> None:
    """To the byte, and another seed gives another one."""
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        write(tmp_path / name, 100_000, seed=seed, wrapper=wrapper, mix=mix, most=300)
    first = (tmp_path / "a").read_bytes()
    assert first == (tmp_path / "b").read_bytes()
    assert first != (tmp_path / "c").read_bytes()


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("level", ["Metadata", "Request", "RequestResponse"])
def test_the_share_of_token_requests_is_the_one_asked_for(level: str, mix: str) -> None:
    """Counted in the text; a binomial of 2,000 at 0.2 strays by 60 in one case of a thousand."""
    events = [json.loads(line) for line in islice(lines(7, 0.2, level, mix), 2000)]
    assert abs(sum(map(is_token_request, events)) - 400) < 60
    assert {event["level"] for event in events if event["objectRef"]["resource"] != "secrets"} == {level}


def caller(event: dict[str, Any]) -> str:
    """Return who made a recorded request, in the words of the set-up mix."""
    name = event["user"].get("username", "")
    if name.startswith("system:serviceaccount:"):
        return "controller" if name.startswith("system:serviceaccount:kube-system:") else "operator"
    known = {"system:apiserver": "apiserver", "system:kube-controller-manager": "manager", "kubernetes-admin": "admin"}
    return known.get(name, "person")


def is_about_access(event: dict[str, Any]) -> bool:
    """Tell whether it is about an RBAC object, a secret or a service account itself."""
    ref = event.get("objectRef", {})
    return "subresource" not in ref and ref.get("resource") in {row[3] for row in RECORDED}


def test_the_set_up_mix_is_drawn_from_the_recordings() -> None:
    """Each row of its table is there, as often as it says, and little that is recorded is left out."""
    recorded = Counter(
        (caller(event), event["verb"], event["objectRef"]["resource"], event["responseStatus"]["code"])
        for event in (*records(METADATA), *records(METADATA_1_27))
        if is_about_access(event)
    )
    assert {row[1:]: row[0] for row in RECORDED} == {row[1:]: recorded[row[1:]] for row in RECORDED}
    assert sum(row[0] for row in RECORDED) > 0.97 * recorded.total()


def test_a_third_of_the_set_up_mix_is_about_access_and_much_of_that_is_written() -> None:
    """Beside the secrets that the busy mix reads; a binomial of 3,000 at 0.4 strays by 80 in 3 cases of 1,000."""
    events = [json.loads(line) for line in islice(lines(7, 0.0, "Request", "set-up"), 3000)]
    about = [event for event in events if is_about_access(event)]
    assert abs(len(about) - 3000 * (ABOUT_ACCESS + (1 - ABOUT_ACCESS) / 10)) < 80
    written = [event for event in about if event["verb"] in {"create", "update", "patch", "delete"}]
    assert 0.2 < len(written) / len(about) < 0.4
    assert {event["objectRef"]["resource"] for event in written if "requestObject" in event} == {
        "clusterroles",
        "clusterrolebindings",
        "rolebindings",
        "roles",
        "serviceaccounts",
    }


def test_a_block_that_is_written_again_has_fresh_ids_and_times() -> None:
    """No event repeats another, and the clock goes on in steps of 5 ms."""
    texts = list(islice(lines(7, 0.02, "Metadata"), BLOCK + 500))
    events = [json.loads(line) for line in (*texts[:500], *texts[-500:])]
    assert len({event["auditID"] for event in events}) == 1000
    assert events[499]["requestURI"] == events[999]["requestURI"]
    assert events[499]["requestReceivedTimestamp"] == "2026-11-23T08:00:02.500000Z"
    assert events[999]["requestReceivedTimestamp"] == "2026-11-23T08:01:42.500000Z"
    assert events[999]["stageTimestamp"] == "2026-11-23T08:01:42.504000Z"
    issued = [event["annotations"].get("authentication.kubernetes.io/issued-credential-id") for event in events]
    known = [token for token in issued if token]
    assert len(known) > 10
    assert len(set(known)) == len(known)


@pytest.mark.parametrize("level", ["Metadata", "RequestResponse"])
@pytest.mark.parametrize("wrapper", ["event-hub", "cloudwatch", "subscription", "native"])
def test_every_wrapper_holds_the_same_events(tmp_path: Path, wrapper: str, level: str) -> None:
    """As the library reads them, beside the events as text."""
    path = tmp_path / "log.gz"
    written = write(path, size_of("1GiB"), share=0.3, level=level, wrapper=wrapper, most=200)
    bare = [json.loads(line) for line in islice(lines(7, 0.3, level), 200)]
    found = list(read(path))
    assert written.events == len(found) == 200
    for event, said in zip(found, bare, strict=True):
        assert (event.audit_id, event.request_uri, event.user.username) == (
            said["auditID"],
            said["requestURI"],
            said["user"]["username"],
        )
        assert event.annotations == said["annotations"]
        assert event.response_object == said.get("responseObject")


@pytest.mark.parametrize("level", ["Metadata", "RequestResponse"])
@pytest.mark.parametrize("form", WRAPPERS)
def test_the_plain_loop_and_the_library_report_the_same_people(tmp_path: Path, form: str, level: str) -> None:
    """Those whose names the generator gives to people, by rule and audit id."""
    log = tmp_path / "log"
    write(log, size_of("200KiB"), share=0.8, level=level, wrapper=form, most=400)
    ours.scan(log, tmp_path / "ours")
    events, _ = plain.scan(log, tmp_path / "plain", form)
    mine = [json.loads(line) for line in (tmp_path / "ours").read_text().splitlines()]
    reported = {
        (finding["rule_id"], finding["event"]["audit_id"])
        for finding in mine
        if finding["rule_id"] in {"token-request", "token-request-uri"}
    }
    theirs = [json.loads(line) for line in (tmp_path / "plain").read_text().splitlines()]
    bare = [json.loads(line) for line in islice(lines(7, 0.8, level), events)]
    people = {event["auditID"] for event in bare if event["user"]["username"].startswith("user-")}
    assert people
    assert reported == {(rule, person) for rule in ("token-request", "token-request-uri") for person in people}
    assert {(rule, person) for rule, person, *_ in theirs} == reported


def test_the_peers_know_the_same_standard_accounts() -> None:
    """The short form of the rules names what the library names."""
    assert frozenset(NAMESPACES) == STANDARD_NAMESPACES
    assert frozenset(ACCOUNTS) == STANDARD_SERVICE_ACCOUNTS


def test_a_peer_that_is_missing_stands_in_the_table(tmp_path: Path) -> None:
    """With what to install; one that cannot read the form and one that fails say so, too."""
    path = tmp_path / "log"
    path.write_bytes(b"{}\n")

    def peer(name: str, version: str | None, command: list[str] | None) -> Peer:
        return Peer(name, version, f"apt install {name}", lambda *_: command, lambda _: {"lines": 1}, "counts")

    everyone = [
        peer("k8stokendetect", "1", ["true"]),
        peer("gone", None, ["gone"]),
        peer("other", "1", None),
        peer("failing", "1", ["false"]),
    ]
    table = compare(Log(path, "native", 1, 3, "native, Metadata"), everyone, tmp_path, 2)
    page = render(
        {
            "date": "2026-11-25",
            "command": "run.py",
            "size": "3B",
            "machine": {"Processor": "one"},
            "peers": [(one.name, one.version, one.does, one.missing) for one in everyone],
            "tables": [table],
        }
    )
    assert "| gone | not installed: `apt install gone` | counts |" in page
    assert "| gone | - | - | - | - | - | - | not installed: `apt install gone` |" in page
    assert "| other | - | - | - | - | - | - | not for this form |" in page
    assert "| failing | - | - | - | - | - | - | failed: see the terminal |" in page
    assert "| native, Metadata: at least 5 times jq | - | not measured |" in page
    assert "1 lines" in page


def run_of(wall: float, processor: float, peak: int = 50_000_000) -> Run:
    """Return what a command cost."""
    return Run(wall, processor, peak, b"")


def test_an_aim_is_reached_by_the_median_of_the_rounds() -> None:
    """By processor time, and by wall time beside a peer that uses every core; memory by the largest of all."""
    ours = Row("k8stokendetect", [run_of(2, 1), run_of(2, 2), run_of(9, 1, 200_000_000)])
    loop = Row("orjson loop", [run_of(9, 1), run_of(9, 3), run_of(9, 9)])
    duckdb = Row("DuckDB, 2 threads", [run_of(1, 9), run_of(0.2, 9), run_of(3, 9)], parallel=True)
    table = Table("native, Metadata", 3, 3, 1, [ours, loop, duckdb])
    aims = {aim.aim: (aim.figure, aim.reached) for aim in targets({"tables": [table], "calls": {"a mint": (201, 200)}})}
    assert aims["native, Metadata: at least 1.3 times orjson loop"] == ("1.50 times", True)
    assert aims["native, Metadata: at least 0.35 times DuckDB on all cores"] == ("0.33 times", False)
    assert aims["native, Metadata: at least 5 times jq"] == ("", None)
    assert aims["peak memory under 100 MB on every log"] == ("200 MB (native, Metadata)", False)
    assert aims["a mint: at most 200 calls into the package"] == ("201", False)


def test_commands_run_in_turn_and_one_that_fails_no_more(tmp_path: Path) -> None:
    """Forwards, then backwards; the failure is said once."""
    order, said = tmp_path / "order", list[str]()
    commands = {name: ["sh", "-c", f"echo {name} >>{order}"] for name in ("a", "b")}
    runs = alternate({**commands, "bad": ["false"]}, 3, said.append)
    assert order.read_text().split() == ["a", "b", "b", "a", "a", "b"]
    assert {name: len(found) for name, found in runs.items()} == {"a": 3, "b": 3, "bad": 0}
    assert said == ["bad: exit 1: false"]


def test_a_line_is_fitted_by_least_squares() -> None:
    """Points on a line, and three whose line is known: (0, 1), (1, 3), (2, 2) give 1.5 + 0.5 x, R² 0.25."""
    exact = fit([(1, 3), (2, 5), (10, 21)])
    assert (exact.start, exact.slope, exact.r2) == pytest.approx((1, 2, 1))
    loose = fit([(0, 1), (1, 3), (2, 2)])
    assert (loose.start, loose.slope, loose.r2, loose.worst) == pytest.approx((1.5, 0.5, 0.25, 0.5))


def test_the_calls_of_each_event_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    """None is over its limit; a mint costs more than noise, and only a person's is reported; counts repeat."""
    calls.main()
    rows = capsys.readouterr().out.splitlines()[2:]
    assert [row.split(" | ")[0].strip("| ") for row in rows] == list(calls.LIMITS)
    costs = calls.costs()
    assert 0 <= costs[calls.NOISE].calls < costs[calls.KUBELETS_MINT].calls < costs[calls.PERSONS_MINT].calls
    assert {name for name, cost in costs.items() if cost.findings} == {calls.PERSONS_MINT}
    assert calls.costs() == costs
    assert {name: cost.calls for name, cost in costs.items() if cost.calls > calls.LIMITS[name]} == {}
