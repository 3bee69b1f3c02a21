# SPDX-License-Identifier: Apache-2.0
"""Entra ID: sign-ins of service principals and managed identities, of diagnostic settings and Log Analytics.

Event Hub messages, answers of the Log Analytics API and files of a storage account are `azure`'s. The tables:
https://learn.microsoft.com/azure/azure-monitor/reference/tables/aadserviceprincipalsigninlogs and
…/aadmanagedidentitysigninlogs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from k8stokendetect.clouds.entra import CATEGORIES, TABLES
from k8stokendetect.envelopes.base import Inner

COLUMNS: Final = frozenset({"AppId", "ServicePrincipalId", "CorrelationId"})
"""Columns that tell these tables where an export names none."""

_EMPTY: Final = frozenset({"", "None"})
"""What an export of Log Analytics writes for null: CSV, and `az monitor log-analytics query`."""


def recognises(record: Any, /) -> bool:
    """Tell a sign-in by its category, its table or its columns."""
    if not isinstance(record, Mapping) or "auditID" in record:
        return False
    if record.get("category") in CATEGORIES if isinstance(record.get("category"), str) else False:
        return "properties" in record
    return record.get("Type") in TABLES if isinstance(record.get("Type"), str) else record.keys() >= COLUMNS


def events(record: Any, /) -> Iterator[Inner]:
    """Yield the sign-in; what an export wrote for nothing is left out."""
    if "properties" in record:
        yield Inner(record, cloud="azure")
    else:
        row = {key: value for key, value in record.items() if not (isinstance(value, str) and value in _EMPTY)}
        yield Inner(row, cloud="azure")
