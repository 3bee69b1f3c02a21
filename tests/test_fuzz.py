# SPDX-License-Identifier: Apache-2.0
"""What fuzzing checks holds for the corpus, for damaged copies of it, and for what fuzzing found."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from fuzz import corpus, targets
from fuzz.damage import damaged
from k8stokendetect import ConfigError, Event, ReadError, load_exclusions, read
from k8stokendetect.audit_policy import AuditPolicy
from k8stokendetect.cluster import Cluster
from k8stokendetect.commands import read_auditd
from k8stokendetect.engine.memory import Memory
from k8stokendetect.outputs.native import finding_of

COPIES = 60
"""Damaged copies for each target; `tests/fuzz/run.py` tries millions."""


@pytest.mark.parametrize("target", targets.TARGETS)
def test_the_corpus_keeps_the_promises(target: str) -> None:
    """Whole, as it is."""
    for content in corpus.seeds(target):
        targets.TARGETS[target](content)


@pytest.mark.parametrize("target", targets.TARGETS)
def test_damaged_copies_keep_the_promises(target: str) -> None:
    """One value of another type, one that is missing or twice there; the same copies in every run."""
    chance = random.Random(20261127)  # noqa: S311 - no secret
    for _ in range(COPIES):
        content = chance.choice(corpus.seeds(target))
        targets.TARGETS[target](damaged(content, chance) or content[: chance.randrange(len(content))])


def test_the_corpus_is_read() -> None:
    """What fuzzing starts from is accepted, so that damage reaches the code behind the first check."""
    assert all(any(isinstance(item, Event) for item in read(content).stream()) for content in _with_events())
    assert all(finding_of(content).rule for content in corpus.seeds("finding"))
    assert all(AuditPolicy.load(content).rules for content in corpus.seeds("policy"))
    assert all(_accepts(content) for content in corpus.seeds("cluster"))
    assert all(Memory.from_dict(json.loads(content)) for content in corpus.seeds("state"))
    assert all(list(read_auditd(content, on_error=lambda _: None)) for content in corpus.seeds("auditd")[:1])


def _with_events() -> list[bytes]:
    """Return what holds a whole event; the cases about damage and pods hold none."""
    return list(corpus.seeds("read")[:60])


def _accepts(content: bytes) -> bool:
    errors: list[Any] = []
    Cluster.load(content, on_error=errors.append)
    return not [error for error in errors if "does not exist" not in error.reason and "cyclic" not in error.reason]


def test_the_corpus_of_exclusions_is_accepted(tmp_path: Any) -> None:
    """Each file loads."""
    for content in corpus.seeds("exclusions"):
        (tmp_path / "x.toml").write_bytes(content)
        assert load_exclusions(tmp_path / "x.toml")


def test_a_broken_promise_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks can fail: an error that is not a documented one, an event that is lost."""
    monkeypatch.setattr(targets, "read", lambda _: read(b""))
    with pytest.raises(AssertionError, match="read counts"):
        targets.check_read(corpus.seeds("read")[-5])


FOUND: list[tuple[str, bytes]] = [
    ("cluster", b"~"),
    ("cluster", b"# nothing but a comment\n"),
    ("cluster", b"---\n---\n"),
]
"""What fuzzing found, and more of its kind."""


@pytest.mark.parametrize(("target", "content"), FOUND)
def test_what_fuzzing_found_stays_mended(target: str, content: bytes) -> None:
    """Each broke a promise once."""
    targets.TARGETS[target](content)


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity", "-Infinity"])
def test_a_finding_with_a_number_that_json_does_not_have_is_none(number: str) -> None:
    """Python decodes it; what was read could not be written again."""
    line = json.loads(corpus.seeds("finding")[0])
    line["evidence"].append({"path": "x", "value": "?", "why": "y"})
    text = json.dumps(line).replace('"?"', number)

    with pytest.raises(ReadError, match="not JSON"):
        finding_of(text)
    with pytest.raises(ReadError, match="not JSON"):
        finding_of(json.loads(text))


def test_a_state_of_the_wrong_form_is_refused() -> None:
    """Whatever JSON document it is."""
    documents: list[Any] = [None, [], {}, {"version": 1}, {"version": 1, "detectors": 7}]
    for document in documents:
        with pytest.raises(ConfigError):
            Memory.from_dict(document)
