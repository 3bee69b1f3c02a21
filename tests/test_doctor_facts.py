# SPDX-License-Identifier: Apache-2.0
"""What the doctor says of a rule is what the rule does: each fact is taken out of logs, and the rule is run."""

from __future__ import annotations

import functools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import orjson
import pytest

from k8stokendetect import detect
from k8stokendetect.audit_policy.needs import NEEDS
from k8stokendetect.detectors import BUILTIN, OPTIONAL
from k8stokendetect.doctor import diagnose
from k8stokendetect.doctor.facts import BY_NAME
from k8stokendetect.doctor.needs import ANY_EVENT, FROM_CLOUDS, WANTED
from k8stokendetect.identity import CREDENTIAL_ID, ISSUED_CREDENTIAL_ID, SERVICE_ACCOUNT_PREFIX
from k8stokendetect.testing.harness import as_log
from recordings import METADATA, METADATA_1_27, REQUEST_RESPONSE, few
from test_conformance import EXAMPLES
from test_wrappers import WRAPPINGS

ATTACK = Path(__file__).parents[1] / "examples" / "attack.log"
RULES = [cls.rule.id for cls in (*BUILTIN, *OPTIONAL)]

Record = dict[str, Any]
Strip = Callable[[Record], Record | None]


def without(*path: str) -> Strip:
    """Take a field out of every event."""

    def strip(record: Record) -> Record:
        node: Any = record
        for step in path[:-1]:
            node = node.get(step)
            if not isinstance(node, dict):
                return record
        node.pop(path[-1], None)
        return record

    return strip


def all_of(*strips: Strip) -> Strip:
    """Take several fields out."""

    def strip(record: Record) -> Record | None:
        for one in strips:
            found = one(record)
            if found is None:
                return None
            record = found
        return record

    return strip


def without_ids(kind: str) -> Strip:
    """Take out the ids of one kind of credentials."""

    def strip(record: Record) -> Record:
        extra = record.get("user", {}).get("extra") or {}
        if any(one.startswith(kind) for one in extra.get(CREDENTIAL_ID, [])):
            del extra[CREDENTIAL_ID]
        return record

    return strip


def only(is_kept: Callable[[Record], bool]) -> Strip:
    """Keep some events."""
    return lambda record: record if is_kept(record) else None


def at_metadata(record: Record) -> Record:
    """Log no bodies."""
    return {key: value for key, value in record.items() if key not in ("requestObject", "responseObject")} | {
        "level": "Metadata"
    }


def as_received(record: Record) -> Record:
    """Log stage RequestReceived alone."""
    return {key: value for key, value in record.items() if key not in ("responseStatus", "annotations")} | {
        "stage": "RequestReceived"
    }


def resource(record: Record) -> str:
    """Name what an event is about."""
    ref = record.get("objectRef") or {}
    return "/".join(filter(None, (ref.get("resource"), ref.get("subresource"))))


def by_account(record: Record) -> bool:
    """Tell a service account's request."""
    return bool(record.get("user", {}).get("username", "").startswith(SERVICE_ACCOUNT_PREFIX))


ISSUED = all_of(*(without("annotations", key) for key in ISSUED_CREDENTIAL_ID))
STRIPS: dict[str, Strip] = {
    "stage": as_received,
    "bodies": at_metadata,
    "code": without("responseStatus"),
    "issued ids": ISSUED,
    "code and issued ids": all_of(without("responseStatus"), ISSUED),
    "token ids": without_ids("JTI="),
    "certificate ids": without_ids("X509SHA256="),
    "both kinds of ids": all_of(without_ids("JTI="), ISSUED),
    "extra": without("user", "extra"),
    "annotations": without("annotations"),
    "groups": without("user", "groups"),
    "names": without("user", "username"),
    "agents": without("userAgent"),
    "addresses": without("sourceIPs"),
    "addresses, agents, ids": all_of(without("sourceIPs"), without("userAgent"), without("user", "extra")),
    "URIs": without("requestURI"),
    "times": all_of(without("requestReceivedTimestamp"), without("stageTimestamp")),
    "token requests": only(lambda record: resource(record) != "serviceaccounts/token"),
    "service accounts": only(lambda record: not by_account(record)),
    "reads": only(lambda record: not (by_account(record) and record["verb"] in ("get", "list", "watch"))),
    "secrets": only(lambda record: resource(record) != "secrets"),
    "exec": only(lambda record: resource(record) not in ("pods/exec", "pods/attach")),
    "roles": only(lambda record: (record.get("objectRef") or {}).get("apiGroup") != "rbac.authorization.k8s.io"),
    "signing": only(lambda record: not resource(record).startswith("certificatesigningrequests")),
}


