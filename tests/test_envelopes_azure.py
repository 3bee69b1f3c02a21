# SPDX-License-Identifier: Apache-2.0
"""Azure AKS: what Event Hub, storage accounts, Log Analytics and tools behind them make of audit events."""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import body, token_request
from k8stokendetect import ReadError, read
from k8stokendetect.envelopes import Context, Inner, azure, native, unwrap
from k8stokendetect.errors import K8sTokenDetectError
from recordings import METADATA, records
from strategies import json_values
from wrappings import azure as wrap

PLATFORM = Context(platform="aks")
AKS = Context(platform="aks", cluster=wrap.CLUSTER, account=wrap.SUBSCRIPTION)
ROW = Context(
    platform="aks",
    cluster=wrap.CLUSTER.lower(),
    account=wrap.SUBSCRIPTION.lower(),
    lost=frozenset({"impersonation"}),
)
EVENT = token_request()
KLOG = "I1123 21:43:46.123456       1 autoscaler.go:230] secret-of-somebody"
EVERY_FORM = [
    *(json.loads(content(2 * [EVENT]).splitlines()[0]) for content in wrap.WRAPPINGS.values()),
    {"resourceId": wrap.RESOURCE_ID, "metricName": "node_cpu", "time": "2026-11-23T21:43:00Z", "total": 1},
]


@pytest.fixture(autouse=True)
def _only_azure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("k8stokendetect.envelopes.ENVELOPES", (azure, native))


@functools.cache
def token_requests() -> list[dict[str, Any]]:
    """Return the recorded calls to serviceaccounts/token."""
    return [event for event in records(METADATA) if event.get("objectRef", {}).get("subresource") == "token"]


def unwrapped(content: bytes) -> list[Inner]:
    """Unwrap each line of a file."""
    return [inner for line in content.splitlines() for inner in unwrap(json.loads(line))]


def errors(record: Any) -> list[str]:
    """Return the errors that stand in the place of events; there must be nothing else."""
    inners = list(unwrap(record))
    assert all(isinstance(inner.record, ReadError) for inner in inners)
    return [f"{inner.place}: {inner.record}" for inner in inners]


@pytest.mark.parametrize("name", sorted(set(wrap.WRAPPINGS) - wrap.IN_COLUMNS))
def test_the_recorded_token_requests_come_back(name: str) -> None:
    """Where Azure carries the log as it is, nothing is lost; cluster and subscription are told."""
    inners = unwrapped(wrap.WRAPPINGS[name](token_requests()))

    assert token_requests() == [inner.record for inner in inners]
    assert {True} == {inner.is_event for inner in inners}
    assert all(inner.context == AKS for inner in inners)


@pytest.mark.parametrize("name", sorted(wrap.IN_COLUMNS))
def test_the_recorded_token_requests_come_back_from_columns(name: str) -> None:
    """AKSAudit has no column for kind, apiVersion, impersonatedUser and authenticationMetadata; all else is the same.

    Of the 346, twelve were impersonated: what is lost there is declared.
    """
    left = [
        {key: value for key, value in event.items() if key not in wrap.NOT_IN_COLUMNS} for event in token_requests()
    ]
    inners = unwrapped(wrap.WRAPPINGS[name](token_requests()))

    assert left == [inner.record for inner in inners]
    assert all(inner.is_event and inner.context == ROW for inner in inners)
    assert sum("impersonatedUser" in event for event in token_requests()) == 12


@pytest.mark.parametrize("name", wrap.WRAPPINGS)
def test_read_names_platform_cluster_and_subscription(name: str) -> None:
    """What the wrapper tells ends up on the Event, without an option."""
    told = {
        (event.platform, str(event.cluster).upper(), str(event.account).upper())
        for event in read(wrap.WRAPPINGS[name]([EVENT, EVENT]))
    }

    assert {("aks", wrap.CLUSTER, wrap.SUBSCRIPTION)} == told


