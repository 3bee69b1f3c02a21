# SPDX-License-Identifier: Apache-2.0
"""What a CertificateSigningRequest in an audit event says: who asked, for whom, of which signer, and the decision."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any, Final

import attrs

from k8stokendetect.events import Event, JsonValue

_PEM: Final = re.compile(
    rb"-----BEGIN (?:NEW )?CERTIFICATE REQUEST-----(.+?)-----END (?:NEW )?CERTIFICATE REQUEST", re.DOTALL
)
_ATTRIBUTE: Final = re.compile(rb"\x06\x03\x55\x04([\x03\x0a])(.)(\x81[\x80-\xff]|[\x00-\x7f])", re.DOTALL)
"""Object identifier, kind of string and length of a common name (2.5.4.3) or an organization (2.5.4.10).

https://www.rfc-editor.org/rfc/rfc5280#appendix-A.1
"""

_COMMON_NAME: Final = b"\x03"
_BMP_STRING: Final = b"\x1e"


@attrs.frozen
class SigningRequest:
    """The fields of such an object; what was not logged is empty.

    Arguments:
        username: who made it; the API server writes it.
        groups: of who made it.
        signer: the signer's name.
        names: the common names in its subject: user names.
        organizations: the organizations in its subject: groups.
        denied: the object says that it was denied.

    """

    username: str = ""
    groups: tuple[str, ...] = ()
    signer: str = ""
    names: tuple[str, ...] = ()
    organizations: tuple[str, ...] = ()
    denied: bool = False


def signing_request(event: Event, /) -> SigningRequest:
    """Return what the bodies of an event tell, the answer before the question."""
    for body in (event.response_object, event.request_object):
        spec = body.get("spec") if isinstance(body, Mapping) else None
        if isinstance(body, Mapping) and isinstance(spec, Mapping):
            names, organizations = subject_of(spec.get("request"))
            return SigningRequest(
                _text(spec.get("username")),
                tuple(_text(one) for one in _list(spec.get("groups"))),
                _text(spec.get("signerName")),
                names,
                organizations,
                denied=_is_denied(body.get("status")),
            )
    return SigningRequest()


def name_of(event: Event, /) -> str:
    """Return the object's name; one that the API server made up stands only in its answer."""
    if event.object_ref and event.object_ref.name:
        return event.object_ref.name
    body = event.response_object
    meta = body.get("metadata") if isinstance(body, Mapping) else None
    return _text(meta.get("name")) if isinstance(meta, Mapping) else ""


def subject_of(request: Any, /) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the common names and organizations in `spec.request`, base64 of a PEM block; none where it is damaged."""
    names: list[str] = []
    organizations: list[str] = []
    try:
        found = _PEM.search(base64.b64decode(_text(request)))
        content = base64.b64decode(found[1]) if found else b""
    except (binascii.Error, ValueError):
        return (), ()
    for match in _ATTRIBUTE.finditer(content):
        text = content[match.end() : match.end() + match[3][-1]]
        decoded = text.decode("utf-16-be" if match[2] == _BMP_STRING else "utf-8", "replace")
        (names if match[1] == _COMMON_NAME else organizations).append(decoded)
    return tuple(names), tuple(organizations)


def _is_denied(status: JsonValue) -> bool:
    conditions = _list(status.get("conditions")) if isinstance(status, Mapping) else ()
    return any(isinstance(one, Mapping) and one.get("type") == "Denied" for one in conditions)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
