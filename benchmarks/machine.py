# SPDX-License-Identifier: Apache-2.0
"""What figures were measured on: processor, memory, system, Python, versions."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

from peers import CORES, package_version


def _first(path: str, pattern: str) -> str:
    """Return what a file of the system says; `?` where it does not (other systems than Linux)."""
    try:
        found = re.search(pattern, Path(path).read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return "?"
    return found.group(1).strip() if found else "?"


def describe() -> dict[str, str]:
    """Return names and values for the head of the results."""
    model = _first("/proc/cpuinfo", r"^model name\s*:(.*)$")
    memory = _first("/proc/meminfo", r"^MemTotal:\s*(\d+) kB")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    packages = ("attrs", "cattrs", "msgspec", "isal")
    return {
        "Processor": f"{model}, {CORES} cores to use",
        "Memory": f"{int(memory) / (1 << 20):.0f} GiB" if memory.isdigit() else "?",
        "System": f"{platform.system()} {platform.release()}, {platform.libc_ver()[0]} {platform.libc_ver()[1]}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "Packages": ", ".join(found for name in packages if (found := package_version(name))),
        "Load when it began": f"{load:.2f} (1 minute; anything well above 0 means that others used the cores)",
    }
