# SPDX-License-Identifier: Apache-2.0
"""Clouds' logs are read as audit logs are: whatever is around them, beside them, and never for each other."""

from __future__ import annotations

import base64
import csv
import gzip
import json
import os
from pathlib import Path
from typing import Any

import attrs
import pytest

from builders import token_request
from cloud_logs import ENTRIES, FOLDER, RECORDS, SIGN_INS, WAYS, archive, bus, file, lines, lookup, record, text
from k8stokendetect import AuditLog, Event, ReadError, Tally, detect, read
from k8stokendetect.clouds import CloudEvent, parse_cloud_event
from k8stokendetect.testing.builders import LIVE_TOKEN

EXPECTED = [parse_cloud_event(item, "aws") for item in RECORDS]
MINT = token_request()


def events(source: Any, **arguments: Any) -> list[CloudEvent]:
    """Read all calls without their places; nothing may be wrong."""
    return [attrs.evolve(event, origin=None) for event in read(source, **arguments).cloud_events()]


@pytest.mark.parametrize("way", WAYS)
def test_every_way_out_of_cloudtrail_gives_the_same_calls(way: str) -> None:
    """None is lost, none is another."""
    assert events(WAYS[way](RECORDS)) == EXPECTED


def test_files_of_all_kinds_give_the_same_calls(tmp_path: Path) -> None:
    """A folder as `aws s3 sync` makes it, an archive, mappings, what EventBridge hands on, rows of a query."""
    for number, item in enumerate(RECORDS):
        (tmp_path / f"{number}.json.gz").write_bytes(gzip.compress(file([item])))

    assert set(map(str, EXPECTED)) == set(map(str, events(tmp_path))) == set(map(str, events(archive(RECORDS))))
    assert events(RECORDS) == EXPECTED
    assert events([bus(item) for item in RECORDS]) == EXPECTED
    assert events([lookup(RECORDS)]) == EXPECTED
    assert events(EXPECTED) == EXPECTED


def test_answers_of_athena_give_the_same_calls() -> None:
    """GetQueryResults: the names in the first row; and rows whose structs Parquet kept."""
    with (FOLDER / "athena.csv").open(encoding="utf-8", newline="") as table:
        rows = list(csv.reader(table))
    answer = {"ResultSet": {"Rows": [{"Data": [{"VarCharValue": cell} for cell in row]} for row in rows]}}
    lowered = [
        {key.lower(): value if key != "readOnly" else str(value).lower() for key, value in item.items()}
        for item in RECORDS
    ]

    assert events([answer]) == EXPECTED
    assert events(lowered) == EXPECTED


def test_answers_of_cloudtrail_lake_give_the_same_calls() -> None:
    """Each cell is an object; parameters and answers are maps from text to text, which may hold JSON."""

    def map_of(value: Any) -> str:
        if value is None:
            return "null"
        texts = {key: item if isinstance(item, str) else json.dumps(item) for key, item in value.items()}
        return "{" + ", ".join(f"{key}={text}" for key, text in texts.items()) + "}"

    rows = []
    for item in RECORDS:
        row = {
            key.lower(): json.dumps(value) if isinstance(value, dict | list) else value for key, value in item.items()
        }
        row |= {name.lower(): map_of(item.get(name)) for name in ("requestParameters", "responseElements")}
        row |= {
            "readonly": str(item["readOnly"]).lower(),
            "eventtime": f"{item['eventTime'][:10]} {item['eventTime'][11:19]}.000",
        }
        rows.append([{key: value} for key, value in row.items()])

    assert events([{"QueryStatus": "FINISHED", "QueryResultRows": rows}]) == EXPECTED
    assert read([{"QueryResultRows": []}]).skipped == 0
    (error,) = read([{"QueryResultRows": [5]}]).stream()
    assert isinstance(error, ReadError)


def test_a_row_whose_struct_can_be_read_in_two_ways_is_an_error() -> None:
    """A caller's name is no place for another field."""
    row = {"eventsource": "sts.amazonaws.com", "eventname": "x", "eventid": "1", "eventtime": "2026-03-02T10:00:00Z"}
    (error,) = read([{**row, "useridentity": "{type=IAMUser, arn=a, username=x, arn=b}"}]).stream()
    (good,) = read([{**row, "useridentity": "{type=IAMUser, arn=a, sessioncontext=null}"}]).cloud_events()

    assert isinstance(error, ReadError)
    assert error.path == "$.userIdentity"
    assert (good.caller.principal, good.caller.kind) == ("a", "IAMUser")


