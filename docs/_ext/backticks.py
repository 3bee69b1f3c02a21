# SPDX-License-Identifier: Apache-2.0
"""Sphinx extension: docstrings write `names` as Markdown does; reStructuredText wants two backticks."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_CODE: Final = re.compile(r"(?<![`:])`([^`\n]+)`(?![`_])")


def double(_: Sphinx, __: str, ___: str, ____: object, _____: object, lines: list[str]) -> None:
    """Double the backticks, in place, before the sections of a docstring are read."""
    lines[:] = [_CODE.sub(r"``\1``", line) for line in lines]


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to autodoc, before napoleon does (priority 500)."""
    app.connect("autodoc-process-docstring", double, priority=400)
    return {"parallel_read_safe": True}
