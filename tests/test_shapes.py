# SPDX-License-Identifier: Apache-2.0
"""Events of one shape: made from each other, and judged alike."""

from __future__ import annotations

import copy
import json
from typing import Any

import attrs
import msgspec
import pytest

from builders import token_request
from k8stokendetect.convert.fast import Typed, decode_typed
from k8stokendetect.convert.shapes import kind_of, shape_of, within
from k8stokendetect.convert.structure import parse_event, parse_strictly
from k8stokendetect.detectors import BUILTIN, OPTIONAL
from k8stokendetect.events import Event
from k8stokendetect.exclusions import DEFAULT_EXCLUSIONS, OPTIONAL_EXCLUSIONS, ExclusionIndex
from k8stokendetect.identity import ISSUED_CREDENTIAL_ID
from recordings import METADATA, METADATA_1_27, records

ISSUED = ISSUED_CREDENTIAL_ID[0]
RARE = {"impersonatedUser", "authenticationMetadata", "requestObject", "responseObject"}


def mint(number: int = 1, **fields: Any) -> dict[str, Any]:
    """Return one of many mints that differ in ids and times."""
    ids = {"auditID": f"a-{number}", "annotations": {ISSUED: f"JTI={number}", "x": "y"}}
    times = dict.fromkeys(("requestReceivedTimestamp", "stageTimestamp"), f"2026-11-23T08:00:0{number}Z")
    return token_request() | {"responseStatus": {"metadata": {}, "code": 201}} | ids | times | fields


def typed(record: dict[str, Any]) -> Typed:
    """Return its fields."""
    return decode_typed(json.dumps(record))


PARTS = {
    "user": ("username", "uid"),
    "objectRef": ("resource", "namespace", "name", "uid", "apiGroup", "apiVersion", "resourceVersion", "subresource"),
    "responseStatus": ("status", "reason", "message"),
}
CHANGES: list[dict[str, Any]] = [
    *({name: "z"} for name in ("apiVersion", "level", "stage", "verb", "requestURI", "userAgent")),
    *({name: {**mint()[name], part: "z"}} for name, parts in PARTS.items() for part in parts),
    *(
        {"user": mint()["user"] | more}
        for more in ({"groups": ["z"]}, {"extra": {"k": ["z"]}}, {"extra": {"z": ["k"]}})
    ),
    *({"annotations": notes} for notes in ({ISSUED: "JTI=1", "x": "z"}, {ISSUED: "JTI=1"}, {"x": "y"})),
    *({"responseStatus": status} for status in ({"code": 201}, {"code": 403, "metadata": {}})),
    *({name: None} for name in ("requestReceivedTimestamp", "stageTimestamp")),
    {"annotations": {ISSUED: "", "x": "y"}},
    {"auditID": ""},
    {"sourceIPs": ["z"]},
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_whatever_else_differs_makes_another_shape(change: dict[str, Any]) -> None:
    """Ids and times alone do not."""
    record = mint(**change)
    shape = shape_of(typed(mint()), None)
    assert shape is not None
    assert shape == shape_of(typed(mint(2)), None) != shape_of(typed(mint()), "eks")
    assert shape_of(typed(record), None) != shape
    parse_event(mint())
    assert parse_event(record) == parse_strictly(record)


def test_every_field_is_thought_of() -> None:
    """One that is added to an event has to become part of its shape."""
    tried = {name for change in CHANGES for name in change}
    assert tried | {"kind"} | RARE == {field.encode_name for field in msgspec.structs.fields(Typed)}


@pytest.mark.parametrize("name", sorted(RARE))
def test_a_rare_event_has_no_shape(name: str) -> None:
    """Nothing like it is to be expected."""
    assert shape_of(typed(mint() | {name: {}}), None) is None


def test_an_event_is_made_from_one_of_its_shape() -> None:
    """With ids and times of its own."""
    first = parse_event(mint(), origin="a:1")
    vars(first)["seen"] = True
    again = parse_event(mint(2), origin="a:2")
    assert again == parse_strictly(mint(2), None, "a:2")
    assert (again.audit_id, again.minted_credential, again.origin) == ("a-2", "JTI=2", "a:2")
    assert again.time is not None
    assert again.time.second == 2
    assert kind_of(again) == kind_of(first) is not None
    assert "seen" not in vars(again)


@pytest.mark.parametrize("fields", [{"auditID": "a" * 65}, {"annotations": {ISSUED: "Bearer " + "a" * 40, "x": "y"}}])
def test_odd_ids_are_not_taken_for_ids(fields: dict[str, Any]) -> None:
    """Rules look at them, or they are a credential."""
    parse_event(mint())
    assert kind_of(parse_event(mint(**fields))) is None
    assert parse_event(mint(**fields)) == parse_strictly(mint(**fields))


def test_what_is_around_an_event_is_part_of_its_kind() -> None:
    """What else changes, changes its shape."""
    event = parse_event(mint())
    assert kind_of(within(event, cluster="b")) not in {None, kind_of(event)}
    assert kind_of(within(within(event, cluster="b"), cluster=None)) == kind_of(event)
    assert kind_of(attrs.evolve(event, verb="get")) is kind_of(within(event, verb="get")) is None
    assert kind_of(copy.deepcopy(event)) != kind_of(event)


def kinds(events: list[Event]) -> list[list[Event]]:
    """Return events of one kind together, and each with other ids and times."""
    found: dict[Any, list[Event]] = {}
    for event in events:
        found.setdefault(kind_of(event), []).append(event)
    found.pop(None, None)
    return list(found.values())


@pytest.mark.parametrize("path", [METADATA, METADATA_1_27])
def test_nothing_that_is_kept_by_kind_depends_on_more(path: Any) -> None:
    """Whether exclusions exclude it, and what each detector that remembers nothing says."""
    detectors = [cls() for cls in (*BUILTIN, *OPTIONAL)]
    index = ExclusionIndex([*DEFAULT_EXCLUSIONS, *OPTIONAL_EXCLUSIONS])
    alike = kinds([parse_event(record) for record in records(path)])
    assert sum(len(events) > 1 for events in alike) > 20
    for events in alike:
        for event in events[1:]:
            assert [one.excludes for one in index.judge(event)] == [one.excludes for one in index.judge(events[0])]
            for one in detectors:
                assert one.matches(event) == one.matches(events[0])
