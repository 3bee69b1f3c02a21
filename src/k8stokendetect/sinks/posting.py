# SPDX-License-Identifier: Apache-2.0
"""Posts JSON over HTTPS, and says in words without the URL what went wrong: the URL may be the secret."""

from __future__ import annotations

import ssl
import urllib.request
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from k8stokendetect.errors import ConfigError
from k8stokendetect.sinks.base import SinkError

if TYPE_CHECKING:
    import urllib3

TIMEOUT: Final = 10.0
"""Seconds for the connection, and for each wait for an answer."""

LOCAL: Final = frozenset({"127.0.0.1", "::1", "localhost"})
AGAIN: Final = frozenset({408, 425, 429})
"""Besides 5xx, the answers that mean `later` (RFC 9110, RFC 8470, RFC 6585)."""

_SERVER_ERROR: Final = 500
_LONGEST_ANSWER: Final = 4096


def check_url(name: str, url: str, /) -> None:
    """Refuse an address that would send alerts unencrypted over a network, or is not a URL; does not repeat it.

    Raises:
        ConfigError: as said.

    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if host is None or parts.scheme not in {"http", "https"} or not url.isprintable() or " " in url:
        raise ConfigError(f"sink {name}: not an http or https URL")
    if parts.scheme == "http" and host not in LOCAL:
        raise ConfigError(f"sink {name}: http only to this machine; use https")
    if parts.username is not None:
        raise ConfigError(f"sink {name}: no user name in the URL; a webhook takes `token`")


class Poster:
    """Posts to one URL, and keeps the connection.

    Arguments:
        name: of the sink.
        url: where to.
        headers: besides the content type.
        ca: a PEM file with the authorities to trust, instead of the machine's.

    Raises:
        ConfigError: when the URL is not one to post to, urllib3 is missing, or the file cannot be read.

    """

    def __init__(self, name: str, url: str, headers: Mapping[str, str] | None = None, ca: str | None = None) -> None:
        check_url(name, url)
        self._name = name
        self._url = url
        self._headers = {"Content-Type": "application/json", "User-Agent": "k8stokendetect", **(headers or {})}
        try:
            context = ssl.create_default_context(cafile=ca)
        except (OSError, ssl.SSLError):
            raise ConfigError(f"sink {name}: its `ca` cannot be read") from None
        self._pool = _pool(url, context)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._name!r})"

    def post(self, body: bytes, headers: Mapping[str, str] | None = None, /) -> None:
        """Post, and return when the other side has accepted.

        Raises:
            SinkError: when it has not.

        """
        import urllib3  # noqa: PLC0415 - part of an extra

        try:
            answer = self._pool.request(
                "POST",
                self._url,
                body=body,
                headers={**self._headers, **(headers or {})},
                timeout=urllib3.Timeout(connect=TIMEOUT, read=TIMEOUT),
                retries=False,
                redirect=False,
                preload_content=False,
            )
            answer.read(_LONGEST_ANSWER)
            answer.close()
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise SinkError(self._name, f"no answer: {_kind_of(error)}") from None
        self._judge(answer.status, answer.headers.get("Retry-After"))

    def _judge(self, status: int, retry_after: str | None) -> None:
        """Take 2xx for success; a redirection is not: what it leads to was not configured."""
        if 200 <= status <= 299:  # noqa: PLR2004 - what HTTP calls success
            return
        again = status in AGAIN or status >= _SERVER_ERROR
        raise SinkError(self._name, f"answered {status}", again=again, after=_seconds(retry_after) if again else None)

    def close(self) -> None:
        """Close the connection."""
        self._pool.clear()


def _pool(url: str, context: ssl.SSLContext) -> urllib3.PoolManager:
    try:
        import urllib3  # noqa: PLC0415 - part of an extra
    except ModuleNotFoundError:
        raise ConfigError("urllib3 is missing: pip install 'k8stokendetect[sinks]'") from None
    parts = urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and not urllib.request.proxy_bypass(parts.hostname or ""):
        return urllib3.ProxyManager(proxy, ssl_context=context, maxsize=1)
    return urllib3.PoolManager(ssl_context=context, maxsize=1)


def _kind_of(error: Exception) -> str:
    """Name the kind of an error: its text may hold the URL."""
    reason = getattr(error, "reason", None)
    return type(reason if isinstance(reason, Exception) else error).__name__


def _seconds(text: str | None) -> float | None:
    """Return how long to wait as the header says, in seconds or as a date (RFC 9110, section 10.2.3)."""
    import urllib3  # noqa: PLC0415 - part of an extra

    try:
        return None if text is None else max(0.0, float(urllib3.Retry().parse_retry_after(text)))
    except (urllib3.exceptions.InvalidHeader, ValueError, OverflowError):
        return None
