# SPDX-License-Identifier: Apache-2.0
"""What a sink is, and how it says that it could not take an alert."""

from __future__ import annotations

from typing import Protocol

from k8stokendetect.errors import K8sTokenDetectError
from k8stokendetect.incidents import Alert


class SinkError(K8sTokenDetectError):
    """A sink did not take an alert; the message holds no address, token or word of the alert.

    Arguments:
        sink: its name.
        reason: what went wrong.
        again: it may work later.
        after: how many seconds the sink asks to be left alone; None where it does not say.

    """

    def __init__(self, sink: str, reason: str, *, again: bool = True, after: float | None = None) -> None:
        super().__init__(sink, reason)
        self.sink = sink
        self.reason = reason
        self.again = again
        self.after = after

    def __str__(self) -> str:
        return f"sink {self.sink}: {self.reason}"


class Sink(Protocol):
    """Takes alerts, one at a time, from one thread.

    Attributes:
        name: for people and metrics; it holds no secret.

    """

    name: str

    def send(self, alert: Alert, /) -> None:
        """Deliver an alert, and return when the other side has it.

        Raises:
            SinkError: when it has not.

        """
        ...

    def has(self, alert: Alert, /) -> bool:
        """Tell whether an alert was certainly delivered before; False where that is not known."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...
