# SPDX-License-Identifier: Apache-2.0
"""Reads what `--sink` says: `KIND[:TARGET][?OPTION=VALUE&…]`, or a TOML file with a `[[sink]]` table for each.

A command line and a configuration file are read by many: what is secret is named there, as `env:NAME` or `file:PATH`,
and stands elsewhere.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import attrs

from k8stokendetect.errors import ConfigError, did_you_mean
from k8stokendetect.findings import Severity

_COMMON: Final = frozenset({"name", "severity"})
OPTIONS: Final[Mapping[str, frozenset[str]]] = {
    "stdout": frozenset({"format"}),
    "file": frozenset({"format"}),
    "webhook": frozenset({"format", "token", "ca"}),
    "slack": frozenset({"ca"}),
    "teams": frozenset({"ca"}),
    "pagerduty": frozenset({"ca", "url"}),
    "syslog": frozenset({"format", "ca", "cert", "key"}),
    "kafka": frozenset({"format"}),
}
"""The options of each kind, besides `name` and `severity`. Kafka also takes those of librdkafka, which have a dot."""

SECRET_TARGETS: Final = frozenset({"slack", "teams", "pagerduty"})
"""Kinds whose target is a secret."""

_SECRET_ENDINGS: Final = ("token", "password", "secret", "pem", "key.password")
_MOST: Final = 64 * 1024


@attrs.frozen
class Spec:
    """One sink, as it was asked for.

    Arguments:
        kind: what it is.
        target: where to; its secret resolved.
        options: by name; secrets resolved.
        severity: least one of what is sent.
        name: for people.

    """

    kind: str
    target: str = attrs.field(repr=False)
    options: Mapping[str, str] = attrs.field(repr=False)
    severity: Severity
    name: str

    def option(self, name: str, default: str = "") -> str:
        """Return an option."""
        return self.options.get(name, default)


def parse_all(texts: Sequence[str], /) -> list[Spec]:
    """Return the sinks that were asked for, each with a name of its own.

    Raises:
        ConfigError: when something is wrong with one; no message holds a secret.

    """
    specs: list[Spec] = []
    for text in texts:
        found = _of_file(Path(text)) if text.endswith(".toml") else [_of_text(text)]
        specs += found
    taken: dict[str, int] = {}
    named = []
    for spec in specs:
        taken[spec.name] = taken.get(spec.name, 0) + 1
        number = taken[spec.name]
        named.append(spec if number == 1 else attrs.evolve(spec, name=f"{spec.name}-{number}"))
    return named


def _of_text(text: str) -> Spec:
    head, mark, query = text.partition("?")
    kind, _, target = head.partition(":")
    options: dict[str, str] = {}
    for part in query.split("&") if mark else ():
        name, equals, value = part.partition("=")
        if not equals or not name:
            raise ConfigError(f"--sink {_shown(kind)}: an option is NAME=VALUE")
        options[name] = unquote(value)
    return _spec(kind, target, options)


def _of_file(path: Path) -> Iterator[Spec]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise ConfigError(f"{path}: not TOML") from None
    tables = document.get("sink")
    if set(document) != {"sink"} or not isinstance(tables, list):
        raise ConfigError(f"{path}: expected [[sink]] tables, and nothing else")
    for table in tables:
        if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
            raise ConfigError(f"{path}: the values of a [[sink]] table are strings")
        options = {name: value for name, value in table.items() if name not in {"kind", "target"}}
        yield _spec(table.get("kind", ""), table.get("target", ""), options)


def _spec(kind: str, target: str, options: dict[str, str]) -> Spec:
    if kind not in OPTIONS:
        raise ConfigError(f"unknown kind of sink {_shown(kind)!r}{did_you_mean(_shown(kind), OPTIONS)}")
    known = OPTIONS[kind] | _COMMON
    for option in options:
        if option not in known and not (kind == "kafka" and "." in option):
            raise ConfigError(f"sink {kind}: no option {_shown(option)!r}{did_you_mean(_shown(option), known)}")
    for option, value in options.items():
        if option.lower().endswith(_SECRET_ENDINGS) and not _is_reference(value):
            raise ConfigError(f"sink {kind}: `{option}` is a secret: name it as env:NAME or file:PATH")
    if kind in SECRET_TARGETS and not _is_reference(target):
        raise ConfigError(f"sink {kind}: its target is a secret: name it as env:NAME or file:PATH")
    name = options.get("name", kind)
    if not name.isascii() or not name.replace("-", "").isalnum():
        raise ConfigError(f"sink {kind}: a name is letters, digits and hyphens")
    severity = Severity.of(options.get("severity", "informational"))
    is_path = kind in {"file", "stdout"}
    resolved = {option: _resolved(kind, value) for option, value in options.items() if option not in _COMMON}
    return Spec(kind, target if is_path else _resolved(kind, target), resolved, severity, name)


def _is_reference(value: str) -> bool:
    return value.startswith(("env:", "file:"))


def _resolved(kind: str, value: str) -> str:
    """Return a value, or what it names."""
    source, _, name = value.partition(":")
    if source == "env":
        found = os.environ.get(name)
        if not found:
            raise ConfigError(f"sink {kind}: the environment variable {_shown(name)} is not set")
        return found.strip()
    if source == "file":
        try:
            with open(name, encoding="utf-8") as file:  # noqa: PTH123 - to read no more than this
                found = file.read(_MOST).strip()
        except (OSError, UnicodeDecodeError, ValueError):
            raise ConfigError(f"sink {kind}: the file {_shown(name)} cannot be read") from None
        if not found:
            raise ConfigError(f"sink {kind}: the file {_shown(name)} is empty")
        return found
    return value


def _shown(text: str) -> str:
    """Return what a message may repeat: a secret in the wrong place is longer than any name."""
    return text if len(text) <= 80 and text.isprintable() else "…"  # noqa: PLR2004
