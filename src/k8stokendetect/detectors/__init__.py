# SPDX-License-Identifier: Apache-2.0
"""The detectors that ship: `BUILTIN` is the table of contents, one behaviour a file."""

from __future__ import annotations

from typing import Final

from k8stokendetect.detectors.base import Detector
from k8stokendetect.detectors.keyed import KeyedDetector, Step
from k8stokendetect.detectors.token_request import TokenRequest
from k8stokendetect.detectors.token_request_uri import TokenRequestURI
from k8stokendetect.detectors.unreadable_token_request import UnreadableTokenRequest

BUILTIN: Final[tuple[type[Detector], ...]] = (
    TokenRequest,
    TokenRequestURI,
    UnreadableTokenRequest,
)
"""What `detect` runs unless told otherwise; each class can be made without arguments."""

__all__ = ["BUILTIN", "Detector", "KeyedDetector", "Step", "TokenRequest", "TokenRequestURI", "UnreadableTokenRequest"]
