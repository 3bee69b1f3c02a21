# SPDX-License-Identifier: Apache-2.0
"""What is printed may be pasted into a shell as a whole: nothing runs but the commands that are meant."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from builders import token_request
from k8stokendetect.identity import CREDENTIAL_ID, REASON
from test_cli import log, run

BASH = shutil.which("bash")

HOSTILE = [
    *(
        "$(pwn)",
        "`pwn`",
        "; pwn ;",
        "| pwn",
        "& pwn &",
        "&& pwn",
        "> pwned",
        "<(pwn)",
        "pwn",
        "\npwn\n",
        "\r pwn",
        "\\",
    ),
    *("'", '"', "'$(pwn)'", '";pwn;"', "a\\", "#", "!pwn", "(pwn)", "$(", "{ pwn; }", "if pwn; then", "pwn\u2028pwn"),
    *("\u4e2d\u6587;pwn", "\u4e2d" * 90 + " pwn", "x" * 90 + " pwn", "x" * 300 + ";pwn", "pwn " * 30, "${IFS}pwn"),
]


def hostile(number: int, text: str) -> list[dict[str, Any]]:
    """Return a mint by, its use on, and refused requests about what has such a name."""
    times = [f"2026-11-{1 + number % 28:02}T{number // 28:02}:0{minute}:00.000000Z" for minute in range(3)]
    binding, name = json.dumps(f"{text}/prod"), json.dumps(text)
    reason = f"RBAC: allowed by RoleBinding {binding} of Role {name} to User {name}"
    mint = token_request(
        text, issued=f"JTI={number}", userAgent=text, requestReceivedTimestamp=times[0], auditID=f"{number}a"
    )
    mint["annotations"] = mint["annotations"] | {REASON: reason}
    user = {"username": "system:serviceaccount:prod:payments-sa", "extra": {CREDENTIAL_ID: [f"JTI={number}"]}}
    use = token_request(
        user=user, verb="get", code=200, objectRef={"resource": "secrets", "namespace": "prod", "name": text},
        requestReceivedTimestamp=times[1], auditID=f"{number}b", sourceIPs=[text],
    )  # fmt: skip
    refused = token_request(text, code=403, requestReceivedTimestamp=times[2], auditID=f"{number}c", userAgent=text)
    refused["objectRef"] = {**refused["objectRef"], "namespace": text, "name": text}
    return [mint, use, refused]


@pytest.mark.skipif(BASH is None, reason="needs bash")
@pytest.mark.parametrize(
    ("level", "columns"), [("--incidents", "60"), ("--incidents", "120"), ("--alerts", "60"), ("--findings", "60")]
)
def test_only_the_commands_run(tmp_path: Path, level: str, columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a shell in which `pwn` would be found, line by line as a terminal pastes it."""
    events = [event for number, text in enumerate(HOSTILE) for event in hostile(number, text)]
    monkeypatch.setenv("COLUMNS", columns)
    printed = run("scan", log(tmp_path, *events), level, "--limit", "0").stdout
    (tmp_path / "bin").mkdir()
    (tmp_path / "home").mkdir()
    for name in ("pwn", "kubectl"):
        stub = tmp_path / "bin" / name
        script = f'#!/bin/sh\nline="{name} $*"\nprintf "%s\\n" "${{line%%\n*}}" >> "{tmp_path}/ran"\n'
        stub.write_text(script, encoding="utf-8")
        stub.chmod(0o755)
    subprocess.run(  # noqa: S603 - our own text
        [str(BASH), "--norc", "-i"],
        input=printed.encode(),
        env={"PATH": str(tmp_path / "bin"), "HOME": str(tmp_path / "home"), "HISTFILE": "", "LC_ALL": "C.UTF-8"},
        cwd=tmp_path / "home",
        capture_output=True,
        check=False,
        timeout=120,
    )
    ran = (tmp_path / "ran").read_text(encoding="utf-8").splitlines() if (tmp_path / "ran").exists() else []

    assert "pwn" in printed
    assert [line for line in ran if not line.startswith("kubectl ")] == []
    assert len(ran) >= (len(HOSTILE) if level == "--incidents" else 0)
    assert list((tmp_path / "home").iterdir()) == []
