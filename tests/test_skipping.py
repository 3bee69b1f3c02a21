# SPDX-License-Identifier: Apache-2.0
"""What is skipped changes nothing: same findings, same errors, same counts, in every wrapper and every split."""

from __future__ import annotations

import gzip
import io
import json
import random
import tracemalloc
from collections.abc import Iterator
from typing import Any

import attrs
import msgspec
import pytest

from builders import token_request
from k8stokendetect import (
    AuditLog,
    Detector,
    Event,
    Finding,
    Rule,
    Severity,
    Tally,
    detect,
)
from k8stokendetect.detectors import BUILTIN, OPTIONAL, UnknownTokenUsed
from k8stokendetect.engine import Memory
from k8stokendetect.identity import CREDENTIAL_ID, POD_NAME
from k8stokendetect.reading.prefilter import Prefilter
from k8stokendetect.reading.window import KEPT
from k8stokendetect.testing import request
from recordings import METADATA, METADATA_1_27, REQUEST_RESPONSE, few, records
from test_damage import OF_COLUMNS, variants
from test_detector_minted_token_used import pods, use
from test_wrappers import WRAPPINGS


class Everything(Detector):
    """Watches every event and reports none: nothing is skipped beside it."""

    rule = Rule("test.everything", "Everything", Severity.LOW)
    watches = frozenset({"*"})

    def inspect(self, _: Any, /) -> Iterator[Finding]:
        """Look at it."""
        return iter(())


def outcome(content: bytes, *extra: Detector) -> tuple[list[bytes], list[str], int, int, int]:
    """Return findings and errors, and how many events, errors and skipped records were counted."""
    errors: list[Any] = []
    tally = Tally()
    found = detect(content, detectors=[*(cls() for cls in BUILTIN), *extra], on_error=errors.append, tally=tally)
    # A watch is logged at two stages under one time; which of the two is reported, or both, is no difference.
    staged = (attrs.evolve(one, event=attrs.evolve(one.event, stage="", origin=None)) for one in found)
    return (
        sorted({msgspec.json.encode(one) for one in staged}),
        sorted(map(str, errors)),
        tally.events,
        tally.unreadable,
        tally.skipped,
    )


def compact(log: list[dict[str, Any]]) -> bytes:
    """Write a log as the API server does."""
    return b"".join(json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode() + b"\n" for record in log)


@pytest.mark.parametrize("path", [METADATA, METADATA_1_27, REQUEST_RESPONSE])
def test_the_recordings_give_the_same(path: Any) -> None:
    """Most events of a Metadata log are skipped."""
    content = compact(records(path))
    assert outcome(content) == outcome(content, Everything())
    log = AuditLog(content)
    list(detect(log))
    if path == METADATA:
        assert log.passed_over > len(records(path)) / 2


PART = list(few(METADATA, 1, others=False))
"""Mints and uses, the recorded chain among them."""


def test_the_part_holds_what_it_is_for() -> None:
    """Uses of followed tokens, chains, mints that are set aside."""
    findings = list(detect(PART, keep_excluded=True))
    assert {"minted-token-used", "token-request"} <= {finding.rule.id for finding in findings}
    assert max(len(finding.related) for finding in findings) == 3
    assert any(finding.excluded_by for finding in findings)


@pytest.mark.parametrize("name", WRAPPINGS)
def test_every_wrapper_gives_the_same(name: str) -> None:
    """As each writes it, and without spaces, as others write the same."""
    content = WRAPPINGS[name](PART)
    whole = outcome(content, Everything())
    assert outcome(content) == whole
    compacted = content.replace(b'": ', b'":').replace(b'", "', b'","')
    if compacted != content and name not in OF_COLUMNS:  # which are no text
        assert outcome(compacted) == whole


