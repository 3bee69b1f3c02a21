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
    cli.main(prog_name="k8stokendetect")
    return 0


if __name__ == "__main__":
    sys.exit(main())
