# SPDX-License-Identifier: Apache-2.0
"""Read audit events from a Kafka topic and write findings to another; offsets are committed after the findings.

Install `k8stokendetect[examples]`; run `python kafka_consumer.py` with KAFKA_BROKERS, KAFKA_TOPIC, KAFKA_GROUP and
KAFKA_FINDINGS, a topic with `cleanup.policy=compact`: a finding's key is its fingerprint, so that a finding delivered
twice is kept once. STATE_FILE holds the memory of the detectors. Give all messages of a cluster the same key: a
partition is in order, a topic is not.
"""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Event
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from k8stokendetect import ConfigError, Detector, Finding, KeyedDetector, detect
from k8stokendetect.detectors import BUILTIN
from k8stokendetect.outputs.native import to_line

BATCH: Final = 500  # messages held in memory at once
SETTINGS: Final = {"enable.auto.commit": False, "auto.offset.reset": "earliest"}


def into_topic(producer: Producer, topic: str) -> Callable[[Sequence[Finding]], None]:
    """Return a function that raises unless the brokers have acknowledged every finding."""

    def deliver(findings: Sequence[Finding]) -> None:
        answers: list[KafkaError | None] = []
        for finding in findings:
            producer.produce(topic, to_line(finding), finding.fingerprint, on_delivery=lambda e, _: answers.append(e))
        producer.flush(30)
        failed = [error for error in answers if error is not None]
        if failed or len(answers) < len(findings):
            raise KafkaException(*failed[:1])

    return deliver


def examine(
    messages: Sequence[Message], detectors: Sequence[Detector], report: Callable[[str], object]
) -> list[Finding]:
    """Return the findings of some messages; report what cannot be read, with the position of its message."""
    place = ""

    def values() -> Iterator[bytes]:
        nonlocal place
        for message in messages:
            place = f"{message.topic()}[{message.partition()}]@{message.offset()}"
            value = message.value()
            if isinstance(value, bytes):
                yield value
            else:
                report(f"{place}: a message without a value")

    return list(detect(values(), detectors=detectors, on_error=lambda error: report(f"{place}: {error}")))


def restore(keyed: Sequence[KeyedDetector[Any]], path: Path, report: Callable[[str], object]) -> None:
    """Restore the saved memory; if it is damaged or from another release, say so and start afresh."""
    try:
        saved = json.loads(path.read_bytes()) if path.exists() else {}
        for detector in keyed:
            if detector.rule.id in saved:
                detector.restore(saved[detector.rule.id])
    except (ConfigError, ValueError) as error:
        report(f"some memory was not restored: {error}")


def save(keyed: Sequence[KeyedDetector[Any]], path: Path) -> None:
    """Save the memory, completely or not at all."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps({detector.rule.id: detector.state() for detector in keyed}), encoding="utf-8")
    new.replace(path)


def consume(
    consumer: Consumer,
    deliver: Callable[[Sequence[Finding]], object],
    report: Callable[[str], object],
    stopped: Callable[[], bool],
    state: Path,
) -> None:
    """Examine, deliver, save, commit, until stopped.

    Any exception ends it before the commit. After a restart the messages come again; the memory is the one from before
    them, or one saved after their findings were delivered.
    """
    detectors = [cls() for cls in BUILTIN]
    keyed = [detector for detector in detectors if isinstance(detector, KeyedDetector)]
    restore(keyed, state, report)
    while not stopped():
        polled = consumer.consume(BATCH, timeout=1.0)
        for error in filter(None, (message.error() for message in polled)):
            if error.fatal():
                raise KafkaException(error)
            report(str(error))
        messages = [message for message in polled if message.error() is None]
        if messages:
            deliver(examine(messages, detectors, report))
            save(keyed, state)
            ends = {(m.topic() or "", m.partition() or 0): (m.offset() or 0) + 1 for m in messages}
            consumer.commit(offsets=[TopicPartition(*place, end) for place, end in ends.items()], asynchronous=False)


if __name__ == "__main__":
    stop = Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    brokers = {"bootstrap.servers": os.environ["KAFKA_BROKERS"]}
    source = Consumer(brokers | SETTINGS | {"group.id": os.environ["KAFKA_GROUP"]})
    source.subscribe([os.environ["KAFKA_TOPIC"]])
    sink = into_topic(Producer(brokers | {"enable.idempotence": True}), os.environ["KAFKA_FINDINGS"])
    try:
        consume(
            source, sink, lambda problem: print(problem, file=sys.stderr), stop.is_set, Path(os.environ["STATE_FILE"])
        )
    finally:
        source.close()
