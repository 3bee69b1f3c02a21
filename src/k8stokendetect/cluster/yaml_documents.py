# SPDX-License-Identifier: Apache-2.0
"""Parses YAML of one document or many as kubectl would: no timestamps, no key twice, aliases within reason."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from k8stokendetect.errors import ConfigError, ReadError

MOST_ALIASES: Final = 100
"""So many may stand in a document. kubectl writes none, and a few that hold each other unfold to gigabytes."""


def yaml_documents(content: bytes, /) -> Iterator[Any]:
    """Yield every document of a YAML stream, empty ones left out.

    Raises:
        ReadError: when it is no YAML from some place on; the documents before were yielded.
        ConfigError: when PyYAML is not installed.

    """
    loader = _loader(content)
    while True:
        try:
            if not loader.check_data():
                return
            document = loader.get_data()
        except Exception as error:  # noqa: BLE001 - hostile input: whatever goes wrong is told as a ReadError
            trouble = error
            break
        if document is not None:
            yield document
    mark = getattr(trouble, "problem_mark", None)
    where = f", line {mark.line + 1}" if mark else ""
    reason = str(trouble.args[0]) if isinstance(trouble, _RefusedError) else "not YAML"
    raise ReadError(f"{reason}{where}")


class _RefusedError(Exception):
    """What PyYAML would accept without a word."""


def _loader(content: bytes) -> Any:
    try:
        import yaml  # noqa: PLC0415 - in the extra `cli`
    except ModuleNotFoundError:
        raise ConfigError("PyYAML is missing: pip install 'k8stokendetect[cli]'") from None
    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # 10 times as fast, where libyaml is there

    class Loader(base):  # type: ignore[misc]  # mypy takes no base that is chosen at run time, C or Python
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
                    raise _RefusedError(f"a key stands there twice, line {key.start_mark.line + 1}")
                seen.add(name)
            found: dict[Any, Any] = super().construct_mapping(node, deep)
            return found

    return Loader(content)


def _count_aliases(root: Any) -> None:
    """Refuse a document in which too many nodes are there twice, or one holds itself."""
    seen, aliases, open_nodes = set(), 0, [root]
    while open_nodes:
        node = open_nodes.pop()
        if not isinstance(node.value, list):
            continue
        if id(node) in seen:
            aliases += 1
            if aliases > MOST_ALIASES:
                raise _RefusedError("more aliases than a cluster's objects need")
            continue
        seen.add(id(node))
        for item in node.value:
            open_nodes.extend(item if isinstance(item, tuple) else (item,))
