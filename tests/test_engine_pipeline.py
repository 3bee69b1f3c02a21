# SPDX-License-Identifier: Apache-2.0
"""The way of an event through detect(): repetitions, verdicts, counts, and what keyed detectors are told and keep."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import attrs
import pytest

from builders import token_request
from k8stokendetect import (
    DEFAULT_EXCLUSIONS,
    Detector,
    Event,
    Exclusion,
    Finding,
    KeyedDetector,
    ReadError,
    Rule,
    Severity,
    Signal,
    Tally,
    detect,
    parse_event,
)
from k8stokendetect.detectors import (
    MintedTokenUsed,
    TokenRequest,
    TokenRequestDenied,
    TokenRequestURI,
    Traits,
    UnreadableTokenRequest,
    View,
)
from k8stokendetect.engine.pipeline import Pipeline
from k8stokendetect.errors import K8sTokenDetectError, raise_error
from k8stokendetect.exclusions import find_exclusion
from k8stokendetect.testing import request, service_account_user

KUBELET = token_request(
    "system:node:worker-1", groups=("system:nodes", "system:authenticated"), userAgent="kubelet/v1.36.2 (linux/amd64)"
)
WITHOUT_PROOF = KUBELET | {"user": {"username": "system:node:worker-1", "groups": ["system:authenticated"]}}
"""The same request by the same name, but for the group that proves it."""


class Mints(Detector):
    """Reports every mint."""

    rule = Rule("acme.mints", "Mints", Severity.LOW)
    watches = frozenset({"serviceaccounts/token"})

    def inspect(self, event: Any, /) -> Iterator[Finding]:
        """Yield one finding."""
        yield self.finding(event, "a mint")


OWN_EXCLUSION = attrs.evolve(find_exclusion("kubelet"), rules=("acme.mints",))


@pytest.mark.parametrize("keep_excluded", [True, False])
@pytest.mark.parametrize("own", [True, False], ids=["a detector of your own", "token-request"])
@pytest.mark.parametrize("log", [[KUBELET, WITHOUT_PROOF], [WITHOUT_PROOF, KUBELET]], ids=["first", "last"])
def test_what_was_excluded_hides_no_repetition_that_is_reported(
    log: list[dict[str, Any]], *, own: bool, keep_excluded: bool
) -> None:
    """Both are the same request with the same fingerprint: the verdict is part of what makes a repetition."""
    tally = Tally()
    detectors, exclusions = ([Mints()], [OWN_EXCLUSION]) if own else (["token-request"], ["kubelet"])
    findings = list(detect(log, detectors=detectors, exclusions=exclusions, keep_excluded=keep_excluded, tally=tally))

    assert len([finding for finding in findings if finding.excluded_by is None]) == 1
    assert keep_excluded is ("kubelet" in {finding.excluded_by for finding in findings})
    assert (tally.findings.total(), tally.excluded, tally.duplicates) == (1, {"kubelet": 1}, 0)


@pytest.mark.parametrize("keep_excluded", [True, False])
@pytest.mark.parametrize("own", [True, False], ids=["a detector of your own", "token-request"])
def test_what_was_excluded_is_counted_once_however_often_it_is_delivered(*, own: bool, keep_excluded: bool) -> None:
    """The second delivery is a duplicate."""
    tally = Tally()
    detectors, exclusions = ([Mints()], [OWN_EXCLUSION]) if own else (["token-request"], ["kubelet"])
    findings = list(
        detect([KUBELET] * 3, detectors=detectors, exclusions=exclusions, keep_excluded=keep_excluded, tally=tally)
    )

    assert ["kubelet"] * keep_excluded == [finding.excluded_by for finding in findings]
    assert (tally.findings.total(), tally.excluded, tally.duplicates) == (0, {"kubelet": 1}, 2)


@pytest.mark.parametrize("keep_excluded", [True, False])
@pytest.mark.parametrize("log", [[KUBELET, KUBELET], [token_request(), token_request()]], ids=["excluded", "reported"])
def test_a_rule_that_runs_for_another_one_only_is_not_counted(
    log: list[dict[str, Any]], *, keep_excluded: bool
) -> None:
    """minted-token-used needs token-request; whoever asked for the former alone sees nothing of the latter."""
    tally = Tally()
    findings = list(detect(log, detectors=["minted-token-used"], keep_excluded=keep_excluded, tally=tally))

    assert findings == []
    assert (tally.findings.total(), tally.excluded, tally.duplicates) == (0, {}, 0)


def log_of(*events: dict[str, Any]) -> bytes:
    """Return a log as the API server writes it: one compact line an event."""
    return b"".join(json.dumps(event, separators=(",", ":")).encode() + b"\n" for event in events)


def restored(detector: KeyedDetector[Any]) -> MintedTokenUsed:
    """Return another instance that goes on with what the first one remembers, as after a restart."""
    other = MintedTokenUsed()
    other.restore(json.loads(json.dumps(detector.state())))
    return other


@pytest.mark.parametrize("issued", ["JTI=956ad9c7-399e-46ac-9fd5-de1a3dfe5e03", None], ids=["with ids", "without ids"])
def test_a_restored_state_follows_tokens_through_the_next_log(issued: str | None) -> None:
    """Lines that concern nobody are skipped unparsed; a use of a token that is remembered from before is not.

    The log is longer than what is read for its last minute. One line holds the id of a token that its caller made up:
    by their number the ids could then be those of all users.
    """
    use = request(
        "list",
        "secrets",
        user=service_account_user("prod/payments-sa", issued),
        ip="203.0.113.9",
        time="2026-11-23T21:45:00.000000Z",
    )
    made_up = {"username": "bob", "extra": {"authentication.kubernetes.io/credential-id": ["JTI=made-up"]}}
    harmless = request(time="2026-11-23T21:45:01.000000Z")
    log = log_of(use, request(impersonatedUser=made_up)) + log_of(harmless) * 3000
    first = MintedTokenUsed()
    assert list(detect(log_of(token_request(issued=issued)), detectors=[first])) == []

    assert [finding.event.target for finding in detect(log, detectors=[restored(first)])] == ["secrets prod"]
    assert list(detect(log, detectors=[MintedTokenUsed()])) == []


def test_a_state_may_be_saved_and_restored_after_every_event() -> None:
    """The chain of two mints and its use, with a restart between each two."""
    chain = [
        token_request(issued="JTI=1", auditID="1"),
        token_request(
            target="prod/reporter",
            issued="JTI=2",
            auditID="2",
            user=service_account_user("prod/payments-sa", "JTI=1"),
            requestReceivedTimestamp="2026-11-23T21:44:00.000000Z",
        ),
        request(
            "list",
            "secrets",
            user=service_account_user("prod/reporter", "JTI=2"),
            auditID="3",
            time="2026-11-23T21:44:30.000000Z",
        ),
    ]
    detector = MintedTokenUsed()
    findings: list[Finding] = []
    for event in chain:
        detector = restored(detector)
        findings += detect(log_of(event), detectors=[detector])

    assert [(finding.event.audit_id, [mint.audit_id for mint in finding.related]) for finding in findings] == [
        ("2", ["1"]),
        ("3", ["1", "2"]),
    ]


class Prefilter:
    """Remembers what it is asked to follow."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def follow(self, name: str, /) -> None:
        """Remember it."""
        self.names.append(name)

    def know(self, id_: str, /) -> None:
        """Skip a token."""


