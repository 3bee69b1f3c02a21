# SPDX-License-Identifier: Apache-2.0
"""`read()` and `AuditLog`: a source of any form becomes an iterable of Events."""

from k8stokendetect.reading.audit_log import AuditLog, Item, Source, read

__all__ = ["AuditLog", "Item", "Source", "read"]