def test_sign_ins_come_from_event_hubs_storage_accounts_and_tables() -> None:
    """The same three, as messages, lines, the portal's table and the API's answer."""
    expected = [parse_cloud_event(item, "azure") for item in SIGN_INS]
    columns = ("Id", "CorrelationId", "AppId", "ServicePrincipalId", "TimeGenerated", "ResultType", "Type")
    rows = [["1", "2", "3", "4", "2026-03-02T10:01:00Z", "0", "AADManagedIdentitySignInLogs"]]
    answer = {"tables": [{"name": "PrimaryResult", "columns": [{"name": name} for name in columns], "rows": rows}]}

    assert expected == events(FOLDER / "entra.json")
    assert expected == events(lines(SIGN_INS))
    assert expected == events(FOLDER / "entra.csv")
    assert [(event.id, event.caller.kind) for event in events([answer])] == [("1", "ManagedIdentitySignInLogs")]


def test_entries_of_google_come_from_sinks_pubsub_and_bigquery() -> None:
    """As lines, as `gcloud` writes them, and as BigQuery renames them."""
    expected = [parse_cloud_event(item, "google") for item in ENTRIES]
    pushed = [
        {"message": {"data": base64.b64encode(text(item).encode()).decode(), "messageId": "1"}} for item in ENTRIES
    ]
    renamed = []
    for item in ENTRIES:
        payload = dict(item["protoPayload"])
        for body in ("request", "response", "metadata"):
            if body in payload:
                payload[f"{body}Json"] = text(payload.pop(body))
        rest = {key: value for key, value in item.items() if key != "protoPayload"}
        renamed.append({**rest, "protopayload_auditlog": payload})

    assert expected == events(FOLDER / "google.jsonl")
    assert expected == events(json.dumps(ENTRIES, indent=2).encode())
    assert expected == events(pushed)
    assert expected == events(renamed)


def test_iterating_gives_audit_events_and_counts_the_others() -> None:
    """And the other way round; a stream gives both, in the order of their place."""
    content = lines([RECORDS[0], MINT, RECORDS[1]])
    log = read(content)

    assert [type(item) for item in log.stream()] == [CloudEvent, Event, CloudEvent]
    assert log.cloud_records == 2
    assert [event.audit_id for event in read(content)] == [MINT["auditID"]]
    assert [event.id for event in read(content).cloud_events()] == [RECORDS[0]["eventID"], RECORDS[1]["eventID"]]


def test_a_log_in_another_counts_what_is_in_it() -> None:
    """As it does for what was skipped."""
    outer = read([AuditLog(file(RECORDS)), MINT, EXPECTED[0]])

    assert len(list(outer)) == 1
    assert outer.cloud_records == len(RECORDS) + 1


def test_logs_are_read_together_in_the_order_of_time(tmp_path: Path) -> None:
    """The audit log in one file, CloudTrail in another."""
    times = ["2026-03-02T10:00:00Z", "2026-03-02T10:02:30Z"]
    mints = [dict(MINT, auditID=str(number), requestReceivedTimestamp=time) for number, time in enumerate(times)]
    (tmp_path / "audit.log").write_bytes(lines(mints))
    (tmp_path / "trail.json").write_bytes(file([RECORDS[0], RECORDS[3]]))
    found = [item.time for item in read(tmp_path).stream() if not isinstance(item, ReadError)]

    assert len(found) == 4
    assert found == sorted(found, key=str)


def test_what_detect_finds_does_not_depend_on_the_logs_beside() -> None:
    """Calls in clouds are no audit events."""
    alone = [finding.rule.id for finding in detect(lines([MINT]))]
    tally = Tally()
    beside = [finding.rule.id for finding in detect(lines([*RECORDS, MINT, *ENTRIES, *SIGN_INS]), tally=tally)]

    assert alone
    assert [rule for rule in beside if rule in set(alone)] == alone
    assert tally.unreadable == 0


def test_a_damaged_record_costs_itself() -> None:
    """In a file of many: an error with its place; the others are read."""
    broken = [RECORDS[0], record(1, eventTime=7), RECORDS[2]]
    errors: list[ReadError] = []
    found = list(read(file(broken), on_error=errors.append).cloud_events())

    assert [event.id for event in found] == [RECORDS[0]["eventID"], RECORDS[2]["eventID"]]
    assert [(error.origin, error.path) for error in errors] == [("<bytes>:1.Records[1]", "$.eventTime")]
    with pytest.raises(ReadError):
        list(read(file(broken)))


