# SPDX-License-Identifier: Apache-2.0
"""Takes uses of tokens out of a stream of rows unparsed; the token's bucket knows whether it is followed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import attrs

from k8stokendetect.convert.credentials import is_suspect
from k8stokendetect.convert.nesting import SHORT, is_deep
from k8stokendetect.identity import SERVICE_ACCOUNT_PREFIX
from k8stokendetect.reading.prefilter import Prefilter, has_token_sign
from k8stokendetect.reading.projection import NO_PROJECTION, Projection, project
from k8stokendetect.reading.skipping import time_of
from k8stokendetect.spark.rows import Row, Source


@attrs.frozen
class Use:
    """A request that matters only if its token is followed.

    Arguments:
        text: the record as the API server wrote it, without any text that looks like a token.
        ids: the credential ids in it.
        time: when the request was received.
        source: where it comes from.

    """

    text: bytes
    ids: tuple[str, ...]
    time: datetime
    source: Source


class RawUses:
    """Sorts rows: unwanted rows are dropped, uses are kept unparsed, the rest goes to the reader.

    Arguments:
        prefilter: what the detectors want besides uses.

    """

    def __init__(self, prefilter: Prefilter) -> None:
        self._prefilter = prefilter
        self.found: list[Use] = []

    def __call__(self, rows: Sequence[Row], /) -> list[Row]:
        """Return the rows that are to be read."""
        return [row for row in rows if self._is_to_be_read(row)]

    def _is_to_be_read(self, row: Row) -> bool:
        """Keep a use unparsed; return True if it has to be read instead."""
        text, source = row
        if len(text) > SHORT and is_deep(text):
            return True
        try:
            event = project(text)
        except NO_PROJECTION:
            return True
        if self._prefilter.wants(event):
            return True
        user = event.user
        if user is None or not user.username.startswith(SERVICE_ACCOUNT_PREFIX):
            return False
        ids = user.extra.credential if user.extra is not None else ()
        time = time_of(text)
        if not ids or time is None or _may_hold_token(event, text):
            return True
        self.found.append(Use(text, ids[:1], time, source))
        return False


def _may_hold_token(event: Projection, text: bytes) -> bool:
    """Tell whether a text must not leave the reader unredacted: it has a body, or what looks like a credential."""
    status = event.response_status
    chosen = f"{event.request_uri}\n{event.user_agent}\n{status.message if status is not None else ''}"
    has_body = bool(event.request_object or event.response_object)
    return has_body or b"%" in text or has_token_sign(text) or is_suspect(chosen)
