# SPDX-License-Identifier: Apache-2.0
"""Findings to incidents: each is one attack, with its story and what to do about it."""

from k8stokendetect.incidents.grouping import Incidents, incidents
from k8stokendetect.incidents.incident import Incident

__all__ = ["Incident", "Incidents", "incidents"]
