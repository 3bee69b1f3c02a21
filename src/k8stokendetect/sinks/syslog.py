# SPDX-License-Identifier: Apache-2.0
"""Sends alerts by syslog, RFC 5424: over UDP (RFC 5426), TCP with octet counting (RFC 6587) and TLS (RFC 5425).

A message is printable ASCII in one line. Syslog has no answer: what the kernel took may still be lost with the other
side, which nobody can see here.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Callable
from datetime import UTC
from typing import Final

from k8stokendetect.findings import Severity
from k8stokendetect.incidents import Alert
from k8stokendetect.sinks.base import SinkError

TIMEOUT: Final = 10.0
PORTS: Final = {"udp": 514, "tcp": 601, "tls": 6514}
"""RFC 5426, RFC 6587 and RFC 5425."""

_FACILITY: Final = 13
"""Log audit (RFC 5424, section 6.2.1)."""

_SEVERITIES: Final = {
    Severity.INFORMATIONAL: 6,
    Severity.LOW: 5,
    Severity.MEDIUM: 4,
    Severity.HIGH: 3,
    Severity.CRITICAL: 2,
}


class SyslogSink:
    """Sends each alert as one syslog message.

    Arguments:
        name: for people.
        transport: `udp`, `tcp` or `tls`.
        host: of the receiver.
        port: of the receiver.
        line: words an alert, in one line.
        context: for TLS.

    """

    def __init__(
        self,
        name: str,
        transport: str,
        host: str,
        port: int,
        line: Callable[[Alert], str],
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.name = name
        self._transport = transport
        self._address = host, port
        self._line = line
        self._context = context
        self._socket: socket.socket | None = None

    def send(self, alert: Alert, /) -> None:
        """Send a message."""
        message = syslog_message(alert, self._line(alert))
        try:
            if self._transport == "udp":
                self._connected().send(message)
            else:
                self._connected().sendall(b"%d %s" % (len(message), message))
        except OSError as error:
            self.close()
            if error.errno == errno.EMSGSIZE:
                raise SinkError(self.name, "too large for a datagram; use tcp or tls", again=False) from None
            raise SinkError(self.name, f"cannot be reached: {type(error).__name__}") from None

    def has(self, _: Alert, /) -> bool:
        """Syslog has no answers."""
        return False

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connected(self) -> socket.socket:
        if self._socket is not None and self._transport != "udp" and _is_over(self._socket):
            self.close()
        if self._socket is None:
            self._socket = self._connect()
        return self._socket

    def _connect(self) -> socket.socket:
        if self._transport == "udp":
            family, kind, protocol, _, address = socket.getaddrinfo(*self._address, type=socket.SOCK_DGRAM)[0]
            found = socket.socket(family, kind, protocol)
            found.settimeout(TIMEOUT)
            found.connect(address)
            return found
        found = socket.create_connection(self._address, TIMEOUT)
        if self._context is None:
            return found
        try:
            return self._context.wrap_socket(found, server_hostname=self._address[0])
        except OSError:
            found.close()
            raise


def _is_over(connection: socket.socket) -> bool:
    """Tell whether the other side hung up; a syslog receiver says nothing, but TLS itself may."""
    connection.settimeout(0)
    try:
        return connection.recv(1) == b""
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True
    finally:
        connection.settimeout(TIMEOUT)


def syslog_message(alert: Alert, line: str, /) -> bytes:
    """Return an alert as RFC 5424 has it, without framing.

    Arguments:
        alert: for severity and time.
        line: the message; what is not printable ASCII is escaped.

    """
    time = alert.event.time
    stamp = "-" if time is None else time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    host = "".join(char for char in socket.gethostname() if 33 <= ord(char) <= 126)[:255] or "-"  # noqa: PLR2004
    kind = alert.rules[0].id[:32]
    head = f"<{_FACILITY * 8 + _SEVERITIES[alert.severity]}>1 {stamp} {host} k8stokendetect {os.getpid()} {kind} - "
    shown = "".join(char if " " <= char <= "~" else char.encode("unicode_escape").decode() for char in line)
    return f"{head}{shown}".encode("ascii")
