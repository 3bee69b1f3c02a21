# SPDX-License-Identifier: Apache-2.0
"""Takes live credentials out of a text, whatever they are wrapped in; the time that takes grows as the text does.

Patterns are possessive or bounded, and each starts only where a run of its characters does. The forms:

- tokens of service accounts and OIDC providers: JWTs, RFC 7519;
- bootstrap tokens: https://github.com/kubernetes/kubernetes/blob/master/staging/src/k8s.io/cluster-bootstrap/token/api;
- EKS: https://github.com/kubernetes-sigs/aws-iam-authenticator/blob/master/pkg/token/token.go, `v1Prefix`;
- OpenShift's `sha256~`; an object's name of that form is a hash of a token, and no token:
  https://docs.redhat.com/en/documentation/openshift_container_platform/4.17/html/oauth_apis/oauthaccesstoken-oauth-openshift-io-v1;
- basic and bearer authentication, RFC 7617 and 6750; passwords in URLs, RFC 3986; private keys in PEM, RFC 7468;
- Google's `ya29.`; what is called like a secret: AWS's keys, Azure's signatures (`sig=`), passwords.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Final
from urllib.parse import unquote

from k8stokendetect.convert.jwt import cut_jwt, has_jwt_sign
from k8stokendetect.identity import LONGEST_HARMLESS

REDACTED: Final = "<token removed>"
"""Stands where a credential stood."""

_BEFORE: Final = (
    r"(?:(?<=(?:ord|swd|ase|ret|key|Key|ure|ken|uth|sig|pwd|ORD|SWD|ASE|RET|KEY|URE|KEN|UTH|SIG|PWD)[=:])"
    r"|(?<=(?:ization|IZATION)[=:])"
    r"|(?<=[\"'\\ \t][=:]))"
)
"""What stands before the sign in every name that `is_secret_name` knows, or between it and the name."""

_BRACE: Final = re.compile("ey[AIJ]").search
_EQUALS: Final = re.compile(f"={_BEFORE}").search
_COLON: Final = re.compile(f":{_BEFORE}").search
_HEADER: Final = re.compile(r"[xX]-(?<![A-Za-z0-9_.-]..)[A-Za-z]").search
_DOT: Final = re.compile(r"\.[a-z0-9]{16}(?![A-Za-z0-9_-])").search


def is_suspect(text: str, /) -> bool:
    """Tell quickly whether a text, or one of several, may hold a credential that is not encoded.

    It is asked of every event that is built; one text after another is found faster than their alternation.
    """
    return (
        "~" in text
        or "%" in text
        or ("K" in text and "PRIVATE KEY" in text)
        or ("\\" in text and "\\u00" in text)
        or "k8s-aws-v1." in text
        or "ya29." in text
        or "://" in text
        or "asic" in text
        or "ASIC" in text
        or "earer" in text
        or "EARER" in text
        or _BRACE(text) is not None
        or _DOT(text) is not None
        or _EQUALS(text) is not None
        or _COLON(text) is not None
        or (("x-" in text or "X-" in text) and _HEADER(text) is not None)
    )


_WRAP: Final = r"(?:(?:\\+[rn]|[\r\n])++[ \t]*+"
_SHAPE: Final = re.compile(
    rf"(?<![A-Za-z0-9])(?:k8s-aws-v1\.[A-Za-z0-9_=-]*+{_WRAP}[A-Za-z0-9_=-]{{32,}}+)*+|ya29\.[A-Za-z0-9_.-]{{4,}}+"
    r"|(?<!tokens/)sha256~[A-Za-z0-9_-]{8,}+)"
)
_BOOTSTRAP: Final = re.compile(r"(?<![A-Za-z0-9_.-])[a-z0-9]{6}\.[a-z0-9]{16}(?![A-Za-z0-9_-]|\.[A-Za-z0-9])")
_KEY: Final = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_KEY_END: Final = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_USERINFO: Final = re.compile(r"(://[^\s/?#\"'@:]*+:)[^\s/?#\"'<>]*@")
_SCHEME: Final = re.compile(r"(?i)(?<![A-Za-z0-9_])(bearer|basic)([ \t+]++)(?![$@<{%`])([^\s\"'\\&,;<>]++)")
_SCHEMES: Final = frozenset({"bearer", "basic", "token", "digest", "negotiate", "ntlm"})
_NAME: Final = re.compile(
    r"(?<![A-Za-z0-9_.-])([A-Za-z][A-Za-z0-9_.-]*+)\\*+[\"']?[ \t]*+(?:=>?|:)[ \t]*+\\*+[\"']?(?![{\[(<$])"
)
_VALUE: Final = re.compile(
    r"(?!(?i:(?:bearer|basic|token)[ \t+]+)[$@<{%`])"  # what a shell or a template will put there
    r"(?i:(?:bearer|basic|token|digest|negotiate|ntlm)[ \t+]++)?[^\s\"'&,;<>\\]++"
)
_BASE64: Final = re.compile(rf"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{{32,}}+{_WRAP}[A-Za-z0-9+/_-]{{4,}}+)*+")
_LONG_RUN: Final = re.compile(r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{32,}+").findall
_BREAKS: Final = re.compile(r"\\+[rn]|\s+")
_ESCAPE: Final = re.compile(r"(?<!\\)\\++u00([2-7][0-9a-fA-F])")
_ENDINGS: Final = (
    *("authorization", "password", "passwd", "passphrase", "clientsecret", "tokensecret", "privatekey", "amzsignature"),
    *("accesstoken", "idtoken", "refreshtoken", "authtoken", "bearertoken", "sessiontoken", "securitytoken"),
    *("secretaccesskey", "secretkey", "apikey", "accountkey", "sharedaccesskey"),
)
_SHORT_NAMES: Final = {"token": 8, "auth": 8, "sig": 16, "pwd": 1}
"""Names that mean a secret only where the value has this many characters."""

_SHORTEST_BEARER: Final = 16
"""Fewer characters after `Bearer` are a word of a sentence."""

_MOST_LAYERS: Final = 5
"""Percent-encoding around percent-encoding that is looked through."""

_MOST_BASE64: Final = 2
"""Base64 within base64 that is looked through."""

_TO_BASE64: Final = str.maketrans("-_", "+/")


def clean_text(text: str, /) -> str:
    r"""Replace live credentials in a text, also in base64, percent-encoding, `\u` escapes, or over several lines."""
    if not is_suspect(text) and (len(text) <= LONGEST_HARMLESS or not is_encoded(text)):
        return text
    if "\\u00" in text:
        plain = _ESCAPE.sub(lambda escape: chr(int(escape[1], 16)), text)
        text = text if _plainly(plain, 0) == plain else plain
    text = _plainly(text, 0)
    if "%" in text:
        path, mark, query = text.partition("?")
        text = f"{_unless_hidden(path)}{mark}{_unless_hidden(query)}"
    return text


def clean_name(text: str, /) -> str:
    """Replace what is not part of a name that the API server gives or checks; `abcdef.0123456789abcdef` may be one."""
    if len(text) > LONGEST_HARMLESS:
        return clean_text(text)
    return _SHAPE.sub(REDACTED, _without_keys(text)) if is_suspect(text) else text


def is_encoded(text: str, /) -> bool:
    """Tell quickly whether a text of more than `LONGEST_HARMLESS` characters may hold one in base64, or a JWT."""
    return has_jwt_sign(text) or not all(map(str.islower, _LONG_RUN(text)))  # a path has no capital letters


def is_secret_name(name: str, size: int, /) -> bool:
    """Tell whether a header, parameter, field or variable is called like a credential.

    Arguments:
        name: of any case, with any separators.
        size: of its value in characters.

    """
    plain = name[-64:].lower().replace("-", "").replace("_", "").replace(".", "")
    if plain.endswith(_ENDINGS):
        return size > 0
    if plain in _SHORT_NAMES:
        return size >= _SHORT_NAMES[plain]
    return name[:2] in {"x-", "X-"} and ("auth" in plain or "token" in plain) and size > 0


def _plainly(text: str, depth: int) -> str:
    """Replace what stands in the text as it is, or in base64."""
    if has_jwt_sign(text):
        text = cut_jwt(text, REDACTED)
    if "://" in text:
        text = _USERINFO.sub(rf"\1{REDACTED}@", text)
    if _DOT(text) is not None:
        text = _BOOTSTRAP.sub(REDACTED, text)
    text = _SCHEME.sub(_cut_scheme, _SHAPE.sub(REDACTED, _without_keys(text)))
    if "=" in text or ":" in text:
        text = _without_values(text)
    if len(text) > LONGEST_HARMLESS and depth < _MOST_BASE64:
        text = _BASE64.sub(_base64_cutter(depth), text)
    return text


def _without_keys(text: str) -> str:
    """Replace private keys, to the end of the text where their own end is missing."""
    if "PRIVATE KEY" not in text:
        return text
    parts, place = [], 0
    while begin := _KEY.search(text, place):
        end = _KEY_END.search(text, begin.end())
        parts += [text[place : begin.start()], REDACTED]
        place = end.end() if end else len(text)
    return "".join((*parts, text[place:]))


def _cut_scheme(found: re.Match[str]) -> str:
    """Cut what follows `Bearer`, and after `Basic` the base64 of a name, a colon and a password."""
    is_bearer = found[1].lower() == "bearer"
    is_secret = len(found[3]) >= _SHORTEST_BEARER if is_bearer else b":" in _decoded(found[3])
    return f"{found[1]}{found[2]}{REDACTED}" if is_secret else found[0]


def _without_values(text: str) -> str:
    """Replace the values of what is called like a credential; another value may hold such a pair in turn."""
    parts, place, start = [], 0, 0
    while name := _NAME.search(text, start):
        start = name.end()
        if not is_secret_name(name[1], LONGEST_HARMLESS):  # or each of many values would be read to the end of the text
            continue
        value = _VALUE.match(text, start)
        if value and is_secret_name(name[1], len(value[0])) and value[0].lower() not in _SCHEMES:
            parts += [text[place:start], REDACTED]
            place = start = value.end()
    return "".join((*parts, text[place:])) if parts else text


def _base64_cutter(depth: int) -> Callable[[re.Match[str]], str]:
    """Return what replaces base64 of a text with a credential; where in a run that begins, nothing says."""

    def cut(found: re.Match[str]) -> str:
        run = _BREAKS.sub("", found[0])
        for start in range(4):
            inner = _decoded(run[start:])
            text = inner.decode("latin-1")
            may_be = inner.isascii() or has_jwt_sign(text) or _SHAPE.search(text) or _KEY.search(text)
            if may_be and _plainly(text, depth + 1) != text:
                return REDACTED
        return found[0]

    return cut


def _decoded(text: str) -> bytes:
    """Base64 or base64url to bytes, as far as whole; empty when it is neither."""
    whole = text.rstrip("=").translate(_TO_BASE64)
    try:
        return base64.b64decode(whole[: len(whole) - (len(whole) % 4 == 1)] + "=" * (-len(whole) % 4 % 3))
    except ValueError:
        return b""


def _unless_hidden(text: str) -> str:
    """Return the text, unless its percent-decoded form holds a credential."""
    plain = text
    for _ in range(_MOST_LAYERS):
        before, plain = plain, unquote(plain)
        if plain == before:
            return text
        if _plainly(plain, 0) != plain:
            return REDACTED
    return text
