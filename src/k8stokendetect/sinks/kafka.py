# SPDX-License-Identifier: Apache-2.0
"""Produces alerts to a Kafka topic, keyed by fingerprint, acknowledged by all replicas."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from k8stokendetect.errors import ConfigError
from k8stokendetect.incidents import Alert
from k8stokendetect.sinks.base import SinkError

if TYPE_CHECKING:
    from confluent_kafka import Producer

TIMEOUT: Final = 10.0
"""Seconds that an alert may take to be acknowledged."""


class KafkaSink:
    """Produces each alert, and waits until it is acknowledged.

    Arguments:
        name: for people.
        topic: where to; a compacted one keeps each fingerprint once.
        config: of librdkafka.
        line: words an alert.

    Raises:
        ConfigError: when confluent-kafka is missing or refuses the configuration.

    """

    def __init__(self, name: str, topic: str, config: Mapping[str, Any], line: Callable[[Alert], str]) -> None:
        self.name = name
        self._topic = topic
        self._line = line
        self._producer = _producer(name, config)

    def send(self, alert: Alert, /) -> None:
        """Produce an alert."""
        from confluent_kafka import KafkaException  # noqa: PLC0415 - part of an extra

        problems: list[Any] = []
        try:
            self._producer.produce(
                self._topic,
                key=alert.fingerprint.encode("ascii"),
                value=self._line(alert).encode("ascii"),
                on_delivery=lambda error, _: problems.append(error),
            )
            left = self._producer.flush(TIMEOUT + 1)
        except (KafkaException, BufferError) as error:
            raise SinkError(self.name, f"not produced: {type(error).__name__}") from None
        if left or not problems:
            self._producer.purge()
            raise SinkError(self.name, "not acknowledged in time")
        if problems[0] is not None:
            too_large = problems[0].name() == "MSG_SIZE_TOO_LARGE"
            raise SinkError(self.name, f"not produced: {problems[0].name()}", again=not too_large)

    def has(self, _: Alert, /) -> bool:
        """Only the brokers know."""
        return False

    def close(self) -> None:
        """Send what waits: nothing does."""
        self._producer.flush(1)


def _producer(name: str, config: Mapping[str, Any]) -> Producer:
    try:
        from confluent_kafka import KafkaException, Producer  # noqa: PLC0415 - part of an extra
    except ModuleNotFoundError:
        raise ConfigError("confluent-kafka is missing: pip install 'k8stokendetect[kafka]'") from None
    silent = logging.getLogger(f"{__name__}.{name}")  # its own lines name addresses and come from a thread of its own
    silent.addHandler(logging.NullHandler())
    silent.propagate = False
    try:
        return Producer(
            {
                "client.id": "k8stokendetect",
                "acks": "all",
                "enable.idempotence": True,
                "linger.ms": 0,
                "message.timeout.ms": int(TIMEOUT * 1000),
                **config,
            },
            logger=silent,
        )
    except (KafkaException, TypeError, ValueError) as error:
        raise ConfigError(f"sink {name}: refused by librdkafka: {type(error).__name__}") from None