DROPPED = {
    "token requests": "token requests",
    "service accounts": "requests of service accounts",
    "secrets": "Secrets that are created",
    "exec": "requests for pods/attach, pods/exec",
    "roles": "roles and bindings that are written",
    "signing": "requests for certificatesigningrequests, certificatesigningrequests/approval",
}
"""Where events are taken out, a rule that does not need their kind may have found something in them all the same."""
NOTHING_LEFT = {"bodies": {"token-in-audit-log"}, "annotations": {"legacy-token-secret"}}
"""What a rule looks for is itself taken out: that it is silent is right."""


@functools.cache
def logs() -> dict[str, list[Record]]:
    """Return recordings, and the events that the examples of each rule report."""
    found = {
        "1.36": list(few(METADATA, 3)),
        "1.27": list(few(METADATA_1_27, 1, others=False)),
        "bodies": list(few(REQUEST_RESPONSE, 1)),
        "attack": [json.loads(line) for line in ATTACK.read_bytes().splitlines()],
    }
    for rule, (reported, _) in EXAMPLES.items():
        found[rule] = [event for example in reported if not isinstance(example, bytes) for event in as_log(example)]
    return found


def stripped(log: str, strip: str) -> list[Record]:
    """Return a log without something."""
    if not strip:
        return logs()[log]
    copies = orjson.loads(orjson.dumps(logs()[log]))
    return [found for record in copies if (found := STRIPS[strip](record)) is not None]


@functools.cache
def outcome(log: str, strip: str = "") -> tuple[Counter[str], dict[str, str]]:
    """Return how much each rule finds, and what the doctor says of it."""
    left = stripped(log, strip)
    detectors = [cls() for cls in (*BUILTIN, *OPTIONAL)]
    found = Counter(finding.rule.id for finding in detect(left, detectors=detectors))
    return found, {rule.rule_id: rule.verdict for rule in diagnose(left).rules}


def concerned(rules: Iterable[str], strip: str) -> set[str]:
    """Return the rules of which a strip says something."""
    kind = DROPPED.get(strip)
    return {
        rule
        for rule in rules
        if (kind is None or kind in {need.kind.name for need in NEEDS[rule]})
        and rule not in NOTHING_LEFT.get(strip, ())
    } - (ANY_EVENT if kind else set())


@pytest.mark.parametrize("strip", STRIPS)
def test_a_rule_that_falls_silent_was_said_to(strip: str) -> None:
    """Where a rule finds nothing any more, it was not said to speak; where it was said to be silent, it is."""
    for log in logs():
        whole, _ = outcome(log)
        left, verdicts = outcome(log, strip)

        silenced = concerned((rule for rule in whole if not left[rule]), strip)
        assert not {rule for rule in silenced if verdicts[rule] == "can speak"}, log
        assert not {rule for rule in left if left[rule] and verdicts[rule] == "cannot speak"}, log


def test_a_rule_is_said_to_speak_where_it_does() -> None:
    """In the whole logs no rule that finds something is said not to speak."""
    for log in logs():
        found, verdicts = outcome(log)
        assert not {rule for rule in found if verdicts[rule] == "cannot speak"}, log


