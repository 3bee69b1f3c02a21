# SPDX-License-Identifier: Apache-2.0
"""Starts the command, or says which extra is missing."""

from __future__ import annotations

import sys


def main() -> int:
    """Run `k8stokendetect`; returns the exit status 2 when the extra `cli` is not installed."""
    try:
        from k8stokendetect import cli  # noqa: PLC0415 - the import is what may fail
    except ModuleNotFoundError as error:
        if error.name not in {"click", "rich"}:
            raise
        sys.stderr.write(f"k8stokendetect: {error.name} is missing: pip install 'k8stokendetect[cli]'\n")
        return 2
    try:
        cli.main(prog_name="k8stokendetect")
    except OSError as error:  # of --help and --version; the commands say what they could not write themselves
        from k8stokendetect.cli.shared import fail  # noqa: PLC0415 - most calls end without it

        fail(error)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
