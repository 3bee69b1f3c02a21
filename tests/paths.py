# SPDX-License-Identifier: Apache-2.0
"""How the author's kit resolves the paths of evidence."""

from __future__ import annotations

from k8stokendetect.testing.harness import resolve

__all__ = ["resolve"]
