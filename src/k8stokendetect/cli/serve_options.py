# SPDX-License-Identifier: Apache-2.0
"""The options that `k8stokendetect serve` has of its own, and `--sink`, which `scan` shares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

sink = click.option(
    "--sink",
    "sinks",
    multiple=True,
    metavar="KIND:TARGET",
    help="Also send alerts there: stdout, file:PATH, webhook:URL, slack:env:NAME, teams:env:NAME, pagerduty:env:NAME, "
    "syslog:tls://HOST:PORT, kafka:BROKER:PORT/TOPIC, or FILE.toml; `?severity=high` limits it; may be repeated.",
)

_OPTIONS = (
    click.option(
        "--listen", default="127.0.0.1:8443", show_default=True, metavar="ADDRESS:PORT", help="Where to listen."
    ),
    click.option(
        "--health-listen", "health", metavar="ADDRESS:PORT", help="/healthz and /metrics, without TLS, for anyone."
    ),
    click.option("--tls-cert", "certificate", metavar="FILE", help="The server's certificate, in PEM."),
    click.option("--tls-key", "key", metavar="FILE", help="Its key."),
    click.option("--client-ca", metavar="FILE", help="Let in clients with a certificate of these authorities only."),
    click.option(
        "--client-name", "client_names", multiple=True, metavar="NAME", help="… that is called so; repeatable."
    ),
    click.option("--token-file", metavar="FILE", help="Ask for a bearer token, one of the lines of this file."),
    click.option("--state", metavar="FOLDER", required=True, help="What is remembered, and alerts on their way."),
    click.option(
        "--keep", default="1d", show_default=True, metavar="12h|7d", help="How long the page shows an incident."
    ),
    click.option("--max-body", default=16, show_default=True, type=click.IntRange(1, 256), help="MiB of one batch."),
)


def serve_options(command: Callable[..., Any], /) -> Callable[..., Any]:
    """Add them to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
