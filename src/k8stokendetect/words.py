# SPDX-License-Identifier: Apache-2.0
"""The phrases that summaries, stories, advice and outputs share."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Final

from k8stokendetect.convert.credentials import REDACTED
from k8stokendetect.event_ref import EventRef
from k8stokendetect.identity import ServiceAccount

NAMELESS_ACCOUNT: Final = "an unnamed service account"
"""Stands for a service account whose name was not logged."""

NOBODY: Final = "an unauthenticated client"
"""Stands for a caller without a user name whose request was answered with 401."""

SOMEBODY: Final = "an unknown caller"
"""Stands for a caller whose user name was not logged, or could not be read."""

ANSWERED_WITH_TOKEN: Final = "the API server answered with a token"  # noqa: S105 - a phrase
"""Why the status code of a mint is evidence."""


def brief(text: str, /, longest: int = 100) -> str:
    """Cut a text that a client chose, so that a sentence stays one; the outputs for programs have more of it."""
    return text if len(text) <= longest else f"{text[:longest]}…"


_ACTIVE: Final = frozenset("$`;|&<>()!'\"\\")
"""What a shell may act on, should somebody paste a line that holds a name: the grammar of bash(1) and zshexpn(1)."""

_UNSEEN: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""Letters and marks that show nothing: Default_Ignorable_Code_Point of DerivedCoreProperties.txt, and U+2800."""

_FOREIGN: Final = re.compile("[\u0370-\u03ff\u0400-\u052f\u0530-\u058f\u13a0-\u13ff\uff01-\uff5e]")
"""Greek, Cyrillic, Armenian, Cherokee and full-width letters, some of which look like Latin ones."""

_REMOVED: Final = f"[{REDACTED[1:-1]}]"

_LATIN: Final = re.compile("[A-Za-z]")


def escape(char: str, /) -> str:
    r"""Return a character as a backslash escape: ESC becomes `\x1b`."""
    number = ord(char)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"  # noqa: PLR2004


def named(text: str, /, longest: int = 100) -> str:
    """Return a name that a client may have chosen as people should see it.

    It is cut, and what could deceive the reader is a backslash escape: characters that do not print or show nothing,
    what a shell acts on, spaces at either end, and letters of another alphabet in a name with Latin ones. Where a token
    was removed from it, `[token removed]` says so: angle brackets are among what a shell acts on.

    Arguments:
        text: the name.
        longest: maximum number of its characters.

    """
    name = brief(text, longest)
    if name.isascii() and name.isprintable() and _ACTIVE.isdisjoint(name) and name == name.strip():
        return name
    name = name.replace(REDACTED, _REMOVED)
    is_latin = _LATIN.search(name) is not None
    first, last = len(name) - len(name.lstrip(" ")), len(name.rstrip(" "))
    return "".join(
        escape(char)
        if not char.isprintable()
        or char in _ACTIVE
        or not first <= place < last
        or _UNSEEN.match(char)
        or (is_latin and _FOREIGN.match(char) and unicodedata.category(char)[0] == "L")
        else char
        for place, char in enumerate(name)
    )


_LIKE_ACCOUNT: Final = re.compile(r"[-a-z0-9]+/[-.a-z0-9]+")


def account_or_user(username: str, /) -> str:
    """Name a service account as `namespace/name`, and any other user as it is; `user a/b` is not a service account."""
    account = ServiceAccount.of_username(username)
    if account is not None:
        return str(account)
    return f"user {username}" if _LIKE_ACCOUNT.fullmatch(username) else username


def user_of(username: str, /) -> str:
    """Return a user name as people should see it, a service account as `namespace/name`; empty for an empty one."""
    return named(account_or_user(username))


_SESSION: Final = re.compile(r"arn:[a-z-]+:sts::\d{12}:assumed-role/([^/]+)/.*")
"""https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html; the caller chose the session's name."""


def caller_of(ref: EventRef, /) -> str:
    """Name the caller; one without a user name by its address.

    A request that was served or refused by RBAC had a caller; only 401 says that there was none.
    """
    if ref.user:
        session = _SESSION.fullmatch(ref.user) if ref.cloud is not None else None
        return f"role {named(session[1])}" if session else user_of(ref.user)
    who = NOBODY if ref.code == 401 else SOMEBODY  # noqa: PLR2004 - HTTP
    return f"{who} at {ref.peer_ip}" if ref.peer_ip else who


def request_of(ref: EventRef, /) -> str:
    """Name the request: `list secrets prod`; a call in a cloud as `call_of` does."""
    if ref.cloud is not None:
        return call_of(ref)
    path = "/".join(part for part in (ref.namespace, ref.name) if part)
    target = f"{ref.resource} {path}".strip()
    return f"{named(ref.verb) or 'an unknown verb'} {named(target) or 'of a path without a resource'}"


def call_of(ref: EventRef, /) -> str:
    """Name a call in a cloud: `iam CreateAccessKey on backup`."""
    call = f"{ref.resource.removesuffix('.amazonaws.com')} {ref.verb}".strip()
    return (named(call) or "an unknown call") + (f" on {named(ref.name)}" if ref.name else "")


def listed(texts: Iterable[str], most: int = 5, /) -> str:
    """List texts, each once: `a, b and 3 more`.

    Arguments:
        texts: what to list.
        most: how many are written out.

    """
    different = list(dict.fromkeys(texts))
    more = len(different) - most
    return ", ".join(different[:most]) + (f" and {more:,} more" if more > 0 else "")


def often(number: int, /) -> str:
    """Say how often: `once`, `twice`, `3 times`."""
    return {1: "once", 2: "twice"}.get(number, f"{number:,} times")