def test_damaged_lines_give_the_same() -> None:
    """Each is an error all the same, with its line."""
    lines = [*variants(200), *compact(records(METADATA)[3800:4000]).split(b"\n")]
    random.Random(1).shuffle(lines)  # noqa: S311 - no secret
    content = b"\n".join(lines)
    assert outcome(content) == outcome(content, Everything())


def test_a_cut_record_in_a_wrapper_is_an_error_all_the_same() -> None:
    """Azure cuts at 16 KiB, CloudWatch with a mark: the line is whole JSON, what it holds is not."""
    event = json.dumps(pods(), separators=(",", ":"))
    whole = json.dumps({"message": event, "timestamp": 1}, separators=(",", ":"))
    for cut, read in ((event[:300], 3), (event[:300] + "[Truncated...]", 3), (event[:-1], 4)):
        line = json.dumps({"message": cut, "timestamp": 1}, separators=(",", ":"))
        content = f"{whole}\n{whole}\n{line}\n{whole}\n".encode()
        assert outcome(content) == outcome(content, Everything())
        assert outcome(content)[2:4] == (read, 4 - read), "what is cut off behind its answer is read"


def test_a_cut_that_the_client_chose_is_an_error_all_the_same() -> None:
    """An Audit-ID so long that the record is cut in it, right after a brace that the client put there."""
    record = pods(auditID="x}" * 40)
    whole, text = json.dumps(pods(), separators=(",", ":")), json.dumps(record, separators=(",", ":"))
    for cut in (text[: text.index("x}") + 40], text[: text.index("x}") + 40] + "\n"):
        azure = [{"category": "kube-audit", "properties": {"log": event}} for event in (whole, cut, whole)]
        forms = (
            "".join(
                json.dumps({"message": event, "timestamp": 1}, separators=(",", ":")) + "\n" for event in (whole, cut)
            ),
            json.dumps({"records": azure}, separators=(",", ":")) + "\n",
            f"{whole}\n{cut.rstrip()}\n{whole}\n",
        )
        for form in forms:
            content = form.encode()
            assert outcome(content)[3] == 1
            assert outcome(content) == outcome(content, Everything())


def test_what_a_client_writes_does_not_change_the_counts() -> None:
    """The beginning and the end of an event, as text in a user agent; two events in one line."""
    forged = pods(userAgent='{"kind":"Event",,"stageTimestamp":}" x', auditID='"stageTimestamp":')
    for log in (compact([forged, token_request(), forged]), compact([pods(), use()]).replace(b"}\n{", b"}{")):
        assert outcome(log) == outcome(log, Everything())
    wrapped = compact([{"message": json.dumps(event, separators=(",", ":"))} for event in (forged, token_request())])
    assert outcome(wrapped) == outcome(wrapped, Everything())


def test_a_log_can_be_read_again_in_full() -> None:
    """What one `detect` did not want is not lost to another, nor to whoever reads the events themselves."""
    log = AuditLog(compact(records(METADATA)[3600:4100]))
    first = {finding.fingerprint for finding in detect(log)}
    assert log.passed_over > 0
    assert len(list(log)) == 500
    assert {finding.fingerprint for finding in detect(log)} == first
    assert len(list(detect(log, detectors=[Each()]))) == 500


class Each(Everything):
    """Reports every event."""

    def inspect(self, event: Any, /) -> Iterator[Finding]:
        """Report it."""
        yield self.finding(event, "seen", key=event.origin or "")


def test_a_line_longer_than_a_record_is_an_error_all_the_same() -> None:
    """Also where nobody would have wanted it."""
    content = compact([pods(userAgent="x" * 5000), pods()])
    errors: list[Any] = []
    list(detect(AuditLog(content, max_record=2000, on_error=errors.append)))
    assert [error.reason for error in errors] == ["record longer than 2000 bytes, the limit max_record"]


