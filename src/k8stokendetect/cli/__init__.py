# SPDX-License-Identifier: Apache-2.0
"""The command line: `k8stokendetect scan`, and the other commands."""

from k8stokendetect.cli.app import main

__all__ = ["main"]
