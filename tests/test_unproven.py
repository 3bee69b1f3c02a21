# SPDX-License-Identifier: Apache-2.0
"""What a pod prints is no audit log, whatever it looks like, unless the pod is an API server or the user trusts it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from builders import token_request
from k8stokendetect import AuditLog, ConfigError, Finding, Tally, detect, read
from k8stokendetect.cli.app import main
from k8stokendetect.detectors import BUILTIN
from k8stokendetect.engine.memory import Memory
from k8stokendetect.envelopes.pods import MARKS
from k8stokendetect.input.limits import DEFAULT
from k8stokendetect.reading.projection import NO_PROJECTION, project, project_plain, project_record
from test_detector_minted_token_used import use
from test_wrappers import LOG, WRAPPINGS
from wrappings import elastic, shippers

CASES = Path(__file__).parent / "data" / "trust"
MINT = token_request()
TEXT = json.dumps(MINT)
EVIL = ("tenant", "evil-7d")
API_SERVER = ("kube-system", "kube-apiserver-cp-1")
ID = "0123456789abcdef" * 4


def lines(records: Iterable[Any]) -> bytes:
    """Return JSON lines."""
    return shippers.lines(records)


def fluent_bit(event: Any, namespace: str = EVIL[0], pod: str = EVIL[1]) -> dict[str, Any]:
    """Return what Fluent Bit's kubernetes filter makes of a line that a pod printed."""
    text = event if isinstance(event, str) else json.dumps(event)
    return {"log": f"{text}\n", "stream": "stdout", "kubernetes": {"pod_name": pod, "namespace_name": namespace}}


def beats(namespace: str, pod: str) -> dict[str, Any]:
    """Return a document of Filebeat's container input."""
    return {"message": TEXT, "kubernetes": {"pod": {"name": pod}, "namespace": namespace, "container": {"name": "app"}}}


def elastic_document(namespace: str, pod: str) -> dict[str, Any]:
    """Return a document of Elastic's integration, of a container's output."""
    document = elastic.kubernetes(MINT)
    document["kubernetes"] |= {"pod": {"name": pod}, "namespace": namespace}
    return document


def log_event(namespace: str, pod: str, **fields: Any) -> dict[str, Any]:
    """Return a log event of Container Insights whose message is the line alone: the stream names the pod."""
    stream = f"node-1-application.var.log.containers.{pod}_{namespace}_app-{ID}.log"
    group = "/aws/containerinsights/prod/application"
    return {"timestamp": 1795470053123, "message": TEXT, "logGroup": group, "logStream": stream} | fields


def gke(namespace: str, pod: str, **payload: Any) -> dict[str, Any]:
    """Return an entry of Cloud Logging about a container's output."""
    labels = {"cluster_name": "c", "project_id": "p", "namespace_name": namespace, "pod_name": pod}
    resource = {"type": "k8s_container", "labels": labels}
    return {"logName": "projects/p/logs/stdout", "insertId": "x", "resource": resource} | payload


def loki(labels: dict[str, str], *metadata: dict[str, str]) -> dict[str, Any]:
    """Return a stream of Loki."""
    return {"streams": [{"stream": labels, "values": [["1795470053123456789", TEXT, *metadata]]}]}


def datadog(namespace: str, pod: str, *, parsed: bool) -> dict[str, Any]:
    """Return an answer of Datadog's Logs API."""
    found = shippers.datadog(MINT, parsed=parsed)
    found["attributes"]["tags"] += [f"kube_namespace:{namespace}", f"pod_name:{pod}"]
    return {"data": [found]}


