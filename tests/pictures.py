# SPDX-License-Identifier: Apache-2.0
"""Draws the pictures of the README from the example: the terminal's overview as SVG, the report page as PNG.

`python tests/pictures.py` writes them to docs/_static, light and dark; the page needs Chromium and the extra `dev`.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
from pathlib import Path
from typing import Final

import click
from click.testing import CliRunner
from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI, TerminalTheme
from rich.text import Text

from k8stokendetect.cli.app import main

STATIC: Final = Path(__file__).resolve().parents[1] / "docs/_static"
LOG: Final = "examples/attack.log"
WIDTH: Final = 112
"""Cells of the window that is drawn."""

LINES: Final = 22
"""Lines of the output that are drawn."""


def rgb(colors: str) -> list[tuple[int, int, int]]:
    """Return colours that are written as #RRGGBB."""
    return [(color >> 16, color >> 8 & 255, color & 255) for color in (int(text[1:], 16) for text in colors.split())]


LIGHT: Final = TerminalTheme(
    (255, 255, 255),
    (36, 41, 47),
    rgb("#24292f #a40e26 #116329 #7d4e00 #0550ae #8250df #1b7c83 #57606a"),
    rgb("#57606a #cf222e #1a7f37 #9a6700 #0969da #8250df #3192aa #6e7781"),
)

THEMES: Final = {"light": LIGHT, "dark": DIMMED_MONOKAI}

SVG: Final = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" role="img">
<title>k8stokendetect scan: two incidents, and the tree of the worst</title>
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; \
font-size: {char_height}px; line-height: {line_height}px; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""  # rich's own has a web font from elsewhere


def terminal(theme: TerminalTheme) -> str:
    """Return the beginning of what `scan` prints about the example, in its colours, as SVG."""
    command = f"k8stokendetect scan {LOG}"
    result = CliRunner().invoke(main, command.split()[1:], env={"COLUMNS": str(WIDTH)}, color=True)
    shown = "\n".join([f"{click.style('$', dim=True)} {command}", *result.stdout.splitlines()[:LINES]])
    console = Console(width=WIDTH, record=True, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text.from_ansi(shown), no_wrap=True, crop=True)
    return console.export_svg(theme=theme, title="", code_format=SVG, unique_id="t")


def write_terminals(folder: Path) -> None:
    """Write the SVGs."""
    for name, theme in THEMES.items():
        lines = terminal(theme).splitlines()
        (folder / f"terminal-{name}.svg").write_text("\n".join(map(str.rstrip, lines)) + "\n", encoding="utf-8")


def write_pages(folder: Path) -> None:
    """Write the PNGs."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - an SVG needs none

    log = Path(LOG).resolve()
    with tempfile.TemporaryDirectory() as temporary, contextlib.chdir(temporary), sync_playwright() as playwright:
        shutil.copyfile(log, log.name)
        CliRunner().invoke(main, ["scan", log.name, "-q", "--report", "report.html"])
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        for name in THEMES:
            page = browser.new_page(viewport={"width": 1120, "height": 640}, color_scheme=name)  # type: ignore[arg-type]
            page.goto(Path("report.html").resolve().as_uri())
            page.screenshot(path=folder / f"report-{name}.png")
        browser.close()


if __name__ == "__main__":
    write_terminals(STATIC)
    write_pages(STATIC)
