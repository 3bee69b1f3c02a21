# SPDX-License-Identifier: Apache-2.0
"""What the doctor says about a log: what it holds, what was lost, what to change; as text and as JSON."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

import cloud_logs
from builders import token_request
from k8stokendetect import AuditLog, detect, read
from k8stokendetect.audit_policy import AuditPolicy, review
from k8stokendetect.cli import main
from k8stokendetect.detectors import BUILTIN, OPTIONAL
from k8stokendetect.doctor import MAX_NAMES, OTHERS, UNNAMED, diagnose
from k8stokendetect.doctor.timeline import MAX_GAPS, MAX_SLOTS, Timeline
from k8stokendetect.outputs.diagnosis import to_diagnosis
from k8stokendetect.testing import LIVE_TOKEN
from recordings import METADATA, REQUEST_RESPONSE, records
from wrappings import azure, cloudwatch, gcp

ATTACK = Path(__file__).parents[1] / "examples" / "attack.log"
START = datetime(2026, 11, 23, 20, tzinfo=UTC)


def doctor(*arguments: str, content: bytes = b"") -> Result:
    """Run the command."""
    return CliRunner().invoke(main, ["doctor", *arguments], input=content)


def test_the_recording() -> None:
    """Level Metadata, Kubernetes 1.36: all ids are there, no bodies, and the rules that need these cannot speak."""
    report = diagnose(METADATA)
    facts = report.clusters[0].facts

    assert report.events == 6758
    assert report.levels == {"Metadata": 6758}
    assert report.stages == {"ResponseComplete": 6621, "ResponseStarted": 137}
    assert report.wrappers == {"native": 6758}
    assert (report.unreadable, report.skipped, report.unproven, report.lost) == (0, 0, 0, {})
    assert (str(facts["id of the issued token"]), str(facts["id of the certificate used"])) == (
        "264 of 264",
        "318 of 318",
    )
    assert {rule.rule_id for rule in report.rules if rule.verdict == "cannot speak"} == {
        "token-request-cloud-audience",
        "token-request-long-lived",
        "token-right-granted",
    }


def test_the_changes_are_what_the_rules_lack() -> None:
    """Put before the rules of a policy of level Metadata, they let every rule work that could not speak."""
    report = diagnose(METADATA)
    rules = [yaml.safe_load(change.to_yaml())[0] for change in report.policy]
    policy = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [*rules, {"level": "Metadata"}]}

    verdicts = {found.rule_id: found.verdict for found in review(AuditPolicy.load(yaml.safe_dump(policy).encode()))}
    assert {verdicts[rule.rule_id] for rule in report.rules if rule.verdict == "cannot speak"} == {"works"}


def test_the_counts_are_those_of_a_scan() -> None:
    """Events, errors, records of other logs: the same as `detect` counts."""
    content = ATTACK.read_bytes() + b'{"kind": "Event", "auditID": "x"\n{"category": "guard", "resourceId": "/x"}\n'
    log = read(content, on_error=lambda _: None)
    list(detect(log))
    report = diagnose(content)

    assert (report.events, report.unreadable, report.skipped) == (106, 1, log.skipped) == (106, 1, 1)
    assert sum(report.errors.values()) == 1


def test_an_audit_log_is_read_as_it_is_configured() -> None:
    """Its platform and its trust hold; what it counted before is not counted again."""
    printed = {"kubernetes": {"namespace_name": "prod", "pod_name": "x"}, "log": json.dumps(token_request())}
    log: AuditLog = read([printed, token_request()], platform="eks")

    for _ in range(2):
        report = diagnose(log)
        assert (report.events, report.unproven, report.platforms) == (1, 1, {"eks": 1})


@pytest.mark.parametrize(
    ("content", "wrapper", "lost", "silent"),
    [
        (next(iter(azure.WRAPPINGS.values())), "azure", set(), set()),
        (gcp.WRAPPINGS["gke log entries"], "gcp", {"groups", "extra", "impersonation"}, {"token-request-impersonated"}),
        (next(iter(cloudwatch.WRAPPINGS.values())), "cloudwatch", set(), set()),
    ],
)
def test_what_a_wrapper_loses_is_named(content: Any, wrapper: str, lost: set[str], silent: set[str]) -> None:
    """With the number of events, and the rules that it silences."""
    report = diagnose(content(records(METADATA)[:300]))

    assert wrapper in report.wrappers
    assert lost <= set(report.lost)
    assert silent <= {rule.rule_id for rule in report.rules if rule.verdict == "cannot speak"}


def test_where_the_provider_decides_the_policy_no_rule_is_proposed() -> None:
    """On EKS, AKS and GKE nobody can change it; the page about the provider says what its log holds."""
    report = diagnose(read(METADATA, platform="eks"))

    assert report.policy == ()
    assert any("docs/how-to/eks.md" in line for line in report.advice)


def test_clusters_are_judged_apart() -> None:
    """What one cluster carries says nothing about another: the rule speaks in part, and says where it does not."""
    whole, bare = token_request(), token_request(responseStatus=None, issued=None)
    rows = [
        {"category": "kube-audit", "resourceId": _resource(name), "properties": {"log": json.dumps(event)}}
        for name, event in (("one", whole), ("two", bare))
    ]
    report = diagnose(rows)
    rule = next(rule for rule in report.rules if rule.rule_id == "token-request")

    assert [cluster.name for cluster in report.clusters] == ["one", "two"]
    assert rule.verdict == "in part"
    assert rule.clusters == {"one": "can speak", "two": "cannot speak"}
    assert any(why.startswith("cluster two: ") for why in rule.why)


def _resource(cluster: str) -> str:
    group = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerService"
    return f"{group}/managedClusters/{cluster}"


def test_nothing_grows_with_what_is_read() -> None:
    """Names that a sender chooses are counted apart up to a number, and together beyond it."""
    rows = [
        {"category": "kube-audit", "resourceId": _resource(f"c{number}"), "properties": {"log": json.dumps(event)}}
        for number in range(MAX_NAMES + 20)
        for event in [token_request(level=f"level {number}", stage=f"{'s' * 200}{number}")]
    ]
    report = diagnose(rows)

    assert len(report.clusters) == len(report.levels) == MAX_NAMES + 1
    assert report.levels[OTHERS] == 20
    assert next(cluster for cluster in report.clusters if cluster.name == OTHERS).events == 20
    assert max(map(len, report.stages)) == MAX_NAMES
    assert len(to_diagnosis(report)) < 60_000


def times(*minutes: float) -> Timeline:
    """Return a timeline of events at these minutes."""
    timeline = Timeline()
    for minute in minutes:
        timeline.take(START + timedelta(minutes=minute))
    return timeline


def test_gaps_do_not_depend_on_the_order() -> None:
    """Files of several API servers, and rotated ones, come in any order."""
    gap = times(0, 1, 2, 30, 31).gaps()

    assert times(31, 2, 0, 30, 1).gaps() == gap
    assert [(one.start, one.end) for one in gap] == [
        (START + timedelta(minutes=2, seconds=10), START + timedelta(minutes=30))
    ]
    assert times(*range(0, 60, 5)).gaps() == ()


def test_the_longest_gaps_are_kept() -> None:
    """In the order of time; not more than a person reads."""
    found = times(*(number * number * 10 for number in range(12))).gaps()

    assert len(found) == MAX_GAPS
    assert list(found) == sorted(found, key=lambda gap: gap.start)
    assert min(gap.end - gap.start for gap in found) > timedelta(minutes=100)


def test_a_long_log_costs_no_more_than_a_short_one() -> None:
    """Slots grow with the time that the log covers; the gap is still found, and one wrong time costs one slot."""
    timeline = Timeline()
    for hour in range(3 * MAX_SLOTS):
        if not 1000 <= hour < 2000:
            timeline.take(START + timedelta(hours=hour))
    timeline.take(datetime(9999, 12, 31, tzinfo=UTC))

    assert len(timeline._slots) <= MAX_SLOTS  # noqa: SLF001 - the bound is the point
    assert [gap.start.year for gap in timeline.gaps()] == [2027, 2033]
    assert timeline.last == datetime(9999, 12, 31, tzinfo=UTC)


def test_the_command_prints_a_page() -> None:
    """What is read, what the events carry, the rules by what they can do, what to change; 1 where one cannot speak."""
    result = doctor(str(ATTACK))

    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[0] == "events read: 106; unreadable: 0"
    order = [lines.index(f"{verdict}:") for verdict in ("cannot speak", "in part", "not known", "can speak")]
    assert order == sorted(order)
    assert "to change: add to the audit policy, before its other rules" in lines
    assert {line.strip() for line in lines} >= {cls.rule.id for cls in (*BUILTIN, *OPTIONAL)}


def test_the_json_form_has_all_of_it() -> None:
    """One document, which is what the Python function returns."""
    result = doctor("--format", "json", str(ATTACK))

    assert json.loads(result.stdout) == diagnose(ATTACK).to_dict()
    assert json.loads(result.stdout)["clusters"][0]["facts"]["user's groups"] == {"of": 106, "has": 106}


def test_the_exit_status() -> None:
    """2 where no event could be read or an option is wrong; 1 where a default rule is known to miss something."""
    assert doctor("-", content=b"").exit_code == 2
    assert doctor("-", content=b"no audit log\n").exit_code == 2
    assert doctor("--platform", "nowhere", str(ATTACK)).exit_code == 2
    assert doctor(str(METADATA)).exit_code == 1
    assert doctor("-", content=_whole_log()).exit_code == 0


def _whole_log() -> bytes:
    """Return a log in which every default rule can speak, as far as it shows."""
    managers = [one for one in records(METADATA) if one["user"].get("username") == "system:kube-controller-manager"]
    rows = [*records(REQUEST_RESPONSE), *managers[:1]]
    return gzip.compress(b"\n".join(json.dumps(record).encode() for record in rows))


def test_no_token_and_no_escape_code_gets_into_it() -> None:
    """Whatever stands in a level, a stage or a wrapper's name of a cluster."""
    event = token_request(level=f"x\x1b[2J{LIVE_TOKEN}", userAgent=LIVE_TOKEN)
    for text in (to_diagnosis(diagnose([event])), json.dumps(diagnose([event]).to_dict())):
        assert LIVE_TOKEN not in text
        assert "\x1b" not in text