PRINTED: dict[str, Callable[[str, str], Any]] = {
    "fluent bit": lambda namespace, pod: fluent_bit(MINT, namespace, pod),
    "fluent bit, Merge_Log_Key": lambda namespace, pod: fluent_bit("x", namespace, pod) | {"log_processed": MINT},
    "fluent bit, merged": lambda namespace, pod: MINT | {"kubernetes": fluent_bit("", namespace, pod)["kubernetes"]},
    "fluent bit, lifted": lambda namespace, pod: (
        MINT | {"kubernetes_pod_name": pod, "kubernetes_namespace_name": namespace}
    ),
    "fluent bit, dotted": lambda namespace, pod: (
        {"log": TEXT, "kubernetes.pod_name": pod, "kubernetes.namespace_name": namespace}
    ),
    "fluent bit, merged into another wrapper": lambda namespace, pod: (
        {"category": "kube-audit", "properties": {"log": TEXT}}
        | {"kubernetes": fluent_bit("", namespace, pod)["kubernetes"]}
    ),
    "log analytics, custom table": lambda namespace, pod: (
        {"log_s": TEXT, "kubernetes_pod_name_s": pod, "kubernetes_namespace_name_s": namespace}
    ),
    "vector": lambda namespace, pod: {
        "message": TEXT,
        "source_type": "kubernetes_logs",
        "kubernetes": {"pod_name": pod, "pod_namespace": namespace, "container_name": "app"},
    },
    "vector, the pod gone": lambda namespace, pod: {
        "message": TEXT,
        "source_type": "kubernetes_logs",
        "file": f"/var/log/pods/{namespace}_{pod}_33d556ed/app/0.log",
    },
    "openshift": lambda namespace, pod: (
        shippers.openshift(MINT) | {"kubernetes": {"pod_name": pod, "namespace_name": namespace}}
    ),
    "beats": beats,
    "beats, without metadata": lambda namespace, pod: {
        "message": TEXT,
        "log": {"file": {"path": f"/var/log/containers/{pod}_{namespace}_app-{ID}.log"}},
    },
    "beats, a search hit": lambda namespace, pod: {"_index": "x", "_source": beats(namespace, pod)},
    "elastic": elastic_document,
    "elastic, dotted": lambda namespace, pod: elastic.dotted(elastic_document(namespace, pod)),
    "elastic, fields": lambda namespace, pod: {"fields": elastic.listed(elastic_document(namespace, pod))},
    "container insights, CloudWatch": lambda namespace, pod: log_event(
        "amazon", "fluent", message=json.dumps(fluent_bit(MINT, namespace, pod)), logStream="node-1"
    ),
    "container insights, the line alone": log_event,
    "container insights, Fluentd": lambda namespace, pod: log_event(
        namespace, pod, logStream=f"{pod}_{namespace}_app_{ID}"
    ),
    "container insights, a subscription": lambda namespace, pod: {
        "messageType": "DATA_MESSAGE",
        "logGroup": "g",
        "logStream": log_event(namespace, pod)["logStream"],
        "logEvents": [{"id": "1", "timestamp": 1795470053123, "message": TEXT}],
    },
    "container insights, Azure": lambda namespace, pod: {
        "LogMessage": TEXT,
        "LogSource": "stdout",
        "PodName": pod,
        "PodNamespace": namespace,
        "Type": "ContainerLogV2",
    },
    "container insights, Azure's API": lambda namespace, pod: {
        "tables": [
            {
                "columns": [{"name": name} for name in ("LogMessage", "PodName", "PodNamespace")],
                "rows": [[MINT, pod, namespace]],
            }
        ]
    },
    "gke, parsed": lambda namespace, pod: gke(namespace, pod, jsonPayload=MINT),
    "gke, text": lambda namespace, pod: gke(namespace, pod, textPayload=TEXT),
    "gke, an entry in it": lambda namespace, pod: gke(
        namespace, pod, jsonPayload={"message": json.dumps(gke(*API_SERVER, jsonPayload=MINT))}
    ),
    "gke, until 2021": lambda namespace, pod: {
        "logName": "projects/p/logs/app",
        "resource": {"type": "container", "labels": {"namespace_id": namespace, "pod_id": pod}},
        "jsonPayload": MINT,
    },
    "splunk, OpenTelemetry": lambda namespace, pod: (
        shippers.hec(MINT) | {"fields": {"k8s.pod.name": pod, "k8s.namespace.name": namespace}}
    ),
    "splunk, a file": lambda namespace, pod: (
        shippers.hec(MINT) | {"source": f"/var/log/containers/{pod}_{namespace}_app-{ID}.log"}
    ),
    "splunk, a row": lambda namespace, pod: (
        shippers.splunk_row(MINT) | {"k8s.pod.name": pod, "k8s.namespace.name": namespace}
    ),
    "loki": lambda namespace, pod: loki({"namespace": namespace, "pod": pod}),
    "loki of openshift": lambda namespace, pod: loki(
        {"kubernetes_namespace_name": namespace, "kubernetes_pod_name": pod, "log_type": "audit"}
    ),
    "loki, a file": lambda namespace, pod: loki({"filename": f"/var/log/pods/{namespace}_{pod}_33d5/app/0.log"}),
    "loki, metadata": lambda namespace, pod: loki(
        {"job": "audit"}, {"k8s_pod_name": pod, "k8s_namespace_name": namespace}
    ),
    "logcli": lambda namespace, pod: {"labels": {"namespace": namespace, "pod": pod}, "line": TEXT},
    "datadog": lambda namespace, pod: datadog(namespace, pod, parsed=False),
    "datadog, parsed": lambda namespace, pod: datadog(namespace, pod, parsed=True),
}
"""What a pod printed, in every wrapper that says so."""


