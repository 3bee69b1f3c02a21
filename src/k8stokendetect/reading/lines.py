# SPDX-License-Identifier: Apache-2.0
"""Reads the lines of a log for `split_records`, and skips those that no detector wants."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeAlias

from k8stokendetect.convert.nesting import SHORT, is_deep
from k8stokendetect.envelopes import FORMS, Form, Inner
from k8stokendetect.errors import ReadError
from k8stokendetect.input.decoding import NotJSONError, decode_whole
from k8stokendetect.reading.projection import NO_PROJECTION, Plain, Projection, project, project_plain
from k8stokendetect.reading.skipping import Skipper, decoded, of_inner, projection_of, typed
from k8stokendetect.reading.window import Kept

_TOGETHER: Final = 64 * 1024
"""Bytes of skipped requests that are put into the window at once."""

Records: TypeAlias = list[Any] | None
"""What is wanted of a line, often nothing; None for a line that the full reader has to look into."""


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

    def __call__(  # noqa: C901, PLR0912 - this loop is most of the time of `detect`, and calls would double it
        self, readline: Callable[[int], bytes], number: int, limit: int, /
    ) -> tuple[bytes, int, Records]:
        """Read lines until one is wanted, or is for the full reader."""
        skipper, name = self._skipper, self._name
        unwanted, marks, skipped = skipper.unwanted, skipper.marks, 0
        uses: list[Kept] = []
        room, keep = _TOGETHER, uses.append
        records: Records
        while True:
            line = readline(limit)
            number += 1
            size = len(line)
            if size >= limit:
                records = None
                break
            if self._last is not None:
                records = self._in_form(self._last, line, number)
                if records:
                    break
                if records is not None:
                    continue
            if size > SHORT and is_deep(line):
                records = None
                break
            event: Plain | Projection | None
            try:
                event = project_plain(line)
            except NO_PROJECTION:
                event = rare(line)
            if event is None:
                records = self._in_some_form(line, number)
                if records is None or records:
                    break
                continue
            self._last = None
            credential = unwanted(event)
            if credential is None:  # it is wanted
                records = _wanted(line)
                break
            skipped += 1
            if credential:
                keep((credential, _of_line, line, name, number))
                room -= size
                if room < 0:
                    skipper.window.add(uses, _TOGETHER - room)
                    uses.clear()
                    room = _TOGETHER
            if marks and (records := skipper.mark(size, line)):
                break
        skipper.counts.unwanted += skipped
        if uses:
            skipper.window.add(uses, _TOGETHER - room)
        return line, number, records

    def _in_some_form(self, line: bytes, number: int) -> Records:
        for form in self._forms:
            records = self._in_form(form, line, number)
            if records is not None:
                self._last = form
                return records
        return None

    def _in_form(self, form: Form, line: bytes, number: int) -> Records:
        """Look into a line of one form."""
        try:
            opened = form.decode(line)
            texts = form.texts(opened)
        except (*NO_PROJECTION, ReadError):
            return None
        if not texts:
            return None
        unwanted = self._skipper.unwanted
        records: list[Any] = []
        uses: list[tuple[int, str]] = []
        for index, text in enumerate(texts):
            if text is None or (event := projection_of(text)) is None:
                records.append(form.inner(opened, index))
            elif (credential := unwanted(event)) is None:
                records.append(decoded(form.inner(opened, index)))
            elif credential:
                uses.append((index, credential))
        self._skipper.counts.unwanted += len(texts) - len(records)
        if uses:
            self._keep(form, opened, texts, uses, number)
        if records or not self._skipper.marks:
            return records
        return self._skipper.mark(len(line), texts[-1] or "")

    def _keep(
        self, form: Form, opened: Any, texts: Sequence[str | None], uses: Iterable[tuple[int, str]], number: int
    ) -> None:
        """Keep uses of tokens with the line that they stand in; alone where most of the line is something else.

        Arguments:
            form: of the line.
            opened: what the line holds, decoded.
            texts: its events.
            uses: which of them, and with which credentials they were made.
            number: of the line.

        """
        size = sum([len(texts[index] or "") for index, _ in uses])
        whole = sum([len(text) for text in texts if text is not None])
        kept: list[Kept]
        if 2 * size < whole:
            origin = f"{self._name}:{number}"
            kept = [(credential, of_inner, form.inner(opened, index), origin) for index, credential in uses]
            self._skipper.window.add(kept, size)
        else:
            kept = [(credential, _of_form, form, opened, index, self._name, number) for index, credential in uses]
            self._skipper.window.add(kept, whole)


def rare(line: bytes) -> Projection | None:
    """Return the projection of an event that is not plain; None for what is not an event."""
    try:
        return project(line)
    except NO_PROJECTION:
        return None


def _wanted(line: bytes) -> Records:
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
