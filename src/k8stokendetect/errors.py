# SPDX-License-Identifier: Apache-2.0
"""What can go wrong and how it is reported: the exception tree and the `on_error` protocol."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Self, TypeAlias, TypeVar

T = TypeVar("T")

_LONGEST_REPR = 200


class K8sTokenDetectError(Exception):
    """Anything this library reports as an error."""

    def __repr__(self) -> str:
        text = ascii(str(self)[:_LONGEST_REPR])
        return f"{type(self).__name__}({text if len(text) <= _LONGEST_REPR else text[:_LONGEST_REPR] + '…'})"


class ReadError(K8sTokenDetectError):
    """A record could not become an Event, or a source could not be read.

    Arguments:
        reason: what is wrong, in words; never a value from the record, which may hold a live token.
        origin: the file and line, such as `audit.log:12`; None when the record came from memory.
        path: where in the record, as a JSON path such as `$.user.groups`; None for the whole record.
        revealed: what the readable part of a broken record still shows, under the Go names (`requestURI`, `auditID`,
            `verb`, `username`), without tokens, and `cut`, the name of the field in which it ends; empty if nothing.

    """

    def __init__(
        self,
        reason: str,
        origin: str | None = None,
        path: str | None = None,
        revealed: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(reason, origin, path, revealed)
        self.reason = reason
        self.origin = origin
        self.path = path
        self.revealed = dict(revealed or {})

    def at(self, origin: str | None, /) -> Self:
        """Return the same error with its origin."""
        error = copy.copy(self)
        error.origin = origin
        error.args = (self.reason, origin, self.path, self.revealed)
        return error

    def __str__(self) -> str:
        where = f"{self.origin}: " if self.origin else ""
        return f"{where}{self.reason}" + (f" @ {self.path}" if self.path else "")


class DetectorError(K8sTokenDetectError):
    """A detector raised on an event; the other detectors still saw that event.

    Arguments:
        rule_id: the rule of the detector that raised.
        reason: the kind of exception and its message.
        origin: where the event came from, such as `audit.log:12`.

    """

    def __init__(self, rule_id: str, reason: str, origin: str | None = None) -> None:
        super().__init__(rule_id, reason, origin)
        self.rule_id = rule_id
        self.reason = reason
        self.origin = origin

    def __str__(self) -> str:
        where = f"{self.origin}: " if self.origin else ""
        return f"{where}detector {self.rule_id} failed: {self.reason}"


class ConfigError(K8sTokenDetectError):
    """An argument, a rule, an exclusion or a configuration file is wrong; the message says which and why."""


def check(
    value: object, kind: type | tuple[type, ...], problem: str, is_right: Callable[[Any], object] = lambda _: True
) -> None:
    """Check an argument; a boolean is not a number.

    Arguments:
        value: the argument.
        kind: the types it may have.
        problem: what to say when it has another.
        is_right: what else must hold.

    Raises:
        ConfigError: as said.

    """
    is_kind = isinstance(value, kind) and (type(value) is not bool or kind is not int)
    if not is_kind or not is_right(value):
        raise ConfigError(problem)


def checked_list(values: object, kind: type[T], problem: str) -> tuple[T, ...]:
    """Return a list that was given; a lone string is not a list, and would be read character by character.

    Arguments:
        values: the argument.
        kind: what each of them must be.
        problem: what to say when it is something else.

    Raises:
        ConfigError: as said.

    """
    found = tuple(values) if isinstance(values, Iterable) and not isinstance(values, str | bytes) else None
    if found is None or not all(isinstance(value, kind) for value in found):
        raise ConfigError(problem)
    return found


def did_you_mean(name: str, known: Iterable[str], /) -> str:
    """Return `; did you mean …?` with the names that are near, or `; known: …` with all."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else f"; known: {', '.join(names)}"


OnError: TypeAlias = Callable[[K8sTokenDetectError], object]
"""Called with every error; `raise_error` stops, `list.append` collects."""

OnReadError: TypeAlias = Callable[[ReadError], object]
"""The same, called with what cannot be read; the `append` of a `list[ReadError]` or `list[Exception]` is one."""

OnDetectError: TypeAlias = Callable[[ReadError | DetectorError], object]
"""The same, called with what cannot be read and with what a detector raised; `list[K8sTokenDetectError]` takes both."""


class _RaiseError:
    """A function, but for its repr, which is the default of `on_error` in what `help` prints."""

    def __call__(self, error: K8sTokenDetectError, /) -> None:
        """Raise the error."""
        raise error

    def __repr__(self) -> str:
        return "raise_error"

    def __reduce__(self) -> str:
        return "raise_error"


raise_error: Final = _RaiseError()
"""Raises the error it is called with: the default `on_error`, so that nothing is lost unnoticed."""
