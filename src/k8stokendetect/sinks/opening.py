# SPDX-License-Identifier: Apache-2.0
"""Opens sinks by their specifications: `open_all`."""

from __future__ import annotations

import importlib.util
import ssl
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from k8stokendetect.errors import ConfigError, OnError, did_you_mean, raise_error
from k8stokendetect.incidents import Alert
from k8stokendetect.outputs.ecs import to_ecs_line
from k8stokendetect.outputs.ocsf import to_ocsf_line
from k8stokendetect.sinks.base import Sink, SinkError
from k8stokendetect.sinks.cef import to_cef
from k8stokendetect.sinks.delivery import DeadLetters, Delivery
from k8stokendetect.sinks.files import FileSink, StdoutSink
from k8stokendetect.sinks.http_sinks import PAGERDUTY, HttpSink, pagerduty_body, slack_body, teams_body
from k8stokendetect.sinks.kafka import KafkaSink
from k8stokendetect.sinks.posting import Poster
from k8stokendetect.sinks.specs import Spec, parse_all
from k8stokendetect.sinks.syslog import PORTS, SyslogSink
from k8stokendetect.sinks.wording import to_json, to_short_json

PATIENCE: Final = 30.0
"""Seconds for which `scan` tries to deliver an alert."""

FORMATS: Final[dict[str, Callable[[Alert], str]]] = {
    "json": to_json,
    "short": to_short_json,
    "cef": to_cef,
    "ecs": lambda alert: to_ecs_line(alert, observed=datetime.now(UTC)),
    "ocsf": lambda alert: to_ocsf_line(alert, observed=datetime.now(UTC)),
}


class Sinks:
    """All sinks of a command; alerts go to one after the other.

    Arguments:
        deliveries: one for each sink.

    Attributes:
        stopping: ends waiting for another attempt, once it is set.

    """

    def __init__(self, deliveries: Sequence[Delivery], stopping: threading.Event) -> None:
        self.deliveries = tuple(deliveries)
        self.stopping = stopping

    def send(self, alert: Alert, /) -> bool:
        """Deliver an alert to every sink that wants it; tell whether all of them took it.

        Raises:
            OSError: when a dead letter cannot be written.

        """
        taken = [delivery.deliver(alert) for delivery in self.deliveries]  # each, whatever another one says
        return all(taken)

    def close(self) -> None:
        """Close all sinks."""
        for delivery in self.deliveries:
            delivery.close()


def open_all(
    specs: Sequence[str],
    /,
    *,
    dead_letters: Path | None = None,
    on_error: OnError = raise_error,
    patience: float = PATIENCE,
) -> Sinks:
    """Open the sinks that `--sink` names.

    Arguments:
        specs: each `KIND[:TARGET][?OPTION=VALUE&…]`, or the name of a TOML file.
        dead_letters: the file for what no sink takes.
        on_error: called with a SinkError for each alert that a sink does not take, when that is final.
        patience: how many seconds an alert is tried for.

    Raises:
        ConfigError: when a specification is wrong, something is missing, or a file cannot be written; no message holds
            a secret.

    """
    found = parse_all(specs)
    if found and importlib.util.find_spec("tenacity") is None:
        raise ConfigError("tenacity is missing: pip install 'k8stokendetect[sinks]'")
    letters = None if dead_letters is None else DeadLetters(dead_letters)
    if letters is not None and found:
        letters.check()
    stopping = threading.Event()
    return Sinks(
        [Delivery(_sink(spec), spec.severity, letters, on_error, patience, stopping) for spec in found], stopping
    )


def _sink(spec: Spec) -> Sink:
    return _OPENERS[spec.kind](spec)


def _line(spec: Spec, default: str = "json") -> Callable[[Alert], str]:
    form = spec.option("format", default)
    if form not in FORMATS:
        raise ConfigError(f"sink {spec.name}: unknown format {form!r}{did_you_mean(form, FORMATS)}")
    return FORMATS[form]


def _stdout(spec: Spec) -> Sink:
    if spec.target:
        raise ConfigError("sink stdout takes no target")
    return StdoutSink(spec.name, _line(spec))


def _file(spec: Spec) -> Sink:
    if not spec.target:
        raise ConfigError("sink file: its target is a path, as in file:alerts.jsonl")
    sink = FileSink(spec.name, Path(spec.target.removeprefix("//")), _line(spec))
    try:
        sink.open()
    except SinkError as error:
        raise ConfigError(f"{spec.target}: {error.reason}") from None
    return sink


def _poster(spec: Spec, url: str, headers: dict[str, str] | None = None) -> Poster:
    return Poster(spec.name, url, headers, spec.option("ca") or None)


def _webhook(spec: Spec) -> Sink:
    line, token = _line(spec), spec.option("token")
    if not token.isascii() or not token.isprintable():
        raise ConfigError(f"sink {spec.name}: its token is not a valid token")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    if spec.option("format") == "cef":
        headers["Content-Type"] = "text/plain; charset=us-ascii"
    return HttpSink(
        spec.name, _poster(spec, spec.target, headers), lambda alert: _ascii(line(alert)).encode("ascii"), keyed=True
    )


def _slack(spec: Spec) -> Sink:
    return HttpSink(spec.name, _poster(spec, spec.target), slack_body)


def _teams(spec: Spec) -> Sink:
    return HttpSink(spec.name, _poster(spec, spec.target), teams_body)


def _pagerduty(spec: Spec) -> Sink:
    return HttpSink(spec.name, _poster(spec, spec.option("url", PAGERDUTY)), pagerduty_body(spec.target))


def _syslog(spec: Spec) -> Sink:
    try:
        parts = urlsplit(spec.target)
        transport, host, port = parts.scheme, parts.hostname, parts.port
    except ValueError:
        transport, host, port = "", None, None
    if transport not in PORTS or not host:
        raise ConfigError(f"sink {spec.name}: its target is udp://HOST:PORT, tcp://HOST:PORT or tls://HOST:PORT")
    context = _context(spec) if transport == "tls" else None
    line = _line(spec, "short" if transport == "udp" else "json")
    return SyslogSink(spec.name, transport, host, port or PORTS[transport], line, context)


def _context(spec: Spec) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=spec.option("ca") or None)
        if spec.option("cert"):
            context.load_cert_chain(spec.option("cert"), spec.option("key") or None)
    except (OSError, ssl.SSLError):
        raise ConfigError(f"sink {spec.name}: `ca`, `cert` or `key` cannot be read") from None
    return context


def _kafka(spec: Spec) -> Sink:
    brokers, slash, topic = spec.target.rpartition("/")
    if not slash or not brokers or not topic:
        raise ConfigError(f"sink {spec.name}: its target is BROKER:PORT,…/TOPIC")
    config = {name: value for name, value in spec.options.items() if "." in name}
    line = _line(spec)
    return KafkaSink(spec.name, topic, {"bootstrap.servers": brokers, **config}, lambda alert: _ascii(line(alert)))


def _ascii(text: str) -> str:
    return "".join(char if " " <= char <= "~" else char.encode("unicode_escape").decode() for char in text)


_OPENERS: Final[dict[str, Callable[[Spec], Sink]]] = {
    "stdout": _stdout,
    "file": _file,
    "webhook": _webhook,
    "slack": _slack,
    "teams": _teams,
    "pagerduty": _pagerduty,
    "syslog": _syslog,
    "kafka": _kafka,
}
