# SPDX-License-Identifier: Apache-2.0
"""What `k8stokendetect serve` does: receives what an API server's audit webhook posts, and sends alerts to sinks."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import attrs
import click

from k8stokendetect.cli.clouds import load_subjects, with_issuers
from k8stokendetect.cli.shared import Errors, Selection, exclusions_of, load_cluster
from k8stokendetect.detectors import Detector
from k8stokendetect.errors import ConfigError, K8sTokenDetectError
from k8stokendetect.events import Platform
from k8stokendetect.outputs.html import environment

PATIENCE: Final = 3600.0
"""Seconds for which an alert is tried; until then it waits on the disk, and those behind it."""

_SPAN: Final = re.compile(r"(\d{1,4})([hd])")


@attrs.frozen(kw_only=True)
class Options:
    """The options of the command, by the names that `cli/app.py` gives them."""

    listen: str
    health: str | None
    certificate: str | None
    key: str | None
    client_ca: str | None
    client_names: tuple[str, ...]
    token_file: str | None
    state: str
    sinks: tuple[str, ...]
    keep: str
    max_body: int
    platform: Platform | None
    exclusion_file: str | None
    cluster_files: tuple[str, ...]
    cluster_name: str | None
    enable: tuple[str, ...]
    rules: tuple[str, ...]
    plugins: bool
    issuers: tuple[str, ...] = ()
    azure_subjects: str | None = None


def serve(**given: Any) -> int:
    """Serve until it is told to stop, and return the exit status.

    Raises:
        ConfigError: when an option is wrong, or something is missing; before anything listens.

    """
    options = Options(**given)
    from k8stokendetect.serve.reporting import Log  # noqa: PLC0415 - part of an extra
    from k8stokendetect.serve.service import Service  # noqa: PLC0415 - the same
    from k8stokendetect.sinks import open_all  # noqa: PLC0415 - the same

    environment()  # says what is missing before anything listens
    errors, log = Errors(), Log()
    folder = Path(options.state)
    settings = _settings(options, folder)
    settings.check()
    cluster = None
    if options.cluster_files:
        cluster = load_cluster(options.cluster_files, on_error=errors, warn=Errors("warning"))
    exclusions = exclusions_of(options.enable, options.exclusion_file)
    subjects = load_subjects(options.azure_subjects)

    def report(error: K8sTokenDetectError) -> None:
        log("error sink", str(error))

    _made(folder)
    sinks = open_all(
        options.sinks or ("stdout",), dead_letters=folder / "dead-letters.jsonl", on_error=report, patience=PATIENCE
    )

    def detectors() -> Sequence[Detector]:
        return with_issuers(Selection.of(options.rules, plugins=options.plugins).detectors, options.issuers)

    service = Service(
        settings,
        sinks,
        detectors,
        exclusions,
        platform=options.platform,
        cluster=cluster,
        cluster_name=options.cluster_name,
        azure_subjects=subjects,
        log=log,
    )

    def ready(port: int, health: int | None) -> None:
        also = f"; health and metrics on port {health}" if health is not None else ""
        click.echo(f"listening on {settings.listen[0]} port {port}{also}", err=True)

    with contextlib.closing(sinks):
        return service.run(ready)


def _made(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be used: {error.strerror}") from None


def _settings(options: Options, folder: Path) -> Any:
    from k8stokendetect.serve.service import MIB, Settings  # noqa: PLC0415 - part of an extra
    from k8stokendetect.serve.tls import TlsFiles  # noqa: PLC0415 - the same

    if (options.certificate is None) != (options.key is None):
        raise ConfigError("--tls-cert and --tls-key go together")
    tls = None
    if options.certificate is not None and options.key is not None:
        client_ca = Path(options.client_ca) if options.client_ca else None
        tls = TlsFiles(certificate=Path(options.certificate), key=Path(options.key), client_ca=client_ca)
    elif options.client_ca is not None:
        raise ConfigError("--client-ca needs --tls-cert and --tls-key")
    return Settings(
        listen=_address("--listen", options.listen),
        health=_address("--health-listen", options.health) if options.health else None,
        tls=tls,
        client_names=frozenset(options.client_names),
        token_file=Path(options.token_file) if options.token_file else None,
        folder=folder,
        keep=_span(options.keep),
        max_body=options.max_body * MIB,
        options=_shown(options),
    )


def _shown(options: Options) -> tuple[str, ...]:
    """Return what the page says about how the service was started: rules and exclusions, no addresses, no sinks."""
    shown = [f"--enable {name}" for name in options.enable]
    shown += [f"--rule {name}" for name in options.rules]
    shown += ["--exclusions"] if options.exclusion_file else []
    shown += [f"--platform {options.platform}"] if options.platform else []
    return tuple(shown)


def _address(option: str, text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or int(port) > 65535:  # noqa: PLR2004 - the last port
        raise ConfigError(f"{option}: expected ADDRESS:PORT, such as 0.0.0.0:8443 or [::]:8443")
    return host, int(port)


def _span(text: str) -> timedelta:
    found = _SPAN.fullmatch(text)
    if found is None:
        raise ConfigError("--keep: expected hours or days, such as 12h or 7d")
    return timedelta(**{"hours" if found[2] == "h" else "days": int(found[1])})
