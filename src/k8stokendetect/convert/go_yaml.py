# SPDX-License-Identifier: Apache-2.0
"""Reads JSON or YAML as Kubernetes' API server reads a configuration file, and tells which keys appear twice.

A text that begins with a brace is JSON; of a YAML stream only the first document counts; the last of two equal keys
wins; `y`, `1e3` and `08` are not texts; an unknown tag is ignored. Sources:
https://github.com/kubernetes/apimachinery/blob/master/pkg/runtime/serializer/json/json.go,
https://github.com/kubernetes-sigs/yaml/blob/master/yaml.go,
https://github.com/yaml/go-yaml/blob/v2/resolve.go and https://github.com/yaml/go-yaml/blob/v2/decode.go.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

import attrs

from k8stokendetect.convert.yaml import library
from k8stokendetect.errors import ReadError

MOST_VALUES: Final = 400_000
"""Maximum number of values, those that aliases stand for included; below it go-yaml allows nearly any alias."""

_TAG: Final = "tag:yaml.org,2002:"
_MERGE: Final = f"{_TAG}merge"
_PLAIN: Final = "plain"
"""Stands for the tag of a scalar without tag and quotes."""

_WORDS: Final[dict[str, Any]] = {
    **dict.fromkeys("y Y yes Yes YES true True TRUE on On ON".split(), True),
    **dict.fromkeys("n N no No NO false False FALSE off Off OFF".split(), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(".nan .NaN .NAN".split(), math.nan),
    **dict.fromkeys(".inf .Inf .INF +.inf +.Inf +.INF -.inf -.Inf -.INF".split(), math.inf),
}
_TYPES: Final[dict[str, type]] = {
    f"{_TAG}{name}": kind
    for name, kind in {"bool": bool, "int": int, "float": float, "null": type(None), "timestamp": str}.items()
}
_TIMESTAMP: Final = re.compile(r"\d{4}-\d\d?-\d\d?([Tt ]|$)")
_INTEGER: Final = re.compile(r"[-+]?(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|0|[1-9][0-9]*)")
_LONGEST_INTEGER: Final = 70
"""Characters of an integer of 64 bits: binary, with sign and prefix."""

_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


@attrs.frozen
class Document:
    """A document, and what was ignored in it.

    Arguments:
        value: as JSON has it.
        repeated: the paths of the keys that stand more than once in one object, such as `$.rules[0].users`.
        others: whether more documents follow.

    """

    value: Any
    repeated: tuple[str, ...] = ()
    others: bool = False


def read_document(content: bytes, /) -> Document:
    """Read the document that the API server reads.

    Raises:
        ReadError: when it would refuse it, or what it makes of it depends on its version.
        ConfigError: when it is YAML and PyYAML is not installed.

    """
    repeated: dict[str, None] = {}
    try:
        if content.lstrip().startswith(b"{"):
            text = content.decode(errors="replace")
            value = json.loads(text, object_pairs_hook=_Pairs, parse_constant=_refuse, parse_int=_number)
            return Document(_without_pairs(value, "$", repeated), tuple(repeated))
        node, others = _composed(content)
        value = None if node is None else _Reading(repeated).value(node, "$")
    except _RefusedError as error:
        reason = str(error)
    except RecursionError:
        reason = "nested too deeply"
    except json.JSONDecodeError as error:
        reason = f"begins with a brace, and is not JSON, line {error.lineno}"
    else:
        return Document(value, tuple(repeated), others)
    raise ReadError(reason)


class _RefusedError(Exception):
    """What the API server refuses."""


class _Pairs(list[tuple[str, Any]]):
    """A JSON object with its keys as they stand."""


def _refuse(_: str) -> Any:
    raise _RefusedError("NaN or Infinity, which is not JSON")


def _number(text: str) -> int | float:
    return int(text) if len(text) <= _LONGEST_INTEGER else float(text)


def _without_pairs(value: Any, path: str, repeated: dict[str, None]) -> Any:
    if isinstance(value, _Pairs):
        found: dict[str, Any] = {}
        for key, item in value:
            where = f"{path}.{key}"
            if key in found:
                repeated[where] = None
                if any(one is None or isinstance(one, _Pairs | dict) for one in (*_flat(item), *_flat(found[key]))):
                    raise _RefusedError(f"the key {key!r} appears twice, which some API servers merge @ {where}")
            found[key] = _without_pairs(item, where, repeated)
        return found
    if isinstance(value, list):
        return [_without_pairs(item, f"{path}[{index}]", repeated) for index, item in enumerate(value)]
    if isinstance(value, str):  # half of a surrogate pair is not a character
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value


def _flat(value: Any) -> Iterable[Any]:
    return value if type(value) is list else (value,)


def _composed(content: bytes) -> tuple[Any, bool]:
    """Return the first document as a tree of nodes, and whether there are others."""
    yaml = library()
    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    bases = (base,) if issubclass(base, yaml.composer.Composer) else (yaml.composer.Composer, base)

    class Loader(*bases):  # type: ignore[misc]  # the base is chosen at run time
        def __init__(self, stream: bytes) -> None:
            base.__init__(self, stream)
            self.anchors: dict[str, Any] = {}

        def compose_node(self, parent: Any, index: Any) -> Any:
            event = self.peek_event()
            self.is_text = getattr(event, "tag", None) == "!"
            if not isinstance(event, yaml.AliasEvent):
                self.anchors.pop(event.anchor, None)  # an anchor may be set again
            return super().compose_node(parent, index)

        def resolve(self, kind: Any, _: Any, implicit: Any) -> str:
            if kind is yaml.ScalarNode:
                return _PLAIN if implicit[0] and not self.is_text else f"{_TAG}str"
            return f"{_TAG}seq" if kind is yaml.SequenceNode else f"{_TAG}map"

    loader = Loader(content)
    try:
        node = loader.get_node() if loader.check_node() else None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise _RefusedError(f"not YAML{f', line {mark.line + 1}' if mark else ''}") from None
    except ValueError:  # not UTF-8, or a character that YAML does not have
        raise _RefusedError("not YAML") from None
    try:
        return node, bool(loader.check_node())
    except (yaml.YAMLError, ValueError):
        return node, True


class _Reading:
    """Turns nodes into what JSON has, with Go's eyes."""

    def __init__(self, repeated: dict[str, None]) -> None:
        self._repeated = repeated
        self._within: set[int] = set()
        self._count = 0

    def value(self, node: Any, path: str) -> Any:
        self._count += 1
        if self._count > MOST_VALUES:
            raise _RefusedError("too many values or aliases")
        if not isinstance(node.value, list):
            return _scalar(node)
        if id(node) in self._within:
            raise _RefusedError("an alias within what it stands for")
        self._within.add(id(node))
        if _is_mapping(node):
            value: Any = self._mapping(node, path)
        else:
            value = [self.value(item, f"{path}[{index}]") for index, item in enumerate(node.value)]
        self._within.discard(id(node))
        return value

    def _mapping(self, node: Any, path: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, item in self._pairs(node):
            name = _key(key)
            where = f"{path}.{name}"
            if name in found:
                self._repeated[where] = None
            found[name] = self.value(item, where)
        return found

    def _pairs(self, node: Any) -> Iterator[tuple[Any, Any]]:
        """Yield keys and values; what is merged in (`<<`) comes where it stands, so that it overrides what is above."""
        for key, item in node.value:
            if key.value != "<<" or key.tag not in {_PLAIN, _MERGE}:
                yield key, item
                continue
            sources = item.value[::-1] if isinstance(item.value, list) and not _is_mapping(item) else [item]
            for source in sources:
                self._count += 1
                if self._count > MOST_VALUES:
                    raise _RefusedError("too many values or aliases")
                if not _is_mapping(source) or id(source) in self._within:
                    raise _RefusedError(f"'<<' does not stand for an object, line {key.start_mark.line + 1}")
                self._within.add(id(source))
                yield from self._pairs(source)
                self._within.discard(id(source))


def _is_mapping(node: Any) -> bool:
    return type(node).__name__ == "MappingNode"


def _key(node: Any) -> str:
    value = None if isinstance(node.value, list) else _scalar(node)
    if value is None:
        raise _RefusedError(f"a key is not a string, line {node.start_mark.line + 1}")
    return str(value).lower() if isinstance(value, bool) else str(value)


def _scalar(node: Any) -> Any:
    """Return text, number, boolean or null."""
    text, tag = node.value, node.tag
    value = text
    if tag == f"{_TAG}binary":
        try:
            value = base64.b64decode(text).decode(errors="replace")
        except ValueError:
            raise _RefusedError(f"not base64, line {node.start_mark.line + 1}") from None
    elif tag == _PLAIN:
        value = _resolved(text)
    elif tag in _TYPES:
        value = _resolved(text)
        if tag == f"{_TAG}timestamp" and not (isinstance(value, str) and _TIMESTAMP.match(value)):
            value = ()
        if not (type(value) is _TYPES[tag] or (type(value) is int and _TYPES[tag] is float)):
            raise _RefusedError(f"not what its tag says, line {node.start_mark.line + 1}")
    if isinstance(value, float) and not math.isfinite(value):
        raise _RefusedError(f"a number that JSON does not have, line {node.start_mark.line + 1}")
    return value


def _resolved(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if text[0] == ".":
        return float(text) if _FLOAT.fullmatch(text) else text
    if text[0] not in "+-0123456789":
        return text
    plain = text.replace("_", "")
    if len(plain) <= _LONGEST_INTEGER and _INTEGER.fullmatch(plain):
        number = _integer(plain)
        if -(2**63) <= number < 2**64:
            return number
    if _FLOAT.fullmatch(plain) and math.isfinite(number_ := float(plain)):
        return number_
    return text


def _integer(text: str) -> int:
    """Read an integer in Go's notation, where a leading zero means octal."""
    digits = text.lstrip("+-")
    octal = len(digits) > 1 and digits[0] == "0" and digits[1].isdigit()
    number = int(digits, 8) if octal else int(digits, 0)
    return -number if text[0] == "-" else number
