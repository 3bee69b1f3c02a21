# SPDX-License-Identifier: Apache-2.0
"""Finds requests by names other than their ids: by file and line, a credential's id, or an auditID."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from typing import Final

import attrs

from k8stokendetect.bounds import cut_text
from k8stokendetect.errors import ConfigError
from k8stokendetect.event_ref import EventRef, request_id
from k8stokendetect.events import Event
from k8stokendetect.input.remote import is_url
from k8stokendetect.outputs.text import place_of

MOST_OF_A_NAME: Final = 20
"""Of further requests with one name only the number is kept; the one that issued a token is always among them."""

_ID: Final = re.compile(r"[0-9a-f]{32}")
_OTHER: Final = re.compile(
    r"(?i:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})"  # an auditID, or a credential without its kind
    r"|(JTI|X509SHA256)=\S+"  # a credential
    r"|(?s:.+):[0-9]+"  # file and line
)


def names_and_logs(given: Sequence[str], /) -> tuple[list[str], list[str]]:
    """Tell the names of requests from logs: they come first, and a file of such a name is a log.

    Raises:
        ConfigError: when there is no name, or no log that can be read twice.

    """
    names: list[str] = []
    logs = list(given)
    while logs and _is_name(logs[0]) and not os.path.exists(logs[0]):  # noqa: PTH110 - raises for long names
        names.append(logs.pop(0))
    if not names:
        raise ConfigError(
            "the id comes first: 32 hexadecimal digits, of a request, a finding, an alert or an incident; "
            "or FILE:LINE, JTI=…, or an auditID"
        )
    if not logs:
        raise ConfigError("no log is given")
    for log in logs:
        if not is_url(log) and not (os.path.isfile(log) or os.path.isdir(log)):  # noqa: PTH112, PTH113 - the same
            raise ConfigError(
                f"{log}: not a file or folder; logs are read twice, so standard input or a pipe does not work"
            )
    return list(dict.fromkeys(names)), logs


def _is_name(text: str) -> bool:
    return bool(_ID.fullmatch(text) or (_OTHER.fullmatch(text) and not is_url(text)))


@attrs.define
class Requests:
    """The requests that have a name.

    Attributes:
        ids: of requests.
        more: how many events of others there are.

    """

    ids: dict[str, None] = attrs.field(factory=dict)
    more: int = 0


@attrs.define
class Found:
    """What names that are not ids stand for.

    Attributes:
        names: each with its requests.
        places: the request at a place, which is its file and line, and its auditID.

    """

    names: dict[str, Requests]
    places: dict[tuple[str | None, str], str] = attrs.field(factory=dict)

    @classmethod
    def of(cls, names: Iterable[str], events: Iterable[Event], /) -> Found:
        """Look for the names that are not ids among all events of a log, which are not read where there is none."""
        found = cls({name: Requests() for name in names if not _ID.fullmatch(name)})
        if not found.names:
            return found
        lines: dict[str, list[str]] = {}
        for name in found.names:
            lines.setdefault(name.rpartition(":")[2], []).append(name)
        audit_ids = {name.lower(): name for name in found.names}
        credentials = {f"JTI={id_}": name for id_, name in audit_ids.items()} | {name: name for name in found.names}
        for event in events:
            of_event = [credentials.get(id_ or "") for id_ in (event.minted_credential, event.used_credential)]
            of_event.append(audit_ids.get(event.audit_id.lower()))
            origin = event.origin or ""
            of_event += (name for name in lines.get(origin.rpartition(":")[2], ()) if _stands_at(origin, name))
            for one in of_event:
                if one is not None:
                    found._take(one, event)
        return found

    def _take(self, name: str, event: Event) -> None:
        named, id_ = self.names[name], request_id(event)
        if id_ in named.ids:
            return
        if len(named.ids) >= MOST_OF_A_NAME and event.minted_credential not in {name, f"JTI={name.lower()}"}:
            named.more += 1
            return
        named.ids[id_] = None
        self.places[event.origin, cut_text(event.audit_id)] = id_

    def id_at(self, ref: EventRef, /) -> str | None:
        """Return the id of the request that was found where another reading found this one."""
        return self.places.get((ref.origin, ref.audit_id))


def _stands_at(origin: str, name: str) -> bool:
    """Tell whether an event's file and line are meant: in full, without the folders, or as the trees show them."""
    return name == origin or origin.endswith(f"/{name.removeprefix('./')}") or name == place_of(origin)
