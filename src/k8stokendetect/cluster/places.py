# SPDX-License-Identifier: Apache-2.0
"""Finds the file and the line on which each object of a cluster's files begins: for reports that point there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

import attrs

from k8stokendetect.cluster.documents import content_of
from k8stokendetect.cluster.rbac import Binding, Role
from k8stokendetect.convert.lines import objects_of
from k8stokendetect.errors import ReadError

Key: TypeAlias = tuple[str, str, str]
"""Kind, namespace and name."""


@attrs.frozen
class Place:
    """Where something stands.

    Arguments:
        file: as it was named.
        line: counted from 1; None where only the file is known.

    """

    file: str
    line: int | None = None


def key_of(one: Binding | Role, /) -> Key:
    """Return the key of an object."""
    return one.kind, one.namespace, one.name


def places_of(files: Iterable[str], /) -> dict[Key, Place]:
    """Return the place of each object that files name; of two of one name the first, which is the one that counts.

    What cannot be read has no place: loading the files reports it.
    """
    found: dict[Key, Place] = {}
    for file in files:
        try:
            content = content_of(file)
        except ReadError:
            continue
        for one, line in objects_of(content):
            key = _key(one)
            if key is not None:
                found.setdefault(key, Place(file, line))
    return found


def _key(one: object) -> Key | None:
    head = one.get("metadata") if isinstance(one, Mapping) else None
    if not isinstance(one, Mapping) or not isinstance(head, Mapping):
        return None
    kind, namespace, name = one.get("kind"), head.get("namespace") or "", head.get("name")
    if kind and name and all(isinstance(text, str) for text in (kind, namespace, name)):
        return kind, namespace if not kind.startswith("Cluster") else "", name
    return None
