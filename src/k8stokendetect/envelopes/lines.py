# SPDX-License-Identifier: Apache-2.0
"""Lines that hold no event by themselves: prefixes of tools, container runtimes' pieces, the legacy audit format."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import unquote

from k8stokendetect.convert.marks import speaks_of_event
from k8stokendetect.envelopes.base import Claims, Context, Inner
from k8stokendetect.envelopes.pods import of_path
from k8stokendetect.errors import ReadError
from k8stokendetect.input.damage import BAD, as_far_as_it_goes, damaged_parts, loads, whole_records

_CRI: Final = re.compile(rb"(\S{1,999}:)?\d{4}-\d\d-\d\dT\S{1,40} (stdout|stderr) ([FP])(?::\S*)? ?(.*)", re.DOTALL)
"""A container runtime's line; `grep -H` puts the file's name before it."""

_LEGACY: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\S{0,20}) AUDIT: (id=.*)", re.DOTALL)
_OTHER_LOG: Final = re.compile(
    rb"(?:^|[\s:])[IWEF]\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ [^\s:]+:\d+\] "  # klog
    rb'|(?:^|\s)time="?\d{4}-\S+ level=[a-z]+ '  # logrus: k3s, containerd
    rb"|^(?:<\d+>)?[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \S+ [^\s:]+: "  # syslog, RFC 3164
    rb"|^<\d+>1 (?:\S+ ){5}"  # syslog, RFC 5424
    rb"|^\d{4}-\d\d-\d\dT\S+ [^\s:]+ [^\s:]+: "  # rsyslog's file format
)
"""How lines begin that other programs write into the same file."""

_PAIR: Final = re.compile(r'([a-z-]+)="((?:[^"\\]|\\.)*)"')
_DOCKER: Final = ("log", "stream")
_DOCKER_PIECE: Final = 16_000
"""Docker cuts a line after 16 KiB (moby daemon/logger/copier.go); a character that it cut in two is another length."""

_CONTAINER: Final = ("namespace_name", "pod_name", "pod_id", "container_name", "docker_id", "container_id")
_OF_ANOTHER_LOG: Final = Inner(None, skipped="a line of another log")

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
        self._sizes: Counter[bytes | str] = Counter()

    def __call__(self, line: bytes, /) -> list[Any] | None:
        """Return the records in a line; none yet for a piece of one; None when the line has none of these forms."""
        if cri := _CRI.fullmatch(line):
            file, stream, tag, text = cri.groups(b"")
            records = self._joined(file + stream, tag, text)
            is_name = records and b'"' not in file  # else it is the beginning of an event that is cut off
            claims = of_path(file.decode("utf-8", "replace")) if is_name else ()
            return [_printed(record, claims) for record in records or ()] if claims else records
        if b" AUDIT: " in line and (found := _legacy(line.decode("utf-8", "replace"))):
            return found
        if _OTHER_LOG.search(line) and not speaks_of_event(line):
            return [_OF_ANOTHER_LOG]
        return None

    def _joined(self, stream: bytes, tag: bytes, text: bytes) -> list[Any] | None:
        """Join the pieces that the container runtime made of a long line (KEP-2411's log format)."""
        pieces = self._pieces.setdefault(stream, [])
        pieces.append(text)
        self._sizes[stream] += len(text)
        if self._sizes[stream] > self._limit:
            del self._pieces[stream], self._sizes[stream]
            return [ReadError(f"record longer than {self._limit} bytes, the limit max_record")]
        if tag == b"P":
            return []
        del self._pieces[stream], self._sizes[stream]
        whole = b"".join(pieces).strip()
        if len(pieces) > 1 and loads(whole) is BAD and loads(text) is not BAD:  # the end of the line before was lost
            return [*self._records(b"".join(pieces[:-1])), loads(text)]
        return self._records(whole) if whole else []

    def _records(self, text: bytes) -> list[Any]:
        """Return the records in a line that was taken out of another."""
        value = loads(text)
        if value is not BAD:
            return [value]
        found = None if _CRI.fullmatch(text) else self(text)
        if found is not None:
            return found
        if text[:1] != b"{" and not speaks_of_event(text):
            return [_OF_ANOTHER_LOG]
        records, damage = whole_records(text)
        return [*records, *damaged_parts(damage, "not JSON")] if damage else records

    def joined(self, record: Any, /) -> list[Any]:
        """Join the pieces that Docker and Fluent Bit make of a long line: of one stream of one container.

        Pieces that make no JSON together are passed on one by one: none may hide what stands in another.
        """
        if not (isinstance(record, dict) and all(isinstance(record.get(key), str) for key in _DOCKER)):
            return [record]
        key = _container_of(record)
        held = self._docker.setdefault(key, [])
        held.append(record)
        self._sizes[key] += len(record["log"])
        length = self._sizes[key]
        if self._sizes.total() <= self._limit and _is_piece(record):
            return []
        del self._docker[key], self._sizes[key]
        whole = "".join(piece["log"] for piece in held)
        joined = len(held) > 1 and length <= self._limit and loads(whole.encode("utf-8", "replace")) is not BAD
        return [{**record, "log": whole}] if joined else held

    def rest(self) -> Iterator[Any]:
        """Yield a part, or an error, for every line whose end never came."""
        begun = [b"".join(pieces) for pieces in self._pieces.values()]
        begun += ["".join(piece["log"] for piece in pieces).encode() for pieces in self._docker.values()]
        for text in begun:
            yield as_far_as_it_goes(text, "the last piece of a long line is missing")
        self._pieces.clear()
        self._docker.clear()
        self._sizes.clear()


def _printed(record: Any, claims: Claims) -> Inner:
    """Note whose output a record is, by the name of its file."""
    return (record if isinstance(record, Inner) else Inner(record)).inside(Inner(None, context=Context(claims=claims)))


def _container_of(record: dict[str, Any]) -> str:
    """Name the stream of a container whose output a record is, by all that shippers say of it."""
    told = record.get("kubernetes")
    names = [told.get(key) for key in _CONTAINER] if isinstance(told, dict) else []
    return repr([record["stream"], record.get("container_id"), record.get("tag"), *names])


def _is_piece(record: dict[str, Any]) -> bool:
    """Tell a piece by the mark of its runtime, or by its length; what is whole is not a part."""
    text = record["log"]
    if "P" in (record.get("logtag"), record.get("_p")):
        return True
    if "F" in (record.get("logtag"), record.get("_p")) or len(text) < _DOCKER_PIECE or text.endswith("\n"):
        return False
    return loads(text.encode("utf-8", "replace")) is BAD


def _legacy(line: str) -> list[Any] | None:
    """Read `--audit-log-format=legacy`: no objectRef, extra, annotations or bodies, and only the first address.

    Source: kubernetes staging/src/k8s.io/apiserver/pkg/audit/format.go:30-71.
    """
    match = _LEGACY.search(line.strip())
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
