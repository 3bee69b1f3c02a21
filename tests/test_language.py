# SPDX-License-Identifier: Apache-2.0
"""Plain English: names and phrases that are no longer used, each with the one that replaces it."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

import k8stokendetect

ROOT = Path(__file__).parents[1]
PACKAGE = Path(k8stokendetect.__file__).parent

RETIRED_NAMES = {
    "Act": "Request",
    "Ahead": "nothing: reading ahead is gone",
    "Aside": "ReplayBuffer",
    "BackStages": "BackPipeline",
    "Bench": "Harness",
    "Census": "AccountIndex",
    "FrontStages": "FrontPipeline",
    "Held": "Capabilities",
    "InOrder": "ReorderBuffer",
    "Inner": "Unwrapped",
    "Interest": "Prefilter",
    "LATENESS": "ALLOWED_LATENESS",
    "Miss": "FailedCheck",
    "Named": "ExclusionIndex, or what the thing is",
    "Powers": "Capabilities",
    "Reach": "BlastRadius",
    "Said": "Output",
    "Sieve": "BlockFilter",
    "Stages": "Pipeline",
    "Takeover": "EscalationPath",
    "Way": "AttackPath",
    "WayKind": "AttackPathKind",
    "Worth": "AccountProfile",
    "_Chosen": "Selection",
    "_Named": "NamedBytes",
    "_Repeats": "Deduplicator",
    "_chosen": "selection",
    "_is_settled": "nothing: every rule has `matches`",
    "_tells": "nothing: every rule has `matches`",
    "follows_credentials": "Signal.USE_OF_ANY or Signal.USE_OF_REPORTED in `watches`",
    "hand_on": "pass_to, or nothing",
    "inspect_unreadable": "Signal.UNREADABLE in `watches`",
    "lesson": "message",
    "made_for": "for_cluster, or nothing",
    "mentions": "a Signal in `watches`",
    "only_followed": "Signal.USE_OF_REPORTED in `watches`",
    "reports": "matches",
    "said": "described, output",
    "say": "describe",
    "silencing": "exclusions",
    "told": "reported, known",
}
"""What was called so, and its name now. An alias (`Way = AttackPath`) for a public name is not a definition."""

ALLOWED_NAMES = {
    *("Inner", "Said", "_Named"),
    *("reports", "said"),
}
"""Retired names that are still defined. Only remove from it, until it is empty."""

RETIRED_PHRASES = {
    r"(?<!there )\b(?:is|are) no (?!longer\b|more\b)": "is not a, is not",
    r"\banew\b": "again, afresh",
    r"\bbeside\b": "next to, besides, as well as",
    r"\bexcus(?:e|es|ed|ing)\b": "exclude",
    r"\bhand(?:s|ed|ing)? on\b": "pass on",
    r"\b(?:he|him|his)\b": "they, them, their",
    r"\bhonest\b": "benign",
    r"\b(?:by letter|letter by letter)\b": "literally",
    r"\bin clear\b": "in plain text",
    r"\bhow manyth\b": "number of",
    r"\bin the stead of\b": "instead of",
    r"\bpass(?:ed|es|ing)? over\b": "skip",
    r"\bprices?\b": "cost",
    r"\bof (?:AWS|Azure|Google)'s\b": "of Azure, in Azure",
    r"\b(?:put|set)(?:s|ting)? aside\b": "exclude, move away",
    r"\bsilenced\b": "excluded",
    r"\bthie(?:f|ves)\b": "attacker",
    r"\bstands? twice\b": "appears twice",
    r"\btell(?:s|ing)? apart\b": "distinguish, keep separate",
    r"\btold apart\b": "distinguished, kept separate",
    r"\btold from\b": "distinguished from, recognised by",
    r"\btold of\b": "called with",
    r"\bwhat is none\b": "what is not one",
    r"\bwhoever\b": "anyone who",
    r"^So (?:far|long|many|much|often)\b": "Maximum, how long, how often",
}
"""What a native engineer would not write, and what to write instead. `^` is the beginning of a string or comment."""

ALLOWED_PROSE: set[str] = set()
"""Packages, modules and pages that still have retired phrases. Only remove from it, until it is empty."""


def defined(tree: ast.Module) -> Iterator[str]:
    """Yield the names of classes, functions, arguments and attributes that a module defines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        if isinstance(node, ast.ClassDef | ast.Module):
            yield from _assigned(node)


