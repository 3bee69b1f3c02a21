# SPDX-License-Identifier: Apache-2.0
"""Who may post and look: a bearer token from a file that is read again when it changes, a certificate's name."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from k8stokendetect.errors import ConfigError

SHORTEST: Final = 16
"""Characters of a token; fewer can be guessed."""

_MOST: Final = 64 * 1024


class Tokens:
    """The bearer tokens that are taken: each line of a file is one, so that an old and a new one can both be valid.

    The API server sends `users[].user.token` of its kubeconfig as `Authorization: Bearer …` (client-go
    transport/round_trippers.go). A browser asks a person for a name and a password: the token is the password.

    Arguments:
        path: of the file. While it cannot be read, what it held last is taken.
        report: takes what goes wrong, as kind and text.

    Raises:
        ConfigError: when it cannot be read at the start, or holds no token or a short one.

    """

    def __init__(self, path: Path, report: Callable[[str, str], object]) -> None:
        self._path = path
        self._report = report
        self._lock = threading.Lock()
        self._seen: tuple[int, ...] | None = None
        self._digests: tuple[bytes, ...] = ()
        try:
            self._seen = self._mark()
            self._digests = self._read()
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None

    def accepts(self, header: str, /) -> bool:
        """Tell whether an Authorization header holds one of the tokens; how long that takes says nothing about them."""
        self._refresh()
        given = hashlib.sha256(_token_of(header).encode("utf-8", "surrogatepass")).digest()
        found = False
        for digest in self._digests:
            found |= hmac.compare_digest(given, digest)
        return found

    def _mark(self) -> tuple[int, ...]:
        stat = self._path.stat()
        return stat.st_ino, stat.st_mtime_ns, stat.st_size, stat.st_ctime_ns

    def _read(self) -> tuple[bytes, ...]:
        with self._path.open("rb") as file:
            lines = [line.strip() for line in file.read(_MOST).split(b"\n")]
        tokens = [line for line in lines if line]
        if not tokens or any(len(token) < SHORTEST for token in tokens):
            raise ConfigError(f"{self._path}: one token a line, each of at least {SHORTEST} characters")
        return tuple(hashlib.sha256(token).digest() for token in tokens)

    def _refresh(self) -> None:
        """Read the file again if it has changed."""
        with self._lock:
            try:
                mark = self._mark()
                if mark == self._seen:
                    return
                self._digests = self._read()
                self._seen = mark
            except OSError as error:
                self._report(
                    "warning tokens", f"{self._path}: cannot be read: {error.strerror}; the last tokens stay valid"
                )
            except ConfigError as error:
                self._report("warning tokens", f"{error}; the last tokens stay valid")


def _token_of(header: str) -> str:
    scheme, _, value = header.strip().partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(value.strip(), validate=True).decode("utf-8").partition(":")[2]
    except (binascii.Error, ValueError):
        return ""


def names_of(certificate: Mapping[str, Any] | None, /) -> frozenset[str]:
    """Return the common name and the DNS names of a client's certificate, as `ssl` gives it after it was verified."""
    if not certificate:
        return frozenset()
    subject = [value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"]
    return frozenset([*subject, *(value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS")])