def test_an_id_of_any_form_is_followed() -> None:
    """The API server writes UUIDs; nobody promises it."""
    content = compact([token_request(issued="JTI=Any_Form.1"), use("JTI=Any_Form.1"), use("JTI=Any_Form.2")])
    assert [f.event.used_credential for f in detect(content) if f.rule.id == "minted-token-used"] == ["JTI=Any_Form.1"]


@pytest.mark.parametrize("apart", [0, 3000, 6000])
def test_a_use_that_was_logged_before_its_mint_is_found(apart: int) -> None:
    """In the same block, and in one that was passed over."""
    between = [pods(auditID=f"n{number}", user={"username": "bob"}) for number in range(apart)]
    content = compact([use(), *between, token_request()])
    findings = {finding.rule.id for finding in detect(content)}
    assert "minted-token-used" in findings
    assert outcome(content) == outcome(content, Everything())


def test_what_a_detector_of_ones_own_watches_is_read() -> None:
    """By its resource; of `*` every event is."""

    class Exec(Everything):
        rule = attrs.evolve(Everything.rule, id="test.exec")
        watches = frozenset({"pods/exec"})

        def inspect(self, event: Any, /) -> Iterator[Finding]:
            yield self.finding(event, "exec")

    ref = {"resource": "pods", "subresource": "exec", "namespace": "prod", "name": "w"}
    content = compact([pods(), use(objectRef=ref, auditID="e"), pods()])
    log = AuditLog(content)
    assert [finding.event.audit_id for finding in detect(log, detectors=[Exec()])] == ["e"]
    assert log.passed_over == 2
    assert all(cls.rule.id not in {"forged-token", "pod-token-moved", "read-token-used"} for cls in BUILTIN)
    assert len(OPTIONAL) == 3


def test_the_last_uses_are_read_for_a_call_that_goes_on_with_what_this_one_remembers() -> None:
    """Without a Memory, and with detectors of its own, no later call can show their mints."""
    uses = [pods(auditID=f"use-{number}") for number in range(3)]
    for record in uses:
        record["user"]["extra"][POD_NAME] = ["p"]  # of a pod's token no use is wanted before its mint is
    content, fresh = compact(uses), [cls() for cls in BUILTIN]
    alone, remembered, continued = AuditLog(content), AuditLog(content), AuditLog(content)
    list(detect(alone))
    list(detect(remembered, memory=Memory()))
    list(detect(continued, detectors=fresh))

    assert [log.passed_over for log in (alone, remembered, continued)] == [3, 0, 0]


def test_other_forms_between_lines_change_nothing() -> None:
    """An array, an indented document, a line of megabytes."""
    native = compact([pods(), token_request(), pods()])
    for other in (b'[{"auditID":"a","verb":"get"}]\n', b'{\n "auditID": "a",\n "verb": "get"\n}\n'):
        content = native * 400 + other + native * 3
        assert outcome(content) == outcome(content, Everything())
        assert outcome(content)[2] == 3 * 403 + 1
    long = compact([pods(userAgent="x" * 6_000_000)])
    content = native + long + native
    assert outcome(content) == outcome(content, Everything())


