# SPDX-License-Identifier: Apache-2.0
"""Reads YAML as kubectl does (no timestamps, no duplicate keys, few aliases), and writes it with comments."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from k8stokendetect.errors import ConfigError, ReadError

MOST_ALIASES: Final = 100
"""Maximum number in a document. kubectl writes none, and a few that hold each other unfold to gigabytes."""

_WIDTH: Final = 116
_PLAIN: Final = re.compile(r"[A-Za-z]([A-Za-z0-9_./:|-]*[A-Za-z0-9])?")
_WORDS_OF_YAML: Final = frozenset("y n yes no on off true false null".split())


def read_documents(content: bytes, /) -> Iterator[Any]:
    """Yield every document of a YAML stream, without the empty ones.

    Raises:
        ReadError: when it stops being YAML; the documents before were yielded.
        ConfigError: when PyYAML is not installed.

    """
    loader = _loader(content)
    while True:
        try:
            if not loader.check_data():
                return
            document = loader.get_data()
        except Exception as error:  # noqa: BLE001 - hostile input: whatever goes wrong becomes a ReadError
            trouble = error
            break
        if document is not None:
            yield document
    mark = getattr(trouble, "problem_mark", None)
    where = f", line {mark.line + 1}" if mark else ""
    reason = str(trouble.args[0]) if isinstance(trouble, _RefusedError) else "not YAML"
    raise ReadError(f"{reason}{where}")


class _RefusedError(Exception):
    """What PyYAML would accept silently."""


def library() -> Any:
    """Return PyYAML; raises ConfigError when it is not installed."""
    try:
        import yaml  # noqa: PLC0415 - in the extra `cli`
    except ModuleNotFoundError:
        raise ConfigError("PyYAML is missing: pip install 'k8stokendetect[cli]'") from None
    return yaml


def _loader(content: bytes) -> Any:
    yaml = library()
    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # 10 times as fast, where libyaml is there

    class Loader(base):  # type: ignore[misc]  # the base is chosen at run time
        yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's
            first: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:timestamp"]
            for first, found in base.yaml_implicit_resolvers.items()
        }

        def construct_document(self, node: Any) -> Any:
            _count_aliases(node)
            return super().construct_document(node)

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - PyYAML's
            seen = set()
            for key, _ in node.value:
                name = str(key.value)
                if name in seen:
                    raise _RefusedError(f"duplicate key, line {key.start_mark.line + 1}")
                seen.add(name)
            found: dict[Any, Any] = super().construct_mapping(node, deep)
            return found

    return Loader(content)


def _count_aliases(root: Any) -> None:
    """Refuse a document with too many aliases, or in which a node contains itself."""
    seen: set[int] = set()
    path: set[int] = set()
    aliases = 0
    waiting = [(root, False)]
    while waiting:
        node, is_left = waiting.pop()
        if is_left:
            path.remove(id(node))
        elif id(node) in path:
            raise _RefusedError("an alias within what it stands for")
        elif id(node) in seen:
            aliases += 1
            if aliases > MOST_ALIASES:
                raise _RefusedError("too many aliases")
        elif isinstance(node.value, list):
            seen.add(id(node))
            path.add(id(node))
            waiting.append((node, True))
            for item in node.value:
                waiting.extend((child, False) for child in (item if isinstance(item, tuple) else (item,)))


def write(
    document: Any, /, *, comments: Mapping[str, Sequence[str]] | None = None, is_flow: bool = False, indent: int = 2
) -> str:
    """Write a document: every text in quotes unless it is a plain word to every YAML parser.

    Arguments:
        document: a text that ends its line becomes a literal block.
        comments: sentences to stand above a key of the document.
        is_flow: write lists of texts on one line.
        indent: spaces by which a line is further in than what it is part of; after the hyphen of a list always two.

    Raises:
        ConfigError: when PyYAML is not installed.

    """
    if comments is None:
        return _dump(document, is_flow=is_flow, indent=indent)
    lines: list[str] = []
    for key, value in document.items():
        for comment in comments.get(key, ()):
            lines += textwrap.wrap(
                comment, _WIDTH, initial_indent="# ", subsequent_indent="#   ", break_long_words=False
            )
        lines.append(_dump({key: value}, is_flow=is_flow, indent=indent).removesuffix("\n"))
    return "\n".join(lines) + "\n"


def paragraph(text: str, /) -> str:
    """Break a text into lines, as a literal block shows it."""
    return textwrap.fill(text, _WIDTH - 2, break_long_words=False, break_on_hyphens=False) + "\n"


def _dump(document: Any, *, is_flow: bool, indent: int) -> str:
    yaml = library()

    class Dumper(yaml.SafeDumper):  # type: ignore[name-defined,misc]  # the base is imported at run time
        def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002 - PyYAML's
            super().increase_indent(flow, False)  # noqa: FBT003 - the same
            if self.sequence_context and not flow:
                self.indent += 2 - indent

        def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's
            return True

    def text(dumper: Any, value: str) -> Any:
        is_plain = _PLAIN.fullmatch(value) and value.lower() not in _WORDS_OF_YAML
        style = "|" if value.endswith("\n") else None if is_plain else "'"
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style)

    Dumper.add_representer(str, text)

    def dumped(*, allow_unicode: bool) -> str:
        found: str = yaml.dump(
            document,
            Dumper=Dumper,
            sort_keys=False,
            width=1_000_000,
            indent=indent,
            allow_unicode=allow_unicode,
            default_flow_style=None if is_flow else False,
        )
        return found

    readable = dumped(allow_unicode=True)
    is_harmless = all(line.isprintable() for line in readable.split("\n"))
    return readable if is_harmless else dumped(allow_unicode=False)
