# SPDX-License-Identifier: Apache-2.0
"""What Prometheus asks for: counts of batches, events, findings, alerts and deliveries, and how much waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import prometheus_client as client
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from k8stokendetect.engine.tally import Tally

if TYPE_CHECKING:
    from k8stokendetect.sinks import Delivery


class Metrics:
    """Counts what a service does; everything that it counts elsewhere is read when it is asked for."""

    def __init__(self) -> None:
        self.registry = client.CollectorRegistry()
        self._write = client.generate_latest
        self.content_type = client.CONTENT_TYPE_LATEST

        def counter(name: str, text: str, labels: tuple[str, ...] = ()) -> client.Counter:
            return client.Counter(f"k8stokendetect_{name}", text, labels, registry=self.registry)

        def gauge(name: str, text: str) -> client.Gauge:
            return client.Gauge(f"k8stokendetect_{name}", text, registry=self.registry)

        self.requests = counter("requests", "Requests, by path and status of the answer.", ("path", "status"))
        self.body_bytes = counter("batch_bytes", "Bytes of the accepted batches.")
        self.events_taken = counter("events_received", "Events in the accepted batches, repeated ones included.")
        self.alerts = counter("alerts", "Alerts, by severity.", ("severity",))
        self.lost = counter("batches_not_examined", "Batches that were moved away because examining them failed.")
        self.last_batch = gauge(
            "last_batch_timestamp_seconds", "When the last batch was accepted; before the first one, when this started."
        )
        self.last_batch.set_to_current_time()
        self.last_state = gauge("last_state_timestamp_seconds", "When the state was last saved.")

    def observe(
        self,
        tally: Tally,
        deliveries: tuple[Delivery, ...],
        waiting: Callable[[], dict[str, int]],
        undelivered: Callable[[], dict[str, int]],
    ) -> None:
        """Also show what is counted elsewhere.

        Arguments:
            tally: of the examination.
            deliveries: one for each sink.
            waiting: how many batches, and bytes of them, wait to be examined, and how large the journals are.
            undelivered: how many entries of the outbox each sink has not taken yet.

        """
        self.registry.register(_Elsewhere(tally, deliveries, waiting, undelivered))

    def text(self) -> bytes:
        """Return all of it in Prometheus' text format."""
        return self._write(self.registry)


class _Elsewhere:
    def __init__(
        self,
        tally: Tally,
        deliveries: tuple[Delivery, ...],
        waiting: Callable[[], dict[str, int]],
        undelivered: Callable[[], dict[str, int]],
    ) -> None:
        self._tally = tally
        self._deliveries = deliveries
        self._waiting = waiting
        self._undelivered = undelivered

    def collect(self) -> Iterator[Metric]:
        def counter(name: str, text: str, label: str, counts: dict[str, int]) -> Metric:
            family = CounterMetricFamily(f"k8stokendetect_{name}", text, labels=[label])
            for value, count in counts.items():
                family.add_metric([value], count)
            return family

        tally = self._tally
        plain = {
            "events": (tally.events, "Events examined since the start."),
            "unreadable": (tally.unreadable, "Events that could not be read."),
            "duplicates": (tally.duplicates, "Findings that repeated one about the same request."),
            "detector_failures": (tally.failures, "How many times a detector raised."),
        }
        for name, (count, text) in plain.items():
            yield CounterMetricFamily(f"k8stokendetect_{name}", text, value=count)
        yield counter("findings", "Findings, by rule.", "rule", dict(tally.findings))
        yield counter("excluded", "Findings that an exclusion covers.", "exclusion", dict(tally.excluded))
        one = self._deliveries
        yield counter("sink_sent", "Alerts that a sink accepted.", "sink", {each.name: each.sent for each in one})
        yield counter(
            "sink_dead_letters", "Alerts that a sink refused.", "sink", {each.name: each.dead for each in one}
        )
        yield counter(
            "sink_retries", "Delivery attempts that were repeated.", "sink", {each.name: each.retries for each in one}
        )
        for name, number in self._waiting().items():
            yield GaugeMetricFamily(f"k8stokendetect_{name}", "Bytes that wait or are kept on disk.", value=number)
        waits = GaugeMetricFamily(
            "k8stokendetect_sink_waiting", "Entries not yet delivered to a sink.", labels=["sink"]
        )
        for name, number in self._undelivered().items():
            waits.add_metric([name], number)
        yield waits
