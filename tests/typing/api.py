# SPDX-License-Identifier: Apache-2.0
"""The public API as users write it: type-checked by mypy and pyright in strict mode, not run."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any, assert_type

import k8stokendetect
from k8stokendetect import (
    DEFAULT_EXCLUSIONS,
    Actor,
    AuditLog,
    Component,
    Detector,
    DetectorError,
    Event,
    Evidence,
    Exclusion,
    Finding,
    K8sTokenDetectError,
    Provenance,
    ReadError,
    Rule,
    Severity,
    Signal,
    Tally,
    detect,
    load_exclusions,
    parse_event,
    read,
)
from k8stokendetect.cluster import Cluster
from k8stokendetect.cluster.live import load_live
from k8stokendetect.detectors import TokenRequest, TokenRequestURI
from k8stokendetect.doctor import Report, diagnose


class VaultToken(Detector):
    """A token for Vault was minted by hand."""

    rule = Rule("acme.vault-token", "Token minted for Vault", Severity.HIGH)
    watches = frozenset({"serviceaccounts/token"})

    def matches(self, event: Event) -> bool:
        """Look at the audiences."""
        request = event.token_request
        return event.mints_token and request is not None and "vault" in request.audiences

    def describe(self, event: Event) -> Finding:
        """Report it."""
        audiences = event.token_request.audiences if event.token_request else ()
        return self.finding(
            event,
            f"{event.actor.username} minted a Vault token",
            Evidence("requestObject.spec.audiences", audiences, "audience"),
        )


class Everything(Detector):
    """Several findings about an event, or about what could not be read."""

    rule = Rule("acme.everything", "Everything", Severity.LOW)
    watches = frozenset({"*", "create clusterroles", Signal.UNREADABLE})

    def inspect(self, event: Event | ReadError) -> Iterator[Finding]:
        """Report it."""
        if isinstance(event, Event):
            yield self.finding(event, event.verb)


def sources(path: Path) -> None:
    """Everything that is a source."""
    detect("audit.log")
    detect(path)
    detect(b"{}")
    detect(io.BytesIO(b"{}"))
    detect({"auditID": "a", "verb": "get"})
    detect([{"auditID": "a", "verb": "get"}])
    detect(parse_event({"auditID": "a", "verb": "get"}))
    detect(read(path))
    with path.open("rb") as file:
        detect(file)


def options() -> None:
    """Everything that can be said."""
    errors: list[K8sTokenDetectError] = []
    pairs: list[ReadError | DetectorError] = []
    anything: list[Exception] = []
    unreadable: list[ReadError] = []
    detect("audit.log", on_error=pairs.append)
    detect("audit.log", on_error=anything.append)
    detect("audit.log", on_error=lambda error: (error.reason, error.origin))
    detect(read("audit.log", on_error=unreadable.append), on_error=errors.append)
    read("audit.log", on_error=errors.append)
    Cluster.load("cluster.json", on_error=unreadable.append)
    assert_type(load_live("prod", on_error=unreadable.append), Cluster)
    tally = Tally()
    mine = Exclusion(
        component=Component(
            id="mine",
            actor=Actor(username="system:serviceaccount:ci:deployer", in_pod=True),
            namespaces=("ci",),
            provenance=(Provenance(source="https://wiki.example", checked=date(2026, 11, 24)),),
        ),
        rules=("token-request",),
        because="It deploys.",
        hides="Whoever runs code in it can mint.",
    )
    findings = detect(
        "audit.log",
        detectors=[VaultToken(), TokenRequest(), TokenRequestURI(standard_namespaces={"a"}), "token-request"],
        exclusions=[*DEFAULT_EXCLUSIONS, *load_exclusions("mine.toml"), mine, "external-secrets"],
        keep_excluded=True,
        platform="eks",
        on_error=errors.append,
        tally=tally,
    )
    assert_type(findings, Iterator[Finding])
    for finding in findings:
        assert_type(finding.severity, Severity)
        assert_type(finding.rule.id, str)
        assert_type(finding.event.audit_id, str)
        assert_type(finding.excluded_by, str | None)


def events() -> None:
    """Events are typed."""
    log = read("audit.log", platform="gke")
    assert_type(log, AuditLog)
    for event in log:
        assert_type(event, Event)
        assert_type(event.actor.username, str)
        assert_type(event.peer_ip, str | None)
        assert_type(event.mints_token, bool)
    try:
        parse_event({})
    except ReadError as error:
        assert_type(error.path, str | None)


def diagnosis() -> None:
    """So is what the doctor says."""
    report = diagnose("audit.log")
    assert_type(report, Report)
    assert_type(report.rules[0].rule_id, str)
    assert_type(report.clusters[0].facts["user name"].has, int)
    assert_type(report.to_dict(), dict[str, Any])


def topics() -> None:
    """Each topic is an attribute of the package, typed as its own import."""
    assert_type(k8stokendetect.__version__, str)
    findings = list(k8stokendetect.detect("audit.log"))
    assert_type(k8stokendetect.outputs.native.to_line(findings[0]), str)
    assert_type(k8stokendetect.incidents.incidents(findings), k8stokendetect.incidents.IncidentList)
    assert_type(k8stokendetect.engine.Memory().to_dict(), dict[str, Any])
    assert_type(Tally().to_dict(), dict[str, Any])
