# SPDX-License-Identifier: Apache-2.0
"""Sphinx: the pages are MyST Markdown."""

project = "k8stokendetect"
extensions = ["myst_parser"]
html_theme = "alabaster"
exclude_patterns = ["_build"]
suppress_warnings = ["myst.xref_missing"]
