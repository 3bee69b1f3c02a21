# SPDX-License-Identifier: Apache-2.0
"""What it costs to start: importing the library against importing what it depends on, and `--help`.

python benchmarks/startup.py [RUNS]
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any, Final

STATEMENTS: Final = {
    "nothing": "pass",
    "dependencies": "import attrs, cattrs, msgspec",
    "library": "import k8stokendetect",
    "detect": "from k8stokendetect import detect",
}
HELP: Final = """
import sys
from k8stokendetect.__main__ import main
sys.argv = ["k8stokendetect", "--help"]
try:
    main()
except SystemExit:
    pass
print("\\0" + " ".join(sorted(sys.modules)))
"""
PROJECT: Final = "k8stokendetect"


def _wall(*arguments: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - ours
    return time.perf_counter() - start


def measure(runs: int) -> dict[str, Any]:
    """Return the best wall time in seconds of each, run in turn, and the modules that `--help` imports."""
    commands = {name: ("-c", text) for name, text in STATEMENTS.items()} | {"help": ("-m", PROJECT, "--help")}
    best = dict.fromkeys(commands, float("inf"))
    for _ in range(runs):
        for name, command in commands.items():
            best[name] = min(best[name], _wall(*command))
    listing = subprocess.run([sys.executable, "-c", HELP], check=True, capture_output=True, text=True)  # noqa: S603
    modules = listing.stdout.rpartition("\0")[2].split()
    return {
        "seconds": best,
        "runs": runs,
        "own_modules": [name for name in modules if name.split(".")[0] == PROJECT],
        "other_packages": sorted({name.split(".")[0] for name in modules} - set(sys.stdlib_module_names) - {PROJECT}),
    }


def main() -> None:
    """Print what was measured, as JSON."""
    print(json.dumps(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 30)))


if __name__ == "__main__":
    main()
