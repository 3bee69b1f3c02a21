# SPDX-License-Identifier: Apache-2.0
"""Every block of docs/spark.md, one after another as in a notebook, in a process of its own, as printed."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(
    r"^```python\n(.*?)^```$", (ROOT / "docs/spark.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)

AFTER = """
assert query.isActive  # with `patience` it asks for empty batches for ever
query.stop()
from k8stokendetect import detect
expected = {finding.fingerprint for finding in detect("audit/")}
assert {row.fingerprint for row in spark.table("findings").collect()} == expected
assert {row.fingerprint for row in spark.table("findings_of_jobs").where("line is not null").collect()} == expected
assert spark.table("findings_errors").count() == 0
assert spark.table("notebook.findings").where("line is not null").count() == len(expected)
print("all ran")
"""


@pytest.mark.spark
@pytest.mark.skipif(importlib.util.find_spec("pyspark") is None, reason="not installed: pyspark")
@pytest.mark.skipif(shutil.which("java") is None, reason="no Java (Debian: openjdk-17-jre-headless)")
def test_every_block_runs(tmp_path: Path) -> None:
    """On the recorded attack as `audit/`; batch, job and notebook find the same."""
    (tmp_path / "audit").mkdir()
    shutil.copy(ROOT / "examples/attack.log", tmp_path / "audit" / "attack.log")
    (tmp_path / "page.py").write_text("\n".join([*BLOCKS, AFTER]), encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    result = subprocess.run(
        [sys.executable, "page.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )

    assert result.stdout.endswith("all ran\n"), result.stderr[-3000:]
