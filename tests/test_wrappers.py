# SPDX-License-Identifier: Apache-2.0
"""The recording in every wrapper gives the same findings as the native file, but for what the wrapper loses."""

from __future__ import annotations

import functools
import json
from collections import Counter
from typing import Any

import pytest

from builders import token_request
from k8stokendetect import DEFAULT_EXCLUSIONS, Finding, Severity, Tally, detect, read
from k8stokendetect.events import Platform
from recordings import METADATA, few, records
from snapshots import PARTS, kept
from wrappings import azure, cloudwatch, elastic, flat, gcp, ocsf, shippers, tables, unknown

WRAPPINGS = {
    f"{module.__name__.rpartition('.')[2]}: {name}": wrap
    for module in (azure, cloudwatch, elastic, flat, gcp, ocsf, shippers, tables, unknown)
    for name, wrap in {**module.WRAPPINGS, **getattr(module, "GOOGLE", {})}.items()
}
LOG = [*few(METADATA, 5, others=False), *records(METADATA)[::600]]
"""Each wrapping reads it in a fraction of a second."""
IMPERSONATION_LOST = {name for name in WRAPPINGS if "aksaudit" in name or "query-result" in name}
MILLISECONDS = {name for name in WRAPPINGS if "panther" in name or ("ocsf" in name and "bloblang" not in name)}
ANNOTATIONS_LOST = {name for name in WRAPPINGS if name in ("ocsf: ocsf v1.5", "ocsf: ocsf row")}
"""With them the id of the token that was issued, and that a token was of the old kind."""
GROUPS_AND_URI_LOST = {f"gcp: {name}" for name in gcp.WRAPPINGS if name not in gcp.AS_LOGGED}
GROUPS_AND_URI_LOST |= {f"tables: {name}" for name in tables.GOOGLE}
"""Cloud Logging carries neither: an exclusion proved by groups excuses nobody, an odd URI looks like any other."""
PROVED_BY_GROUPS = frozenset({"calico-node"})
EXTRA_LOST = GROUPS_AND_URI_LOST | ANNOTATIONS_LOST
"""With it the id of the credential that a call was made with: no use can be joined with its mint."""
IMPERSONATION_LOST |= GROUPS_AND_URI_LOST | ANNOTATIONS_LOST


def key(finding: Finding, *, name: str) -> tuple[Any, ...]:
    """Return what two findings about the same request share, whatever wrapped it."""
    event = finding.event
    impersonation = name not in IMPERSONATION_LOST
    time = event.time
    if time and name in MILLISECONDS:
        time = time.replace(microsecond=time.microsecond // 1000 * 1000)
    uri_lost = name in GROUPS_AND_URI_LOST and finding.rule.id == "token-request-uri"
    return (
        finding.rule.id,
        Severity.LOW if uri_lost else finding.severity,
        event.audit_id,
        time,
        event.user,
        event.impersonating if impersonation else None,
        event.target,
        None if name in ANNOTATIONS_LOST else event.minted_credential,
    )


@functools.cache
def found_natively(platform: Platform | None, unproved: frozenset[str]) -> tuple[Finding, ...]:
    """Return what is found in the unwrapped log, where these exclusions excuse nobody."""
    exclusions = [exclusion for exclusion in DEFAULT_EXCLUSIONS if exclusion.id not in unproved]
    return tuple(detect(LOG, platform=platform, exclusions=exclusions))


def test_the_part_holds_what_it_is_for() -> None:
    """Each rule that finds something in the recording, both excluded and not; chains of mints; each resource."""
    found = list(detect(LOG, keep_excluded=True))
    kinds = {" ".join(filter(None, (one.rule.id, one.severity.name.lower(), one.excluded_by))) for one in found}
    whole = {line.rpartition(" ")[0] for part in PARTS for line in kept(METADATA, part)}

    assert len(whole) > 25
    assert whole - kinds == {"unusual-origin medium"}, "of a caller that was seen often before"
    assert {len(one.related) for one in found} == {0, 1, 2, 3}


@pytest.mark.parametrize("name", WRAPPINGS)
def test_the_recording_in_every_wrapper(name: str) -> None:
    """Same requests, same rules, same severities; impersonation only where the wrapper carries it."""
    keeps = name not in IMPERSONATION_LOST
    content = WRAPPINGS[name](LOG)
    platform = next(iter(read(content))).platform
    tally = Tally()
    unproved = PROVED_BY_GROUPS if name in GROUPS_AND_URI_LOST else frozenset[str]()
    native = Counter(key(finding, name=name) for finding in found_natively(platform, unproved))
    findings = list(detect(content, tally=tally))

    unseen = {"token-request-impersonated"} if name in IMPERSONATION_LOST - ANNOTATIONS_LOST else set()
    unseen |= {"minted-token-used"} if name in EXTRA_LOST else set()
    unseen |= {"legacy-token-secret"} if name in ANNOTATIONS_LOST else set()
    expected = Counter({what: number for what, number in native.items() if what[0] not in unseen})
    more = Counter(key(finding, name=name) for finding in findings) - expected
    assert not expected - Counter(key(finding, name=name) for finding in findings)
    assert not more
    assert (tally.events, tally.unreadable) == (len(LOG), 0)
    assert keeps is not any("impersonation" in caveat for finding in findings for caveat in finding.caveats)


def test_records_of_other_logs_are_counted_and_no_errors() -> None:
    """Azure delivers other categories through the same hub."""
    other = {"category": "guard", "properties": {"log": "I1123 klog"}, "resourceId": azure.RESOURCE_ID}
    content = json.dumps({"records": [other, azure.record(records(METADATA)[0]), other]}).encode()
    tally = Tally()
    for _ in range(2):
        list(detect([read(content), content], tally=tally))

    assert (tally.events, tally.skipped, tally.unreadable) == (4, 8, 0)


def test_what_is_delivered_twice_is_one_finding() -> None:
    """By two categories of AKS, at two stages, or again; not two mints whose client chose one auditID."""
    event = token_request()
    both = [azure.record(event), azure.record(event) | {"category": "kube-audit-admin"}]
    received = {key: value for key, value in event.items() if key not in ("responseStatus", "annotations")}
    stages = [received | {"stage": "RequestReceived"}, event]
    subscription = next(wrap for name, wrap in cloudwatch.WRAPPINGS.items() if "subscription" in name)
    webhook = json.dumps({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": [event]}).encode()
    for content in (json.dumps({"records": both}).encode(), subscription(stages), webhook + b"\n" + webhook):
        assert len(list(detect(content, detectors=["token-request"]))) == 1

    other = token_request(target="prod/other-sa") | {"auditID": event["auditID"]}
    assert len(list(detect(subscription([event, other]), detectors=["token-request"]))) == 2


def test_where_an_event_comes_from_is_on_it() -> None:
    """Platform, cluster and subscription."""
    (event,) = read(json.dumps(azure.record(records(METADATA)[0])).encode())
    assert (event.platform, event.cluster, event.account) == ("aks", azure.CLUSTER, azure.SUBSCRIPTION)