def test_places() -> None:
    """Which record of a message, which row of a table."""
    assert [inner.place for inner in unwrapped(wrap.event_hub([EVENT, EVENT]))] == [
        ".records[0].properties.log",
        ".records[1].properties.log",
    ]
    assert [inner.place for inner in unwrapped(wrap.query_result([EVENT, EVENT]))] == [
        ".tables[0].rows[0]",
        ".tables[0].rows[1]",
    ]
    assert [inner.place for inner in unwrap(wrap.log_row(EVENT))] == [".log_s"]


@pytest.mark.parametrize(
    "resource",
    [
        None,
        7,
        "",
        "/subscriptions/s/resourcegroups/r/providers/microsoft.kubernetes/provisionedclusters/arc",
        wrap.RESOURCE_ID + "/more",
        "/SUBSCRIPTIONS//RESOURCEGROUPS/R/PROVIDERS/MICROSOFT.CONTAINERSERVICE/MANAGEDCLUSTERS/C",
    ],
)
def test_no_cluster_is_invented(resource: Any) -> None:
    """Another resource's id, or none, gives the platform only."""
    assert [inner.context for inner in unwrap(wrap.record(EVENT) | {"resourceId": resource})] == [PLATFORM]


@pytest.mark.parametrize("drop", ["resourceId", "operationName", "time", "serviceBuild"])
def test_a_record_is_told_without_its_lesser_fields(drop: str) -> None:
    """Tools behind Azure leave some of them out."""
    record = wrap.record(EVENT)
    del record[drop]

    assert [inner.record for inner in unwrap(record)] == [EVENT]


@pytest.mark.parametrize("category", ["Kube-Audit", "KUBE-AUDIT-ADMIN", None, 3])
def test_the_log_is_read_unless_the_category_says_otherwise(category: Any) -> None:
    """In other letters, or lost in transit: whether the log is an audit event is then told from the log."""
    assert [inner.record for inner in unwrap(wrap.record(EVENT) | {"category": category})] == [EVENT]
    assert [inner.record for inner in unwrap(wrap.log_row(EVENT) | {"Category": category})] == [EVENT]


@pytest.mark.parametrize(
    ("category", "why"),
    [
        ("guard", "log category guard"),
        ("kube-apiserver", "log category kube-apiserver"),
        ("cluster-autoscaler", "log category cluster-autoscaler"),
        ("Administrative", "another log category"),
        ("kube-audit\x1b[31m", "another log category"),
    ],
)
def test_other_logs_are_skipped(category: str, why: str) -> None:
    """Their text is nobody's error; a category that is not known is not repeated."""
    record = wrap.record({}) | {"category": category, "properties": {"log": KLOG}}
    document = wrap.platformlogs({})
    document["azure"]["platformlogs"]["category"] = category

    assert [why] == [inner.skipped for inner in unwrap(record)]
    assert [why] == [inner.skipped for inner in unwrap(record | {"properties": None})]
    assert [why] == [inner.skipped for inner in unwrap(wrap.log_row(EVENT, category) | {"log_s": KLOG})]
    assert [why] == [inner.skipped for inner in unwrap({"Type": "AKSControlPlane", "Category": category})]
    assert [why] == [inner.skipped for inner in unwrap(document)]


