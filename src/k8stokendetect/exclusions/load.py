# SPDX-License-Identifier: Apache-2.0
"""Exclusions of your own, from TOML, as strictly as everything else: a typo is an error, not a silent hole."""

from __future__ import annotations

import os
import tomllib
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import attrs
import cattrs

from k8stokendetect.convert.converter import WrongTypeError, class_hook, explain, strict_converter, strings
from k8stokendetect.errors import ConfigError
from k8stokendetect.events import Platform
from k8stokendetect.exclusions.base import Actor, Exclusion
from k8stokendetect.exclusions.catalogue import find_exclusion


@attrs.frozen
class _File:
    """What a file may hold: names to switch on, and entries."""

    enable: tuple[str, ...] = ()
    exclusion: tuple[Exclusion, ...] = ()


def load_exclusions(path: str | os.PathLike[str], /) -> tuple[Exclusion, ...]:
    """Read a TOML file: `enable = [names]` and `[[exclusion]]` tables with the fields of Exclusion.

    Arguments:
        path: the file.

    Returns:
        The optional exclusions it switches on and its own, to be added to DEFAULT_EXCLUSIONS.

    Raises:
        ConfigError: when the file cannot be read, is no TOML, or holds an unknown key or name, a wrong type, or an
            exclusion without proof.

    """
    try:
        table = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # also what is no UTF-8, no file name, or nested too deeply
        raise ConfigError(f"{path}: not TOML: {error}") from None
    try:
        content = _CONVERTER.structure(table, _File)
        enabled = tuple(find_exclusion(name) for name in content.enable)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    except cattrs.BaseValidationError as error:
        raise ConfigError(f"{path}: {' @ '.join(explain(error, name=str))}") from None
    return _without_twins(path, enabled + content.exclusion)


def _without_twins(path: object, exclusions: tuple[Exclusion, ...]) -> tuple[Exclusion, ...]:
    ids = [exclusion.id for exclusion in exclusions]
    for twin in {name for name in ids if ids.count(name) > 1}:
        raise ConfigError(f"{path}: exclusion {twin!r} stands there twice")
    return exclusions


def _username(value: Any, _: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else strings(value, _)


def _day(value: Any, _: Any) -> date:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    raise WrongTypeError("a date such as 2026-11-24", value)


def _is_literal(kind: Any) -> bool:
    return get_origin(kind) is Literal


def _one_of(value: Any, kind: Any) -> Any:
    if value not in get_args(kind):
        raise WrongTypeError(" or ".join(map(repr, get_args(kind))), value)
    return value


def _converter() -> cattrs.Converter:
    converter = strict_converter(forbid_extra_keys=True, name=str)
    converter.register_structure_hook(date, _day)
    converter.register_structure_hook_func(_is_literal, _one_of)
    converter.register_structure_hook_func(
        lambda kind: kind == frozenset[Platform], lambda value, kind: frozenset(strings(value, kind))
    )
    actor = class_hook(converter, Actor, name=str, hooks={"username": _username})
    converter.register_structure_hook(Actor, actor)
    return converter


_CONVERTER = _converter()