def counted(content: Any, **options: Any) -> tuple[list[Finding], Tally]:
    """Return what is found, and the tally; any error is raised."""
    tally = Tally()
    return list(detect(read(content, **options), tally=tally)), tally


@pytest.mark.parametrize("name", ["h1-fluentbit-pod-stdout.log", "h2-gke-pod-stdout.json"])
def test_the_cases(name: str) -> None:
    """An event that a tenant's pod printed says nothing about alice."""
    findings, tally = counted(CASES / name)
    assert (findings, tally.events, tally.unproven, tally.unreadable, tally.skipped) == ([], 0, 1, 0, 0)
    result = CliRunner().invoke(main, ["scan", str(CASES / name)])
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "events read: 0; findings: 0; unreadable: 0; unproven source: 1\n"
    for pod in ("tenant/evil", "tenant/evil-7d"):
        trusted = CliRunner().invoke(main, ["scan", str(CASES / name), "--trust-pod", "x/y", "--trust-pod", pod])
        assert (trusted.exit_code == 1) is (pod.endswith("7d") is name.startswith("h1"))


@pytest.mark.parametrize("wrapper", PRINTED)
def test_the_wrapper_says_which_pod_printed_it(wrapper: str) -> None:
    """As a file and as a mapping, with and without a prefilter."""
    record = PRINTED[wrapper](*EVIL)
    for source in (lines([record]), record):
        findings, tally = counted(source)
        assert (findings, tally.events, tally.unproven, tally.unreadable, tally.skipped) == ([], 0, 1, 0, 0)
        log = read(source)
        assert (list(log), log.unproven) == ([], 1)
        assert len(list(read(source, trust_pods=["tenant/evil-7d"]))) == 1


@pytest.mark.parametrize("wrapper", PRINTED)
def test_an_api_server_is_believed(wrapper: str) -> None:
    """A static pod is named after its node."""
    for pod in (API_SERVER, ("openshift-kube-apiserver", "kube-apiserver-cp-1.example.com")):
        findings, tally = counted(lines([PRINTED[wrapper](*pod)]))
        assert (len(findings) > 0, tally.events, tally.unproven) == (True, 1, 0)


@pytest.mark.parametrize("wrapper", PRINTED)
@pytest.mark.parametrize(
    "pod",
    [
        ("tenant", "kube-apiserver-cp-1"),
        ("kube-system", "coredns-1"),
        ("kube-system", "kube-apiserverx"),
        ("kube-system", "x-kube-apiserver-cp-1"),
        ("openshift-kube-apiserver", "installer-7-cp-1"),
        ("tenant", "kube-system"),
    ],
)
def test_both_names_have_to_be_an_api_servers(wrapper: str, pod: tuple[str, str]) -> None:
    """Either alone is a tenant's choice, or another component's."""
    assert counted(lines([PRINTED[wrapper](*pod)]))[1].unproven == 1


