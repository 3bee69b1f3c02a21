# SPDX-License-Identifier: Apache-2.0
"""detect(): arguments, laziness, exclusions behind detectors, errors, the tally, duplicates."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import body, token_request
from k8stokendetect import (
    DEFAULT_EXCLUSIONS,
    AuditLog,
    ConfigError,
    Detector,
    DetectorError,
    Evidence,
    Finding,
    ReadError,
    Rule,
    Severity,
    Tally,
    detect,
    parse_event,
    read,
)
from k8stokendetect.detectors import TokenRequest
from k8stokendetect.engine import memory
from k8stokendetect.engine.reorder import order_of
from k8stokendetect.errors import K8sTokenDetectError
from k8stokendetect.exclusions import kubernetes
from recordings import METADATA, events, records
from strategies import audit_events

KUBELET = token_request(
    "system:node:worker-1", groups=("system:nodes", "system:authenticated"), userAgent="kubelet/v1.36.2 (linux/amd64)"
)


class Everything(Detector):
    """Reports every event it is given; that is every event."""

    rule = Rule("acme.everything", "Everything", Severity.INFORMATIONAL)
    watches = frozenset({"*"})

    def inspect(self, event: Any, /) -> Iterator[Finding]:
        """Yield one finding."""
        yield self.finding(event, f"{event.verb} {event.resource}")


class Pods(Everything):
    """Watches pods only."""

    watches = frozenset({"pods"})


class Broken(Detector):
    """Raises after its first finding."""

    rule = Rule("acme.broken", "Broken", Severity.LOW)
    watches = frozenset({"*"})

    def inspect(self, event: Any, /) -> Iterator[Finding]:
        """Fail."""
        yield self.finding(event, "lost")
        raise ValueError(event.verb)


def test_any_source_will_do(tmp_path: Any) -> None:
    """One import is enough to start: what an embedding tool holds goes straight in."""
    record = token_request()
    content = json.dumps(record).encode()
    path = tmp_path / "audit.log"
    path.write_bytes(content)
    event = parse_event(record)

    for source in (path, str(path), content, io.BytesIO(content), record, [record], iter([record]), event, [event]):
        assert [f.rule.id for f in detect(source, detectors=["token-request"])] == ["token-request"]
    assert [f.rule.id for f in detect(read(path), detectors=["token-request"])] == ["token-request"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"detectors": ["token-requst"]}, "unknown rule 'token-requst'; did you mean 'token-request'"),
        ({"detectors": [TokenRequest]}, r"not a Detector instance: .*; write TokenRequest\(\)"),
        ({"detectors": "token-request"}, "detectors takes a list"),
        ({"detectors": TokenRequest()}, "detectors takes a list"),
        ({"detectors": 3}, "detectors takes a list"),
        ({"detectors": ["token-request", TokenRequest()]}, "rule 'token-request' is given twice"),
        ({"exclusions": None}, "exclusions takes a list"),
        ({"exclusions": [kubernetes.KUBELET, attrs.evolve(kubernetes.KUBELET, hides="x")]}, "two different exclusions"),
        ({"on_error": None}, "on_error must be callable"),
        ({"tally": {}}, "tally a Tally"),
        ({"exclusions": ["kublet"]}, "unknown exclusion 'kublet'; did you mean 'kubelet'"),
        ({"exclusions": "kubelet"}, "exclusions takes a list"),
        ({"exclusions": kubernetes.KUBELET}, "exclusions takes a list"),
        ({"exclusions": [7]}, "not an Exclusion: 7"),
        ({"exclusions": [attrs.evolve(kubernetes.KUBELET, rules=("token-reqest",))]}, "unknown rule 'token-reqest'"),
        ({"platform": "ekz"}, "unknown platform 'ekz'"),
        ({"source": 7}, "cannot read audit events from int"),
        (
            {"source": read(b"", platform="aks"), "platform": "eks"},
            "an AuditLog was given: give the platform",
        ),
    ],
)
def test_arguments_are_checked_at_the_call(options: dict[str, Any], message: str) -> None:
    """Not when the first event comes."""
    with pytest.raises(ConfigError, match=message):
        detect(**{"source": b""} | options)


def test_an_exclusion_may_name_the_rule_of_a_detector_of_yours() -> None:
    """It is known when the detector is there."""
    exclusion = attrs.evolve(kubernetes.KUBELET, rules=("acme.everything",))
    findings = detect(KUBELET, detectors=[Everything()], exclusions=[exclusion], keep_excluded=True)

    assert [finding.excluded_by for finding in findings] == ["kubelet"]


def test_it_is_lazy() -> None:
    """It reads no further than it must: until the allowed lateness has passed."""

    def source() -> Iterator[Any]:
        yield token_request(requestReceivedTimestamp="2026-11-23T21:43:45Z")
        yield token_request(requestReceivedTimestamp="2026-11-23T21:44:46Z")
        pytest.fail("read ahead")

    assert next(detect(source())).rule.id == "token-request"


def test_detectors_see_what_they_watch_and_every_event_without_watches() -> None:
    """On the recording, in the order of time. A request at two stages is one finding."""
    for detector, resources in ((Pods(), {"pods"}), (Everything(), {event.resource for event in events(METADATA)})):
        expected = [order_of(event)[:2] for event in events(METADATA) if event.resource in resources]
        seen = [
            (finding.event.time, finding.event.audit_id) for finding in detect(events(METADATA), detectors=[detector])
        ]

        assert sorted(set(expected)) == seen


def test_what_is_set_aside_is_counted_and_shown_on_request() -> None:
    """Detectors find, exclusions excuse, and nothing vanishes."""
    tally = Tally()
    assert list(detect(KUBELET, tally=tally)) == []
    assert tally.excluded == {"kubelet": 2}
    assert {"kubelet"} == {finding.excluded_by for finding in detect(KUBELET, keep_excluded=True)}
    assert {None} == {finding.excluded_by for finding in detect(KUBELET, exclusions=())}


def test_exclusions_by_name() -> None:
    """A name is as good as the object."""
    assert list(detect(KUBELET, exclusions=["kubelet"])) == []


@given(st.lists(audit_events, max_size=4), st.sets(st.sampled_from(DEFAULT_EXCLUSIONS)))
def test_more_exclusions_never_give_more_findings(drawn: list[dict[str, Any]], fewer: set[Any]) -> None:
    """Nor do they hide one that is not marked as set aside."""

    def reported(exclusions: Any, **options: Any) -> list[tuple[str, str, str]]:
        findings = detect(drawn, exclusions=exclusions, on_error=lambda _: None, **options)
        return [(finding.rule.id, finding.event.audit_id, finding.summary) for finding in findings]

    everything = reported(())
    assert set(reported(DEFAULT_EXCLUSIONS)) <= set(reported(fewer)) <= set(everything)
    assert everything == reported(DEFAULT_EXCLUSIONS, keep_excluded=True)


def test_a_detector_that_raises_is_named_and_the_others_still_see_the_event() -> None:
    """Its error goes to `on_error` with the origin; the default raises it."""
    errors: list[K8sTokenDetectError] = []
    tally = Tally()
    findings = list(detect([KUBELET] * 2, detectors=[Broken(), Everything()], on_error=errors.append, tally=tally))

    assert [finding.rule.id for finding in findings] == ["acme.everything"]
    assert [str(errors[0])] == ["record 1: detector acme.broken failed: ValueError: create"] * 1
    assert (len(errors), tally.failures) == (2, 2)
    with pytest.raises(DetectorError, match=r"acme\.broken"):
        list(detect(KUBELET, detectors=[Broken()]))


@pytest.mark.parametrize("wrong", [["oops"], None, [None]], ids=repr)
def test_a_detector_that_gives_no_findings_is_named(wrong: Any) -> None:
    """Its mistake is an error of its own, and costs nobody else anything."""

    class Wrong(Detector):
        rule = Rule("acme.wrong", "Wrong", Severity.LOW)
        watches = frozenset({"*"})

        def inspect(self, _: Any, /) -> Any:
            return wrong

    errors: list[K8sTokenDetectError] = []
    findings = list(detect(KUBELET, detectors=[Wrong(), Everything()], on_error=errors.append))

    assert [finding.rule.id for finding in findings] == ["acme.everything"]
    assert "record 1: detector acme.wrong failed: TypeError" in str(errors[0])


def test_an_exception_that_cannot_be_printed_is_named() -> None:
    """Even then the scan goes on."""

    class UnprintableError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    class Raising(Detector):
        rule = Rule("acme.raising", "Raising", Severity.LOW)
        watches = frozenset({"*"})

        def inspect(self, _: Any, /) -> Iterator[Finding]:
            raise UnprintableError

    errors: list[K8sTokenDetectError] = []
    assert list(detect(KUBELET, detectors=[Raising()], on_error=errors.append)) == []
    assert str(errors[0]).endswith("failed: UnprintableError")


def test_unreadable_records_go_to_on_error_and_into_the_tally() -> None:
    """Of `detect`, and of an AuditLog that was made before."""
    content = b"broken\n" + json.dumps(token_request()).encode() + b"\n{}\n"
    for make in (bytes, read, lambda c: AuditLog(c, on_error=lambda _: pytest.fail("the log's own on_error"))):
        errors: list[K8sTokenDetectError] = []
        tally = Tally()
        findings = list(detect(make(content), on_error=errors.append, tally=tally, detectors=["token-request"]))

        assert (len(findings), tally.events, tally.unreadable) == (1, 1, 2)
        assert [error.origin for error in errors if isinstance(error, ReadError)] == ["<bytes>:1", "<bytes>:3"]
    with pytest.raises(ReadError):
        list(detect(content))
    collected: list[K8sTokenDetectError] = []
    list(detect(read(content, on_error=collected.append)))
    assert len(collected) == 2


def mint_ids(source: Any, **options: Any) -> list[str | None]:
    """Return the credential ids of the reported mints."""
    return [f.event.minted_credential for f in detect(source, detectors=["token-request"], **options)]


def test_exact_duplicates_are_dropped_and_counted() -> None:
    """A webhook delivers at least once; the same event may come from two log categories or at two stages."""
    tally = Tally()
    again = token_request(stage="Panic", stageTimestamp="2026-11-23T21:43:46.000000Z")
    assert len(mint_ids([token_request(), token_request(), again], tally=tally)) == 1
    assert (tally.events, tally.findings.total(), tally.duplicates) == (3, 1, 2)


@pytest.mark.parametrize(
    "other",
    [
        {"requestReceivedTimestamp": "2026-11-23T21:43:45.581828Z"},
        {"issued": "JTI=another"},
        {"username": "bob"},
        {"target": "prod/reporter"},
        {"impersonatedUser": {"username": "bob"}},
        {"sourceIPs": ["192.0.2.8"]},
    ],
    ids=lambda other: next(iter(other)),
)
def test_a_chosen_audit_id_hides_nothing(other: dict[str, Any]) -> None:
    """An attacker may repeat the auditID of an earlier mint: two different requests give two findings."""
    assert len(mint_ids([token_request(), token_request(**other)])) == 2


def test_without_a_time_nothing_is_taken_for_a_duplicate() -> None:
    """The time of receipt is the half of a request's identity that no client can choose; the stage's will do."""
    assert len(mint_ids([token_request(requestReceivedTimestamp=None, stageTimestamp=None)] * 2)) == 2
    assert len(mint_ids([token_request(requestReceivedTimestamp=None)] * 2)) == 1


def test_level_and_wording_make_no_second_finding() -> None:
    """The same request at level Metadata and, from another backend, with its body."""
    record = token_request()
    assert len(mint_ids([record, {**record, "level": "Request", "requestObject": body()}])) == 1


def test_the_window_is_bounded_and_flooding_it_only_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory stays bounded, and an attacker gains nothing."""
    monkeypatch.setattr(memory, "WINDOW", 10)
    flood = [token_request(issued=f"JTI={number}") for number in range(50)]
    assert len(mint_ids([token_request(), *flood, token_request()])) == 52
    assert len(mint_ids(flood[:10] * 2)) == 10


