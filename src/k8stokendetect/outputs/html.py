# SPDX-License-Identifier: Apache-2.0
"""Renders the HTML and SVG templates: every value is cut, its control characters written out, and escaped."""

from __future__ import annotations

import base64
import functools
import hashlib
import unicodedata
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

from k8stokendetect.errors import ConfigError
from k8stokendetect.outputs.text import cut, neutral

if TYPE_CHECKING:
    from jinja2 import Environment

LONGEST: Final = 1000
"""A longer value is cut; the JSON forms have it whole."""


def render(template: str, /, **values: Any) -> str:
    """Return a rendered template, which another template may include as it is.

    Raises:
        ConfigError: when Jinja2 is not installed.

    """
    return _as_it_is(environment().get_template(template).render(**values))


def inline(*names: str) -> str:
    """Return templates that hold no value, such as a script, one after the other, as they are."""
    found = environment()
    sources = (found.loader.get_source(found, name)[0] for name in names) if found.loader else ()
    return _as_it_is("\n".join(source.strip() for source in sources))


def policy(*, style: str, script: str) -> str:
    """Return the Content-Security-Policy of a page that has one style and one script, and may do nothing else.

    Its directives: https://www.w3.org/TR/CSP3/#csp-directives.
    """
    return (
        f"default-src 'none'; script-src {_digest(script)}; style-src {_digest(style)}; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    """Name an inline element by what stands in it: https://www.w3.org/TR/CSP3/#match-element-to-source-list."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _as_it_is(text: str) -> str:
    from markupsafe import Markup  # noqa: PLC0415 - comes with Jinja2

    return Markup(text)  # noqa: S704 - a template has escaped it, or is it


def cells(text: str, /) -> int:
    """Count the cells of a fixed-width font that a text takes, control characters written out."""
    return sum(map(_cells_of, neutral(text)))


def fitting(text: str, most: int, /) -> str:
    """Cut a text to so many cells; East Asian characters take two, control characters those of their escape."""
    shown = neutral(text)
    kept = sum(end < most for end in accumulate(map(_cells_of, shown)))
    return shown if kept == len(shown) else f"{shown[:kept]}…"


def _cells_of(char: str) -> int:
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


@functools.cache
def environment() -> Environment:
    """Return what loads the templates; raises ConfigError when Jinja2 is not installed."""
    try:
        import jinja2  # noqa: PLC0415 - in the extra `cli`
        from markupsafe import Markup, escape  # noqa: PLC0415 - the same
    except ModuleNotFoundError:
        raise ConfigError("Jinja2 is missing: pip install 'k8stokendetect[cli]'") from None

    def shown(value: str, longest: int = LONGEST) -> Markup:
        return escape(neutral(cut(value, longest)))

    def printed(value: str) -> Markup:
        """Escape a text of printable characters and line ends that stands in an element; quotes may stay there."""
        lines = "\n".join(map(neutral, value.split("\n")))
        return Markup(lines.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))  # noqa: S704 - escaped

    def finalize(value: Any) -> Any:
        return value if hasattr(value, "__html__") or not isinstance(value, str) else shown(value)

    found = jinja2.Environment(
        loader=jinja2.PackageLoader("k8stokendetect.outputs"),
        autoescape=True,
        finalize=finalize,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["shown"] = shown
    found.filters["printed"] = printed
    return found
