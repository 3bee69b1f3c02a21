# SPDX-License-Identifier: Apache-2.0
"""The TLS side: TLS 1.2 or later as Go's client offers, a client certificate where asked for, files read again."""

from __future__ import annotations

import ssl
from pathlib import Path

import attrs

from k8stokendetect.errors import ConfigError


@attrs.frozen(kw_only=True)
class TlsFiles:
    """The PEM files of a server.

    Arguments:
        certificate: of the server, with what is between it and its authority.
        key: of the server.
        client_ca: the authorities whose clients are let in; None: certificates are not asked for.

    """

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Return what a server needs; raises ConfigError when a file is missing or wrong."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        self.load(context)
        if self.client_ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def load(self, context: ssl.SSLContext, /) -> None:
        """Read the files for the connections to come; an authority that was removed needs a restart.

        Raises:
            ConfigError: when a file is missing or wrong; what was read before stays valid.

        """
        for path in filter(None, (self.certificate, self.key, self.client_ca)):
            try:
                path.open("rb").close()
            except OSError as error:
                raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
        try:
            context.load_cert_chain(self.certificate, self.key, password=_no_password)
        except (ssl.SSLError, ValueError, OSError):
            raise ConfigError(f"{self.certificate}, {self.key}: not a certificate and its key, in PEM") from None
        if self.client_ca is not None:
            try:
                context.load_verify_locations(self.client_ca)
            except (ssl.SSLError, ValueError, OSError):
                raise ConfigError(f"{self.client_ca}: no certificates in PEM") from None

    def marks(self) -> tuple[int, ...]:
        """Return what changes when a file does."""
        found: list[int] = []
        for path in filter(None, (self.certificate, self.key, self.client_ca)):
            try:
                stat = path.stat()
            except OSError:
                found.append(-1)
            else:
                found += [stat.st_ino, stat.st_mtime_ns, stat.st_size]
        return tuple(found)


def _no_password() -> str:
    """Refuse a key that is encrypted: nobody is there to be asked."""
    raise ValueError("the key is encrypted")
