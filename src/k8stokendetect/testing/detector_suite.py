# SPDX-License-Identifier: Apache-2.0
"""`DetectorConformance`: the tests that every detector has to pass, for pytest; what fails says how to mend it."""

from __future__ import annotations

import gc
import json
import pickle
import weakref
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from hypothesis import strategies as st

from k8stokendetect.convert.credentials import clean_text
from k8stokendetect.convert.structure import parse_event
from k8stokendetect.detectors import Detector, KeyedDetector
from k8stokendetect.detectors.states import ALLOWED_LATENESS
from k8stokendetect.errors import ConfigError
from k8stokendetect.findings import Finding
from k8stokendetect.testing.builders import LIVE_TOKEN, request
from k8stokendetect.testing.harness import Everything, Example, Harness, as_log, failed, in_forms, made
from k8stokendetect.testing.laws import check_call, check_event, check_finding, check_steps, through_json
from k8stokendetect.testing.logs import attack, is_call, log, moved, received, reordered, with_tokens
from k8stokendetect.testing.strategies import audit_events, damaged, damaged_events, for_any, token_requests

__tracebackhide__ = True  # pytest shows the message, not these lines

_AGAIN = 3
"""How often each example is repeated, to see what is kept of it."""

_CACHED = 2
"""Maximum number of events that a cache may hold."""