def test_an_empty_log_says_so() -> None:
    """Nothing is claimed of what was not read."""
    report = diagnose(b"")

    assert (report.events, report.first, report.clusters) == (0, None, ())
    assert report.verdict("token-request") == "cannot speak"
    assert UNNAMED not in to_diagnosis(report)


@pytest.mark.parametrize(
    ("name", "exchanges", "refused", "missing"),
    [
        ("cloudtrail.json", {"web identity": 1, "pod identity": 1, "role": 1}, 1, ()),
        ("google.jsonl", {"pool": 1, "impersonation": 1}, 1, ()),
        ("entra.json", {"sign-in": 2}, 1, ()),
    ],
)
def test_what_the_logs_of_a_cloud_hold(name: str, exchanges: dict[str, int], refused: int, missing: Any) -> None:
    """Exchanges by their kind; of the two records of EKS Pod Identity one counts; the text and the JSON say it."""
    report = diagnose(cloud_logs.FOLDER / name)
    (cloud,) = report.clouds

    assert (cloud.exchanges, cloud.refused, cloud.missing) == (exchanges, refused, missing)
    assert json.loads(doctor(str(cloud_logs.FOLDER / name), "--format", "json").output)["clouds"] == [cloud.to_dict()]
    assert f"cloud {cloud.cloud}: {cloud.events} calls, 2026-03-02" in to_diagnosis(report)
    assert all(one in to_diagnosis(report) for one in ("not followed: ", *cloud.hidden))


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([cloud_logs.record(0, readOnly=False)], ["write events only"]),
        ([cloud_logs.record(0)], ["no AssumeRole by pods.eks.amazonaws.com"]),
        (cloud_logs.ENTRIES[:1], ["no GenerateAccessToken"]),
        (cloud_logs.ENTRIES[3:], ["no ExchangeToken", "no GenerateAccessToken"]),
        ([{**cloud_logs.SIGN_INS[0], "properties": {"servicePrincipalId": "s"}}], ["no sign-in with a federated"]),
    ],
)
def test_what_seems_not_to_be_logged_in_a_cloud(records: list[dict[str, Any]], said: list[str]) -> None:
    """A trail of write events, a Data Access log that is off, a category that is not exported."""
    report = diagnose(cloud_logs.lines(records))

    assert report.unreadable == 0
    assert [part in line for line, part in zip(report.clouds[0].missing, said, strict=True)] == [True] * len(said)


def test_pod_identity_without_its_tags() -> None:
    """Who exchanged cannot be told then: the doctor says how often that is."""
    (tagged,) = (
        item for item in cloud_logs.RECORDS if item.get("userIdentity", {}).get("invokedBy", "").startswith("pods")
    )
    bare = {**tagged, "eventID": "b", "requestParameters": {**tagged["requestParameters"], "tags": []}}
    (cloud,) = diagnose(cloud_logs.lines([cloud_logs.record(0), tagged, bare])).clouds

    assert [line.partition(":")[0] for line in cloud.missing] == ["EKS Pod Identity names no pod in 1 of 2 exchanges"]


def test_exchanges_without_the_key_that_they_issued() -> None:
    """An export without `responseElements`."""
    bare = [{**item, "responseElements": None} for item in cloud_logs.RECORDS]
    (cloud,) = diagnose(cloud_logs.lines(bare)).clouds

    assert [line.partition(":")[0] for line in cloud.missing] == [
        "3 of 3 exchanges do not name the key that they issued"
    ]
