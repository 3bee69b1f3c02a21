# SPDX-License-Identifier: Apache-2.0
"""The corpus: what its README says, the loader, and how labels are joined with events."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import attrs
import pytest

import scores
from k8stokendetect import ConfigError
from k8stokendetect.testing import corpus
from recordings import DATA, METADATA, labelled_token_requests

EVERY_RECORDING = pytest.mark.parametrize("name", corpus.names())
PAGE = scores.PAGE.read_text(encoding="utf-8")


def test_every_recording_is_in_the_corpus() -> None:
    """Each log beside the index, and no other."""
    files = {path.name for path in DATA.glob("*.gz") if ".labels." not in path.name}

    assert {corpus.load(name).events.name for name in corpus.names()} == files
    assert corpus.names() == tuple(sorted(corpus.names()))


@EVERY_RECORDING
def test_the_readme_says_what_a_recording_is(name: str) -> None:
    """Its version, level, the numbers of events and labels, and what it holds."""
    it = corpus.load(name)
    events = sum(1 for _ in it.records())
    row = f"| `{name}` | {it.kubernetes} | {it.level} | {events:,} | {len(it.labels):,} | {it.about} |"

    assert row in PAGE.splitlines()


@EVERY_RECORDING
def test_the_version_and_level_are_those_of_the_events(name: str) -> None:
    """Kubernetes' own programs name their version in the user agent."""
    it = corpus.load(name)
    agents = {str(record.get("userAgent")) for record in it.records()}
    programs = {
        match[1] for agent in agents if (match := re.match(r"kube-(?:apiserver|controller-manager)/v(\S+)", agent))
    }
    tokens = [record for record in it.records() if (record.get("objectRef") or {}).get("subresource") == "token"]

    assert programs == {it.kubernetes}
    assert {record["level"] for record in tokens} == {it.level}


@EVERY_RECORDING
def test_every_label_has_an_event_and_every_token_request_a_label(name: str) -> None:
    """Joined by auditID, resource, and time or order; code and resource are those of the event."""
    it = corpus.load(name)
    if not it.labels:
        return
    joined = list(it.labelled())

    assert {id(label) for _, label in joined} - {id(None)} == {id(label) for label in it.labels}
    for record, label in joined:
        ref = record.get("objectRef") or {}
        resource = "/".join(filter(None, (ref.get("resource"), ref.get("subresource"))))
        assert label or resource != "serviceaccounts/token"
        if label:
            assert (label.resource, label.verb) == (resource, record["verb"])
            assert record.get("responseStatus", {}).get("code", label.code) == label.code


def test_labels_are_joined_as_the_other_tests_join_them() -> None:
    """One request after the other, though clients chose the same auditID for several."""
    ours = [
        (record["auditID"], label.why, label.malicious)
        for record, label in corpus.load("metadata").labelled()
        if label and label.resource == "serviceaccounts/token"
    ]
    joined = labelled_token_requests(METADATA)
    theirs = [(request.audit_id, label["why"], label["malicious"]) for request, label in joined.items()]

    assert len({audit_id for audit_id, *_ in theirs}) < len(theirs)
    assert list(dict.fromkeys(ours)) == list(dict.fromkeys(theirs))


def test_every_field_of_a_label_is_in_the_readme_and_every_kind() -> None:
    """Those that the loader gives, and the others that the files have."""
    lines = [json.loads(line) for name in corpus.names() for line in corpus.label_lines(corpus.load(name).events)]
    fields = {field for line in lines for field in line}
    rows = "\n".join(line for line in PAGE.splitlines() if line.startswith("| `"))

    assert {field for field in fields if f"`{field}`" not in rows} == set()
    assert {line["kind"] for line in lines if f"`{line['kind']}`" not in rows} == set()
    known = {"auditID" if field == "audit_id" else field for field in attrs.fields_dict(corpus.Label)}
    assert fields - known == {"run", "collides_with_earlier"}


def test_the_example_of_the_readme(capsys: pytest.CaptureFixture[str]) -> None:
    """As it stands there."""
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    exec(compile(code, "README.md", "exec"), {"__name__": "__main__"})  # noqa: S102 - our own text

    assert capsys.readouterr().out == "76 of 76 malicious mints found\n"


def test_the_scores_in_the_readme_are_computed() -> None:
    """`python tests/scores.py` writes them."""
    for path in scores.PAGES:
        page = path.read_text(encoding="utf-8")
        assert scores.written(page) == page, (
            "Run `python tests/scores.py`, and say in the commit why the scores changed."
        )
    assert scores.written(PAGE.replace("76 of 76", "77 of 77")) == PAGE


def test_no_malicious_mint_is_missed_that_the_log_can_show() -> None:
    """More of them than a list of names finds, and not one benign mint more is reported."""
    for name in ("metadata", "v1.27-metadata"):
        ours, theirs = scores.scores(name).values()
        assert ours.reported["malicious mint"] > theirs.reported["malicious mint"]
        assert ours.reported["benign mint"] <= theirs.reported["benign mint"]
        assert ours.reported["refused call"] == 0 < theirs.reported["refused call"]


def test_what_is_missed_is_named() -> None:
    """Each malicious mint and use about which nothing was said, in the words of its label, and no other."""
    page = " ".join((scores.PAGES[1]).read_text(encoding="utf-8").split())
    missed: set[str] = set()
    for name in corpus.names():
        recording = corpus.load(name)
        mints, uses = scores.found(recording)
        for label in recording.labels:
            if label.malicious and (label.mints or label.kind == "token-use"):
                missed |= set() if label in (mints if label.mints else uses) else {label.why}

    assert set(re.findall(r"^- \*(.+?)\*", "\n- ".join(page.split(" - ")), re.MULTILINE)) == missed != set()


def test_another_folder_and_the_current_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unpacked source distribution, named or entered, beside an installed package."""
    there = tmp_path / "tests/data"
    there.mkdir(parents=True)
    for file in ("corpus.json", "real-node.log.gz", "real-node.labels.jsonl.gz"):
        shutil.copy(DATA / file, there)
    monkeypatch.setattr(corpus, "CHECKOUT", tmp_path / "no/checkout")

    assert corpus.load("real-node", str(there)).events == there / "real-node.log.gz"
    monkeypatch.chdir(tmp_path)
    assert corpus.names()
    assert len(corpus.load("real-node").labels) == 240


@pytest.mark.parametrize("call", [corpus.names, lambda: corpus.load("metadata"), lambda: corpus.names("nowhere")])
def test_without_the_recordings_the_error_says_where_they_are(
    call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wheel does not have them."""
    monkeypatch.setattr(corpus, "CHECKOUT", tmp_path / "no/checkout")
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ConfigError, match=r"no corpus\.json in .*source distribution"):
        call()


def test_an_unknown_name_and_a_damaged_folder_are_errors(tmp_path: Path) -> None:
    """With the names that there are, or with what is wrong."""
    with pytest.raises(ConfigError, match=r"no recording is called 'meta'; known: metadata, real-node, .*"):
        corpus.load("meta")
    (tmp_path / "corpus.json").write_text('{"metadata": {}}')
    with pytest.raises(ConfigError, match=r"corpus\.json is damaged"):
        corpus.load("metadata", tmp_path)
    (tmp_path / "corpus.json").write_text("[")
    with pytest.raises(ConfigError, match=r"corpus\.json is damaged"):
        corpus.names(tmp_path)
