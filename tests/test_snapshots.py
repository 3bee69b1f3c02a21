# SPDX-License-Identifier: Apache-2.0
"""The findings of every recording stay as committed in tests/data/snapshots; see snapshots.py."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from snapshots import PARTS, RECORDINGS, SNAPSHOTS, Part, current, difference, file_of, kept

EVERY_RECORDING = pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.name)
HOW = "Is that intended? Then run `python tests/snapshots.py`, and say why in the commit."


@EVERY_RECORDING
@pytest.mark.parametrize("part", PARTS)
def test_the_findings_are_those_of_the_snapshot(recording: Path, part: Part) -> None:
    """Rule, severity, exclusion and auditID of every finding, and how many there are."""
    changes = difference(kept(recording, part), current(recording, part))

    assert not changes, (
        f"{part} findings of {recording.name} differ from {file_of(recording, part).name}.\n{changes}\n{HOW}"
    )


def test_every_recording_has_its_snapshots_and_no_other_is_left() -> None:
    """A recording that nobody wrote a snapshot for would not be compared."""
    expected = {file_of(recording, part) for recording in RECORDINGS for part in PARTS}

    assert expected == set(SNAPSHOTS.iterdir())


def test_a_difference_is_said_in_words() -> None:
    """A finding that is gone, one that is new, and one that is found once more than before."""
    before = Counter(["token-request medium a", "token-request medium b"])
    now = Counter(["token-request high a", "token-request medium b", "token-request medium b"])

    expected = """\
2 added:
  token-request high a
  token-request medium b
1 removed:
  token-request medium a"""
    assert expected == difference(before, now)
