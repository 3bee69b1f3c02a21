# SPDX-License-Identifier: Apache-2.0
"""`EnvelopeConformance`: the tests that every envelope has to pass, for pytest; what fails says how to mend it."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from hypothesis import strategies as st

from k8stokendetect.envelopes import Envelope, Inner
from k8stokendetect.errors import ConfigError, ReadError
from k8stokendetect.testing.builders import LIVE_TOKEN, request, service_account_user, token_request, use_of
from k8stokendetect.testing.harness import failed
from k8stokendetect.testing.strategies import damaged, for_any, json_values
from k8stokendetect.testing.wrapped import (
    asked,
    carriers,
    comparable,
    half,
    listed,
    misshapen,
    name_of,
    split,
    unwrapped,
)

__tracebackhide__ = True  # pytest shows the message, not these lines

_SECRET = LIVE_TOKEN.split(".")[1]
_DEEP = 200


def typical() -> list[dict[str, Any]]:
    """Return events of every kind that a wrapper has to carry: a mint, its use, bodies, impersonation, refusals."""
    mint = token_request(service_account_user("web/frontend", "JTI=0d0d3b3e", pod="frontend-7d9c"))
    bob = {"username": "bob", "groups": ["devs", "system:authenticated"]}
    bound = {"kind": "Pod", "apiVersion": "v1", "name": "web-1", "uid": "0f6c"}
    return [
        mint,
        use_of(mint),
        token_request("carol", level="RequestResponse", audiences=["vault"], bound=bound, credential="X509SHA256=ab"),
        token_request("dave", impersonatedUser=bob, groups=["admins", "system:authenticated"]),
        token_request("erin", code=404),
        token_request(code=401),
        request("get", "pods", name="web-1", user_agent='a "quoted" \\ agent, 中 <&>'),
    ]


class EnvelopeConformance:
    """Subclass it in a test file, as `class TestMine(EnvelopeConformance)`, and say how events are wrapped.

    Attributes:
        envelope: a module or object with `recognises(record)` and `events(record)`.
        wrap: writes native events as the tool does: one JSON document, or one a line. `wrap = staticmethod(function)`.
        loses: what the wrapper does not carry, or changes: fields by their Go names, such as `impersonatedUser` or
            `user.extra`.
        events: native events to wrap; by default a mint, its use, bodies, impersonation and refusals.
        max_examples: how many records are drawn for each property.

    """

    envelope: Envelope | None = None
    loses: ClassVar[frozenset[str]] = frozenset()
    events: ClassVar[Sequence[Mapping[str, Any]]] = ()
    max_examples: ClassVar[int] = 50

    @staticmethod
    def wrap(events: list[dict[str, Any]], /) -> bytes:
        """Write native events as the tool does."""
        raise ConfigError(f"say how {len(events)} events are wrapped: `wrap = staticmethod(function)`")

    def reader(self) -> Envelope:
        """Return the envelope."""
        if self.envelope is None:
            raise ConfigError(f"{type(self).__name__}: say `envelope = my_module` and `wrap = staticmethod(function)`")
        return self.envelope

    def native(self) -> list[dict[str, Any]]:
        """Return the events to wrap, copied."""
        return copy.deepcopy([dict(event) for event in self.events or typical()])

    def records(self, events: list[dict[str, Any]] | None = None) -> list[Any]:
        """Return the wrapped records."""
        reader = self.reader()
        found = split(self.wrap(self.native() if events is None else events))
        lists = len(found) == 1 and isinstance(found[0], list) and not asked(reader, found[0])
        return found[0] if lists else found

    def found(self, records: Sequence[Any]) -> list[Inner]:
        """Return what is in these records."""
        return [inner for record in records for inner in unwrapped(self.reader(), record)]

    def test_it_recognises_what_it_wraps_and_nothing_native(self) -> None:
        """Its own records, never an event, an EventList or a list as the API server writes them."""
        for record in self.records():
            if not asked(self.reader(), record):
                raise failed(
                    f"{name_of(self.reader())} does not recognise a record that `wrap` made",
                    "ask for what every such record has; look whether `wrap` writes what the tool really writes",
                    record,
                )
        event = self.native()[0]
        items = [{key: value for key, value in event.items() if key not in ("kind", "apiVersion")}]
        event_list = {"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": items}
        for record in (event, items[0], event_list, [event], {}, [], None, "text"):
            if asked(self.reader(), record):
                raise failed(
                    f"{name_of(self.reader())} recognises what is not its own",
                    "ask for a key that only your wrapper has, and refuse what has `auditID` or `kind` at the top",
                    record,
                )

    def test_every_event_comes_back(self) -> None:
        """Equal to the native one in every field, but for those in `loses`."""
        native = self.native()
        inners = self.found(self.records())
        for inner in inners:
            if isinstance(inner.record, ReadError):
                raise failed(
                    f"{name_of(self.reader())} says of a good record: {inner.record}",
                    "let `events` take it out as `wrap` put it in",
                    json.dumps(inner.place),
                )
        events = [inner.record for inner in inners if inner.is_event]
        if len(events) != len(native):
            raise failed(
                f"{name_of(self.reader())}: {len(native)} events were wrapped, and {len(events)} came out",
                "yield one `Inner` for each event, with `is_event=True` where it is one in the API server's own form",
            )
        for before, after in zip(native, events, strict=True):
            expected, there = comparable(before, self.loses), comparable(after, self.loses)
            for field in sorted(expected.keys() | there.keys()):
                if expected.get(field) != there.get(field):
                    raise failed(
                        f"{name_of(self.reader())}: {field} went in as {expected.get(field)!r} and came out as "
                        f"{there.get(field)!r}",
                        "put it back as the API server wrote it; if the wrapper does not carry it, name it in `loses`, "
                        "and in `Context(lost=…)`, so that findings say what could not be seen",
                        before,
                    )

    def test_it_declares_no_loss_that_is_none(self) -> None:
        """Each field in `loses` differs in one event at least."""
        native, events = self.native(), [inner.record for inner in self.found(self.records()) if inner.is_event]
        for path in self.loses:
            others = self.loses - {path}
            pairs = list(zip(native, events, strict=False))
            if pairs and all(comparable(before, others) == comparable(after, others) for before, after in pairs):
                raise failed(
                    f"{name_of(self.reader())} is said to lose {path}, and every event came back with it",
                    "take it out of `loses`",
                )

    def test_it_never_raises(self) -> None:
        """Whatever JSON it is asked about, at any depth; whatever it recognises is answered for."""
        deep: Any = "x"
        for _ in range(_DEEP):
            deep = {"a": [deep]}
        good = self.records()
        keys = sorted({key for record in good if isinstance(record, dict) for key in record})
        shaped = st.dictionaries(st.sampled_from(keys), json_values() | st.just(deep)) if keys else st.nothing()

        def check(record: Any) -> None:
            if asked(self.reader(), record) and not listed(self.reader(), record):
                raise failed(
                    f"{name_of(self.reader())} recognises a record and yields nothing",
                    "yield a ReadError for what is not as it should be; for what rightly holds no event (a control "
                    "message) `Inner(None, skipped='why')`, which is counted",
                    record,
                )
            for inner in unwrapped(self.reader(), record) if asked(self.reader(), record) else ():
                self._check_no_token(inner, record)

        for record in [deep, *good, *(bad for one in self.records(self.native()[:1]) for bad in misshapen(one))]:
            check(record)
        for_any(json_values() | shaped | damaged(good), check, self.max_examples)

    def test_damage_is_told(self) -> None:
        """An event that was cut off, or has become something else, is an error in its place, and costs no other."""
        for how in ("cut", "number", "list"):
            for record in self.records():
                for container, key in carriers(record):
                    container[key] = half(container[key]) if how == "cut" else {"number": 7, "list": ["x"]}[how]
                if not asked(self.reader(), record):
                    continue
                inners = list(unwrapped(self.reader(), record))
                told = [inner for inner in inners if inner.is_event or isinstance(inner.record, ReadError)]
                if told or (how != "cut" and any(inner.skipped for inner in inners)):
                    continue
                raise failed(
                    f"{name_of(self.reader())}: an event was damaged ({how}), and no error came out",
                    "hand text on as it is, or yield `Inner(ReadError(…), place)` where it is not JSON and where an "
                    "event is not an object; skip only what is known to be another log's",
                    record,
                )

    def test_it_leaves_the_record_alone(self) -> None:
        """Nothing in the caller's record changes."""
        for record in self.records():
            before = copy.deepcopy(record)
            self.found([record])
            if record != before:
                raise failed(
                    f"{name_of(self.reader())} changed the record that it was given",
                    "copy before you pop or update: `{**record, …}`, or `{k: v for k, v in … if …}`",
                    before,
                )

    def test_no_token_is_in_an_error(self) -> None:
        """An error says what is wrong, and repeats nothing of the record."""
        events = [event | {"userAgent": f"curl/8 {LIVE_TOKEN}"} for event in self.native()]
        records = self.records(events)
        for record in records:
            for container, key in carriers(record):
                value = container[key]
                container[key] = value[:-9] if isinstance(value, str) else [LIVE_TOKEN]
        for record in [*records, *(_planted(record) for record in self.records())]:
            for inner in unwrapped(self.reader(), record) if asked(self.reader(), record) else ():
                self._check_no_token(inner, record)

    def _check_no_token(self, inner: Inner, record: Any) -> None:
        if isinstance(inner.record, ReadError) and _SECRET in f"{inner.record!r} {inner.record.revealed} {inner.place}":
            raise failed(
                f"{name_of(self.reader())} repeats a token in an error",
                "say what is wrong and where, never a value: `ReadError('a log record without its message')`",
                record,
            )


def _planted(value: Any) -> Any:
    """Return the record with a usable token in the place of every text."""
    if isinstance(value, dict):
        return {key: _planted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_planted(item) for item in value]
    return LIVE_TOKEN if isinstance(value, str) else value
