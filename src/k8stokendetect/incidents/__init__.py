# SPDX-License-Identifier: Apache-2.0
"""Findings to alerts to incidents: each incident is one attack, with its story and what to do about it."""

from k8stokendetect.incidents.alert import Alert, alerts
from k8stokendetect.incidents.grouping import Incidents, incidents
from k8stokendetect.incidents.incident import Incident, IncidentList
from k8stokendetect.incidents.step import Step

__all__ = ["Alert", "Incident", "IncidentList", "Incidents", "Step", "alerts", "incidents"]
