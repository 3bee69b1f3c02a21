# SPDX-License-Identifier: Apache-2.0
"""Find Kubernetes service account tokens that were minted through the TokenRequest API, and by whom."""

from k8stokendetect._engine import detect
from k8stokendetect._structure import parse_event
from k8stokendetect._tally import Tally
from k8stokendetect.detectors import Detector, KeyedDetector, Step
from k8stokendetect.errors import ConfigError, DetectorError, K8sTokenDetectError, ReadError
from k8stokendetect.events import Event, ObjectRef, User
from k8stokendetect.exclusions import DEFAULT_EXCLUSIONS, Actor, Exclusion, Provenance, load_exclusions
from k8stokendetect.findings import Evidence, Finding, Rule, Severity
from k8stokendetect.reading import AuditLog, read

__all__ = [
    "DEFAULT_EXCLUSIONS",
    "Actor",
    "AuditLog",
    "ConfigError",
    "Detector",
    "DetectorError",
    "Event",
    "Evidence",
    "Exclusion",
    "Finding",
    "K8sTokenDetectError",
    "KeyedDetector",
    "ObjectRef",
    "Provenance",
    "ReadError",
    "Rule",
    "Severity",
    "Step",
    "Tally",
    "User",
    "detect",
    "load_exclusions",
    "parse_event",
    "read",
]
