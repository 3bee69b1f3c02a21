# SPDX-License-Identifier: Apache-2.0
"""Cuts texts that a client controls to a bounded length."""

from __future__ import annotations

import hashlib
from typing import Final

from k8stokendetect.identity import ServiceAccount

LONGEST_NAME: Final = 256
"""Longer names are cut; Kubernetes itself allows 253 characters (apimachinery pkg/util/validation, RFC 1123)."""

LONGEST_TEXT: Final = 1024
"""Longer request URIs, user agents, auditIDs and authorization reasons are cut."""

LONGEST_EVIDENCE: Final = 8192
"""Longer texts are cut where they are evidence, so that no finding gets larger than its readers take."""

LONGEST_ADDRESS: Final = 64
"""Longer addresses are cut; a client may write anything into X-Forwarded-For."""

LONGEST_LIST: Final = 20
"""Of more groups, audiences or addresses this many are kept, and the number of the others."""

_LONGEST_ACCOUNT: Final = len("system:serviceaccount::") + 63 + 253
"""The user name of a service account is this long at most, and never cut: tokens are matched by it."""


def cut(text: str, longest: int = LONGEST_NAME, /) -> str:
    """Return a text that a client controls, cut to a length; what was cut says so, with its own length and hash.

    Cutting twice is cutting once.
    """
    if len(text) <= longest:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    note = f"… (cut: {len(text)} characters, sha256 {digest})"
    return text[: longest - len(note)] + note


def cut_user(username: str, /) -> str:
    """Cut a user name, but none that a service account can have."""
    if len(username) <= LONGEST_NAME:
        return username
    is_account = len(username) <= _LONGEST_ACCOUNT and ServiceAccount.of_username(username) is not None
    return username if is_account else cut(username)


def cut_text(text: str, /) -> str:
    """Cut a request URI, a user agent, an auditID or a reason."""
    return cut(text, LONGEST_TEXT)


def cut_address(text: str, /) -> str:
    """Cut what a client wrote as an address."""
    return cut(text, LONGEST_ADDRESS)
