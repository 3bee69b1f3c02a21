# SPDX-License-Identifier: Apache-2.0
"""What an engineer meets who embeds the library: help that fits a screen, short reprs, notebooks, frames, threads."""

from __future__ import annotations

import asyncio
import enum
import functools
import html
import importlib
import inspect
import io
import json
import math
import pickle
import pkgutil
import pydoc
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final

import attrs
import pytest

import k8stokendetect
from builders import token_request
from k8stokendetect import (
    ConfigError,
    DetectorError,
    Finding,
    ReadError,
    Tally,
    detect,
    parse_event,
    read,
)
from k8stokendetect.cards import LONGEST_CARD
from k8stokendetect.cluster import Cluster
from k8stokendetect.detectors import BUILTIN
from k8stokendetect.engine import Memory
from k8stokendetect.errors import raise_error
from k8stokendetect.exclusions import COMPONENTS, DEFAULT_EXCLUSIONS, OPTIONAL_EXCLUSIONS
from k8stokendetect.incidents import IncidentList, alerts, incidents
from k8stokendetect.outputs.frames import ALERT_COLUMNS, FINDING_COLUMNS, INCIDENT_COLUMNS, to_frame
from k8stokendetect.reprs import LONGEST_REPR

SCREEN: Final = 100
"""Columns of a terminal."""

PRIVATE: Final = {"cli", "__main__", "bounds", "cards", "convert", "event_ref", "input", "reprs", "words"}
"""What no user of the library imports by its module's name."""

ATTACK: Final = Path(__file__).parents[1] / "examples/attack.log"


def modules() -> Iterator[str]:
    """Yield the names of all modules that users import."""
    for info in pkgutil.walk_packages(k8stokendetect.__path__, "k8stokendetect."):
        if info.name.split(".")[1] not in PRIVATE:
            yield info.name


