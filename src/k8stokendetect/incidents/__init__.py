# SPDX-License-Identifier: Apache-2.0
"""Findings that belong together: one attack is one incident, with its story and what to do about it."""

from k8stokendetect.incidents.grouping import Incident, Incidents, incidents

__all__ = ["Incident", "Incidents", "incidents"]