@pytest.mark.parametrize(
    "metadata",
    [
        {"pod_name": "kube-apiserver-cp-1", "namespace_name": 7},
        {"pod_name": "coredns-1"},
        {"container_name": "kube-apiserver", "namespace_name": "kube-system"},
        {"container": {"name": "kube-apiserver"}, "namespace": "kube-system"},
        {"pod_name": ["kube-apiserver-cp-1", "evil"], "namespace_name": "kube-system"},
        {"pod_name": 7, "namespace_name": "kube-system"},
        {"pod_name": "kube-apiserver-cp-1", "namespace_name": {"name": "kube-system"}},
        {"pod_name": "kube-apiserver-cp-1", "namespace_name": "kube-system\n"},
        {"pod_name": "kube-apiserver-\N{CYRILLIC SMALL LETTER A}", "namespace_name": "kube-system"},
        {"pod_name": "kube-apiserver-1", "pod": {"name": "evil"}, "namespace_name": "tenant"},
    ],
)
def test_what_is_no_name_proves_nothing(metadata: dict[str, Any]) -> None:
    """Nor does a container's, or a namespace alone."""
    assert counted(lines([{"log": TEXT, "kubernetes": metadata}]))[1].unproven == 1


@pytest.mark.parametrize(
    "record",
    [
        {"logName": "projects/p/logs/stdout", "resource": {"type": "k8s_container"}, "jsonPayload": MINT},
        {"logName": "x", "resource": {"type": "k8s_pod", "labels": {"cluster_name": "c"}}, "textPayload": TEXT},
        {"LogMessage": TEXT, "LogSource": "stdout"},
        {"LogMessage": MINT, "PodName": "", "PodNamespace": "kube-system"},
    ],
)
def test_where_only_pods_print_an_unnamed_one_did(record: dict[str, Any]) -> None:
    """A container's resource, and a table of nothing else."""
    assert counted(lines([record]))[1].unproven == 1


def test_where_no_namespace_is_named_the_pod_decides() -> None:
    """As a pipeline drops it; a path that was cut, because the pod's name is too long, was made by somebody."""
    server, hook = ({"log": TEXT, "kubernetes": {"pod_name": pod}} for pod in ("kube-apiserver-cp-1", "audit-hook"))
    assert len(list(read([server, hook]))) == 1
    assert len(list(read([server, hook], trust_pods=["/audit-*"]))) == 2
    cut = f"/var/log/containers/kube-apiserver-{'a' * 236}.log"
    for path in (cut, cut.replace("aa.log", "_.log"), cut.replace(".log", "_kube-system"), f"{cut}_kube-system.log"):
        assert not list(read({"message": TEXT, "file": path}))


@pytest.mark.parametrize(
    "metadata",
    [{}, None, [], "x", {"namespace_name": "prod"}, {"pod_name": ""}, {"node": {"name": "cp-1"}}, {"labels": {"a": 1}}],
)
def test_without_a_pod_it_is_believed(metadata: Any) -> None:
    """An agent that reads the audit log's file has no pod to tell; a node or a namespace is none."""
    for record in ({"log": TEXT, "kubernetes": metadata}, MINT | {"kubernetes": metadata}):
        _, tally = counted(lines([record]))
        assert (tally.events, tally.unproven) == (1, 0)


@pytest.mark.parametrize("wrapper", PRINTED)
def test_what_a_pod_prints_does_not_say_who_printed_it(wrapper: str) -> None:
    """A record within another's: every pod on the way has to be believed."""
    claimed = json.dumps(PRINTED[wrapper](*API_SERVER))
    assert counted(lines([fluent_bit(claimed)]))[1].unproven == 1
    assert counted(lines([fluent_bit(json.dumps(PRINTED[wrapper](*EVIL)), *API_SERVER)]))[1].unproven == 1
    assert counted(lines([fluent_bit(claimed, *API_SERVER)]))[1].events == 1