class Told(KeyedDetector[int]):
    """Reports which rules reported an event, and how often it came."""

    rule = Rule("acme.told", "Told", Severity.LOW)
    watches = frozenset({"serviceaccounts/token"})
    traits = Traits(excludable=False)
    needs = frozenset({"token-request"})
    remember_for = timedelta(hours=1)

    def keys(self, event: Event, _: Sequence[Finding], /) -> Iterable[str]:
        """Name the request."""
        return [event.audit_id]

    def fold(self, key: str, event: Event, reported: Sequence[Finding], memory: View[int], /) -> Iterable[Finding]:
        """Count."""
        count = (memory.get(key) or 0) + 1
        memory.put(key, count)
        yield self.finding(event, f"{[finding.rule.id for finding in reported]} {count}", key=str(count))


def pipeline(*detectors: Detector, exclusions: Sequence[Exclusion] = DEFAULT_EXCLUSIONS, **options: Any) -> Pipeline:
    """Make a pipeline that raises what detectors raise."""
    return Pipeline(detectors, exclusions, raise_error, options.pop("tally", Tally()), **options)


def run(made: Pipeline, *log: dict[str, Any]) -> list[Finding]:
    """Return what it reports about a log."""
    events = [parse_event(record) for record in log]
    return [finding for event in events for finding in made.take(event)] + list(made.rest())


