# SPDX-License-Identifier: Apache-2.0
"""The recording in every wrapper gives the same findings as the native file, but for what the wrapper loses."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from k8stokendetect import Finding, Tally, detect, read
from recordings import METADATA, records
from wrappings import azure, cloudwatch, elastic, shippers

WRAPPINGS = {
    f"{module.__name__.rpartition('.')[2]}: {name}": wrap
    for module in (azure, cloudwatch, elastic, shippers)
    for name, wrap in module.WRAPPINGS.items()
}
LOG = [
    record
    for number, record in enumerate(records(METADATA))
    if number % 20 == 0 or record.get("objectRef", {}).get("subresource") == "token"
]
"""Every call to the subresource and a twentieth of all else: each wrapping reads it in a fraction of a second."""
IMPERSONATION_LOST = {name for name in WRAPPINGS if "aksaudit" in name or "query-result" in name}


MILLISECONDS = {name for name in WRAPPINGS if "panther" in name}


def key(finding: Finding, *, name: str) -> tuple[Any, ...]:
    """Return what two findings about the same request share, whatever wrapped it."""
    event = finding.event
    impersonation = name not in IMPERSONATION_LOST
    time = event.time
    if time and name in MILLISECONDS:
        time = time.replace(microsecond=time.microsecond // 1000 * 1000)
    return (
        finding.rule.id,
        finding.severity,
        event.audit_id,
        time,
        event.user,
        event.impersonating if impersonation else None,
        event.target,
        event.minted_credential,
    )


@pytest.mark.parametrize("name", WRAPPINGS)
def test_the_recording_in_every_wrapper(name: str) -> None:
    """Same requests, same rules, same severities; impersonation only where the wrapper carries it."""
    keeps = name not in IMPERSONATION_LOST
    content = WRAPPINGS[name](LOG)
    platform = next(iter(read(content))).platform
    tally = Tally()
    native = Counter(key(finding, name=name) for finding in detect(LOG, platform=platform))
    findings = list(detect(content, tally=tally))

    assert Counter(key(finding, name=name) for finding in findings) == native
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


def test_where_an_event_comes_from_is_on_it() -> None:
    """Platform, cluster and subscription."""
    (event,) = read(json.dumps(azure.record(records(METADATA)[0])).encode())
    assert (event.platform, event.cluster, event.account) == ("aks", azure.CLUSTER, azure.SUBSCRIPTION)
