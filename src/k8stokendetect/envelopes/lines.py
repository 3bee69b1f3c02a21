# SPDX-License-Identifier: Apache-2.0
"""Lines that hold no event by themselves: prefixes of tools, container runtimes' pieces, the legacy audit format."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import unquote

from k8stokendetect.convert.broken import revealed
from k8stokendetect.envelopes.base import Context, Inner
from k8stokendetect.errors import ReadError
from k8stokendetect.input.decoding import NotJSONError, decode

_CRI: Final = re.compile(rb"\d{4}-\d\d-\d\dT\S{1,40} (stdout|stderr) ([FP])(?::\S*)? ?(.*)", re.DOTALL)
_PREFIX: Final = re.compile(rb"\S{1,253}[ \t]+(?:\S{1,253}[ \t]+)?(?=\{)")
_LEGACY: Final = re.compile(r"(\S+) AUDIT: (.*)", re.DOTALL)
_PAIR: Final = re.compile(r'([a-z-]+)="((?:[^"\\]|\\.)*)"')
_DOCKER: Final = ("log", "stream", "time")
_DOCKER_PIECE: Final = 16_000
"""Docker cuts a line after 16 KiB (moby daemon/logger/copier.go); a character that it cut in two is another length."""

_NOTHING: Final = frozenset({"", "<none>", "<self>", "<lookup>", "<unknown>", "<deferred>"})
_LOST: Final = Context(lost=frozenset({"extra", "annotations", "bodies", "source IPs"}))


class LineFormats:
    """Takes the lines of one stream; keeps the pieces that a container runtime made of a long line until its end.

    Arguments:
        limit: longest joined line, in bytes.

    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pieces: dict[bytes, list[bytes]] = {}
        self._docker: dict[str, list[dict[str, Any]]] = {}

    def __call__(self, line: bytes, /) -> list[Any] | None:
        """Return the records in a line; none yet for a piece of one; None when the line has none of these forms."""
        if cri := _CRI.fullmatch(line):
            return self._joined(*cri.groups())
        if prefix := _PREFIX.match(line):
            value = _loads(line[prefix.end() :])
            return None if value is None else [value]
        if b" AUDIT: " in line:
            return _legacy(line.decode("utf-8", "replace"))
        return None

    def _joined(self, stream: bytes, tag: bytes, text: bytes) -> list[Any] | None:
        """Join the pieces that the container runtime made of a long line (KEP-2411's log format)."""
        pieces = self._pieces.setdefault(stream, [])
        pieces.append(text)
        if sum(map(len, pieces)) > self._limit:
            del self._pieces[stream]
            return [ReadError(f"record longer than {self._limit} bytes, the limit max_record")]
        if tag == b"P":
            return []
        whole = b"".join(self._pieces.pop(stream)).strip()
        if not whole:
            return []
        value = _loads(whole)
        if value is not None:
            return [value]
        return self(whole) if not _CRI.fullmatch(whole) else None

    def joined(self, record: Any, /) -> list[Any]:
        """Join the pieces of Docker's json-file, told by the newline that is missing; anything else is passed on.

        Pieces that make no JSON together are passed on one by one: none may hide what stands in another.
        """
        if not (isinstance(record, dict) and all(isinstance(record.get(key), str) for key in _DOCKER)):
            return [record]
        held = self._docker.setdefault(record["stream"], [])
        held.append(record)
        length = sum(len(piece["log"]) for piece in held)
        is_piece = len(record["log"]) >= _DOCKER_PIECE and not record["log"].endswith("\n")
        if is_piece and length <= self._limit:
            return []
        del self._docker[record["stream"]]
        whole = "".join(piece["log"] for piece in held)
        joined = len(held) > 1 and length <= self._limit and _loads(whole.encode()) is not None
        return [{**record, "log": whole}] if joined else held

    def rest(self) -> Iterator[ReadError]:
        """Yield an error for every line whose end never came."""
        begun = [b"".join(pieces) for pieces in self._pieces.values()]
        begun += ["".join(piece["log"] for piece in pieces).encode() for pieces in self._docker.values()]
        for text in begun:
            yield ReadError("the last piece of a long line is missing", revealed=revealed(text))
        self._pieces.clear()
        self._docker.clear()


def _loads(text: bytes) -> Any:
    try:
        return decode(text)
    except NotJSONError:
        return None


def _legacy(line: str) -> list[Any] | None:
    """Read `--audit-log-format=legacy`: no objectRef, extra, annotations or bodies, and only the first address.

    Source: kubernetes staging/src/k8s.io/apiserver/pkg/audit/format.go:30-71.
    """
    match = _LEGACY.fullmatch(line.strip())
    if match is None:
        return None
    fields = {key: _unquoted(value) for key, value in _PAIR.findall(match[2])}
    if "id" not in fields or "method" not in fields:
        return None
    event: dict[str, Any] = {
        "auditID": fields["id"],
        "stage": fields.get("stage", ""),
        "verb": fields["method"],
        "requestURI": fields.get("uri", ""),
        "user": {"username": _given(fields, "user"), "groups": _groups(fields, "groups")},
        "userAgent": _given(fields, "user-agent"),
        "sourceIPs": [fields["ip"]] if _given(fields, "ip") else [],
        "stageTimestamp": match[1],
        "objectRef": object_ref(fields.get("uri", "")),
    }
    if _given(fields, "as"):
        event["impersonatedUser"] = {"username": fields["as"], "groups": _groups(fields, "asgroups")}
    if fields.get("response", "").isdecimal():
        event["responseStatus"] = {"code": int(fields["response"])}
    return [Inner(event, context=_LOST, is_event=True)]


def _given(fields: dict[str, str], key: str) -> str:
    value = fields.get(key, "")
    return "" if value in _NOTHING else value


def _groups(fields: dict[str, str], key: str) -> list[str]:
    """Split a list of quoted names, itself quoted."""
    return re.findall(r'"((?:[^"\\]|\\.)*)"', _given(fields, key))


def _unquoted(text: str) -> str:
    """Undo Go's %q: backslash escapes."""
    return re.sub(r"\\(.)", lambda match: {"n": "\n", "t": "\t", "r": "\r"}.get(match[1], match[1]), text)


def object_ref(uri: str, /) -> dict[str, str] | None:
    """Recover the objectRef from a request URI, as the API server parses its path; None for other paths.

    Source: kubernetes staging/src/k8s.io/apiserver/pkg/endpoints/request/requestinfo.go, NewRequestInfo.
    """
    root, *parts = unquote(uri.partition("?")[0]).strip("/").split("/")
    group = parts.pop(0) if root == "apis" and parts else ""
    version = parts.pop(0) if parts else ""
    special = parts.pop(0) if parts[:1] in (["watch"], ["proxy"]) else ""
    if root not in ("api", "apis") or not parts:
        return None
    namespace = parts[1] if parts[0] == "namespaces" and len(parts) > 1 else ""
    if namespace and len(parts) > 2 and parts[2] not in ("status", "finalize"):  # noqa: PLR2004 - namespaces/NAME/…
        parts = parts[2:]
    resource, name, subresource, *_ = *parts, "", ""
    if special == "proxy":  # it has none, whatever follows
        subresource = ""
    ref = {"resource": resource, "namespace": namespace, "name": name, "subresource": subresource, "apiGroup": group}
    return {key: value for key, value in (ref | {"apiVersion": version}).items() if value}
