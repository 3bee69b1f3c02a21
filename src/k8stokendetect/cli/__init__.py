# SPDX-License-Identifier: Apache-2.0
"""The command line: `k8stokendetect scan`, and the commands beside it."""

from k8stokendetect.cli.app import main

__all__ = ["main"]