def _assigned(node: ast.ClassDef | ast.Module) -> Iterator[str]:
    """Yield what the body of a class or module assigns, but for aliases."""
    for statement in node.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            yield statement.target.id
        elif isinstance(statement, ast.Assign) and not isinstance(statement.value, ast.Name):
            yield from (target.id for target in statement.targets if isinstance(target, ast.Name))


def prose(path: Path) -> Iterator[str]:
    """Yield the text of a page, or each string and comment of a Python file, on one line."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        yield " ".join(text.split())
        return
    strings = {tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.string.lstrip("# ")
        elif token.type in strings:
            yield " ".join(re.sub(r"^[A-Za-z]*(?:\"\"\"|'''|\"|')", "", token.string).split())


def retired_phrases(text: str) -> list[str]:
    """Name each retired phrase of a text with its replacement."""
    found = ((match[0], new) for old, new in RETIRED_PHRASES.items() if (match := re.search(old, text, re.IGNORECASE)))
    return [f"{old!r}, say {new!r}" for old, new in found]


def parts() -> dict[str, list[Path]]:
    """Group all files by package, module or page."""
    found: dict[str, list[Path]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        found.setdefault(path.relative_to(PACKAGE).parts[0].removesuffix(".py"), []).append(path)
    written = [path for path in ROOT.glob("docs/**/*.md") if path.parent.name != "detectors"]
    written += [*ROOT.glob("*.md"), *ROOT.glob("examples/**/*.md"), *ROOT.glob("examples/**/*.py")]
    written += [ROOT / "benchmarks/README.md", *ROOT.glob("benchmarks/*.py")]
    for path in sorted(written):
        found.setdefault(path.relative_to(ROOT).as_posix(), []).append(path)
    return found


PARTS = parts()


def places() -> dict[str, list[str]]:
    """Return the modules that define each retired name."""
    found: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        names = set(defined(ast.parse(path.read_text(encoding="utf-8"))))
        for name in names & set(RETIRED_NAMES):
            found.setdefault(name, []).append(path.relative_to(PACKAGE).as_posix())
    return found


def test_no_retired_name_is_defined() -> None:
    """Except for those that are still allowed."""
    found = {name: where for name, where in places().items() if name not in ALLOWED_NAMES}

    assert not found, {name: f"call it {RETIRED_NAMES[name]}" for name in found}


def test_the_allowed_names_shrink() -> None:
    """A name that is gone leaves ALLOWED_NAMES."""
    assert set() == ALLOWED_NAMES - set(places())


@pytest.mark.parametrize("part", PARTS)
def test_no_retired_phrase_is_written(part: str) -> None:
    """A part without retired phrases leaves ALLOWED_PROSE."""
    texts = ((path, text) for path in PARTS[part] for text in prose(path))
    found = [f"{path.name}: {problem} in {text[:60]!r}" for path, text in texts for problem in retired_phrases(text)]

    assert bool(found) == (part in ALLOWED_PROSE), "\n".join(found) or f"remove {part} from ALLOWED_PROSE"


def test_the_allowed_parts_exist() -> None:
    """A package or page that is gone leaves ALLOWED_PROSE."""
    assert set() == ALLOWED_PROSE - set(PARTS)


@pytest.mark.parametrize(
    "code",
    [
        "class Sieve: ...",
        "def told(): ...",
        "def f(interest, *, told): ...",
        "self.told = 1",
        "class A:\n    told: int",
    ],
)
def test_a_definition_is_found(code: str) -> None:
    """Classes, functions, arguments and attributes."""
    assert set(defined(ast.parse(code))) & set(RETIRED_NAMES)


def test_an_alias_is_no_definition() -> None:
    """Public names may stay importable."""
    assert not set(defined(ast.parse("Way = AttackPath"))) & set(RETIRED_NAMES)


@pytest.mark.parametrize(
    "code",
    ['"""So many at most."""', "# told of an error", 'x = f"{n} set aside"', '"""What was passed\n    over."""'],
)
def test_a_phrase_is_found(code: str, tmp_path: Path) -> None:
    """In docstrings, comments and messages, also across lines."""
    path = tmp_path / "module.py"
    path.write_text(code, encoding="utf-8")

    assert [problem for text in prose(path) for problem in retired_phrases(text)]


def test_code_is_no_prose(tmp_path: Path) -> None:
    """A variable may have any name here."""
    path = tmp_path / "module.py"
    path.write_text("his, price = whoever, beside", encoding="utf-8")

    assert not [problem for text in prose(path) for problem in retired_phrases(text)]
