# SPDX-License-Identifier: Apache-2.0
"""What `k8stokendetect explain` does: all that is known about a request, with its event, and the exit status."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain, combinations, groupby
from typing import Any, Final

import attrs
import click

from k8stokendetect.cli.shared import Errors, source_of
from k8stokendetect.detectors import BUILTIN, OPTIONAL
from k8stokendetect.engine.detection import detect
from k8stokendetect.errors import ConfigError, OnError, ReadError
from k8stokendetect.event_ref import request_id
from k8stokendetect.events import Event, Platform
from k8stokendetect.findings import Finding
from k8stokendetect.incidents import Alert
from k8stokendetect.input.remote import Remote, is_url
from k8stokendetect.outputs.explanation import Explanation, to_explanation, to_explanation_line
from k8stokendetect.plugins import load_detectors, load_envelopes
from k8stokendetect.reading import AuditLog, read
from k8stokendetect.reading.lookup import events_of

_ID: Final = re.compile(r"[0-9a-f]{32}")

_MOST_TOGETHER: Final = 12
"""From how many findings about one request every part is tried as an alert: an earlier one may have said less."""


def explain(*, names: tuple[str, ...], form: str, **options: object) -> int:
    """Print what is known about some requests and return the exit status.

    Raises:
        ConfigError: when an option is wrong, or there is no id or no log that can be read twice.

    """
    ids, logs = _ids_and_logs(names)
    run, errors = _Run(logs=logs, **options), Errors()  # type: ignore[arg-type]  # click checks them
    alerts, requests = run.alerts(ids, errors)
    if further := {id_ for id_ in requests.values() if id_ not in ids}:  # what was said of them before is not known
        more, _ = run.alerts(further, _ignore)
        alerts |= more
    every = [alert for about in alerts.values() for alert in about]
    refs = [ref for alert in every for ref in (alert.event, alert.mint) if ref is not None]
    events = dict(events_of(run.log(_ignore), refs))
    silent = [id_ for id_ in ids if id_ not in requests]
    unreported = run.unreported(silent) if silent else {}
    for explanation in chain(_explanations(alerts, events), _of_events(unreported)):
        click.echo(to_explanation_line(explanation) if form == "json" else f"{to_explanation(explanation)}\n")
    for id_ in silent:
        if id_ not in unreported:
            errors(ReadError(f"no request, finding or alert in these logs has the id {id_}"))
    return 2 if errors.count else 0


@attrs.frozen(kw_only=True)
class _Run:
    """The logs and how to read them, by the names of the command's options."""

    logs: Sequence[str]
    platform: Platform | None
    plugins: bool
    trust_pods: tuple[str, ...]
    day_first: bool | None

    def log(self, on_error: OnError) -> AuditLog:
        """Return the logs, to be read once more."""
        sources: list[Any] = [Remote(name) if is_url(name) else source_of(name) for name in self.logs]
        return read(
            sources,
            platform=self.platform,
            on_error=on_error,
            envelopes=load_envelopes() if self.plugins else (),
            trust_pods=self.trust_pods,
            day_first=self.day_first,
        )

    def alerts(self, ids: Collection[str], on_error: OnError) -> tuple[dict[str, list[Alert]], dict[str, str]]:
        """Return what was said about requests, by their ids, and the request that each of some ids leads to.

        An id that is none of a request leads to what was said at that moment only, not to what was said before.
        """
        said: dict[str, list[Finding]] = {}
        requests: dict[str, str] = {}
        detectors = [*(cls() for cls in (*BUILTIN, *OPTIONAL)), *(load_detectors() if self.plugins else ())]
        found = detect(self.log(on_error), detectors=detectors, keep_excluded=True, on_error=on_error)
        for request, group in groupby(found, key=lambda finding: finding.event.request_id):
            findings = list(group)
            if request in ids:
                requests[request] = request
            requests |= dict.fromkeys(_fingerprints(findings).intersection(ids), request)
            if request in requests.values():
                said.setdefault(request, []).extend(findings)
        return {request: list(_alerts(findings)) for request, findings in said.items()}, requests

    def unreported(self, ids: Collection[str]) -> dict[str, Event]:
        """Return the events of requests about which nothing was said; every event is read in full for it."""
        return {id_: event for event in self.log(_ignore) if (id_ := request_id(event)) in ids}


def _ignore(_: object) -> None:
    """Skip an error that another reading reports."""


def _ids_and_logs(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Tell ids from logs: an id comes first, and has 32 hexadecimal digits."""
    ids: list[str] = []
    logs = list(names)
    while logs and _ID.fullmatch(logs[0]) and not os.path.exists(logs[0]):  # noqa: PTH110 - raises for long names
        ids.append(logs.pop(0))
    if not ids:
        raise ConfigError("the id comes first: 32 hexadecimal digits, of a request, a finding or an alert")
    if not logs:
        raise ConfigError("no log is given")
    for name in logs:
        if not is_url(name) and not (os.path.isfile(name) or os.path.isdir(name)):  # noqa: PTH112, PTH113 - the same
            raise ConfigError(
                f"{name}: no file or folder; logs are read twice, so standard input or a pipe will not do"
            )
    return list(dict.fromkeys(ids)), logs


def _fingerprints(findings: Sequence[Finding]) -> set[str]:
    """Return the fingerprints of findings about one request, and of every alert that they may have made."""
    found = {finding.fingerprint for finding in findings}
    for some in _reported_and_excluded(findings):
        sizes = range(1, len(some) + 1) if len(some) <= _MOST_TOGETHER else [len(some)]
        parts = chain.from_iterable(combinations(some, size) for size in sizes)
        found |= {Alert(findings=part).fingerprint for part in parts}
    return found


def _reported_and_excluded(findings: Sequence[Finding]) -> Iterator[list[Finding]]:
    """Part the findings about one request: those that are excluded make an alert of their own."""
    for is_excluded in (False, True):
        if some := [finding for finding in findings if (finding.excluded_by is not None) is is_excluded]:
            yield some


def _alerts(findings: Sequence[Finding]) -> Iterator[Alert]:
    return map(Alert.of, _reported_and_excluded(findings))


def _explanations(alerts: Mapping[str, Sequence[Alert]], events: Mapping[str, Event]) -> Iterator[Explanation]:
    for id_, about in alerts.items():
        mint = next((alert.mint for alert in about if alert.mint is not None), None)
        issued = None if mint is None else events.get(mint.request_id)
        yield Explanation(id=id_, alerts=tuple(about), event=events.get(id_), mint=issued)


def _of_events(events: Mapping[str, Event]) -> Iterator[Explanation]:
    return (Explanation(id=id_, event=event) for id_, event in events.items())
