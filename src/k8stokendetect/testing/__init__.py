# SPDX-License-Identifier: Apache-2.0
"""The author's kit: builders, strategies, recordings, and conformance suites for detectors and envelopes.

It needs the extra `testing`; see docs/write-a-detector.md.
"""

from __future__ import annotations

from k8stokendetect.errors import ConfigError

try:
    import hypothesis  # noqa: F401 - asked for here, so that the message says what to install
except ImportError:
    raise ConfigError(
        "k8stokendetect.testing needs Hypothesis and pytest: pip install 'k8stokendetect[testing]'"
    ) from None

from k8stokendetect.testing import corpus, strategies
from k8stokendetect.testing.builders import (
    LIVE_TOKEN,
    START,
    request,
    service_account_user,
    token_request,
    token_request_body,
    use_of,
    user_of,
)
from k8stokendetect.testing.detector_suite import DetectorConformance
from k8stokendetect.testing.envelope_suite import EnvelopeConformance
from k8stokendetect.testing.logs import attack, log

__all__ = [
    "LIVE_TOKEN",
    "START",
    "DetectorConformance",
    "EnvelopeConformance",
    "attack",
    "corpus",
    "log",
    "request",
    "service_account_user",
    "strategies",
    "token_request",
    "token_request_body",
    "use_of",
    "user_of",
]
