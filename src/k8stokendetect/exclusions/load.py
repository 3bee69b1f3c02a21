# SPDX-License-Identifier: Apache-2.0
"""Exclusions of your own, from TOML, as strictly as everything else: a typo is an error, not a silent hole."""

from __future__ import annotations

import os
import re
import tomllib
from collections import Counter
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

import attrs
import cattrs

from k8stokendetect.convert.converter import WrongTypeError, class_hook, explain, strict_converter, strings
from k8stokendetect.errors import ConfigError
from k8stokendetect.events import Platform
from k8stokendetect.exclusions.base import Actor, Component, Exclusion, Provenance, TokenShape
from k8stokendetect.exclusions.catalogue import find_exclusion


@attrs.frozen(kw_only=True)
class _Entry:
    """An exclusion as a flat table; a value that was not given is None."""

    component: str | None = None
    id: str | None = None
    actor: Actor | None = None
    namespaces: tuple[str, ...] | None = None
    names: tuple[str, ...] | None = None
    own_namespace: bool | None = None
    token: TokenShape | None = None
    if_unseen: Literal["report", "exclude"] | None = None
    platforms: frozenset[Platform] | None = None
    provenance: tuple[Provenance, ...] | None = None
    rules: tuple[str, ...] | None = None
    because: str | None = None
    hides: str | None = None
    expires: date | None = None

    def exclusion(self, place: str, /) -> Exclusion:
        """Make both parts; `component` takes them from an exclusion that ships, but for what else is given.

        Arguments:
            place: where the table stands in the file, for errors.

        Raises:
            ConfigError: when a part is missing, wrong, or given together with `component`.

        """
        given = {name: value for name, value in attrs.asdict(self, recurse=False).items() if value is not None}
        who = {name: given.pop(name) for name in _OF_COMPONENT if name in given}
        if self.component is None:
            component = Component(**_whole(Component, who | ({"id": self.id} if self.id else {}), place))
            return Exclusion(component=component, **_whole(Exclusion, given, place))
        if who:
            raise ConfigError(f"component = {self.component!r} says who it is: {min(who)} cannot be given as well")
        del given["component"]
        return attrs.evolve(find_exclusion(self.component), **given)


_KEY: Final = re.compile(rf"(?m)^[ \t]*({'|'.join(field.name for field in attrs.fields(_Entry))})[ \t]*=")
_HEADER: Final = re.compile(r"(?m)^[ \t]*\[\[[ \t]*exclusion[ \t]*\]\]")
_BEGIN: Final = "; an entry begins with the line [[exclusion]]: is one missing?"

_OF_COMPONENT: Final = tuple(field.name for field in attrs.fields(Component) if field.name != "id")


def _whole(cls: type[Any], given: dict[str, Any], place: str) -> dict[str, Any]:
    """Return what was given for a class.

    Raises:
        ConfigError: when a field without a default is missing.

    """
    for field in attrs.fields(cls):
        if field.default is attrs.NOTHING and field.name != "component" and field.name not in given:
            raise ConfigError(f"required field missing @ {place}.{field.name}")
    return given


@attrs.frozen
class _File:
    """What a file may hold: names to switch on, and entries."""

    enable: tuple[str, ...] = ()
    exclusion: tuple[_Entry, ...] = ()


def load_exclusions(path: str | os.PathLike[str], /) -> tuple[Exclusion, ...]:
    """Read a TOML file: `enable = [names]` and `[[exclusion]]` tables with the fields of Component and Exclusion.

    `component = "kubelet"` in a table refers to the component of an exclusion that ships, in place of the fields of
    Component.

    Arguments:
        path: the file.

    Returns:
        The optional exclusions it switches on and its own, to be added to DEFAULT_EXCLUSIONS.

    Raises:
        ConfigError: when the file cannot be read, is not TOML, or holds an unknown key or name, a wrong type, or an
            exclusion without proof.

    """
    text = ""
    try:
        text = Path(path).read_text(encoding="utf-8")
        table = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # also what is not UTF-8, no file name, or nested too deeply
        raise ConfigError(f"{path}: not TOML: {error}{_hint(text)}") from None
    try:
        content = _CONVERTER.structure(table, _File)
        enabled = tuple(find_exclusion(name) for name in content.enable)
        own = tuple(entry.exclusion(f"$.exclusion[{number}]") for number, entry in enumerate(content.exclusion))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    except cattrs.BaseValidationError as error:
        raise ConfigError(f"{path}: {' @ '.join(explain(error, name=str))}{_hint(text)}") from None
    return _without_twins(path, enabled + own)


def _hint(text: str) -> str:
    """Say how an entry begins, where a key of entries occurs more often than an entry begins."""
    keys = Counter(_KEY.findall(text))
    return _BEGIN if max(keys.values(), default=0) > len(_HEADER.findall(text)) else ""


def _without_twins(path: object, exclusions: tuple[Exclusion, ...]) -> tuple[Exclusion, ...]:
    ids = [exclusion.id for exclusion in exclusions]
    for twin in {name for name in ids if ids.count(name) > 1}:
        raise ConfigError(f"{path}: exclusion {twin!r} appears twice")
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
