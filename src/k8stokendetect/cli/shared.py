# SPDX-License-Identifier: Apache-2.0
"""What the commands share: the choices that `--help` names, and how errors are told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from k8stokendetect.errors import K8sTokenDetectError
    from k8stokendetect.events import Platform

SHOWN_ERRORS = 20
"""So many errors are printed; the others are counted."""

PLATFORMS: tuple[Platform, ...] = ("kubernetes", "eks", "aks", "gke", "openshift")
SEVERITIES = ("informational", "low", "medium", "high", "critical")


class Errors:
    """Prints errors as they come, the first few of them."""

    def __init__(self, label: str = "error") -> None:
        self.count = 0
        self._label = label

    def __call__(self, error: K8sTokenDetectError) -> None:
        """Print the error, or only count it once enough have been printed."""
        self.count += 1
        if self.count <= SHOWN_ERRORS:
            say(error, self._label)
        elif self.count == SHOWN_ERRORS + 1:
            click.echo(f"{self._label}: more of them; only counted from here on", err=True)

    def end(self, about: str) -> None:
        """Print how many there were, where not all were printed."""
        if self.count > SHOWN_ERRORS:
            click.echo(f"{self._label}: {self.count:,} {about} in all", err=True)


def say(error: K8sTokenDetectError, label: str = "error") -> None:
    """Print one error."""
    from k8stokendetect.outputs.text import neutral  # noqa: PLC0415 - not for --help

    click.echo(f"{label}: {neutral(str(error))}", err=True)
