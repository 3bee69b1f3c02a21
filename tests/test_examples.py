# SPDX-License-Identifier: Apache-2.0
"""The examples that embed the library run with real parts: files, a Kafka broker, Azure's classes, pandas."""

from __future__ import annotations

import contextlib
import json
import runpy
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import attrs
import pytest
from azure.functions import Cardinality, EventHubEvent
from confluent_kafka import Consumer, Producer, TopicPartition

import azure_function
import kafka_consumer
import lambda_handler
from embedding import KEYED, fingerprints, mints
from findings_to_pandas import by_actor_and_target
from k8stokendetect import Finding, detect
from k8stokendetect.outputs.frames import to_frame
from recordings import METADATA, events, records
from wrappings import azure, cloudwatch

ATTACK: Final = Path(kafka_consumer.__file__).with_name("attack.log")
LOG: Final = records(METADATA)[3400:4900]
"""Most of the recorded attacks; some tokens are minted in the first third and used in the second."""
BATCH: Final = kafka_consumer.BATCH


class Sink:
    """Takes findings; raises once, instead of taking the how manyth it is told."""

    def __init__(self, fails_at: int = 0) -> None:
        self.taken: list[Finding] = []
        self.failed = 0
        self._fails_at = fails_at

    def __call__(self, finding: Finding) -> None:
        """Take one."""
        if len(self.taken) + 1 == self._fails_at and not self.failed:
            self.failed += 1
            raise OSError("the sink is down")
        self.taken.append(finding)


def in_batches(log: Sequence[Any], size: int) -> list[Any]:
    """Cut a log into batches."""
    return [log[start : start + size] for start in range(0, len(log), size)]