def test_a_keyed_detector_is_told_what_the_rules_it_needs_reported() -> None:
    """They run though nobody asked for them; nothing is said about what an exclusion excludes."""
    assert [finding.summary for finding in run(pipeline(Told()), token_request())] == ["['token-request'] 1"]
    assert [finding.summary for finding in run(pipeline(Told()), KUBELET)] == ["[] 1"]
    both = run(pipeline(TokenRequest(), Told()), token_request())
    assert [finding.rule.id for finding in both] == ["token-request", "acme.told"]


class ToldOfOrigins(Told):
    """The same, about a rule that remembers, too."""

    needs = frozenset({"unusual-origin"})
    rule = Rule("acme.origins", "Told of origins", Severity.LOW)


def test_a_keyed_rule_that_runs_for_another_one_only_says_nothing_itself() -> None:
    """But the one that needs it is told."""
    log = [
        token_request(
            auditID=f"{second}",
            requestReceivedTimestamp=f"2026-11-23T21:43:{second:02}.000000Z",
            userAgent="curl/8" if second == 30 else "kubectl/v1.36.2",
            user={"username": "system:kube-scheduler", "groups": ["system:authenticated"]},
        )
        for second in range(31)
    ]
    tally = Tally()
    found = run(pipeline(ToldOfOrigins(), tally=tally), *log)

    assert {finding.rule.id for finding in found} == {"acme.origins"} == set(tally.findings)
    assert found[-1].summary == "['unusual-origin'] 1"


class Counted(Told):
    """The same, about minting by design."""

    rule = Rule("acme.counted", "Counted", Severity.LOW)
    traits = Traits(excludable=True)


@pytest.mark.parametrize("keep_excluded", [True, False])
def test_exclusions_reach_a_keyed_detector(*, keep_excluded: bool) -> None:
    """What it reports about an excluded request is counted, and yielded only where that is asked for."""
    tally = Tally()
    found = run(pipeline(Counted(), tally=tally, keep_excluded=keep_excluded), KUBELET)

    assert ["kubelet"] * keep_excluded == [finding.excluded_by for finding in found]
    assert (tally.excluded, tally.findings) == ({"kubelet": 1}, {})


def test_an_event_that_is_delivered_twice_is_remembered_once() -> None:
    """Another stage of it is another event; without a time none can be told from another."""
    later = token_request(stage="ResponseStarted")
    untimed = token_request(requestReceivedTimestamp=None, stageTimestamp=None)

    assert len(run(pipeline(Told()), token_request(), token_request())) == 1
    assert len(run(pipeline(Told()), token_request(), later)) == 2
    assert len(run(pipeline(Told()), untimed, untimed)) == 2


@pytest.mark.parametrize(
    ("record", "rules", "expected"),
    [
        (token_request(issued="JTI=1"), None, ["JTI=1"]),
        (token_request(issued=None), None, ["system:serviceaccount:prod:payments-sa"]),
        (token_request(code=403, issued=None), None, []),
        (KUBELET, None, []),
        (WITHOUT_PROOF, None, ["JTI=956ad9c7-399e-46ac-9fd5-de1a3dfe5e03"]),
        (KUBELET, ("token-request",), ["JTI=956ad9c7-399e-46ac-9fd5-de1a3dfe5e03"]),
    ],
    ids=["id", "no id", "refused", "kubelet", "look-alike", "excluded from one rule only"],
)
def test_a_token_is_followed_as_soon_as_its_mint_arrives(record: Any, rules: Any, expected: list[str]) -> None:
    """The reader must know before the mint has its turn; what a component mints for all rules is not followed."""
    exclusion = attrs.evolve(find_exclusion("kubelet"), rules=rules)
    made = pipeline(MintedTokenUsed(), exclusions=[exclusion])
    made.prefilter = prefilter = Prefilter()

    assert list(made.take(parse_event(record))) == []
    assert expected == prefilter.names
    made.prefilter = None  # as in Spark's second half
    made.arrive(parse_event(record))
    assert set(expected) == made.watchers.followed


def test_a_token_is_followed_once_its_mint_turns_out_to_be_reported() -> None:
    """By its proofs it seems a kubelet's when it comes in; others' have shown until its turn that one is missing."""
    made = pipeline(MintedTokenUsed())
    made.prefilter = prefilter = Prefilter()
    for number in range(21):
        second = {"requestReceivedTimestamp": f"2026-11-23T21:43:{number:02}.000000Z", "auditID": str(number)}
        proof = [f"X509SHA256={number}"] if number < 20 else []
        user = KUBELET["user"] | {"extra": {"authentication.kubernetes.io/credential-id": proof}}
        issued = {"annotations": {"authentication.kubernetes.io/issued-credential-id": f"JTI={number}"}}
        assert not list(made.take(parse_event(KUBELET | second | issued | {"user": user})))
    assert prefilter.names == []

    list(made.rest())
    assert set(prefilter.names) == {"JTI=20"}


