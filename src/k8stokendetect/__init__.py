# SPDX-License-Identifier: Apache-2.0
"""Find Kubernetes service account tokens that were minted through the TokenRequest API, and by whom."""

import importlib

TYPE_CHECKING = False  # type checkers take this name for true; importing `typing` would take longer than all of this
if TYPE_CHECKING:
    from k8stokendetect import (
        audit_policy as audit_policy,
    )
    from k8stokendetect import (
        cluster as cluster,
    )
    from k8stokendetect import (
        commands as commands,
    )
    from k8stokendetect import (
        detectors as detectors,
    )
    from k8stokendetect import (
        doctor as doctor,
    )
    from k8stokendetect import (
        engine as engine,
    )
    from k8stokendetect import (
        enrichment as enrichment,
    )
    from k8stokendetect import (
        envelopes as envelopes,
    )
    from k8stokendetect import (
        errors as errors,
    )
    from k8stokendetect import (
        events as events,
    )
    from k8stokendetect import (
        exclusions as exclusions,
    )
    from k8stokendetect import (
        findings as findings,
    )
    from k8stokendetect import (
        identity as identity,
    )
    from k8stokendetect import (
        incidents as incidents,
    )
    from k8stokendetect import (
        outputs as outputs,
    )
    from k8stokendetect import (
        plugins as plugins,
    )
    from k8stokendetect import (
        reading as reading,
    )
    from k8stokendetect import (
        review as review,
    )
    from k8stokendetect import (
        serve as serve,
    )
    from k8stokendetect import (
        sigma as sigma,
    )
    from k8stokendetect import (
        sinks as sinks,
    )
    from k8stokendetect import (
        spark as spark,
    )
    from k8stokendetect import (
        suggestions as suggestions,
    )
    from k8stokendetect import (
        testing as testing,
    )
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

    __version__: str

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
    "audit_policy cluster commands detectors doctor engine enrichment envelopes errors events exclusions findings "
    "identity incidents outputs plugins reading review serve sigma sinks spark suggestions testing"
).split()
"""What is found as an attribute without an import of its own."""

if not TYPE_CHECKING:  # hidden from type checkers: they would take every unknown name for known

    def __getattr__(name: str) -> object:
        home = next((home for home, names in _HOMES.items() if name in names.split()), None)
        if name == "__version__":
            found = _version()
        elif home is not None:
            found = getattr(importlib.import_module(f"{__name__}.{home}"), name)
        elif name in _MODULES:
            found = _module(name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = found
        return found

    def _version() -> str:
        metadata = importlib.import_module("importlib.metadata")
        try:
            return metadata.version(__name__)
        except metadata.PackageNotFoundError:  # copied into a folder, without what an installation records
            return "0+unknown"

    def _module(name: str) -> object:
        """Import a module; one whose extra is missing is not an attribute, so `help()` and `dir()` work without."""
        try:
            return importlib.import_module(f"{__name__}.{name}")
        except Exception as error:
            if not isinstance(error, ImportError) and type(error).__name__ != "ConfigError":
                raise
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}: {error}") from error

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__, *_MODULES, "__version__"})
