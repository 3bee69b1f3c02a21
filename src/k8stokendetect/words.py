# SPDX-License-Identifier: Apache-2.0
"""The phrases that summaries, stories, advice and outputs share."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

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


_LIKE_ACCOUNT: Final = re.compile(r"[-a-z0-9]+/[-.a-z0-9]+")


def account_or_user(username: str, /) -> str:
    """Name a service account as `namespace/name`, and any other user as it is; `user a/b` is not a service account."""
    account = ServiceAccount.of_username(username)
    if account is not None:
        return str(account)
    return f"user {username}" if _LIKE_ACCOUNT.fullmatch(username) else username


def caller_of(ref: EventRef, /) -> str:
    """Name the caller; one without a user name by its address.

    A request that was served or refused by RBAC had a caller; only 401 says that there was none.
    """
    if ref.user:
        return brief(account_or_user(ref.user))
    who = NOBODY if ref.code == 401 else SOMEBODY  # noqa: PLR2004 - HTTP
    return f"{who} at {ref.peer_ip}" if ref.peer_ip else who


def request_of(ref: EventRef, /) -> str:
    """Name the request: `list secrets prod`."""
    path = "/".join(part for part in (ref.namespace, ref.name) if part)
    target = f"{ref.resource} {path}".strip()
    return f"{brief(ref.verb) or 'an unknown verb'} {brief(target) or 'of a path without a resource'}"


def listed(texts: Iterable[str], most: int = 5, /) -> str:
    """List texts, each once: `a, b and 3 more`.

    Arguments:
        texts: what to list.
        most: how many are written out.

    """
    different = list(dict.fromkeys(texts))
    more = len(different) - most
    return ", ".join(different[:most]) + (f" and {more:,} more" if more > 0 else "")
