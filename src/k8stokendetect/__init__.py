# SPDX-License-Identifier: Apache-2.0
"""Find Kubernetes service account tokens that were minted through the TokenRequest API, and by whom."""

import importlib

TYPE_CHECKING = False  # type checkers take this name for true; importing `typing` would take longer than all of this
if TYPE_CHECKING:
    from k8stokendetect.convert.structure import parse_event
    from k8stokendetect.detectors import Detector, KeyedDetector
    from k8stokendetect.engine.detection import detect
    from k8stokendetect.engine.tally import Tally
    from k8stokendetect.errors import ConfigError, DetectorError, K8sTokenDetectError, ReadError
    from k8stokendetect.events import Event, ObjectRef, Signal, User
    from k8stokendetect.exclusions import DEFAULT_EXCLUSIONS, Actor, Component, Exclusion, Provenance, load_exclusions
    from k8stokendetect.findings import Evidence, Finding, Rule, Severity
    from k8stokendetect.incidents import Alert
    from k8stokendetect.reading import AuditLog, read

__all__ = [
    "DEFAULT_EXCLUSIONS",
    "Actor",
    "Alert",
    "AuditLog",
    "Component",
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
    "Signal",
    "Tally",
    "User",
    "detect",
    "load_exclusions",
    "parse_event",
    "read",
]

_HOMES = {
    "engine.detection": "detect",
    "convert.structure": "parse_event",
    "engine.tally": "Tally",
    "detectors": "Detector KeyedDetector",
    "errors": "ConfigError DetectorError K8sTokenDetectError ReadError",
    "events": "Event ObjectRef Signal User",
    "exclusions": "DEFAULT_EXCLUSIONS Actor Component Exclusion Provenance load_exclusions",
    "findings": "Evidence Finding Rule Severity",
    "incidents": "Alert",
    "reading": "AuditLog read",
}
"""Where each public name is defined: its file is imported when the name is first used (PEP 562)."""

_MODULES = (
    *(
        "audit_policy",
        "cluster",
        "commands",
        "detectors",
        "doctor",
        "enrichment",
        "envelopes",
        "errors",
        "events",
        "exclusions",
    ),
    *("findings", "identity", "incidents", "plugins", "reading", "review", "sigma"),
)
"""What is found as an attribute without an import of its own."""

if not TYPE_CHECKING:  # hidden from type checkers: they would take every unknown name for known

    def __getattr__(name: str) -> object:
        home = next((home for home, names in _HOMES.items() if name in names.split()), None)
        if home is None and name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = importlib.import_module(f"{__name__}.{home or name}")
        found = getattr(module, name) if home else module
        globals()[name] = found
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__, *_MODULES})
