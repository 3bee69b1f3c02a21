# SPDX-License-Identifier: Apache-2.0
"""Values of flattened events as their fields have them: a table has texts only, lists and objects among them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from k8stokendetect.convert.nesting import MAX_NESTING
from k8stokendetect.input.decoding import NotJSONError, decode_whole

_ABSENT: Final = frozenset({"", "-", "null", "NULL", "(null)", "None", "NaN", "nan", "<NA>", "<null>"})
"""What exports write into a cell for nothing: pandas, Kibana, Log Analytics, SQL clients."""

_NUMBER: Final = re.compile(r"([0-9]{1,15})(?:\.0+)?")
_LONGEST_LITERAL: Final = 64 * 1024
_TREE: Final = re.compile(r"\.|\[(?:'|\")?|(?:'|\")?\](?:\.|\Z)?")
_FREE_KEYS: Final = frozenset({"annotations", "labels", "data", "stringData", "matchLabels", "nodeSelector"})
"""Objects whose keys are users', with dots of their own."""


class CellError(ValueError):
    """A value cannot be what its field is; the message repeats nothing of it."""


def is_absent(value: Any, /) -> bool:
    """Tell whether a value stands for nothing."""
    return value is None or (isinstance(value, str) and value in _ABSENT)


def number(value: Any, /) -> Any:
    """Return an HTTP code; what is not a number stays, for the reader to refuse."""
    if isinstance(value, str) and (digits := _NUMBER.fullmatch(value.strip())):
        return int(digits[1])
    return int(value) if isinstance(value, float) and value.is_integer() else value


def text(value: Any, /) -> Any:
    """Return a text; a table may have made a number or a truth value of it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else value


def texts(value: Any, /) -> Any:
    """Return a list of texts: JSON, Python's notation (pandas), one text a line (Splunk), or a lone text."""
    if not isinstance(value, str):
        return value
    if value.lstrip()[:1] == "[":
        return decoded(value)
    return [line for line in value.split("\n") if line]


def decoded(value: Any, /) -> Any:
    """Decode an object or a list that became text, as JSON or in Python's notation; anything else stays.

    Raises:
        CellError: when it is neither.

    """
    if not isinstance(value, str) or value.lstrip()[:1] not in ("{", "["):
        return value
    try:
        return decode_whole(value)
    except NotJSONError:
        pass
    if len(value) <= _LONGEST_LITERAL and max(value.count("["), value.count("{")) <= MAX_NESTING:
        try:
            return ast.literal_eval(value.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            pass
    raise CellError("neither JSON nor a Python literal")


def tree(pairs: Iterable[tuple[str, Any]], /) -> dict[str, Any]:
    """Put a body back together from the paths of its values; what cannot be put anywhere is left out.

    Numbers become keys first and lists in the end: no number makes a list longer than what there is.
    """
    pairs = list(pairs)
    by_dots = any("." in path or "[" in path for path, _ in pairs)
    root: dict[str, Any] = {}
    for path, value in pairs:
        *steps, last = _steps(path, by_dots=by_dots)
        node = root
        for step in steps:
            child = node.setdefault(step, {})
            node = child if isinstance(child, dict) else {}
        if path.endswith(("{}", "[]")):
            value = texts(value)  # noqa: PLW2901 - a list's only value, or each on a line
        node.setdefault(last, _typed(last, value))
    return {key: _lists(value) for key, value in root.items()}


def _steps(path: str, *, by_dots: bool) -> list[str]:
    path = path.removesuffix("{}").removesuffix("[]")
    steps = [step for step in (_TREE.split(path) if by_dots else path.split("_")) if step][: MAX_NESTING // 2]
    for index, step in enumerate(steps[:-1]):
        if step in _FREE_KEYS:
            begun = ".".join(steps[: index + 1])
            return [*steps[: index + 1], path[len(begun) + 1 :].strip("'\"]")] if by_dots else steps
    return steps or [path]


def _typed(name: str, value: Any) -> Any:
    """Return numbers and truth values that became text, by the few names that matter."""
    if not isinstance(value, str):
        return value
    if name.endswith("Seconds"):
        return number(value)
    return {"true": True, "false": False, "True": True, "False": False}.get(value, value)


def _lists(value: Any) -> Any:
    """Make lists of objects whose keys are numbers."""
    if not isinstance(value, Mapping):
        return value
    inner = {key: _lists(item) for key, item in value.items()}
    if inner and all(key.isdecimal() and len(key) < 7 for key in inner):  # noqa: PLR2004 - digits
        return [inner[key] for key in sorted(inner, key=int)]
    return inner
