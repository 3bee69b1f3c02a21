# SPDX-License-Identifier: Apache-2.0
"""Coverage-guided fuzzing: `pip install -e '.[fuzz]'`, then `python tests/fuzz/run.py TARGET -max_total_time=600`.

TARGET is one of targets.TARGETS. All other arguments are libFuzzer's, such as a folder to keep what was found
interesting. What breaks a promise is written to `crash-…` in this folder; `run.py TARGET crash-…` tries it again.
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path
from typing import Final

import atheris

sys.path.insert(0, str(Path(__file__).parents[1]))
with atheris.instrument_imports(include=["k8stokendetect"]):
    from fuzz import corpus, targets
    from fuzz.damage import damaged

DEFAULTS: Final = ("-timeout=25", "-rss_limit_mb=2048", "-max_len=65536")
"""No hang, a bound of memory, and inputs that a wrapper's split of 16 KiB fits into."""


def _mutated(content: bytes, longest: int, seed: int) -> bytes:
    """Change a JSON value every second time, else bytes."""
    changed = damaged(content, random.Random(seed)) if seed % 2 else None  # noqa: S311 - no secret
    if changed is None or len(changed) > longest:
        return bytes(atheris.Mutate(content, longest))
    return changed


def main() -> None:
    """Fuzz until told to stop."""
    program, target, *arguments = sys.argv
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        folder = Path(name)
        seeds = folder / "corpus"
        seeds.mkdir()
        for number, content in enumerate(corpus.seeds(target)):
            (seeds / f"seed-{number}").write_bytes(content)
        (folder / "words").write_text("".join(f'"{word.decode()}"\n' for word in sorted(corpus.words(target))))
        if not any(Path(one).is_file() for one in arguments):  # a file is an input to try again
            mine = [one for one in arguments if not one.startswith("-")]
            options = [one for one in arguments if one.startswith("-")]
            arguments = [*DEFAULTS, f"-dict={folder / 'words'}", *options, *mine, str(seeds)]
        atheris.Setup([program, *arguments], targets.TARGETS[target], custom_mutator=_mutated)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
