# SPDX-License-Identifier: Apache-2.0
"""Coverage-guided fuzzing of everything that reads: `pip install atheris`, then `python tests/fuzz/fuzz_read.py`.

Arguments are libFuzzer's (`-max_total_time=600 -max_len=65536 CORPUS`). Without a corpus one is written from the
recordings: every wrapping with three events each. What is checked is what `check` says; it needs no atheris.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from k8stokendetect import Tally, detect
from k8stokendetect.errors import ReadError
from k8stokendetect.outputs.native import to_line
from k8stokendetect.outputs.text import to_text
from recordings import REQUEST_RESPONSE, records
from test_wrappers import WRAPPINGS


def check(content: bytes) -> Tally:
    """Read anything: no exception, nothing silently dropped, every finding can be written.

    Raises:
        AssertionError: when content that is not blank gave neither event nor error nor a record that was skipped.

    """
    errors: list[Any] = []
    tally = Tally()
    for finding in detect(content, on_error=errors.append, tally=tally, keep_excluded=True):
        to_line(finding)
        to_text(finding)
    if tally.failures or not all(isinstance(error, ReadError) for error in errors):
        raise AssertionError(f"a detector failed: {errors}")
    if len(errors) != tally.unreadable:
        raise AssertionError("an error was not counted")
    silent = not (tally.events or tally.unreadable or tally.skipped or tally.unproven)
    if silent and content.strip(b" \t\r\n\0") not in EMPTY:
        raise AssertionError("something was read and nothing was said")
    return tally


EMPTY = (b"", b"[]", b"\xef\xbb\xbf")
"""What rightly gives nothing: no record at all."""


def write_corpus(folder: Path) -> None:
    """Write three recorded token requests, and one of all else, in every wrapping."""
    requests = [r for r in records(REQUEST_RESPONSE) if r.get("objectRef", {}).get("subresource") == "token"][:3]
    for number, wrap in enumerate(WRAPPINGS.values()):
        (folder / f"wrapping-{number}").write_bytes(wrap(requests))


def main() -> None:
    """Fuzz until told to stop."""
    import atheris  # noqa: PLC0415 - only here

    atheris.instrument_all()
    arguments = sys.argv
    if not any(Path(argument).is_dir() for argument in arguments[1:]):
        folder = Path(tempfile.mkdtemp(prefix="fuzz-read-"))
        write_corpus(folder)
        arguments = [*arguments, str(folder)]

    def test_one_input(content: bytes) -> None:
        check(content)

    atheris.Setup(arguments, test_one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
