# SPDX-License-Identifier: Apache-2.0
"""Which field of an audit event a flattened key means, whatever joins its parts.

Keys are compared by their letters and digits alone, since every tool has a separator of its own:

- `user.groups.0`: CloudWatch Logs Insights (docs.aws.amazon.com, CWL_AnalyzeLogData-discoverable-fields)
- `user.groups{}`: Splunk (github.com/splunk/security_content, its Kubernetes searches)
- `user.groups` with a list: pandas.json_normalize, Apache NiFi's FlattenJson with keep-arrays
- `objectRef_subresource`: LogQL's json stage, and whatever else allows word characters only
- `ObjectRef_Subresource`, `object_ref_subresource`, `objectref.subresource`: columns of databases
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

import attrs

from k8stokendetect.identity import (
    CREDENTIAL_ID,
    DECISION,
    ISSUED_CREDENTIAL_ID,
    LEGACY_TOKEN,
    POD_NAME,
    REASON,
    TRUNCATED,
)

CODE: Final = "responseStatus.code"
LISTS: Final = ("sourceIPs", "user.groups", "impersonatedUser.groups")
MAPS: Final = ("annotations", "user.extra", "impersonatedUser.extra")
"""What stands behind these is one key, whose dots are its own."""
BODIES: Final = ("requestObject", "responseObject")
FREE: Final = (*BODIES, "responseStatus.metadata", "responseStatus.details")
"""Objects without fields of ours."""
OBJECTS: Final = ("user", "impersonatedUser", "authenticationMetadata", "objectRef", "responseStatus")

_TEXTS: Final = (
    "kind apiVersion level auditID stage requestURI verb userAgent requestReceivedTimestamp stageTimestamp "
    "user.username user.uid impersonatedUser.username impersonatedUser.uid "
    "authenticationMetadata.impersonationConstraint objectRef.resource objectRef.namespace objectRef.name "
    "objectRef.uid objectRef.apiGroup objectRef.apiVersion objectRef.resourceVersion objectRef.subresource "
    "responseStatus.status responseStatus.reason responseStatus.message"
).split()
_ID: Final = re.compile(r"(|.*[\W_])audit[\W_]*id\Z", re.IGNORECASE | re.DOTALL)
_SUBJECT: Final = re.compile(
    r"(|.*[\W_])(?:user[\W_]*username|object[\W_]*ref[\W_]*resource)\Z", re.IGNORECASE | re.DOTALL
)
_INDEX: Final = re.compile(r"(.*?)(?:[._\[:/]+([0-9]{1,6})\]?|\{\}|\[\*?\])\Z", re.DOTALL)

_KEYS: Final = (
    *(CREDENTIAL_ID, *ISSUED_CREDENTIAL_ID, LEGACY_TOKEN, POD_NAME, REASON, TRUNCATED, DECISION),
    *(f"authentication.kubernetes.io/{name}" for name in ("pod-uid", "node-name", "node-uid")),
    "scopes.authorization.openshift.io",
)
"""Keys of annotations and of `user.extra` that are put back from any spelling; other keys stay as they are."""


def letters(key: str, /) -> str:
    """Return the letters and digits of a key, in small letters."""
    return re.sub(r"[^0-9a-z]", "", key.lower())


_FIELDS: Final = {letters(path): path for path in (*_TEXTS, CODE, *LISTS, *MAPS, *FREE, *OBJECTS)}
_KNOWN: Final = {letters(key): key for key in _KEYS}
_BELOW: Final = tuple(
    (path, re.compile(r"[\W_]*".join(letters(path)) + r"[\W_]+(.+)", re.IGNORECASE | re.DOTALL))
    for path in (*MAPS, *FREE)
)


@attrs.frozen
class Place:
    """Where a value belongs.

    Arguments:
        path: the field.
        rest: what the key says below it: the key of an annotation, or a path in a body; None for the field itself.
        index: its number in a list; None where the key has none.

    """

    path: str
    rest: str | None = None
    index: int | None = None


def place_of(key: str, /) -> Place | None:
    """Return where the value of a key belongs; None for what is not a field of an audit event."""
    path = _FIELDS.get(letters(key))
    if path is not None:
        return Place(path)
    for path, pattern in _BELOW:
        if below := pattern.fullmatch(key):
            return Place(path, below[1]) if path in FREE else _entry(path, below[1])
    numbered = _INDEX.fullmatch(key)
    if numbered and numbered[2] and (path := _FIELDS.get(letters(numbered[1]))) in LISTS:
        return Place(path, index=int(numbered[2]))
    return None


def _entry(path: str, rest: str) -> Place:
    """Return where one annotation belongs, or one value of `user.extra`, whose values are lists."""
    rest = rest.rstrip("'\"]") if rest[-2:] in ("']", '"]') else rest
    if letters(rest) in _KNOWN:
        return Place(path, _KNOWN[letters(rest)])
    numbered = _INDEX.fullmatch(rest) if path != "annotations" else None
    if numbered is None:
        return Place(path, rest)
    name, index = numbered[1].rstrip("'\""), numbered[2]
    return Place(path, _KNOWN.get(letters(name), name), int(index) if index else None)


def restored(key: str, /) -> str:
    """Return an annotation's key as the API server wrote it, where only its separators were replaced."""
    return key if "/" in key else _KNOWN.get(letters(key), key)


def prefix_of(keys: Iterable[object], /) -> str | None:
    """Return what stands before the fields of a flattened event in its keys; None where they are of no event.

    The shortest of several: a body may hold an `auditID` of its own.
    """
    texts = [key for key in keys if isinstance(key, str)]
    named = [found[1] for key in texts if (found := _ID.match(key))]
    subjects = {found[1] for key in texts if (found := _SUBJECT.match(key))}
    if named:
        return min(named, key=len)
    return min(subjects, key=len) if _both(texts, subjects) else None


def _both(keys: Iterable[str], prefixes: Iterable[str]) -> bool:
    """Tell whether keys name both a caller and a resource: an export that left out the id."""
    for prefix in prefixes:
        found = {place.path for key in keys if key.startswith(prefix) and (place := place_of(key[len(prefix) :]))}
        if {"user.username", "objectRef.resource", "verb"} <= found:
            return True
    return False


def is_nested(record: Mapping[str, object], /) -> bool:
    """Tell an event with its objects as the API server writes them, and no key that could be flattened."""
    user, ref = record.get("user"), record.get("objectRef")
    if type(user) is not dict or (ref is not None and type(ref) is not dict):
        return False
    if str in (type(record.get("annotations")), type(user.get("extra")), type(user.get("groups"))):
        return False
    try:
        return "".join(record).isalnum()
    except TypeError:  # a key is not a string
        return False
