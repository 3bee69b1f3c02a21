# SPDX-License-Identifier: Apache-2.0
"""Who can mint, and what an audit policy hides, as SARIF 2.1.0: for code scanning and CI.

Source: https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/sarif-v2.1.0-errata01-os.html. No name of the cluster
becomes a link or a placeholder of a message (3.11.5, 3.11.6).
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from k8stokendetect.audit_policy import AuditPolicy, Review, Unseen, hints
from k8stokendetect.cluster import AttackPath, Binding, Level, Minter, Role
from k8stokendetect.cluster.places import Key, Place, key_of
from k8stokendetect.convert.lines import line_at
from k8stokendetect.findings import Rule
from k8stokendetect.outputs.minter_words import by_binding, expectation, path, whom, worth
from k8stokendetect.outputs.size import one_line
from k8stokendetect.outputs.text import neutral
from k8stokendetect.outputs.values import given
from k8stokendetect.words import listed

SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_PRODUCT: Final = "k8stokendetect"
_LOWER: Final = {"error": "warning", "warning": "note", "note": "note"}
_LEVELS: Final = {
    Level.NOTHING: "note",
    Level.ACCOUNT: "warning",
    Level.CLOUD: "error",
    Level.ESCALATION: "error",
    Level.CLUSTER_ADMIN: "error",
}
_DIRECT: Final = "can-mint-token"
_INDIRECT: Final = "can-obtain-token"
_MINTING: Final = {
    _DIRECT: "A subject can create tokens of service accounts.",
    _INDIRECT: "A subject has a right with which it can obtain tokens of service accounts.",
}
_WARNING: Final = "audit-policy"
_INDEX: Final = re.compile(r"rules\[\d+\]")


def minters_to_sarif(
    minters: Iterable[Minter], places: Mapping[Key, Place], /, *, file: str | None = None, is_complete: bool = True
) -> str:
    """Return a log with a result for each binding through which a subject can mint, or can obtain tokens otherwise.

    What a component does by design is suppressed, with its exclusion for the reason. The fingerprint is the same
    wherever the binding stands.

    Arguments:
        minters: who can mint.
        places: of the objects, see `places_of`.
        file: to be named where a place is not known; None: the result names the object alone.
        is_complete: whether everything could be read.

    """
    known: defaultdict[Key, Place | None] = defaultdict(lambda: Place(file) if file else None, places)
    found = [result for minter in minters for result in _of_minter(minter, known)]
    rules = [{"id": id_, "shortDescription": {"text": text}} for id_, text in _MINTING.items()]
    return _log("who-can-mint", rules, found, is_complete=is_complete)


def _of_minter(minter: Minter, places: Mapping[Key, Place | None]) -> Iterator[dict[str, Any]]:
    for ways in by_binding(minter.ways):
        for id_, is_direct in ((_DIRECT, True), (_INDIRECT, False)):
            if some := [way for way in ways if way.direct is is_direct]:
                yield _minting(minter, id_, some, places)


def _minting(
    minter: Minter, id_: str, ways: Sequence[AttackPath], places: Mapping[Key, Place | None]
) -> dict[str, Any]:
    way, subject, change = ways[0], minter.subject, minter.change(ways[0])
    powers = listed(dict.fromkeys(one.power(whom(one)) for one in ways))
    meaning = f" ({minter.meaning})" if minter.meaning else ""
    by = f", by {path(way.grants[:1])}" if way.grants else ""
    text = f"{subject}{meaning} {powers}{by}. It is {expectation(minter)}; it reaches {worth(minter.reach)}."
    level = _LEVELS[minter.reach.level]
    allowed = minter.exclusions and id_ == _DIRECT and not any(one in minter.beyond for one in ways)
    return {
        "ruleId": id_,
        "level": level if id_ == _DIRECT else _LOWER[level],
        "message": _message(text),
        "partialFingerprints": _fingerprint(id_, str(subject), str(way.binding or "")),
        "properties": given(
            subject=str(subject),
            kinds=list(dict.fromkeys(str(one.kind) for one in ways)),
            reach=minter.reach.level.label,
            command=change.command if change else None,
        ),
        **given(
            locations=[_location(way.binding, places)] if way.binding else _nowhere(places),
            relatedLocations=[_location(way.role, places, "the role")] if way.role else [],
            suppressions=[
                {"kind": "external", "status": "accepted", "justification": f"exclusion {one.id}: {one.because}"}
                for one in minter.exclusions
                if allowed
            ],
        ),
    }


def _nowhere(places: Mapping[Key, Place | None]) -> list[dict[str, Any]]:
    """Return the place of what no object grants: some viewers show no result without one."""
    place = _physical(places["", "", ""])
    return [{"physicalLocation": place}] if place else []


def _location(one: Binding | Role, places: Mapping[Key, Place | None], text: str = "") -> dict[str, Any]:
    kind, _, name = key = key_of(one)
    place = places[key if key in places else (kind, "", name)]
    return {
        **given(physicalLocation=_physical(place)),
        "logicalLocations": [{"name": neutral(name), "fullyQualifiedName": neutral(str(one)), "kind": "object"}],
        **({"message": {"text": text}} if text else {}),
    }


def reviews_to_sarif(
    reviews: Sequence[Review],
    policy: AuditPolicy,
    rules: Mapping[str, Rule],
    /,
    *,
    default: Iterable[str],
    file: str | None,
    content: bytes,
) -> str:
    """Return a log with a result for each rule of ours and each rule of a policy that hides something from it.

    Arguments:
        reviews: what the policy means for each rule.
        policy: the policy.
        rules: ours, by id.
        default: the ids of those that are on by default; of others, what is hidden is a note.
        file: the policy's; None where it has no name.
        content: of the file.

    """
    known = frozenset(default)
    found = [result for one in reviews for result in _of_review(one, file, content, is_default=one.rule_id in known)]
    paths = iter(policy.ignored)  # the first hints are about these
    for hint in hints(policy):
        ignored = next(paths, None)
        where = ignored.path if ignored else next(iter(_INDEX.findall(hint)), "")
        found.append(
            {
                "ruleId": _WARNING,
                "level": "warning",
                "message": _message(hint),
                "partialFingerprints": _fingerprint(_WARNING, _INDEX.sub("rules", hint)),
                "locations": [_in_policy(where, file, content)],
            }
        )
    described = [
        {
            "id": one.rule_id,
            "shortDescription": {"text": rules[one.rule_id].title if one.rule_id in rules else one.rule_id},
        }
        for one in reviews
    ]
    described.append({"id": _WARNING, "shortDescription": {"text": "The policy does not mean what it seems to mean."}})
    return _log("audit-policy", described, found)


def _of_review(one: Review, file: str | None, content: bytes, *, is_default: bool) -> Iterator[dict[str, Any]]:
    if one.verdict == "works":
        return
    by_rule: dict[int | None, list[Unseen]] = {}
    for unseen in one.unseen:
        by_rule.setdefault(unseen.rule, []).append(unseen)
    for rule, hidden in (by_rule or {None: []}).items():
        level = "error" if one.verdict == "blind" else "warning"
        yield {
            "ruleId": one.rule_id,
            "level": level if is_default else "note",
            "message": _message(f"{one.rule_id} {one.verdict}: {'; '.join((*one.why, *map(str, hidden)))}"),
            "partialFingerprints": _fingerprint(
                one.rule_id, *(f"{item.who}: {listed(item.what)} {item.where}" for item in hidden)
            ),
            "properties": given(verdict=one.verdict, changes=[change.to_yaml() for change in one.changes]),
            "locations": [_in_policy("" if rule is None else f"rules[{rule}]", file, content)],
        }


def _in_policy(where: str, file: str | None, content: bytes) -> dict[str, Any]:
    place = Place(file, line_at(content, where)) if file else None
    logical = [{"fullyQualifiedName": where or "rules", "kind": "array" if not where else "object"}]
    return {**given(physicalLocation=_physical(place)), "logicalLocations": logical}


def _physical(place: Place | None) -> dict[str, Any]:
    if place is None:
        return {}
    return given(artifactLocation={"uri": _uri(place.file)}, region={"startLine": place.line} if place.line else None)


def _uri(file: str) -> str:
    """Return the reference to a file as the command was given it; relative to where it ran, unless it was absolute."""
    known = Path(file)
    return known.as_uri() if known.is_absolute() else quote(known.as_posix().encode("utf-8", "surrogateescape"))


def _message(text: str) -> dict[str, str]:
    """Return a text that no viewer takes for a link or a placeholder."""
    return {"text": neutral(text).replace("](", "] (").replace("{", "{{").replace("}", "}}")}


def _fingerprint(*parts: str) -> dict[str, str]:
    return {f"{_PRODUCT}/v1": hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]}


def _log(name: str, rules: list[dict[str, Any]], results: list[dict[str, Any]], *, is_complete: bool = True) -> str:
    driver = {"name": _PRODUCT, "version": importlib.metadata.version(_PRODUCT), "rules": rules}
    run = {
        "tool": {"driver": driver},
        "automationDetails": {"id": f"{_PRODUCT}/{name}/"},
        "invocations": [{"executionSuccessful": is_complete}],
        "results": results,
    }
    return one_line({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]})
