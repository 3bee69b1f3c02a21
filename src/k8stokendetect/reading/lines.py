# SPDX-License-Identifier: Apache-2.0
"""Reads the lines of a log for `split_records`, and skips those that no detector wants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from k8stokendetect.convert.nesting import SHORT, is_deep
from k8stokendetect.envelopes import FORMS, Form, Inner
from k8stokendetect.errors import ReadError
from k8stokendetect.input.decoding import NotJSONError, decode_whole
from k8stokendetect.reading.prefilter import NO_PROJECTION, project
from k8stokendetect.reading.skipping import Skipper, decoded, projection_of, typed


class LineSkipper:
    """Reads lines for `split_records`: what is not wanted is skipped, what is wanted is decoded at once.

    Arguments:
        skipper: decides.
        name: of the file or stream.
        forms: are looked into; the one that the last line had is tried first.

    """

    def __init__(self, skipper: Skipper, name: str, forms: tuple[Form, ...] = FORMS) -> None:
        self._skipper = skipper
        self._name = name
        self._forms = forms
        self._last: Form | None = None

    def __call__(
        self, readline: Callable[[int], bytes], number: int, limit: int, /
    ) -> tuple[bytes, int, list[Any] | None]:
        """Read lines until one is wanted, or is for the full reader; this loop is most of the time of `detect`."""
        skipper, name, short = self._skipper, self._name, min(SHORT, limit - 1)
        wants, add, counts, marks = skipper.wants, skipper.window.add, skipper.counts, skipper.marks
        while True:
            line = readline(limit)
            number += 1
            size = len(line)
            if size > short and (size >= limit or is_deep(line)):
                return line, number, None
            if self._last is not None and (records := self._of_form(self._last, line, number)) is not None:
                if records:
                    return line, number, records
                continue
            try:
                event = project(line)
            except NO_PROJECTION:
                records = self._of_some_form(line, number)
                if records is None or records:
                    return line, number, records
                continue
            self._last = None
            if wants(event):
                return line, number, _wanted(line)
            counts.passed_over += 1
            user = event.user
            if user is not None and user.extra is not None and user.extra.credential:
                add(user.extra.credential[0], (_of_line, line, name, number), size)
            if marks and (records := skipper.mark(size, line)):
                return line, number, records

    def _of_some_form(self, line: bytes, number: int) -> list[Any] | None:
        for form in self._forms:
            records = self._of_form(form, line, number)
            if records is not None:
                self._last = form
                return records
        return None

    def _of_form(self, form: Form, line: bytes, number: int) -> list[Any] | None:
        try:
            opened = form.decode(line)
            texts = form.texts(opened)
        except (*NO_PROJECTION, ReadError):
            return None
        if not texts:
            return None
        records: list[Any] = []
        for index, text in enumerate(texts):
            event = None if text is None else projection_of(text)
            if event is None or text is None:
                records.append(form.inner(opened, index))
            elif not self._skipper.skips(event, (_of_form, form, opened, index, self._name, number), len(text)):
                records.append(decoded(form.inner(opened, index)))
        return records or self._skipper.mark(len(line), texts[-1] or "")


def _wanted(line: bytes) -> list[Any] | None:
    """Decode a line that is wanted; None where the full reader has to."""
    try:
        return [Inner(typed(line) or decode_whole(line), is_event=True)]
    except NotJSONError:
        return None


def _of_line(line: bytes, name: str, number: int) -> tuple[Inner, str]:
    return decoded(Inner(line)), f"{name}:{number}"


def _of_form(form: Form, opened: Any, index: int, name: str, number: int) -> tuple[Inner, str]:
    inner = decoded(form.inner(opened, index))
    return inner, f"{name}:{number}{inner.place}"
