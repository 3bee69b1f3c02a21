# SPDX-License-Identifier: Apache-2.0
"""Our own JSON of an incident: one a line, ASCII only, with all its findings."""

from __future__ import annotations

import json

from k8stokendetect.incidents import Incident


def to_incident_line(incident: Incident, /) -> str:
    """Return an incident as one line of JSON, without the line end; only printable ASCII stands in it."""
    return json.dumps(incident.to_dict(), separators=(",", ":")).replace("\x7f", "\\u007f")