def test_a_mixed_message_counts_everything() -> None:
    """One Event Hub may carry every category, metrics, and what nobody knows."""
    metric = {"resourceId": wrap.RESOURCE_ID, "metricName": "node_cpu", "timeGrain": "PT1M"}
    message = {"records": [wrap.record(EVENT), wrap.record({}, "guard"), metric, {"x": 1}, None]}
    log = read(json.dumps(message).encode(), on_error=(seen := list[K8sTokenDetectError]()).append)

    assert [EVENT["auditID"]] == [event.audit_id for event in log]
    assert log.skipped == 2
    assert [str(error).partition(": ")[0] for error in seen] == ["<bytes>:1.records[3]", "<bytes>:1.records[4]"]


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (
            wrap.record({}) | {"properties": {}},
            ".properties.log: an Azure record of the audit log without its log",
        ),
        (
            wrap.record({}) | {"properties": {"log": [EVENT]}},
            ".properties.log: an Azure record of the audit log without its log",
        ),
        (
            {"category": "kube-audit"},
            ".properties.log: an Azure record of the audit log without its log",
        ),
        (
            wrap.log_row({}) | {"log_s": None},
            ".log_s: an Azure record of the audit log without its log",
        ),
        (
            wrap.record({}) | {"properties": {"log": "x"}},
            ".properties.log: text in a wrapper that is not JSON",
        ),
        (
            wrap.audit_row(EVENT) | {"User": '{"username":"al'},
            ": a column that is not JSON @ $.User",
        ),
        (
            {"tables": [{"columns": [{"name": "AuditId"}], "rows": [[], {}, ["1", "2"]]}]},
            ".tables[0].rows[0]: a row that does not fit its columns",
        ),
        (
            {"tables": [{"columns": [{"name": 7}], "rows": [["1"]]}, {"columns": [], "rows": 7}]},
            ".tables[0]: a Log Analytics table without named columns and rows",
        ),
    ],
)
def test_what_is_malformed_is_an_error(record: Any, why: str) -> None:
    """One for each record, row or table, in words that repeat nothing of it."""
    assert errors(record)[0] == why


def test_every_malformed_row_and_table_is_an_error() -> None:
    """None of them vanishes behind the first."""
    rows = {"columns": [{"name": "AuditId"}], "rows": [[], {}, ["1", "2"]]}

    assert len(errors({"tables": [rows, 7, {"columns": []}]})) == 5


def test_an_incomplete_query_result_says_so() -> None:
    """The API answers 200 with `error` beside the tables when it could not look at everything."""
    result = json.loads(wrap.query_result([EVENT])) | {"error": {"code": "PartialError"}}
    error, event = unwrap(result)

    assert str(error.record) == "a Log Analytics result that says it is incomplete"
    assert event.is_event


def test_a_query_result_without_rows_is_skipped() -> None:
    """Nothing was found: no error."""
    assert [inner.skipped for inner in unwrap({"tables": [{"columns": [{"name": "Level"}], "rows": []}]})] == [
        "a table without rows"
    ]


def test_an_empty_verb_is_no_missing_verb() -> None:
    """The API server writes an empty verb where the HTTP method was odd; an empty user agent it leaves out."""
    row = wrap.portal_row(EVENT | {"verb": "", "userAgent": ""})
    (inner,) = unwrap(row)

    assert inner.record["verb"] == ""
    assert "userAgent" not in inner.record


def test_a_row_without_its_audit_id_is_an_error() -> None:
    """The table says what it is; the id is required of every event."""
    row = wrap.audit_row(EVENT)
    del row["AuditId"]
    seen: list[K8sTokenDetectError] = []

    assert not list(read(json.dumps(row).encode(), on_error=seen.append))
    assert [str(error) for error in seen] == ["<bytes>:1: required field missing @ $.auditID"]


def test_what_was_cut_off_reveals_its_path() -> None:
    """Storage accounts cut the log at 16 KiB, AzureDiagnostics at 32,766 bytes, Elastic moves it to `message`."""
    cut = json.dumps(token_request(query="?x=" + 20_000 * "a"))[: 16 * 1024]
    document = wrap.platformlogs(EVENT) | {"message": cut}
    del document["azure"]["platformlogs"]["properties"]["log"]
    forms = [
        wrap.record({}) | {"properties": {"log": cut}},
        wrap.record({}) | {"properties": json.dumps({"log": cut})[:9000]},
        wrap.log_row({}) | {"log_s": cut},
        document,
    ]

    for (inner,) in (list(unwrap(form)) for form in forms):
        assert isinstance(inner.record, ReadError)
        assert inner.record.revealed["requestURI"].startswith("/api/v1/namespaces/prod/serviceaccounts/payments-sa/")
        assert inner.context == AKS


