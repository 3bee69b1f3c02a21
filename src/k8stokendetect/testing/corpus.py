# SPDX-License-Identifier: Apache-2.0
"""The recorded audit logs of running clusters, with a label for each request that matters.

They are in `tests/data` of a checkout and of the source distribution, not in the wheel; README.md there tells how each
was recorded and what the labels mean.
"""

from __future__ import annotations

import gzip
import json
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from k8stokendetect.convert.times import parse_time
from k8stokendetect.errors import ConfigError
from k8stokendetect.findings import Finding
from k8stokendetect.reprs import with_short_repr

__all__ = ["Label", "Recording", "load", "names"]

_INDEX: Final = "corpus.json"
_FACTS: Final = ("events", "kubernetes", "level", "about")
CHECKOUT: Final = Path(__file__).parents[3] / "tests" / "data"
"""Where the recordings are if this module is part of a checkout."""


@with_short_repr
@attrs.frozen(kw_only=True)
class Label:
    """What is known about one request: who meant what by it, and what came of it.

    Arguments:
        audit_id: of its events; a client can choose it, so that two requests may have the same.
        malicious: whether its sender meant harm, not whether a log can show it.
        kind: what came of it, such as `mint-ok`, `mint-denied` or `token-use`; README.md lists them.
        code: the HTTP status.
        user: the caller's name.
        verb: such as `create`.
        resource: with its subresource, such as `serviceaccounts/token`; empty for a path that is not a resource.
        scenario: the part of the story.
        why: what was done, in words.
        received: `requestReceivedTimestamp` of its events; None in the recordings whose labels do not have it.
        target: the service account of a token request, as `namespace/name`.
        minted_by: the auditID of the request that minted the token it was made with.
        path: the path and query, where the story is about them.

    """

    audit_id: str
    malicious: bool
    kind: str
    code: int
    user: str
    verb: str
    resource: str
    scenario: str
    why: str
    received: str | None = None
    target: str | None = None
    minted_by: str | None = None
    path: str | None = None

    @property
    def mints(self) -> bool:
        """Whether a token was issued."""
        return self.kind == "mint-ok"


@with_short_repr
@attrs.frozen(kw_only=True)
class Recording:
    """An audit log of a running cluster.

    Arguments:
        name: as `names` has it.
        events: the log's file, which `detect` and `read` take.
        labels: one for each request that matters, in the order of the log; empty where nobody wrote any.
        kubernetes: the version of the API server.
        level: the audit level of requests for tokens.
        about: what it holds, in a sentence.

    """

    name: str
    events: Path
    labels: tuple[Label, ...]
    kubernetes: str
    level: str
    about: str

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield the audit events as they were logged, decoded from JSON, without the webhook's lists around them."""
        with gzip.open(self.events, "rb") as file:
            for line in file:  # ends at the byte 0x0A only
                record = json.loads(line)
                yield from record["items"] if record.get("kind") == "EventList" else (record,)

    def labelled(self) -> Iterator[tuple[dict[str, Any], Label | None]]:
        """Yield each audit event with the label of its request; None where it has none.

        All stages of a request have its label. Requests of one auditID are distinguished by the time at which they were
        received where the label has it, and else by their resource and order.
        """
        waiting: dict[tuple[str, ...], deque[Label]] = defaultdict(deque)
        for label in self.labels:
            waiting[label.audit_id, label.received or label.resource].append(label)
        known: dict[tuple[str, str, str], Label | None] = {}
        for record in self.records():
            audit_id, received, resource = record["auditID"], record["requestReceivedTimestamp"], _resource(record)
            if (audit_id, received, resource) not in known:
                queue = waiting.get((audit_id, received)) or waiting.get((audit_id, resource))
                known[audit_id, received, resource] = queue.popleft() if queue else None
            yield record, known[audit_id, received, resource]

    def labels_of(self, findings: Iterable[Finding], /) -> list[Label]:
        """Return the labels of the requests that findings are about, each once, in the order of the log."""
        reported = {(finding.event.audit_id, finding.event.time) for finding in findings}
        found: dict[int, Label] = {}
        for record, label in self.labelled():
            if label and (record["auditID"], parse_time(record["requestReceivedTimestamp"])) in reported:
                found[id(label)] = label
        return list(found.values())


def names(folder: str | Path | None = None) -> tuple[str, ...]:
    """Return the names of the recordings, sorted.

    Arguments:
        folder: the `tests/data` of a checkout or of an unpacked source distribution; None: that of the checkout which
            this module is part of, or else `tests/data` in the current folder.

    Raises:
        ConfigError: when there are no recordings.

    """
    return tuple(sorted(_index(_found(folder))))


def load(name: str, folder: str | Path | None = None) -> Recording:
    """Return a recording with its labels.

    Arguments:
        name: one of `names`.
        folder: as for `names`.

    Raises:
        ConfigError: when there are no recordings, or none of that name.

    """
    home = _found(folder)
    index = _index(home)
    if name not in index:
        raise ConfigError(f"no recording is called {name!r}; known: {', '.join(sorted(index))}")
    entry = index[name]
    events = home / entry["events"]
    labels = tuple(_label(json.loads(line)) for line in label_lines(events))
    facts = {field: entry[field] for field in _FACTS if field != "events"}
    return Recording(name=name, events=events, labels=labels, **facts)


def label_lines(events: Path) -> list[bytes]:
    """Return the lines of the labels' file that belongs to a log; none where there is no such file."""
    path = events.with_name(f"{events.name.partition('.log.')[0]}.labels.jsonl.gz")
    if not path.exists():
        return []
    with gzip.open(path, "rb") as file:
        return list(file)


def _found(folder: str | Path | None) -> Path:
    places = [Path(folder)] if folder is not None else [CHECKOUT, Path("tests", "data")]
    for place in places:
        if (place / _INDEX).is_file():
            return place
    raise ConfigError(
        f"no {_INDEX} in {' or '.join(map(str, places))}: the recordings are part of a checkout and of the source "
        "distribution (pip download --no-binary :all: --no-deps k8stokendetect), not of what is installed; "
        "unpack one and name its tests/data as folder"
    )


def _index(home: Path) -> dict[str, dict[str, str]]:
    try:
        index = json.loads((home / _INDEX).read_text(encoding="utf-8"))
        return {name: {field: str(entry[field]) for field in _FACTS} for name, entry in index.items()}
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise ConfigError(f"{home / _INDEX} is damaged: {error!r}") from None


def _label(given: dict[str, Any]) -> Label:
    given["audit_id"] = given.pop("auditID")
    return Label(**{name: value for name, value in given.items() if name in attrs.fields_dict(Label)})


def _resource(record: Mapping[str, Any]) -> str:
    ref = record.get("objectRef") or {}
    return "/".join(filter(None, (ref.get("resource"), ref.get("subresource"))))