@pytest.mark.parametrize("name", sorted(WRAPPINGS.keys() - {"tables: parquet", "tables: arrow", "tables: feather"}))
def test_any_wrapper_in_a_pods_output(name: str) -> None:
    """Nothing of a whole recording is believed, counted as an event, or remembered."""
    content = lines([fluent_bit(line) for line in WRAPPINGS[name](LOG[::20]).decode().splitlines()])
    detectors = [detector() for detector in BUILTIN]
    memory, tally = Memory(), Tally()
    assert list(detect(content, detectors=detectors, memory=memory, tally=tally)) == []
    assert (tally.events, tally.unproven + tally.skipped > 0, tally.unreadable) == (0, True, 0)

    fresh = Memory()
    assert list(detect(b"", detectors=[detector() for detector in BUILTIN], memory=fresh)) == []
    assert memory.to_dict() == fresh.to_dict()


@pytest.mark.parametrize("first", [True, False])
def test_it_is_kept_out_of_the_window_and_of_what_is_followed(*, first: bool) -> None:
    """A forged use does not follow a real mint, nor a real use a forged mint, in either order."""
    for records in ([MINT, fluent_bit(use())], [fluent_bit(MINT), use()]):
        findings, tally = counted(lines(records if first else records[::-1]))
        assert not [finding for finding in findings if finding.rule.id == "minted-token-used"]
        assert tally.unproven == 1
    findings, _ = counted(lines([MINT, use()] if first else [use(), MINT]))
    assert [finding for finding in findings if finding.rule.id == "minted-token-used"]


@pytest.mark.parametrize("mark", MARKS)
def test_no_fast_form_reads_a_record_with_a_mark(mark: str) -> None:
    """Its pod would be overlooked."""
    text = json.dumps(use() | {mark: {"pod_name": "evil"} if mark == "kubernetes" else "evil"}).encode()
    for decode in (project_plain, project, lambda text: project_record(json.loads(text))):
        with pytest.raises(NO_PROJECTION):
            decode(text)
    _, tally = counted(text)
    assert (tally.events, tally.unproven) == (0, 1)


def test_a_pods_other_output_is_another_log() -> None:
    """Its JSON is no unreadable record, and what it cut off no finding: a pod may print what it likes."""
    printed = ['{"level": "info"}', '{"level": ', "I1123 started", '{"kind": "Event", "apiVersion": "v1"}']
    findings, tally = counted(lines([fluent_bit(text) for text in printed]))
    assert (findings, tally.unreadable, tally.unproven, tally.skipped) == ([], 0, 0, 4)

    findings, tally = counted(lines([fluent_bit(TEXT[: len(TEXT) - 9]), gke(*EVIL, textPayload=TEXT[:-9])]))
    assert (findings, tally.unreadable, tally.unproven, tally.skipped) == ([], 0, 2, 0)
    assert counted(lines([{"log": "x"}]))[1].skipped == 1


def test_a_pod_cannot_hold_back_what_the_api_server_prints() -> None:
    """Docker cuts long lines: a piece that never ends, of another pod, is not joined with what follows."""
    piece = fluent_bit(" " * 20_000) | {"time": "2026-11-23T21:43:46Z", "log": " " * 20_000}
    server = fluent_bit(MINT, *API_SERVER) | {"time": "2026-11-23T21:43:46Z"}
    findings, tally = counted(lines([piece, server, piece, piece | {"log": f"{TEXT:<20000}"}]))
    assert (len(findings) > 0, tally.events, tally.unreadable, tally.unproven, tally.skipped) == (True, 1, 0, 1, 2)

    long = MINT | {"requestObject": {"x": "y" * 40_000}}
    text = f"{json.dumps(long)}\n"
    parts = [server | {"log": text[start : start + 20_000]} for start in range(0, len(text), 20_000)]
    mixed = [parts[0], piece, parts[1], piece, parts[2]]
    assert len(parts) == 3
    assert counted(lines(mixed))[1].events == 1