@functools.cache
def public() -> dict[str, Any]:
    """Return every public function and class by where it is defined."""
    found: dict[str, Any] = {}
    for name in modules():
        for attribute, value in vars(importlib.import_module(name)).items():
            ours = (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__.startswith(
                "k8stokendetect"
            )
            if ours and not attribute.startswith("_"):
                found[f"{value.__module__}.{value.__qualname__}"] = value
    return found


OTHERS: Final = (asyncio.AbstractEventLoop, asyncio.Protocol, io.IOBase, threading.Thread)
"""Classes of Python's own whose many methods ours inherit."""


def screen_lines(value: object) -> int:
    """Count the lines that `help` prints, broken at the edge of the terminal."""
    lines = pydoc.plain(pydoc.render_doc(value)).splitlines()
    return sum(max(1, math.ceil(len(line) / SCREEN)) for line in lines)


def test_help_of_detect_fits_a_screen() -> None:
    """And says what each argument is; its signature had 29,178 characters."""
    assert 24 <= screen_lines(detect) <= 60  # from Python 3.13 on, an argument a line
    assert len(str(inspect.signature(detect))) < 700
    assert f"<{len(DEFAULT_EXCLUSIONS)}: kubelet" in str(inspect.signature(detect))


def test_help_of_everything_is_bounded() -> None:
    """No function takes more than a screen, no class more than six; a class of Python's own brings its methods."""
    longest = {
        name: (screen_lines(value), 60 if inspect.isfunction(value) else 320)
        for name, value in public().items()
        if not (inspect.isclass(value) and issubclass(value, (enum.Enum, tuple, dict, BaseException, *OTHERS)))
    }

    assert len(longest) > 300
    assert not {name: lines for name, (lines, most) in longest.items() if lines > most}
    for value in public().values():
        try:
            signature = str(inspect.signature(value))
        except ValueError:
            continue
        assert len(signature) <= 1100, value


HOSTILE: Final = "\x1b[2J\u202e<script>alert(1)</script>$\\href{javascript:alert(1)}{x}$\n" * 2000


def hostile(kind: type[Any]) -> object:
    """Make an instance of an attrs class whose every field holds far too much, past its validators."""
    made = object.__new__(kind)
    deep: list[Any] = [HOSTILE]
    for _ in range(50):
        deep = [deep, HOSTILE]
    for number, field in enumerate(attrs.fields(kind)):
        object.__setattr__(made, field.name, (HOSTILE, {HOSTILE: deep}, [deep] * 1000, (HOSTILE,) * 5000)[number % 4])
    return made


def values() -> list[object]:
    """Return values of every kind that the library returns, with what a hostile client can put into them."""
    names: dict[str, Any] = {"userAgent": HOSTILE, "auditID": HOSTILE, "requestURI": f"/api/v1/{HOSTILE}"}
    record = token_request("system:serviceaccount:ci:" + "x" * 300, **names)
    everything = list(detect([record, token_request("\u202emallory")]))
    memory, log, tally = Memory(), read([record]), Tally()
    remembered = list(detect(log, memory=memory, tally=tally, detectors=[cls() for cls in BUILTIN]))
    error = ReadError(HOSTILE, HOSTILE, HOSTILE, {HOSTILE: HOSTILE})
    return [
        *everything, *remembered, *alerts(everything), *incidents(everything), incidents(everything * 200),
        *(item for finding in everything for item in (finding.rule, finding.event, *finding.evidence)),
        parse_event(record), parse_event(record).user, memory, log, tally, detect([record]), Cluster(),
        *DEFAULT_EXCLUSIONS, *OPTIONAL_EXCLUSIONS, *COMPONENTS, DEFAULT_EXCLUSIONS, OPTIONAL_EXCLUSIONS, COMPONENTS,
        *(cls() for cls in BUILTIN), *(cls.traits for cls in BUILTIN), *memory.profiles.values(),
        k8stokendetect.incidents.Incidents(), error, DetectorError(HOSTILE, HOSTILE, HOSTILE), ConfigError(HOSTILE),
    ]  # fmt: skip


def test_every_value_is_written_in_three_lines() -> None:
    """One incident had 90,679 characters; no control character of a client reaches the terminal."""
    for value in values():
        text = repr(value)
        assert len(text) <= LONGEST_REPR, text
        assert text.isprintable(), text
        assert " object at 0x" not in text, text
    classes = {cls for cls in exported() if attrs.has(cls)}
    assert len(classes) > 50
    for cls in classes:
        if "__repr__" in vars(cls) and vars(cls)["__repr__"].__module__ == "k8stokendetect.reprs":
            text = repr(hostile(cls))
            assert len(text) <= LONGEST_REPR, text
            assert text.isprintable(), text
        else:
            assert any(isinstance(value, cls) for value in values()), f"{cls}: give it a short repr"


def exported() -> set[Any]:
    """Return every class that a public module has in `__all__`, and those of an event."""
    named = [
        getattr(module, name)
        for module in map(importlib.import_module, modules())
        for name in getattr(module, "__all__", ())
    ]
    return {cls for cls in (*named, *vars(k8stokendetect.events).values()) if inspect.isclass(cls)}


def found() -> list[Finding]:
    """Return the findings of the recorded attack."""
    return list(detect(ATTACK))


def test_frames_of_findings_alerts_and_incidents() -> None:
    """One row each, with severities in order and times with a zone; the index is that of the list."""
    findings = found()
    frame, joined, grouped = to_frame(findings), to_frame(alerts(findings)), to_frame(incidents(findings))

    assert (list(frame), list(joined), list(grouped)) == (
        list(FINDING_COLUMNS), list(ALERT_COLUMNS), list(INCIDENT_COLUMNS)
    )  # fmt: skip
    assert len(frame) == len(findings) > len(joined) > len(grouped) == 2
    assert frame["severity"].max() == "critical"
    assert str(frame["time"].dt.tz) == str(grouped["first_seen"].dt.tz) == "UTC"
    assert list(frame["fingerprint"]) == [finding.fingerprint for finding in findings]
    assert set(frame["target"]) >= {"dev/chain-a"}
    assert list(to_frame([])) == list(FINDING_COLUMNS)
    with pytest.raises(ConfigError, match="all of the same kind"):
        to_frame([findings[0], *incidents(findings)])
    with pytest.raises(ConfigError, match="all of the same kind"):
        to_frame(["finding"])  # type: ignore[list-item]


def test_a_frame_without_pandas_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra."""
    monkeypatch.setitem(sys.modules, "pandas", None)

    with pytest.raises(ConfigError, match=r"pip install 'k8stokendetect\[pandas\]'"):
        to_frame([])


class Tags(HTMLParser):
    """Collects the tags, attributes and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        """Note a text."""
        self.text += data


def test_notebooks_show_values_in_which_nothing_a_client_chose_is_code() -> None:
    """Only our own tags, no control character, no formula for MathJax, and a bounded size; with nothing installed."""
    evil: dict[str, Any] = {
        "userAgent": HOSTILE,
        "impersonatedUser": {"username": HOSTILE},
        "objectRef": {"resource": "serviceaccounts", "namespace": HOSTILE, "name": HOSTILE, "subresource": "token"},
    }
    findings = [*found(), *detect([token_request(HOSTILE, **evil)])]
    for value in (*findings, *alerts(findings), *incidents(findings), incidents(findings), IncidentList()):
        page = value._repr_html_()
        seen = Tags(page)
        assert seen.tags <= {"div", "table", "tr", "th", "td", "br", "code"}, seen.tags
        assert seen.attributes <= {"class", "style", "colspan"}
        assert 'class="tex2jax_ignore mathjax_ignore"' in page
        assert page.isprintable()
        assert len(page) <= LONGEST_CARD + 1000
    assert "<script>alert(1)" in Tags(findings[-1]._repr_html_()).text
    worst = incidents(found())[0]
    for step in worst.advice:
        assert step.command in Tags(worst._repr_html_()).text
    assert html.escape(worst.title) in incidents(found())._repr_html_()
    many = IncidentList([worst] * 1200)._repr_html_()
    assert len(many) <= LONGEST_CARD + 1000
    assert re.search(r"and [\d,]+ more rows", many)


def test_to_dict_is_json() -> None:
    """Of everything that a tool would pass on."""
    findings, tally = found(), Tally()
    list(detect(ATTACK, tally=tally))
    (first, *_), joined, grouped = findings, list(alerts(findings)), incidents(findings)
    given: tuple[Any, ...] = (
        first,
        first.event,
        first.rule,
        *first.evidence,
        joined[0],
        grouped[0],
        *grouped[0].advice,
        tally,
    )
    for value in given:
        assert json.loads(json.dumps(value.to_dict())) == value.to_dict()
    assert tally.to_dict()["findings"]["token-request"] == 8
    assert set(tally.to_dict()) == {field.name for field in attrs.fields(Tally)}


def test_the_version_and_every_topic_are_attributes() -> None:
    """After `import k8stokendetect` alone, in a new interpreter; a topic's own files, too."""
    topics = {info.name for info in pkgutil.iter_modules(k8stokendetect.__path__)} - PRIVATE
    code = f"""
import k8stokendetect
for name in {sorted(topics)}:
    assert getattr(k8stokendetect, name).__name__ == "k8stokendetect." + name
print(k8stokendetect.__version__, k8stokendetect.outputs.native.to_line.__name__)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603 - our own code

    assert done.stdout.split() == [k8stokendetect.__version__, "to_line"]
    assert re.fullmatch(r"\d+\.\d+\.\S+", k8stokendetect.__version__)
    assert topics <= set(dir(k8stokendetect))
    with pytest.raises(AttributeError, match="no attribute 'nativ'"):
        k8stokendetect.outputs.nativ  # type: ignore[attr-defined]  # noqa: B018 - the access is what fails


def test_help_of_the_package_works_without_the_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    """A topic whose extra is missing is no attribute, and says why; an import of it says the same."""
    for needed, topic in (("hypothesis", "testing"), ("uvicorn", "serve")):
        monkeypatch.setitem(sys.modules, needed, None)
        for name in [name for name in sys.modules if name.startswith(f"k8stokendetect.{topic}")]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.delitem(vars(k8stokendetect), topic, raising=False)

    with pytest.raises(AttributeError, match=r"pip install 'k8stokendetect\[testing\]'"):
        k8stokendetect.testing  # noqa: B018 - the access is what fails
    assert not {"testing", "serve"} & {*dict(inspect.getmembers(k8stokendetect))}


def shared() -> dict[str, dict[str, Any]]:
    """Return the arguments that remember or count, each for two calls of `detect`."""
    log = read(ATTACK)
    return {
        "Memory": {"source": ATTACK, "memory": Memory()},
        "Tally": {"source": ATTACK, "tally": Tally()},
        "AuditLog": {"source": log},
        "detector of": {"source": ATTACK, "detectors": [cls() for cls in BUILTIN]},
    }


@pytest.mark.parametrize("name", shared())
def test_what_remembers_is_refused_to_a_second_call_at_the_same_time(name: str) -> None:
    """From another thread and from the same one; when the first is finished, dropped or closed, it is free again."""
    given = shared()[name]
    errors: list[ConfigError] = []

    def second() -> None:
        try:
            list(detect(**given))
        except ConfigError as error:
            errors.append(error)

    for _ in detect(**given):
        break  # the call is dropped
    first = detect(**given)
    next(first)
    other = threading.Thread(target=second)
    other.start()
    other.join()
    second()
    assert [name in str(error) and "is in use by another detect()" in str(error) for error in errors] == [True, True]
    rest = list(first)
    assert rest

    closed = detect(**given)
    next(closed, None)
    closed.close()  # type: ignore[attr-defined]
    second()
    assert len(errors) == 2


def test_calls_in_many_threads_that_share_what_may_be_shared_find_the_same() -> None:
    """Exclusions, a snapshot of the cluster, and nothing else; each has its own memory, tally and detectors."""
    cluster = Cluster.load(ATTACK.with_name("attack-cluster.json"), on_error=lambda _: None)
    alone = sorted(finding.fingerprint for finding in detect(ATTACK, cluster=cluster))
    answers: list[list[str]] = []

    def run() -> None:
        findings = detect(ATTACK, cluster=cluster, exclusions=DEFAULT_EXCLUSIONS, memory=Memory(), tally=Tally())
        answers.append(sorted(finding.fingerprint for finding in findings))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [alone] * 4


def test_several_threads_take_the_findings_of_one_call() -> None:
    """Each finding comes once; a generator alone would raise."""
    findings, taken, failed = detect(ATTACK), list[str](), list[BaseException]()

    def take() -> None:
        try:
            taken.extend(finding.fingerprint for finding in findings)
        except BaseException as error:  # noqa: BLE001 - it is looked at
            failed.append(error)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert sorted(taken) == sorted(finding.fingerprint for finding in found())


def test_help_of_detect_fits_on_a_screen() -> None:
    """Forty lines below the signature, which has no address of an object in memory."""
    signature, _, text = pydoc.plain(pydoc.render_doc(k8stokendetect.detect)).partition("Iterator[Finding]")

    assert "on_error: 'OnDetectError' = raise_error," in signature.replace("\n", " ")
    assert " at 0x" not in signature
    assert len(text.splitlines()) < 40
    assert pickle.loads(pickle.dumps(raise_error)) is raise_error  # noqa: S301 - our own