def test_a_stream_that_is_not_at_its_end_is_not_waited_for() -> None:
    """A followed file gives what it has: whatever is there is examined."""
    mint = compact([token_request()])
    parts = [compact([pods()]), mint[:100], mint[100:], b"never asked for"]

    class Following(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def read(self, size: int = -1, /) -> bytes:
            part, parts[0] = parts[0][:size], parts[0][size:]
            if not parts[0]:
                del parts[0]
            return part

    log = AuditLog(Following())
    event = next(log.stream(Prefilter(["serviceaccounts/token"])))
    assert isinstance(event, Event)
    assert event.audit_id == token_request()["auditID"]
    assert log.passed_over == 1
    assert parts == [b"never asked for"]


@pytest.mark.parametrize("others", [0, 2000], ids=["alone", "behind many others"])
@pytest.mark.parametrize("mappings", [True, False], ids=["mappings", "lines"])
def test_a_use_is_found_though_its_mint_is_reported_only_after_all_is_read(others: int, *, mappings: bool) -> None:
    """By its proofs a mint seems a kubelet's, until the log has shown that theirs carry the ids of certificates."""
    log = [pods()]
    for number in range(31):
        extra = {"extra": {CREDENTIAL_ID: [f"X509SHA256={number % 7}"]}} if number < 30 else {}
        log.append(
            token_request(
                user={"username": f"system:node:n{number % 7}", "groups": ["system:nodes", "system:authenticated"]}
                | extra,
                userAgent="kubelet/v1.36.2 (linux/amd64)",
                issued=f"JTI={number}",
                auditID=f"mint {number}",
                requestReceivedTimestamp=f"2026-11-23T21:43:{number:02}.000000Z",
            )
        )
    log.append(use("JTI=30", requestReceivedTimestamp="2026-11-23T21:43:31.000000Z"))
    log += [use("JTI=x", auditID=str(n), requestReceivedTimestamp="2026-11-23T21:43:32.000000Z") for n in range(others)]
    found = detect(log if mappings else compact(log))

    assert [one.event.audit_id for one in found if one.rule.id == "minted-token-used"] == [use("")["auditID"]]


def test_a_source_that_fails_loses_no_use_that_it_gave_before() -> None:
    """The mint comes from another one."""

    class Failing(io.RawIOBase):
        def __init__(self) -> None:
            self.rest = compact([pods(), use("JTI=late")])

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any, /) -> int:
            if not self.rest:
                raise OSError("the disk is gone")
            size = min(len(buffer), len(self.rest))
            buffer[:size], self.rest = self.rest[:size], self.rest[size:]
            return size

    errors: list[Any] = []
    sources: list[Any] = [Failing(), compact([token_request(issued="JTI=late")])]
    found = [one.rule.id for one in detect(sources, on_error=errors.append)]

    assert "minted-token-used" in found
    assert len(errors) == 1


@pytest.mark.parametrize("path", [METADATA, METADATA_1_27])
def test_mappings_fed_one_by_one_give_the_same(path: Any) -> None:
    """As an embedding tool does, with uses before their mints; most are passed over."""
    log = [*reversed(records(path)[3690:4100]), *records(path)[1000:2000]]

    def found(source: Any, *extra: Detector) -> set[str]:
        return {one.fingerprint for one in detect(source, detectors=[*(cls() for cls in BUILTIN), *extra])}

    queue = AuditLog(iter(log))
    assert found(queue) == found(iter(log), Everything())
    assert queue.passed_over > 100


def event_hub(log: list[dict[str, Any]], size: int, **more: Any) -> bytes:
    """Write messages of so many records, as Azure does."""
    written = [json.dumps(event, separators=(",", ":")) + "\n" for event in log]
    records = [{"category": "kube-audit", "properties": {"log": text, "pod": "a"}, **more} for text in written]
    batches = [records[start : start + size] for start in range(0, len(records), size)]
    return compact([{"records": batch} for batch in batches])


def test_what_waits_for_its_mint_takes_no_more_memory_than_the_window_has() -> None:
    """One short use in each long message of other events; and uses with long user agents, as mappings and lines."""
    other = request("get", "configmaps", user="bob") | {"annotations": {"note": "x" * 4000}}
    batch = [*[other] * 25, use("JTI=small")]
    long = use("JTI=long") | {"userAgent": "x" * 100_000}
    long["user"]["extra"][POD_NAME] = ["p"]  # of a pod's token each use is skipped

    def most(source: Any) -> int:
        tracemalloc.start()
        try:
            list(detect(source))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    window = 2 * KEPT + (8 << 20)  # the last of it is read at the end
    assert most(Repeated(event_hub(batch, len(batch)), 500)) < window
    assert most(Repeated(compact([long]), 500)) < window
    assert most(json.loads(json.dumps(long)) for _ in range(500)) < window


