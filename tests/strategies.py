# SPDX-License-Identifier: Apache-2.0
"""The author's kit's strategies, under the names that the tests use."""

from __future__ import annotations

from k8stokendetect.testing import LIVE_TOKEN as JWT
from k8stokendetect.testing import strategies
from k8stokendetect.testing.strategies import damaged_events

audit_events = strategies.audit_events()
json_values = strategies.json_values()
names = strategies.names()
texts = strategies.texts()

__all__ = ["JWT", "audit_events", "damaged_events", "json_values", "names", "texts"]
