# SPDX-License-Identifier: Apache-2.0
"""Damages JSON and TOML: a value at any depth, also inside of texts that are JSON, becomes another."""

from __future__ import annotations

import copy
import json
import random
import tomllib
from datetime import date
from typing import Any, Final

VALUES: Final[tuple[Any, ...]] = (
    *(None, True, 0, -1, 7, 2**63, 10**30, -1.5, 1e308, "", "x", "é\ud800", "0", "*", " "),
    *([], ["x"], [[]], {}, {"x": 1}, "2026-11-23T21:43:45.590000Z", "9999-12-31T23:59:59Z", "a" * 70, "\x00"),
)


def damaged(content: bytes, chance: random.Random) -> bytes | None:
    """Return the content with one value of one of its lines, or of all of it, changed; None where nothing fits."""
    lines = content.split(b"\n")
    order = list(range(len(lines)))
    chance.shuffle(order)
    for number in order[:8]:
        try:
            record = json.loads(lines[number])
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict | list) and record:
            lines[number] = _dumped(_changed(record, chance))
            return b"\n".join(lines)
    try:
        table = tomllib.loads(content.decode())
    except (ValueError, RecursionError):
        return None
    if not table:
        return None
    return b"\n".join(f"{json.dumps(key)} = {_toml(value)}".encode() for key, value in _changed(table, chance).items())


def _toml(value: Any) -> str:
    """Write a value as TOML has it in one line; null, which it has not, as an empty table."""
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{json.dumps(key)} = {_toml(item)}' for key, item in value.items())} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return value.isoformat() if isinstance(value, date) else "{}" if value is None else json.dumps(value)


def _changed(node: Any, chance: random.Random) -> Any:
    """Change one value in a tree."""
    if isinstance(node, str) and node[:1] in ("{", "["):
        try:
            return _dumped(_changed(json.loads(node), chance)).decode()
        except (ValueError, RecursionError):
            return node[: chance.randrange(len(node))]
    if not isinstance(node, dict | list) or not node:
        return copy.deepcopy(chance.choice(VALUES))
    keys: list[Any] = list(node) if isinstance(node, dict) else list(range(len(node)))
    key = chance.choice(keys)
    how = chance.random()
    if how < 0.7:
        node[key] = _changed(node[key], chance)
    elif how < 0.8:
        node[key] = copy.deepcopy(chance.choice(VALUES))
    elif how < 0.9:
        del node[key]
    elif isinstance(node, list):
        node.append(node[key])
    else:
        node[str(chance.choice(VALUES))] = node[key]
    return node


def _dumped(record: Any) -> bytes:
    return json.dumps(record, separators=(",", ":")).encode()