class DetectorConformance:
    """Subclass it in a test file, as `class TestMine(DetectorConformance)`, and say which detector and what it finds.

    Attributes:
        detector: the class, or a function that makes one: `lambda: MyDetector(option)`.
        reports: what must be found: audit events, lists of them that belong together, or bytes of a log; for a
            CloudDetector, records of CloudTrail among them.
        ignores: what must not be found, the same; near misses are worth most.
        alongside: rules or classes of other detectors whose findings a keyed detector follows, besides its `needs`.
        max_examples: how many events are drawn for each property.

    """

    detector: ClassVar[Callable[[], Detector] | None] = None
    reports: ClassVar[Sequence[Example]] = ()
    ignores: ClassVar[Sequence[Example]] = ()
    alongside: ClassVar[tuple[str | type[Detector], ...]] = ()
    max_examples: ClassVar[int] = 50

    def make(self) -> Detector:
        """Return a new instance."""
        return made(type(self).detector, type(self).__name__)

    def harness(self) -> Harness:
        """Return what runs the detector."""
        return Harness(self.make, self.alongside)

    def examples(self) -> list[dict[str, Any]]:
        """Return every event of the examples, and a whole attack, in the order of their time."""
        events = [dict(event) for example in (*self.reports, *self.ignores, attack()) for event in as_log(example)]
        return sorted(events, key=received)

    def test_it_says_what_it_is(self) -> None:
        """The rule has the prose that people need when it fires."""
        detector = self.make()
        for name in ("description", "false_positives", "blind_spots", "response"):
            text = getattr(detector.rule, name)
            if not (text.strip() if isinstance(text, str) else text and all(item.strip() for item in text)):
                raise failed(
                    f"{type(detector).__name__}: its rule has no {name}",
                    f"say it in `Rule(…, {name}=…)`; false_positives and blind_spots are tuples of sentences, and "
                    "there is always one",
                )
        if not (type(detector).__doc__ or "").strip():
            raise failed(f"{type(detector).__name__} has no docstring", "say in a line what it finds")

    def test_what_it_reports_is_found(self) -> None:
        """Each example of `reports` gives a finding."""
        if not self.reports:
            raise ConfigError(f"{type(self).__name__}: give `reports`: at least one event that is found")
        for example in self.reports:
            detector = self.make()
            if not self.harness().found(detector, example):
                raise failed(
                    f"{type(detector).__name__} finds nothing in an example of `reports`",
                    "look whether `watches` names the resource, whether the event is as an API server writes it (the "
                    "builders are), and, if it is keyed, whether the rules that it follows are in `needs` or "
                    "`alongside`",
                    example,
                )

    def test_what_it_ignores_is_not_found(self) -> None:
        """No example of `ignores` gives a finding."""
        if not self.ignores:
            raise ConfigError(f"{type(self).__name__}: give `ignores`: at least one event that is not found")
        for example in self.ignores:
            found = self.harness().found(self.make(), example)
            if found:
                raise failed(
                    f"{self.harness().name} reports an example of `ignores`: {found[0].summary}",
                    "ask for what tells the two apart: `event.mints_token` (not merely asked for), the actor's groups "
                    "(a name alone proves nothing), the code of the answer",
                    example,
                )

    def test_it_keeps_the_laws_with_the_examples(self) -> None:
        """What holds of any event holds of the examples, whole and without any one field, and of their findings."""
        for event in self.examples():
            check_event(self.harness(), event)
        for last in [event for example in self.reports for event in as_log(example)[-1:]]:
            for field in last.keys() - {"auditID", "verb"}:
                check_event(self.harness(), {key: value for key, value in last.items() if key != field})
        for example in self.reports:
            by_request = {(event.get("auditID"), event.get("stage", "")): event for event in as_log(example)}
            for finding in self.harness().found(self.make(), example):
                record = by_request.get((finding.event.audit_id, finding.event.stage))
                if record is not None:
                    check_finding(self.harness(), self.make(), finding, record)

    def test_it_keeps_the_laws_with_any_event(self) -> None:
        """It never raises, and what it says is true and its own, whatever an event holds."""
        events = audit_events() | damaged_events() | token_requests()
        for_any(events, lambda record: check_event(self.harness(), record), self.max_examples)

    def test_it_keeps_the_laws_with_damaged_examples(self) -> None:
        """So it does with its examples when a value, at any depth, is something else or gone."""
        for_any(damaged(self.examples()), lambda record: check_event(self.harness(), record), self.max_examples)

    def test_its_steps_are_pure(self) -> None:
        """Over each example and a whole attack: `keys` and `step` change nothing, and say the same again."""
        for events in [*(as_log(example) for example in self.reports), list[Any](self.examples())]:
            detector, harness = self.make(), self.harness()
            if not isinstance(detector, KeyedDetector):
                return
            for record in events:
                if is_call(record):
                    check_call(harness, detector, record)
                    continue
                event = parse_event(record)
                check_steps(harness, detector, event, harness.reported(detector, event), record)

    def test_fingerprints_rest_on_the_event_alone(self) -> None:
        """Neither the order of fields nor another run changes them."""
        for example in self.reports:
            if isinstance(example, bytes):
                continue
            events = as_log(example)
            there = [one.fingerprint for one in self.harness().found(self.make(), events)]
            turned = [reordered(event) for event in events]
            if there != [one.fingerprint for one in self.harness().found(self.make(), turned)]:
                raise failed(
                    f"{self.harness().name}: the fingerprint of a finding depends on the order of the fields",
                    "take values by name, and sort what goes into `key`, `summary` and evidence",
                    example,
                )

    def test_it_keeps_no_event(self) -> None:
        """Once it has looked at events, nothing holds them; a cache may hold the last."""
        detector, harness = self.make(), self.harness()
        held = []
        for record in [event | {"auditID": f"again-{n}"} for event in self.examples() for n in range(_AGAIN)]:
            if is_call(record):
                continue
            event = parse_event(record)
            reported = harness.reported(detector, event)
            if isinstance(detector, KeyedDetector):
                harness.called(detector.take, event, reported, seen=record)
            else:
                harness.called(detector.inspect, event, seen=record)
            held.append(weakref.ref(event))
            del event, reported
        if sum(gone() is not None for gone in held) > _CACHED:
            gc.collect()
        kept = [gone for gone in held if gone() is not None]
        if len(kept) > _CACHED:
            raise failed(
                f"{type(detector).__name__} stores the event: {len(kept)} of {len(held)} are still held",
                "keep what you need of it (`event.time`, `event.actor.username`, `EventRef.of(event)`); to "
                "remember over events write a KeyedDetector, whose state is bounded and saved",
            )

    def test_it_survives_pickling(self) -> None:
        """A copy goes on where it was, new and after half a log."""
        events = self.examples()
        detector = self.make()
        for part in (events[: len(events) // 2], events[len(events) // 2 :], events):
            try:
                copy = pickle.loads(pickle.dumps(detector))  # noqa: S301 - our own bytes
            except Exception as error:
                raise failed(
                    f"{type(detector).__name__} cannot be pickled: {error}",
                    "define the class at the top of a module, and keep no lambdas, open files, locks or connections "
                    "on `self`: make them where they are used",
                ) from error
            if self.harness().found(copy, part) != self.harness().found(detector, part):
                raise failed(
                    f"{type(detector).__name__}: a pickled copy finds something else",
                    "keep what it remembers on the instance, not on the class or in the module",
                )

    def test_no_token_is_in_a_finding(self) -> None:
        """Wherever a usable token stood in the record."""
        planted = [event for record in self.examples() for event in with_tokens(record)]
        for finding in self.harness().found(self.make(), planted):
            text = json.dumps(finding.to_dict())
            if any(part in text for part in LIVE_TOKEN.split(".")):
                raise failed(
                    f"{self.harness().name} repeats a token in a finding: {clean_text(finding.summary)}",
                    "take values from the Event, where tokens have been removed; decode none",
                )

    def test_nothing_is_passed_over(self) -> None:
        """With `watches` it finds in a log what it finds when every record is parsed."""
        noise = [request("list", "pods", user=f"user-{number}") for number in range(3)]
        for form, content in in_forms([*noise, *self.examples(), *noise], log([*noise, *self.examples()])).items():
            self._check_passing_over(content, form)
        for example in (*self.reports, *self.ignores):
            self._check_passing_over(example if isinstance(example, bytes) else log(as_log(example)), "native")
        batches = st.lists(damaged(self.examples()).filter(lambda record: isinstance(record, dict)), max_size=5)
        for_any(batches, lambda records: self._check_passing_over(log(records), "native"), self.max_examples // 3)

    def _check_passing_over(self, content: bytes, form: str) -> None:
        with_all = self.harness().found(self.make(), content, Everything())
        without = self.harness().found(self.make(), content)
        missed = Counter(one.fingerprint for one in with_all) - Counter(one.fingerprint for one in without)
        if missed:
            finding = next(one for one in with_all if one.fingerprint in missed)
            raise failed(
                f"{self.harness().name} finds less in a log ({form}) than when all is parsed: {finding.summary}",
                "name in `watches` all that it reports",
                content,
            )

    def test_order_within_a_minute_is_irrelevant(self) -> None:
        """Several API servers write several files: what comes late is put in its place."""
        detector = self.make()
        if not isinstance(detector, KeyedDetector):
            return
        logs = [as_log(example) for example in (*self.reports, attack()) if len(as_log(example)) > 1]

        def check(drawn: tuple[Sequence[Mapping[str, Any]], int]) -> None:
            events, seed = drawn
            late = moved(events, seed, ALLOWED_LATENESS)
            if self._said(events) != self._said(late):
                raise failed(
                    f"{self.harness().name} finds something else when events come in another order within "
                    f"{ALLOWED_LATENESS.seconds} s",
                    "take the time from `event.time`, and remember in the state, never on `self` in `keys` (which is "
                    "asked before the events are put in order)",
                    list(late),
                )

        for events in logs:
            check((events, 0))
            check((events, 1))
        for_any(st.tuples(st.sampled_from(logs), st.integers(0, 2**32)), check, self.max_examples // 3)

    def _said(self, events: Sequence[Mapping[str, Any]]) -> Counter[str]:
        return Counter(finding.fingerprint for finding in self.harness().found(self.make(), events))

    def test_its_state_goes_on_half_way(self) -> None:
        """Saved as JSON and restored after any event, it finds what it would have found."""
        if not isinstance(self.make(), KeyedDetector):
            return
        for events in [as_log(example) for example in (*self.reports, attack()) if not isinstance(example, bytes)]:
            for cut in sorted({1, len(events) // 2, len(events) - 1} & set(range(1, len(events)))):
                detector: Any = self.make()
                self.harness().found(detector, events[:cut])
                restored = through_json(self.harness(), detector)
                if self._after(restored, events[cut:]) != self._after(detector, events[cut:]):
                    raise failed(
                        f"{self.harness().name} finds something else after its state was saved and restored",
                        "keep all that is remembered in the state, as values that JSON holds and types that say so",
                        list(events),
                    )

    def _after(self, detector: Detector, events: Sequence[Mapping[str, Any]]) -> list[Finding]:
        return self.harness().found(detector, events)
