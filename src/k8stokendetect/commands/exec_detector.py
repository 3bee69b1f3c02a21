# SPDX-License-Identifier: Apache-2.0
"""The interface of detectors that look at commands on a host rather than at requests to the API server."""

from __future__ import annotations

import abc
from collections.abc import Iterable
from typing import final

from k8stokendetect.commands.exec_events import ExecEvent
from k8stokendetect.detectors.base import Detector
from k8stokendetect.errors import ReadError
from k8stokendetect.events import Event
from k8stokendetect.findings import Finding


class ExecDetector(Detector):
    """Looks at one command at a time; the rule, `finding` and what comes of it are those of every detector.

    Give it to `detect_commands`. `detect`, which has requests and no commands, reports a failure of it for each event
    rather than find nothing in silence.
    """

    watches = frozenset({"*"})

    @abc.abstractmethod
    def inspect_command(self, event: ExecEvent, /) -> Iterable[Finding]:
        """Yield a finding for everything to report about this command."""

    @final
    def inspect(self, event: Event | ReadError, /) -> Iterable[Finding]:  # noqa: ARG002 - no command
        """Refuse an audit event of Kubernetes.

        Raises:
            TypeError: always.

        """
        raise TypeError("it looks at commands: give it to detect_commands")