SILENCED = {
    ("token-request", "stage"),
    ("token-request", "code and issued ids"),
    ("token-request", "token requests"),
    ("token-request-long-lived", "bodies"),
    ("token-request-cloud-audience", "bodies"),
    ("token-right-granted", "bodies"),
    ("token-right-granted", "code"),
    ("token-request-denied", "code"),
    ("second-control-plane-credential", "certificate ids"),
    ("unusual-origin", "addresses, agents, ids"),
    ("token-read-by-exec", "URIs"),
    ("forged-token", "token ids"),
    ("pod-token-moved", "addresses"),
    ("pod-token-moved", "token ids"),
    ("read-token-used", "extra"),
    ("token-request-lookalike", "names"),
    ("minted-token-used", "token requests"),
}


@pytest.mark.parametrize(("rule", "strip"), sorted(SILENCED))
def test_what_silences_a_rule_is_named(rule: str, strip: str) -> None:
    """The rule speaks in its own example; without the fact the doctor says `cannot speak`, and it finds nothing."""
    verdict = next(one for one in diagnose(stripped(rule, strip)).rules if one.rule_id == rule)

    assert outcome(rule)[0][rule]
    assert not outcome(rule, strip)[0][rule]
    assert verdict.verdict == "cannot speak"
    assert verdict.why
    assert verdict.advice or verdict.changes


@pytest.mark.parametrize("name", WRAPPINGS)
def test_a_rule_that_a_wrapper_silences_was_said_to(name: str) -> None:
    """What a wrapper loses, the doctor sees in the events."""
    content = WRAPPINGS[name](logs()["bodies"])
    detectors = [cls() for cls in (*BUILTIN, *OPTIONAL)]
    left = Counter(finding.rule.id for finding in detect(content, detectors=detectors))
    verdicts = {rule.rule_id: rule.verdict for rule in diagnose(content).rules}

    silenced = {rule for rule in outcome("bodies")[0] if not left[rule]} - NOTHING_LEFT["bodies"]
    assert not {rule for rule in silenced if verdicts[rule] == "can speak"}
    assert not {rule for rule in left if left[rule] and verdicts[rule] == "cannot speak"}


ROWS = {
    "bodies": "bodies (level Metadata)",
    "code": "the answer's code",
    "token ids": "ids of tokens used",
    "certificate ids": "ids of certificates",
    "addresses": "addresses",
    "URIs": "request URIs",
    "reads": "reads (get, list, watch)",
}
"""The rows of the page's table, by what is taken out."""


@pytest.mark.parametrize("strip", ROWS)
def test_the_page_says_what_silences_which_rules(strip: str) -> None:
    """The table in docs/doctor.md names just the rules whose verdict gets worse, in a log that has everything."""
    page = (ATTACK.parents[1] / "docs" / "doctor.md").read_text(encoding="utf-8")
    row = next(line for line in page.splitlines() if line.startswith(f"| {ROWS[strip]}"))
    _, _, silent, less, _ = row.split("|")
    whole, left = diagnose(everything("")), diagnose(everything(strip))
    worse = {rule.rule_id: rule.verdict for rule in left.rules if rule.verdict != whole.verdict(rule.rule_id)}

    for verdict, cell in (("cannot speak", silent), ("in part", less)):
        assert {rule for rule in worse if worse[rule] == verdict} == set(re.findall(r"`([a-z-]+)`", cell)), verdict


def everything(strip: str) -> list[Record]:
    """Return one log of all events, each with its body; without logs of clouds, for which there are other rules."""
    whole = (record for log in ("bodies", *EXAMPLES) if log not in FROM_CLOUDS for record in stripped(log, strip))
    return [
        record if strip == "bodies" else {"requestObject": {"spec": {"expirationSeconds": 3600}}} | record
        for record in whole
    ]


def test_every_rule_has_its_needs() -> None:
    """A new rule says on which facts it rests; each fact exists."""
    assert list(WANTED) == RULES
    assert {fact for needs in WANTED.values() for need in needs for fact in need.facts} <= set(BY_NAME)