def test_nothing_is_followed_where_nobody_follows() -> None:
    """token-request alone looks at no use."""
    made = pipeline(TokenRequest())
    made.prefilter = prefilter = Prefilter()
    run(made, token_request())

    assert prefilter.names == []


def test_all_findings_about_a_request_come_together() -> None:
    """In the order of time, the keyed ones with the others, though another event was read between two deliveries."""
    first, second = (
        token_request(auditID=name, requestReceivedTimestamp=f"2026-11-23T21:43:{second}Z")
        for name, second in (("a", "45"), ("b", "46"))
    )
    findings = run(pipeline(TokenRequest(), TokenRequestURI(), Told()), second, first, second)

    assert [finding.event.audit_id for finding in findings] == ["a"] * 3 + ["b"] * 3


def test_what_is_reported_though_named_like_a_component_says_why() -> None:
    """As evidence where the fact stands in the event, as a caveat where it is missing."""
    (found,) = run(pipeline(TokenRequest()), WITHOUT_PROOF)
    (unnamed,) = run(pipeline(TokenRequest()), KUBELET, KUBELET | {"userAgent": "", "auditID": "unnamed"})

    why = "named like exclusion kubelet, yet reported: "
    assert f"{why}without group system:nodes" in [item.why for item in found.evidence]
    assert f"{why}another client than the component's own" in unnamed.caveats


class AnyUnreadable(Detector):
    """Reports every record that cannot be read."""

    rule = Rule("acme.unreadable", "Unreadable", Severity.LOW)
    watches = frozenset({Signal.UNREADABLE})

    def inspect(self, _: Any, /) -> Iterator[Finding]:
        """Yield one finding."""
        yield self.finding(parse_event(token_request()), "unreadable")


def test_a_record_that_cannot_be_read_goes_to_those_who_watch_for_it() -> None:
    """And only if it reveals something."""
    tally = Tally()
    made = pipeline(TokenRequest(), UnreadableTokenRequest(), tally=tally)
    assert list(pipeline(AnyUnreadable()).unreadable(ReadError("cut off"))) == []
    uri = {"requestURI": "/api/v1/namespaces/prod/serviceaccounts/x/token"}

    assert list(made.unreadable(ReadError("cut off"))) == []
    assert [one.rule.id for one in made.unreadable(ReadError("cut off", revealed=uri))] == ["unreadable-token-request"]
    assert tally.findings == {"unreadable-token-request": 1}


@pytest.mark.parametrize("method", ["keys", "fold"])
def test_a_keyed_detector_that_raises_costs_nobody_else_anything(method: str) -> None:
    """It is counted, and what others report is not lost."""
    errors: list[K8sTokenDetectError] = []

    class Raising(Told):
        """Raises."""

    def fail(*_: object) -> Iterator[Any]:
        raise RuntimeError(method)

    setattr(Raising, method, fail)
    tally = Tally()
    made = Pipeline([Raising(), TokenRequest()], (), errors.append, tally)

    assert [finding.rule.id for finding in run(made, token_request())] == ["token-request"]
    assert [f"detector acme.told failed: RuntimeError: {method}"] == [str(error) for error in errors]
    assert tally.failures == 1


def test_an_idle_source_lets_events_go_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A followed file that does not grow any more hides no finding for ever."""
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    made = pipeline(TokenRequest())
    assert [*made.take(parse_event(token_request())), *made.idle()] == []
    now[0] = 61

    assert [finding.rule.id for finding in made.idle()] == ["token-request"]


def test_what_is_counted_comes_at_once_where_a_followed_file_does_not_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first, once it was taken; the number follows as it grows."""
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    made = pipeline(TokenRequestDenied())
    refused = [token_request("system:anonymous", code=403, issued=None, auditID=str(n)) for n in range(12)]
    counts = []
    for record in refused:
        counts += [finding.count for finding in made.take(parse_event(record))]
        for _ in range(2):
            counts += [finding.count for finding in made.idle()]
            now[0] += 61
    assert counts == [1, 10]
    assert [finding.count for finding in made.rest()] == []
