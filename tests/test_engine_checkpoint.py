# SPDX-License-Identifier: Apache-2.0
"""The file from which a run goes on: all of it or nothing, and what stands in it is believed only where it fits."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from k8stokendetect.engine import Memory, state_file
from k8stokendetect.engine.checkpoint import Checkpoint
from k8stokendetect.engine.state_file import read_document, write_atomically
from k8stokendetect.errors import ConfigError


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    """Return a checkpoint that holds a little."""
    checkpoint = Checkpoint(tmp_path / "state.json")
    checkpoint.save(Memory(), {"followed": 7})
    return checkpoint


def test_what_was_saved_and_noted_comes_back_until_it_is_saved_again(checkpoint: Checkpoint) -> None:
    """Names are short; the last line may have been cut by a kill."""
    checkpoint.note([])
    checkpoint.note(["a", "b" * 300])
    checkpoint.note(["c"])
    with checkpoint.path.open("ab") as out:
        out.write(b"cut")
    saved = Checkpoint(checkpoint.path).load()
    assert (saved.more, saved.noted) == ({"followed": 7}, ("a", "b" * 200, "c"))

    checkpoint.save(Memory())
    saved = checkpoint.load()
    assert (saved.more, saved.noted) == ({}, ())
    checkpoint.note(["d"])
    checkpoint.close()
    checkpoint.close()
    assert checkpoint.load().noted == ("d",)


def test_nothing_is_remembered_without_a_file(tmp_path: Path) -> None:
    """And a note needs one."""
    checkpoint = Checkpoint(tmp_path / "state.json")
    assert checkpoint.load().noted == ()
    with pytest.raises(FileNotFoundError):
        checkpoint.note(["a"])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"\0\0\0\n", "it is empty"),
        (b"{", "it is damaged, or not JSON"),
        (b"[" * 100_000 + b"\n", "it is damaged, or not JSON"),
        (b"[]\n", "not a state"),
        (b'{"version":99}\n', "not a state"),
    ],
)
def test_a_damaged_file_is_refused_and_set_aside(tmp_path: Path, content: bytes, reason: str) -> None:
    """With its path; each damaged one is kept."""
    checkpoint = Checkpoint(tmp_path / "state.json")
    checkpoint.path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"state\.json: ") as raised:
        checkpoint.load()
    assert reason in str(raised.value)
    assert checkpoint.set_aside().name == "state.json.damaged"
    checkpoint.path.write_bytes(content)
    assert checkpoint.set_aside().name == "state.json.damaged1"
    assert not checkpoint.path.exists()


def test_what_a_caller_saved_has_to_be_an_object(checkpoint: Checkpoint) -> None:
    """It is what the caller looks into."""
    text = checkpoint.path.read_text(encoding="utf-8")
    checkpoint.path.write_text(text.replace('{"followed":7}', "[7]"), encoding="utf-8")
    with pytest.raises(ConfigError, match="is not an object"):
        checkpoint.load()


def test_what_is_no_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe without an end, a folder, a file that is too large: none is read, and none is written."""
    os.mkfifo(tmp_path / "pipe")
    for name, reason in (("pipe", "not a file"), (".", "Is a directory")):
        with pytest.raises(ConfigError, match=reason):
            Checkpoint(tmp_path / name).load()
        with pytest.raises(ConfigError, match="not a file"):
            Checkpoint(tmp_path / name).check()
    monkeypatch.setattr(state_file, "LARGEST", 3)
    (tmp_path / "large").write_bytes(b"{}  \n")
    with pytest.raises(ConfigError, match="larger than 3 bytes"):
        read_document(tmp_path / "large")
    with pytest.raises(ConfigError, match="No such file"):
        Checkpoint(tmp_path / "no folder" / "state.json").check()
    Checkpoint(tmp_path / "new").check()
    assert not (tmp_path / "new").exists()


def test_a_full_disk_leaves_the_old_file(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing beside it."""
    before = checkpoint.path.read_bytes()

    def full(_: int, __: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space left"):
            checkpoint.save(Memory())
    assert checkpoint.path.read_bytes() == before
    assert [one.name for one in checkpoint.path.parent.iterdir()] == ["state.json"]


def test_a_file_is_replaced_whole_private_and_through_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the system takes only some bytes at a time."""
    writes = os.write
    monkeypatch.setattr(os, "write", lambda file, data: writes(file, data[:3]))
    (tmp_path / "real").mkdir()
    (tmp_path / "link.json").symlink_to(tmp_path / "real" / "state.json")
    checkpoint = Checkpoint(tmp_path / "link.json")
    write_atomically(checkpoint.path, b"abcdefgh", wait=False)

    assert (tmp_path / "real" / "state.json").read_bytes() == b"abcdefgh"
    assert (tmp_path / "link.json").is_symlink()
    assert checkpoint.path.stat().st_mode & 0o777 == 0o600