@pytest.mark.parametrize("way", ["an object in S3", "indented", "lookup-events"])
def test_a_file_that_is_cut_off_gives_what_is_whole(way: str) -> None:
    """An upload that ended in the middle."""
    content = WAYS[way](RECORDS * 3)
    errors: list[ReadError] = []
    found = list(read(content[: len(content) * 9 // 10], on_error=errors.append).cloud_events())

    assert len(found) > 15
    assert len(errors) == 1


def test_a_record_that_is_too_long_or_too_deep_costs_itself() -> None:
    """Limits are the same as for audit events; a file may be longer than they are, its records are read one by one."""
    long = record(1, requestParameters={"bucketName": "x" * 50_000})
    errors: list[ReadError] = []
    content = file([RECORDS[0], record(1, requestParameters={"key": "DEEP"}), long, RECORDS[2]])
    content = content.replace(b'"DEEP"', b"[" * 5000 + b"]" * 5000)
    found = list(read(content, on_error=errors.append, max_record=30_000).cloud_events())

    assert [event.id for event in found] == [RECORDS[0]["eventID"], RECORDS[2]["eventID"]]
    assert len(errors) == 2
    assert "max_record" in str(errors[1])


def test_what_is_no_call_is_skipped_and_counted() -> None:
    """Insights, digests, empty files and answers."""
    digest = {"awsAccountId": "1", "digestS3Object": "AWSLogs/x.json.gz", "logFiles": []}
    insight = {"eventVersion": "1.08", "eventType": "AwsCloudTrailInsight", "eventID": "1", "insightDetails": {}}
    log = read([digest, insight, {"Records": [insight]}, {"Records": []}, {"Events": []}])

    assert list(log.stream()) == []
    assert (log.skipped, log.cloud_records) == (5, 0)


def test_a_notification_of_s3_is_no_call() -> None:
    """It has a source, a name and a version, too."""
    notice = {"eventVersion": "2.1", "eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": {}}
    (error,) = read([{"Records": [notice]}]).stream()

    assert isinstance(error, ReadError)


class TestNeitherPretendsToBeTheOther:
    """What a client writes decides nothing."""

    def test_an_audit_event_in_a_call_stays_text(self) -> None:
        """A key in S3, an agent's name, a tag: nobody mints by naming a file."""
        forged = text(dict(MINT, auditID="forged"))
        call = record(2, userAgent=forged, requestParameters={"bucketName": "b", "key": forged, "x": dict(MINT)})
        items = list(read(file([call])).stream())

        assert [type(item) for item in items] == [CloudEvent]

    def test_a_call_in_an_audit_event_stays_text(self) -> None:
        """A ConfigMap with a file of CloudTrail in it, and an agent named like one."""
        body = {"data": {"trail": text({"Records": RECORDS})}, "Records": RECORDS, "eventSource": "sts.amazonaws.com"}
        event = {**MINT, "requestObject": body, "userAgent": text(RECORDS[0])}
        items = list(read(lines([event])).stream())

        assert [type(item) for item in items] == [Event]

    def test_what_has_both_is_an_audit_event(self) -> None:
        """A shipper that mixes indices must not hide a mint."""
        mixed = {**RECORDS[0], **MINT}
        columns = {key: str(value) for key, value in MINT.items() if not isinstance(value, dict | list)}
        items = list(read([mixed]).stream())
        table = list(read([{**columns, "eventsource": "", "eventname": "", "objectRef.resource": "pods"}]).stream())

        assert [type(item) for item in items] == [Event]
        assert not [item for item in table if isinstance(item, CloudEvent)]

    def test_what_a_pod_printed_is_not_believed(self) -> None:
        """As with audit events: it is counted, and not read."""
        printed = {"log": text(RECORDS[0]), "kubernetes": {"namespace_name": "shop", "pod_name": "evil"}}
        log = read([printed])

        assert list(log.stream()) == []
        assert (log.unproven, log.cloud_records) == (1, 0)


def test_no_secret_is_in_any_error() -> None:
    """Where a session's token stands in a record that is refused, or in a line that is no JSON."""
    carrying = record(responseElements={"credentials": {"sessionToken": LIVE_TOKEN, "accessKeyId": [LIVE_TOKEN]}})
    content = file([carrying]) + b"\n" + text(carrying).encode()[:-40] + b"\n" + b"junk " + text(carrying).encode()
    errors: list[ReadError] = []
    list(read(content, on_error=errors.append))

    assert len(errors) == 3
    assert not [error for error in errors if LIVE_TOKEN.split(".")[1] in f"{error} {error.args} {error.revealed}"]


SAMPLES = os.environ.get("K8STOKENDETECT_CLOUDTRAIL_SAMPLES", "")
"""A folder of public records, such as docs/detonation-logs of https://github.com/DataDog/stratus-red-team."""


@pytest.mark.skipif(not SAMPLES, reason="K8STOKENDETECT_CLOUDTRAIL_SAMPLES names no folder")
def test_public_records_are_read_without_an_error() -> None:
    """Every file of a folder."""
    log = read(Path(SAMPLES))

    assert list(log) == []
    assert log.cloud_records > 0
    assert log.skipped == 0
