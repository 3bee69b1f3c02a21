# SPDX-License-Identifier: Apache-2.0
"""`detect()`: events in the order of time, exclusions, detectors, duplicates and the tally."""

from k8stokendetect.engine.memory import Memory

__all__ = ["Memory"]