class Twice(Detector):
    """Says the same about one event twice."""

    rule = Rule("acme.twice", "Twice", Severity.LOW)
    watches = frozenset({"*"})

    def inspect(self, event: Any, /) -> Iterator[Finding]:
        """Yield two findings with one fingerprint."""
        yield self.finding(event, "same", Evidence("verb", event.verb, "first"))
        yield self.finding(event, "same", Evidence("verb", event.verb, "second"))


def test_findings_about_one_event_are_no_duplicates_of_each_other() -> None:
    """Only what an earlier event gave is one."""
    tally = Tally()
    assert [f.evidence[0].why for f in detect([KUBELET] * 2, detectors=[Twice()], tally=tally)] == ["first", "second"]
    assert tally.duplicates == 2


class Both(Detector):
    """Says two things about one event, told apart by their key."""

    rule = Rule("acme.both", "Both", Severity.LOW)
    watches = frozenset({"*"})

    def inspect(self, event: Any, /) -> Iterator[Finding]:
        """Yield two findings with a fingerprint each."""
        for key in ("a", "b"):
            yield self.finding(event, "same", key=key)


def test_a_key_tells_several_findings_about_one_event_apart() -> None:
    """So that a SIEM that joins on fingerprints keeps both."""
    assert len({finding.fingerprint for finding in detect(KUBELET, detectors=[Both()])}) == 2