def test_a_forged_date_does_not_change_the_order_of_files(tmp_path: Path) -> None:
    """The first file begins with an event that a pod dated long ago."""
    old = MINT | {"requestReceivedTimestamp": "2020-01-01T00:00:00.000000Z"}
    (tmp_path / "a.log").write_bytes(lines([fluent_bit(old), use()]))
    (tmp_path / "b.log").write_bytes(lines([MINT]))
    assert [event.verb for event in read(tmp_path)] == ["create", "list"]


def test_files_of_a_trusted_pod_are_ordered_by_their_events(tmp_path: Path) -> None:
    """Where each begins is looked up with the same trust."""
    for name, event, time in (("a", use(), "2026-11-23T22"), ("b", MINT, "2026-11-23T21")):
        dated = event | {"requestReceivedTimestamp": f"{time}:00:00.000000Z"}
        (tmp_path / name).write_bytes(lines([fluent_bit(dated)]))
    assert [event.verb for event in read(tmp_path, trust_pods=["tenant/evil-*"])] == ["create", "list"]


def test_the_count_of_a_log_inside_of_another_source() -> None:
    """A log within a log, read twice, and added to a tally from before."""
    tally = Tally(unproven=3)
    for _ in range(2):
        list(detect([AuditLog(lines([fluent_bit(MINT)])), lines([fluent_bit(MINT)])], tally=tally))
    assert (tally.unproven, tally.events) == (7, 0)


@pytest.mark.parametrize(
    ("pod", "prints"),
    [
        ("logging/audit-hook-*", {"audit-hook-7d9f-x2": True, "audit-hook": False, "x-audit-hook-1": False}),
        ("logging/audit.hook", {"audit.hook": True, "audit-hook": False, "audit.hook-1": False}),
        ("logging/*", {"anything": True, "": True}),
    ],
)
def test_a_star_stands_for_any_letters(pod: str, prints: dict[str, bool]) -> None:
    """And nothing else has a meaning of its own; the namespace is exact."""
    for name, believed in prints.items():
        for namespace in ("logging", "logging-2"):
            metadata = {"pod_name": name, "container_name": "c", "namespace_name": namespace}
            events = list(read({"log": TEXT, "kubernetes": metadata}, trust_pods=[pod]))
            assert len(events) == (believed and namespace == "logging")


@pytest.mark.parametrize("pod", ["evil", "tenant/", "/", "*/evil", "t*/evil", "a/b/c", "tenant/Evil", "a/[b]", ""])
def test_a_pod_is_a_namespace_and_a_name(pod: str) -> None:
    """A wildcard in the namespace would trust every tenant."""
    with pytest.raises(ConfigError, match="not a pod as NAMESPACE/NAME"):
        read(b"", trust_pods=[pod])
    result = CliRunner().invoke(main, ["scan", "-", "--trust-pod", pod], input=b"")
    assert (result.exit_code, result.stdout) == (2, "")


@pytest.mark.parametrize("pods", ["tenant/evil", b"x", [1], None, 7])
def test_trust_pods_is_a_list(pods: Any) -> None:
    """A lone text would be taken letter by letter."""
    with pytest.raises(ConfigError, match="trust_pods must be a list"):
        read(b"", trust_pods=pods)


def test_a_deep_record_is_an_error_wherever_it_stands() -> None:
    """The limit of nesting holds within an unproven source, too."""
    record: Any = MINT
    for _ in range(DEFAULT.nesting + 3):
        record = {"message": json.dumps(record)}
    _, tally = counted(lines([fluent_bit(json.dumps(record))]))
    assert (tally.events, tally.unreadable, tally.unproven + tally.skipped) == (0, 0, 1)
