# SPDX-License-Identifier: Apache-2.0
"""`Tally`: what happened to everything that was read."""

from __future__ import annotations

from collections import Counter
from typing import Any

import attrs

from k8stokendetect.reprs import with_short_repr


@with_short_repr
@attrs.define
class Tally:
    """What happened to everything that was read; `detect` adds to it as it goes.

    Attributes:
        events: how many events were read, including those that were skipped unparsed.
        findings: how many findings were reported, by rule id.
        excluded: how many findings were excluded, by exclusion id.
        duplicates: how many findings repeated one about the same request.
        unreadable: how many records could not be read.
        skipped: how many records of other logs a wrapper held; they are rightly no audit events.
        unproven: how many audit events were not believed: pods printed them that are not known to print an audit log.
        undecided: how many times a detector could not say anything, for want of what the log has to show first.
        dropped: facts that no record has, such as `user agents`, though an API server writes them: nobody is asked to
            prove anything by them.
        failures: how many times a detector raised.
        cloud_events: how many records of clouds' logs were read.

    """

    events: int = 0
    findings: Counter[str] = attrs.field(factory=Counter)
    excluded: Counter[str] = attrs.field(factory=Counter)
    duplicates: int = 0
    unreadable: int = 0
    skipped: int = 0
    unproven: int = 0
    undecided: int = 0
    dropped: set[str] = attrs.field(factory=set)
    failures: int = 0
    cloud_events: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON; the names are stable once released."""
        return {
            **attrs.asdict(self, recurse=False),
            "findings": dict(self.findings),
            "excluded": dict(self.excluded),
            "dropped": sorted(self.dropped),
        }