def of_cloudwatch(log: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what Lambda is called with."""
    return {
        "awslogs": {
            "data": cloudwatch.packed(
                {
                    "messageType": "DATA_MESSAGE",
                    "logGroup": cloudwatch.GROUP,
                    "logStream": cloudwatch.STREAM,
                    "logEvents": [cloudwatch.log_event(event) for event in log],
                }
            )
        }
    }


def test_the_lambda_handler_remembers_between_execution_environments(tmp_path: Path) -> None:
    """Each payload meets a new handler; what was minted in one and used in another is found through the file.

    An invocation that fails is tried again as Lambda does, and finds what it found before.
    """
    sink, reported = Sink(fails_at=300), list[object]()
    store = lambda_handler.FileStore(tmp_path / "state.json")
    for batch in in_batches(LOG, 250):
        failed = sink.failed
        with contextlib.suppress(OSError):
            answer = lambda_handler.Handler(store, sink, reported.append)(of_cloudwatch(batch))
        if sink.failed > failed:
            answer = lambda_handler.Handler(store, sink, reported.append)(of_cloudwatch(batch))
        assert answer["events"] == len(batch)

    expected = list(detect(LOG, platform="eks"))
    assert sink.failed == 1
    assert KEYED & {finding.rule.id for finding in expected}
    assert set(fingerprints(sink.taken)) == set(fingerprints(expected))
    assert reported == []


@pytest.mark.parametrize("state", ["{", '{"minted-token-used": {"version": 0}}'])
def test_the_lambda_handler_does_without_a_state_it_cannot_read(
    state: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Damaged or of another release: it says so, examines the payload, and saves anew."""
    store = lambda_handler.FileStore(tmp_path / "state.json")
    store.path.write_text(state, encoding="utf-8")
    handler = attrs.evolve(lambda_handler.lambda_handler, store=store)
    payload = of_cloudwatch([mints()[0]["event"]])
    expected = fingerprints(list(detect(payload, platform="eks")))

    assert handler(payload) == {"events": 1, "findings": len(expected), "unreadable": 0}
    out, err = capsys.readouterr()
    assert sorted(json.loads(line)["fingerprint"] for line in out.splitlines()) == expected
    assert "no memory was restored" in json.loads(err)["error"]
    assert store.load()["minted-token-used"]["version"] == 1


def test_no_payload_chooses_which_file_the_lambda_handler_opens(tmp_path: Path) -> None:
    """A payload that is a string is refused, path or URL; a list of records is read."""
    reported = list[object]()
    handler = lambda_handler.Handler(lambda_handler.FileStore(tmp_path / "state.json"), print, reported.append)
    for payload in (str(ATTACK), ATTACK.as_uri()):
        assert handler(payload) == {"events": 0, "findings": 0, "unreadable": 1}  # type: ignore[arg-type]
    assert {str(error) for error in reported} == {
        "record 1: a str in an iterable: give bytes for content, a Path for a file"
    }
    assert handler(LOG[:3])["events"] == 3  # type: ignore[arg-type]


def of_event_hub(log: Sequence[dict[str, Any]]) -> list[EventHubEvent]:
    """Return what the function is called with: messages of 50 records."""
    return [EventHubEvent(body=azure.event_hub(part)) for part in in_batches(log, 50)]


def test_the_azure_function_reports_what_detect_finds(caplog: pytest.LogCaptureFixture) -> None:
    """Over several calls; a message that is not JSON is an error in the log, and its neighbours are examined."""
    for batch in in_batches(LOG, 250):
        azure_function.find_minted_tokens([EventHubEvent(body=b"{"), *of_event_hub(batch)])

    ours = [record for record in caplog.records if record.name == "k8stokendetect"]
    found = {json.loads(record.getMessage())["fingerprint"] for record in ours if record.levelname == "WARNING"}
    expected = list(detect(LOG, platform="aks"))
    assert KEYED & {finding.rule.id for finding in expected}
    assert found == set(fingerprints(expected))
    assert sum(record.levelname == "ERROR" for record in ours) == len(in_batches(LOG, 250))


def test_the_azure_function_is_tried_again() -> None:
    """It names its hub, takes many events at once and has a retry policy without an end."""
    (function,) = azure_function.app.get_functions()
    (binding,) = function.get_bindings_dict()["bindings"]

    assert (binding["type"], binding["cardinality"]) == ("eventHubTrigger", Cardinality.MANY)
    assert (function.get_settings_dict("retry_policy") or {})["max_retry_count"] == "-1"


def test_the_azure_function_loses_nothing_when_it_is_tried_again() -> None:
    """What remembers origins reports a new one once, and the sink refuses just that: it comes at the next call."""
    bodies = [event.get_body() for event in of_event_hub(LOG)]
    expected = list(detect(bodies, platform="aks"))
    sink = Sink(fails_at=1 + [finding.rule.id for finding in expected].index("unusual-origin"))
    examiner = azure_function.Examiner(sink, print)
    with pytest.raises(OSError, match="the sink is down"):
        examiner(bodies)
    assert len(sink.taken) < len(expected)
    examiner(bodies)

    assert set(fingerprints(sink.taken)) >= set(fingerprints(expected))


@pytest.fixture(scope="module")
def brokers() -> Iterator[str]:
    """Start librdkafka's own broker, which lives as long as its producer, and return its address."""
    owner = Producer({"test.mock.num.brokers": 1, "log_level": 0})
    yield ",".join(f"{broker.host}:{broker.port}" for broker in owner.list_topics(timeout=10).brokers.values())
    del owner


@contextlib.contextmanager
def consumer_of(brokers: str, topic: str) -> Iterator[Consumer]:
    """Open a consumer of a topic that goes on at the committed offsets; without a group's wait for other members."""
    consumer = Consumer(
        {"bootstrap.servers": brokers, "group.id": "k8stokendetect", "log_level": 0} | kafka_consumer.SETTINGS
    )
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number) for number in partitions])
    try:
        yield consumer
    finally:
        consumer.close()