def test_a_use_in_a_large_message_is_kept_as_long_as_others() -> None:
    """What else its message holds takes no room in the window."""
    other = request("get", "configmaps", user="bob") | {"annotations": {"note": "x" * 4000}}
    batches = (event_hub([*[other] * 25, use(token)], 26) for token in ("JTI=early", "JTI=other"))
    mint = compact([token_request(issued="JTI=early")])
    found = detect([next(batches), Repeated(next(batches), 400), mint])

    assert "minted-token-used" in {one.rule.id for one in found}


class Repeated:
    """A file that has the same lines again and again."""

    def __init__(self, lines: bytes, times: int) -> None:
        self._lines, self._left, self._place = lines, len(lines) * times, 0

    def read(self, size: int = -1, /) -> bytes:
        """Return the next bytes."""
        part = self._lines[self._place :][: min(size, self._left)]
        self._place = (self._place + len(part)) % len(self._lines)
        self._left -= len(part)
        return part


@pytest.mark.parametrize(
    "more",
    [{}, {"pod": "},{"}, {"tags": [{"a": 1}, {"b": 2}, {"c": 3}]}, {"note": '"},{"'}],
    ids=["plain", "brackets", "a list", "quotes"],
)
def test_the_records_of_a_message_are_read_one_by_one(more: dict[str, Any]) -> None:
    """Each has the place that it has in the whole message, and what else stands in it changes nothing."""
    content = event_hub(records(METADATA)[3500:4100], 50, **more)
    skipping = {finding.event.origin for finding in detect(content)}
    assert skipping == {f.event.origin for f in detect(content, detectors=[Everything(), *(c() for c in BUILTIN)])}
    assert outcome(content) == outcome(content, Everything())


def test_a_mint_and_its_earlier_use_in_one_message_are_joined() -> None:
    """The use is passed over first, and taken out of the same line when its token is followed."""
    mint = token_request(annotations={"authentication.kubernetes.io/issued-credential-id": "JTI=a"})
    early = use("JTI=a", requestReceivedTimestamp=mint["requestReceivedTimestamp"])
    for log in ([early, mint], [mint, early], [pods(), early, pods(), mint, pods()]):
        content = event_hub(log, 50)
        assert outcome(content) == outcome(content, Everything())
        assert "minted-token-used" in str(outcome(content))


class Slow(io.RawIOBase):
    """Gives few bytes at a time, as a pipe does."""

    def __init__(self, content: bytes, size: int) -> None:
        self._rest = io.BytesIO(content)
        self._size = size

    def readable(self) -> bool:
        """Tell that it is."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """Return the next piece."""
        return self._rest.read(min(size, self._size))


@pytest.mark.parametrize("form", ["plain", "gzip", "pipe"])
def test_how_much_is_kept_does_not_depend_on_the_size_of_a_read(form: str) -> None:
    """A use 12 MiB before its mint is found, one 20 MiB before is not; in the next call one of the last 500 is."""
    mint = token_request(annotations={"authentication.kubernetes.io/issued-credential-id": "JTI=late"})
    early = compact([use("JTI=late", requestReceivedTimestamp=mint["requestReceivedTimestamp"])])
    filler = compact([pods()])

    def opened(content: bytes) -> Any:
        return Slow(content, 50_000) if form == "pipe" else gzip.compress(content, 1) if form == "gzip" else content

    def rules(*logs: bytes) -> set[str]:
        detectors = [cls() for cls in BUILTIN if cls is not UnknownTokenUsed]  # it reads them all
        return {finding.rule.id for log in logs for finding in detect(opened(log), detectors=detectors)}

    for mebibytes, found in ((12, True), (20, False)):
        between = filler * ((mebibytes << 20) // len(filler))
        assert ("minted-token-used" in rules(early + between + compact([mint]))) == found
    between = filler * 400
    assert "minted-token-used" in rules(between + early + between, compact([mint]))
