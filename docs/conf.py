# SPDX-License-Identifier: Apache-2.0
"""Sphinx: the pages are MyST Markdown, the reference comes from docstrings, the detectors' pages from their rules."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent / "_ext")]

project = "k8stokendetect"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "backticks", "detector_pages"]
exclude_patterns = ["_build", "_ext"]

html_theme = "furo"
html_title = "k8stokendetect"
html_show_copyright = False
html_static_path = ["_static"]
html_css_files = ["pages.css"]

myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True  # `DEFAULT_EXCLUSIONS`, not all that is in it
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # an attribute is listed with its class, not documented twice
