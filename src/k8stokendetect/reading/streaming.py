# SPDX-License-Identifier: Apache-2.0
"""What a reading asks of a log that stands in another source: `Streaming`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from k8stokendetect.clouds import CloudEvent
from k8stokendetect.errors import ReadError
from k8stokendetect.events import Event


@runtime_checkable
class Streaming(Protocol):
    """An AuditLog inside of another source."""

    @property
    def skipped(self) -> int:
        """How many records of other logs it held."""
        ...

    @property
    def unproven(self) -> int:
        """How many audit events it held whose source is not proved."""
        ...

    @property
    def cloud_records(self) -> int:
        """How many records of clouds' logs it held."""
        ...

    def stream(self) -> Iterator[Event | CloudEvent | ReadError]:
        """Iterate over what it holds."""
        ...