def test_the_same_detector_goes_on_with_what_it_remembers() -> None:
    """So that a stream can be fed batch by batch; two calls with fresh ones do not disturb each other."""

    class Counting(Detector):
        rule = Rule("acme.counting", "Counting", Severity.LOW)
        watches = frozenset({"*"})

        def __init__(self) -> None:
            self.seen = 0

        def inspect(self, event: Any, /) -> Iterator[Finding]:
            self.seen += 1
            yield self.finding(event, f"number {self.seen}")

    detector = Counting()
    assert [finding.summary for _ in range(2) for finding in detect(KUBELET, detectors=[detector], exclusions=())] == [
        "number 1",
        "number 2",
    ]


def test_fingerprints_do_not_depend_on_where_a_record_was_read() -> None:
    """Another file, another line, another stage: the same request has the same one; another rule has another."""
    record = token_request()
    once, again = (list(detect([json.dumps(record).encode(), *extra])) for extra in ([], [b"\n\n"]))
    other = list(detect(record))

    assert [f.fingerprint for f in once] == [f.fingerprint for f in again] == [f.fingerprint for f in other]
    assert len({finding.fingerprint for finding in once}) == 2
    assert all(len(finding.fingerprint) == 32 for finding in once)


def test_the_recording_has_one_fingerprint_a_finding() -> None:
    """No two different findings of 6,758 events share one."""
    findings = list(detect(records(METADATA), exclusions=()))
    assert len(findings) == len({finding.fingerprint for finding in findings})


def test_findings_events_and_exclusions_can_be_hashed() -> None:
    """They are values: sets and caches take them."""
    findings = list(detect(records(METADATA)))
    assert len(findings) == len(set(findings))
    assert len(set(events(METADATA)[:100])) == 100
    assert len(set(DEFAULT_EXCLUSIONS)) == len(DEFAULT_EXCLUSIONS)


def test_severities_are_ordered_and_have_names() -> None:
    """As on the command line."""
    assert Severity.LOW < Severity.MEDIUM < Severity.HIGH < Severity.CRITICAL
    assert f"{Severity.LOW:>5}" == "  low"
    assert "medium" == str(Severity.MEDIUM) == f"{Severity.of('Medium')}"
    with pytest.raises(ConfigError, match="unknown severity 'urgent'"):
        Severity.of("urgent")