def test_the_kafka_consumer_commits_what_is_delivered(brokers: str, tmp_path: Path) -> None:
    """A crash between delivery and commit: the messages come again, each finding is kept once under its fingerprint.

    What was minted before the crash and used after it is found. A poison message is reported, and not read again.
    """
    client = {"bootstrap.servers": brokers, "log_level": 0}
    producer = Producer(client)
    for event in LOG:
        producer.produce("audit", json.dumps(event), partition=0)
    producer.produce("audit", b"poison", partition=0)
    producer.produce("audit", None, partition=0)
    producer.flush(10)
    into_topic = kafka_consumer.into_topic(Producer(client), "findings")
    runs: list[list[str]] = []
    reported: list[str] = []

    def deliver(findings: Sequence[Finding]) -> None:
        into_topic(findings)
        runs.append(fingerprints(findings))
        if len(runs) == 2:
            raise OSError("crash")

    def stopped() -> bool:
        return len(reported) == 2

    state = tmp_path / "state.json"
    with consumer_of(brokers, "audit") as consumer, pytest.raises(OSError, match="crash"):
        kafka_consumer.consume(consumer, deliver, reported.append, stopped, state)
    with consumer_of(brokers, "audit") as consumer:
        kafka_consumer.consume(consumer, deliver, reported.append, stopped, state)
        (end,) = consumer.committed([TopicPartition("audit", 0)], timeout=10)

    expected = list(detect(LOG))
    forgetful = {finding.fingerprint for part in (LOG[:BATCH], LOG[BATCH:]) for finding in detect(part)}
    assert forgetful < set(fingerprints(expected))
    assert runs[1] == runs[2] != []
    assert set().union(*runs) == set(fingerprints(expected))
    assert end.offset == len(LOG) + 2
    assert [line.partition(":")[0] for line in reported] == [f"audit[0]@{len(LOG)}", f"audit[0]@{len(LOG) + 1}"]
    written = sum(map(len, runs))
    with consumer_of(brokers, "findings") as consumer:
        kept = {message.key() for message in consumer.consume(written, timeout=10)}
    assert {key.decode() for key in kept if key} == set(fingerprints(expected))


def test_the_frame_counts_who_minted_for_whom() -> None:
    """As the labels say; and a quiet day fails no notebook."""
    findings = list(detect(events(METADATA)))
    frame = to_frame(findings)
    counted = by_actor_and_target(frame[frame["rule"] == "token-request"])
    joined = Counter(
        (label["user"], f"{label['event']['objectRef']['namespace']}/{label['event']['objectRef']['name']}")
        for label in mints()
    )

    assert len(joined) > 5
    assert {pair: int(counted.loc[pair]) for pair in joined} == joined
    assert by_actor_and_target(to_frame([])).empty


@pytest.mark.parametrize("script", ["custom_detector.py", "findings_to_pandas.py"])
def test_a_record_that_nobody_can_read_stops_no_script(
    script: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands behind it is found all the same, and the error is told."""
    log, path = ATTACK.read_bytes(), ATTACK.with_name(script)
    (tmp_path / "audit.log").write_bytes(log)
    (tmp_path / "poisoned.log").write_bytes(b'{"auditID": 7, "kind": "Event"}\n{"kind"\n' + log)
    said = []
    for name in ("audit.log", "poisoned.log"):
        monkeypatch.setattr("sys.argv", [script, str(tmp_path / name)])
        runpy.run_path(str(path), run_name="__main__")
        said.append(capsys.readouterr())

    assert said[0].out == said[1].out != ""
    assert said[0].err == ""
    assert "could not be read: " in said[1].err
    assert "poisoned.log:2" in said[1].err


def test_the_frame_is_printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As a script, for the recorded attack: eight mints, as the README says."""
    monkeypatch.setattr("sys.argv", ["findings_to_pandas.py", str(ATTACK)])
    runpy.run_path(str(ATTACK.with_name("findings_to_pandas.py")), run_name="__main__")
    counts = [word for line in capsys.readouterr().out.splitlines()[2:] for word in line.split()[1:] if word.isdigit()]

    assert sum(map(int, counts)) == 2 * 8
