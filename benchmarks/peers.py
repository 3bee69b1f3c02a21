# SPDX-License-Identifier: Apache-2.0
"""The peers on one log: how each is called, and how its output is read."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, NamedTuple

from k8stokendetect.detectors import BUILTIN
from predicate import JQ, UNWRAP_JQ

HERE: Final = Path(__file__).parent
NATIVE: Final = "native"
CORES: Final = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Log(NamedTuple):
    """A log to search.

    Attributes:
        path: of the file.
        form: a key of the generator's `WRAPPERS`.
        events: how many it holds.
        size: in bytes, as the file is, but before the compression of `.gz`.
        title: what it is called in a table.

    """

    path: Path
    form: str
    events: int
    size: int
    title: str


class Peer(NamedTuple):
    """One way to search a log.

    Attributes:
        name: in a table.
        version: of the tool; None where it is not installed.
        missing: what to install.
        command: what to run for a log, given a file for what is found; None where the tool cannot read that log.
        hits: reads the tool's output.
        does: what it does, in a few words.
        parallel: it uses every core, so that its wall time is what counts.

    """

    name: str
    version: str | None
    missing: str
    command: Callable[[Log, Path], Sequence[str] | None]
    hits: Callable[[bytes], dict[str, int]]
    does: str
    parallel: bool = False


def tool_version(name: str) -> str | None:
    """Return a command's version; None if there is no such command."""
    if shutil.which(name) is None:
        return None
    answer = subprocess.run([name, "--version"], capture_output=True, text=True, check=False)  # noqa: S603 - ours
    return answer.stdout.splitlines()[0].strip() if answer.stdout else "?"


def package_version(*names: str) -> str | None:
    """Return the versions of Python packages; None unless all of them are installed."""
    try:
        return ", ".join(f"{name} {version(name)}" for name in names)
    except PackageNotFoundError:
        return None


def _json_hits(output: bytes) -> dict[str, int]:
    found: dict[str, int] = json.loads(output)["hits"]
    return found


def _count_hits(output: bytes) -> dict[str, int]:
    return {"lines": int(output or b"0")}


def _jq_hits(output: bytes) -> dict[str, int]:
    return dict(Counter(json.loads(line)["rule"] for line in output.splitlines()))


def _script(name: str, log: Log, out: Path, *more: str) -> list[str]:
    return [sys.executable, str(HERE / name), str(log.path), str(out), *more]


def _needle(log: Log) -> str:
    """Return what marks a token request: its quotes are escaped where an event stands in a string."""
    return '"subresource":"token"' if log.form == NATIVE else r"\"subresource\":\"token\""


def _grep(log: Log, _: Path) -> Sequence[str] | None:
    if log.form == "subscription":
        return None
    return ["zgrep" if log.path.suffix == ".gz" else "grep", "-c", "-F", "-e", _needle(log), str(log.path)]


def _ripgrep(log: Log, _: Path) -> Sequence[str] | None:
    if log.form == "subscription":
        return None
    packed = ["-z"] if log.path.suffix == ".gz" else []
    return ["rg", "--no-config", "-c", *packed, "-F", "-e", _needle(log), str(log.path)]


def _jq(log: Log, out: Path) -> Sequence[str] | None:
    if log.form not in UNWRAP_JQ:
        return None
    program = out.with_suffix(".jq")
    program.write_text(UNWRAP_JQ[log.form] + JQ, encoding="utf-8")
    if log.path.suffix == ".gz":
        return ["sh", "-c", 'gzip -dc "$1" | jq -c -f "$2"', "sh", str(log.path), str(program)]
    return ["jq", "-c", "-f", str(program), str(log.path)]


def _duckdb(log: Log, out: Path) -> Sequence[str] | None:
    return _script("sql.py", log, out, str(CORES)) if log.form == NATIVE else None


def _sigma(log: Log, out: Path) -> Sequence[str] | None:
    return _script("sigma_sqlite.py", log, out) if log.form == NATIVE and log.path.suffix != ".gz" else None


def us() -> Peer:
    """Return our own side: all built-in detectors and exclusions, in one process."""
    return Peer(
        "k8stokendetect",
        package_version("k8stokendetect"),
        "pip install -e .",
        lambda log, out: _script("ours.py", log, out),
        _json_hits,
        f"{len(BUILTIN)} rules, all exclusions, tokens followed to their uses, evidence; JSON lines",
    )


def peers() -> list[Peer]:
    """Return all peers, also those that are not installed."""
    return [
        Peer("ripgrep -c", tool_version("rg"), "apt install ripgrep", _ripgrep, _count_hits, "counts lines"),
        Peer("GNU grep -c", tool_version("grep"), "apt install grep", _grep, _count_hits, "counts lines, LC_ALL=C"),
        Peer(
            f"DuckDB, {CORES} threads",
            package_version("duckdb"),
            "pip install duckdb",
            _duckdb,
            _json_hits,
            "two rules as SQL over `read_ndjson`, only the columns they need",
            parallel=True,
        ),
        Peer(
            "orjson loop",
            package_version("orjson"),
            "pip install orjson",
            lambda log, out: _script("plain.py", log, out, log.form),
            _json_hits,
            "two rules in Python on every parsed event",
        ),
        Peer(
            "pySigma, SQLite",
            package_version("pySigma", "pySigma-backend-sqlite")
            if importlib.util.find_spec("sigma") is not None
            else None,
            "pip install pysigma pysigma-backend-sqlite",
            _sigma,
            _json_hits,
            "two rules as Sigma, run as SQL on a table in memory",
        ),
        Peer("jq", tool_version("jq"), "apt install jq", _jq, _jq_hits, "two rules as a jq program"),
    ]
