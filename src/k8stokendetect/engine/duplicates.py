# SPDX-License-Identifier: Apache-2.0
"""Recognises what was delivered twice: the names of findings, and a window of those seen lately."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from k8stokendetect.findings import Finding

WINDOW: Final = 100_000
"""How many names are remembered; flooding it makes findings repeat, never vanish."""


def finding_key(request: str, rule: str, excluded_by: str | None, finding: Finding | None = None, /) -> str:
    """Name what a rule says about a request: what was excluded must not make a repetition that is reported vanish.

    Arguments:
        request: its `request_id`.
        rule: the rule's id.
        excluded_by: the id of the exclusion; None for none.
        finding: where it exists: it may be one of several, or be about an earlier request.

    """
    key = f"{request} {rule} {excluded_by}"
    if finding is None or not (finding.key or finding.related):
        return key
    more = repr((finding.event.audit_id, [ref.audit_id for ref in finding.related], finding.key))
    return f"{key} {_digest(more)}"


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


BEFORE: Final = -1
"""The number of all events from before."""


class Deduplicator:
    """Remembers the last names.

    Arguments:
        limit: maximum number of names, by default WINDOW; the oldest is forgotten first.

    """

    def __init__(self, limit: int | None = None) -> None:
        self._limit = WINDOW if limit is None else limit
        self._seen: OrderedDict[str, int] = OrderedDict()

    def is_repeat(self, name: str, number: int, /) -> bool:
        """Tell whether an event with another number had this name, and remember it."""
        first = self._seen.setdefault(name, number)
        if len(self._seen) > self._limit:
            self._seen.popitem(last=False)
        return first != number

    def last(self, most: int, /) -> list[str]:
        """Return the last names, the oldest first."""
        return list(self._seen)[-most:]

    def restore(self, names: Iterable[str], /) -> None:
        """Remember names from before."""
        for name in names:
            self.is_repeat(str(name), BEFORE)
