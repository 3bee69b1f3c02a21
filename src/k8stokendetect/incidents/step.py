# SPDX-License-Identifier: Apache-2.0
"""Step: one thing to do about an incident, in words, with the command for it where there is one."""

from __future__ import annotations

import attrs

from k8stokendetect.events import JsonValue
from k8stokendetect.reprs import with_short_repr


@with_short_repr
@attrs.frozen
class Step:
    """One thing to do.

    Arguments:
        text: what, and why; it ends with a colon where a command follows.
        command: to be read before it is run, and never broken or cut where it is shown; empty where there is none.

    """

    text: str
    command: str = ""

    def __str__(self) -> str:
        return f"{self.text} {self.command}" if self.command else self.text

    def to_dict(self) -> dict[str, JsonValue]:
        """Return it as JSON; the names are stable once released."""
        return {"text": self.text, "command": self.command}