def test_a_row_with_a_broken_column_reveals_the_call() -> None:
    """All that the readable columns say, and the beginning of the broken one."""
    (inner,) = unwrap(wrap.audit_row(EVENT) | {"User": '{"username":"alice","gro'})

    assert isinstance(inner.record, ReadError)
    assert inner.record.revealed == {
        "auditID": EVENT["auditID"],
        "requestURI": EVENT["requestURI"],
        "verb": "create",
        "username": "alice",
    }


def test_bodies_that_were_too_big_stay_text() -> None:
    """Azure puts a text in the place of a body; a body that is there is decoded."""
    event = token_request(requestObject="skipped-too-big-size-object", responseObject=body())
    row = {key: value for key, value in event.items() if key not in wrap.NOT_IN_COLUMNS}

    assert [event] == [inner.record for inner in unwrap(wrap.record(event))]
    for wrapped in (wrap.audit_row(event), wrap.portal_row(event), wrap.audit_row(event, text=False)):
        assert [row] == [inner.record for inner in unwrap(wrapped)]


def test_a_connected_cluster_is_not_aks() -> None:
    """Arc: none of AKS's own identities is in it. Its tables, or its resource id, tell."""
    resource = "/subscriptions/s/resourcegroups/r/providers/Microsoft.Kubernetes/connectedClusters/arc"
    (inner,) = unwrap(wrap.record(EVENT) | {"resourceId": resource})
    assert inner.context == Context("kubernetes", "arc", "s")
    for table, platform in (("ArcK8sAudit", "kubernetes"), ("AKSAudit", "aks")):
        (inner,) = unwrap(wrap.audit_row(EVENT) | {"Type": table})
        assert inner.context.platform == platform


@pytest.mark.parametrize("table", ["AKSAudit", "AKSAuditAdmin", "ArcK8sAudit", "ArcK8sAuditAdmin", None])
def test_columns_are_renamed_in_every_audit_table(table: str | None) -> None:
    """Hybrid clusters have tables of the same columns; a query may leave out the table's name."""
    assert [inner.is_event for inner in unwrap(wrap.audit_row(EVENT) | {"Type": table})] == [True]


@pytest.mark.parametrize(
    "record",
    [
        EVENT,
        EVENT | {"category": "kube-audit", "properties": {"log": "{}"}},
        {"records": [{"recordId": "1", "data": "e30="}], "deliveryStreamArn": "arn"},
        {"records": []},
        {"tables": []},
        {"log": "{}", "stream": "stdout", "time": "2026-11-23T21:43:46Z"},
        {"RawEvent": "{}", "Verb": "create", "ObjectRef": "prod/serviceaccounts/payments-sa"},
        {"azure": {"platformlogs": []}},
        {"category": "x"},
        [],
        None,
    ],
)
def test_what_is_not_azures_is_left_to_others(record: Any) -> None:
    """Native events, Firehose, shippers, Sentinel's EKS table."""
    assert not azure.recognises(record)


@given(st.data())
def test_any_damage_gives_something_and_raises_nothing(data: st.DataObject) -> None:
    """One value anywhere in a record replaced by any JSON; whatever is recognised is answered for."""
    record = json.loads(json.dumps(data.draw(st.sampled_from(EVERY_FORM))))
    holder, key = data.draw(st.sampled_from(list(_slots(record))))
    holder[key] = data.draw(json_values | st.sampled_from(EVERY_FORM))

    assert list(unwrap(record))
    assert not azure.recognises(record) or list(azure.events(record))


@given(json_values)
def test_any_json_raises_nothing(record: Any) -> None:
    """Whatever stands where a record should; what is recognised is answered for, and nothing else."""
    assert azure.recognises(record) == bool(list(azure.events(record)))


def _slots(value: Any) -> Any:
    """Yield every place in a JSON value, as its container and its key."""
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from _slots(value[key])
