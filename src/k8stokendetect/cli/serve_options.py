# SPDX-License-Identifier: Apache-2.0
"""The options that `k8stokendetect serve` has of its own, and `--sink`, which `scan` shares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from k8stokendetect.cli.grouping import LISTEN, SEND, option

sink = option(
    "--sink",
    "sinks",
    group=SEND,
    multiple=True,
    metavar="KIND:TARGET",
    help="Also send alerts there: stdout, file:PATH, webhook:URL, slack:env:NAME, teams:env:NAME, pagerduty:env:NAME, "
    "syslog:tls://HOST:PORT, kafka:BROKER:PORT/TOPIC, or FILE.toml; `?severity=high` limits it; may be repeated.",
)

_OPTIONS = (
    option(
        "--listen",
        group=LISTEN,
        default="127.0.0.1:8443",
        show_default=True,
        metavar="ADDRESS:PORT",
        help="Where to listen.",
    ),
    option(
        "--health-listen",
        "health",
        group=LISTEN,
        metavar="ADDRESS:PORT",
        help="Where to answer /healthz and /metrics, to anyone and without TLS.",
    ),
    option("--tls-cert", "certificate", group=LISTEN, metavar="FILE", help="The server's certificate, in PEM."),
    option("--tls-key", "key", group=LISTEN, metavar="FILE", help="The key of this certificate, in PEM."),
    option(
        "--client-ca", group=LISTEN, metavar="FILE", help="Accept only clients with a certificate of these authorities."
    ),
    option(
        "--client-name",
        "client_names",
        group=LISTEN,
        multiple=True,
        metavar="NAME",
        help="With --client-ca: accept only clients of this name; may be repeated.",
    ),
    option(
        "--token-file",
        group=LISTEN,
        metavar="FILE",
        help="Accept only clients with a bearer token from this file, one a line.",
    ),
    option(
        "--state",
        group=SEND,
        metavar="FOLDER",
        required=True,
        help="Keeps what detectors remember, and alerts that are not delivered yet.",
    ),
    option(
        "--keep",
        group=SEND,
        default="1d",
        show_default=True,
        metavar="12h|7d",
        help="How long the page shows an incident.",
    ),
    option(
        "--max-body",
        group=LISTEN,
        default=16,
        show_default=True,
        type=click.IntRange(1, 256),
        help="Maximum size of a batch in MiB.",
    ),
)


def serve_options(command: Callable[..., Any], /) -> Callable[..., Any]:
    """Add them to a command."""
    for add in reversed(_OPTIONS):
        command = add(command)
    return command
