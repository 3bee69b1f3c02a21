# SPDX-License-Identifier: Apache-2.0
"""The author's kit: what the builders write is what API servers wrote, and a bad part fails with a lesson."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import attrs
import pytest
from hypothesis import given, settings

from k8stokendetect import (
    ConfigError,
    Detector,
    Event,
    Evidence,
    Finding,
    KeyedDetector,
    ReadError,
    Rule,
    Severity,
    Step,
    detect,
    parse_event,
    read,
)
from k8stokendetect.detectors import TokenRequest
from k8stokendetect.envelopes import Inner
from k8stokendetect.incidents import incidents
from k8stokendetect.testing import (
    LIVE_TOKEN,
    DetectorConformance,
    EnvelopeConformance,
    attack,
    log,
    request,
    strategies,
    token_request,
    use_of,
)
from recordings import METADATA, REQUEST_RESPONSE, records

MINT = token_request()
RULE = Rule(
    "acme.mint",
    "A mint",
    Severity.LOW,
    description="Somebody minted a token.",
    false_positives=("Whoever may.",),
    blind_spots=("A request that was not logged.",),
    response="Ask them.",
)


class Good(Detector):
    """Reports every mint."""

    rule = RULE
    watches: ClassVar[frozenset[str] | None] = frozenset({"serviceaccounts/token"})

    def inspect(self, event: Event, /) -> Iterable[Finding]:
        """Report it."""
        if event.mints_token:
            name = event.actor.username
            yield self.finding(event, f"{name} minted", *([Evidence("user.username", name, "who")] if name else []))


class Raises(Good):
    """Takes a field for granted."""

    def inspect(self, event: Event, /) -> Iterable[Finding]:
        """Look at what may be missing."""
        if event.object_ref.subresource == "token":  # type: ignore[union-attr]  # that is the mistake
            yield from super().inspect(event)


class KeepsEvents(Good):
    """Remembers every event."""

    def __init__(self) -> None:
        self.seen: list[Event] = []

    def inspect(self, event: Event, /) -> Iterable[Finding]:
        """Remember it."""
        self.seen.append(event)
        return super().inspect(event)


class WrongRule(Good):
    """Reports under another's name."""

    def inspect(self, event: Event, /) -> Iterable[Finding]:
        """Use another detector's rule."""
        return [attrs.evolve(finding, rule=TokenRequest.rule) for finding in super().inspect(event)]


class NoPath(Good):
    """Names a path as Python does."""

    def inspect(self, event: Event, /) -> Iterable[Finding]:
        """Give evidence that is not there."""
        if event.mints_token:
            yield self.finding(event, "minted", Evidence("object_ref.name", "x", "the target"))


class WrongValue(Good):
    """Quotes what does not stand there."""

    def inspect(self, event: Event, /) -> Iterable[Finding]:
        """Give other evidence than there is."""
        if event.mints_token and event.actor.username:
            yield self.finding(event, "minted", Evidence("user.username", event.actor.username + "!", "who"))


class TooNarrow(Good):
    """Watches something else."""

    watches = frozenset({"pods/exec"})


class Unpicklable(Good):
    """Holds what no other process can have."""

    def __init__(self) -> None:
        self.ask = lambda event: event.mints_token


class Changes(Good):
    """Takes something out of the event."""

    def inspect(self, event: Event, /) -> Iterable[Finding]:
        """Empty the annotations."""
        found = list(super().inspect(event))
        event.annotations.clear()  # type: ignore[attr-defined]  # that is the mistake
        return found


class Random(Good):
    """Counts on itself."""

    calls = 0

    def inspect(self, event: Event, /) -> Iterable[Finding]:
        """Say something new each time."""
        type(self).calls += 1
        for finding in super().inspect(event):
            yield attrs.evolve(finding, summary=f"mint {self.calls}")


class Silent(Good):
    """Says nothing of itself."""

    rule = Rule("acme.mint", "A mint", Severity.LOW)


class Disagrees(Good):
    """Tells cheaply, and wrongly."""

    def reports(self, _: Event, /) -> bool:
        """Say yes to everything."""
        return True


class Gives(Good):
    """Yields no findings."""

    def inspect(self, event: Event, /) -> Iterable[Any]:
        """Yield a text."""
        return [event.actor.username] if event.mints_token else []


class Many(KeyedDetector[tuple[int, ...]]):
    """Reports the second mint of an actor."""

    rule = attrs.evolve(RULE, id="acme.many")
    watches = frozenset({"serviceaccounts/token"})
    needs = frozenset({"token-request"})
    remember_for = timedelta(hours=1)

    def keys(self, event: Event, reported: Sequence[Finding], /) -> Iterable[str]:
        """Whoever mints."""
        return [event.actor.username] if event.mints_token and reported else []

    def step(
        self, key: str, event: Event, reported: Sequence[Finding], state: tuple[int, ...] | None, /
    ) -> Step[tuple[int, ...]]:
        """Count."""
        del reported
        number = (state or (0,))[0] + 1
        return Step((number,), (self.finding(event, f"{key} minted twice"),) if number == 2 else ())


class InSelf(Many):
    """Counts on the instance."""

    def __init__(self) -> None:
        super().__init__()
        self.count: dict[str, int] = {}

    def step(self, key: str, event: Event, _: Sequence[Finding], __: tuple[int, ...] | None, /) -> Step[Any]:
        """Remember outside the state."""
        self.count[key] = self.count.get(key, 0) + 1
        return Step((self.count[key],), (self.finding(event, "twice"),) if self.count[key] == 2 else ())


class Mutable(KeyedDetector[list[int]]):
    """Changes its state in place."""

    rule = attrs.evolve(RULE, id="acme.mutable")
    watches = frozenset({"serviceaccounts/token"})
    remember_for = timedelta(hours=1)

    def keys(self, event: Event, _: Sequence[Finding], /) -> Iterable[str]:
        """Whoever mints."""
        return [event.actor.username] if event.mints_token else []

    def step(self, _: str, event: Event, __: Sequence[Finding], state: list[int] | None, /) -> Step[list[int]]:
        """Append to what was given."""
        state = [] if state is None else state
        state.append(1)
        return Step(state, (self.finding(event, "twice"),) if len(state) == 2 else ())


def said_by(suite: type, test: str) -> str:
    """Run one test of a suite as pytest does; return what it says, nothing where it passes."""
    try:
        getattr(suite(), test)()
    except AssertionError as error:
        return str(error)
    return ""


class FirstRead(Many):
    """Goes by the order of reading."""

    def __init__(self) -> None:
        super().__init__()
        self.first = ""

    def keys(self, event: Event, _: Sequence[Finding], /) -> Iterable[str]:
        """Remember which came first."""
        self.first = self.first or event.audit_id
        return [event.audit_id] if event.audit_id == self.first else []

    def step(self, _: str, event: Event, __: Sequence[Finding], ___: tuple[int, ...] | None, /) -> Step[Any]:
        """Report it."""
        return Step(None, (self.finding(event, "first"),))


class NoJson(Many):
    """Remembers what JSON cannot hold."""

    def step(self, _: str, event: Event, __: Sequence[Finding], ___: Any, /) -> Step[Any]:
        """Keep a set of bytes."""
        return Step(({b"x"},), (self.finding(event, "seen"),))


class Ordered(Good):
    """Takes what comes first."""

    def inspect(self, event: Event, /) -> Iterable[Finding]:
        """Name the first annotation."""
        for finding in super().inspect(event):
            yield attrs.evolve(finding, key=next(iter(event.annotations), ""))


class Leaks(Good):
    """Repeats a token."""

    def inspect(self, event: Event, /) -> Iterable[Finding]:
        """Put it into the summary."""
        for finding in super().inspect(event):
            yield attrs.evolve(finding, summary=f"minted {LIVE_TOKEN}")


class NoMemory(Many):
    """Forgets to call the base class's constructor."""

    def __init__(self) -> None:
        self.limit = 2


def failures(suite: type) -> dict[str, str]:
    """Run a suite; return what each failed test says."""
    said = {name: said_by(suite, name) for name in dir(suite) if name.startswith("test_")}
    return {name: text for name, text in said.items() if text}


def suite(cls: type[Detector], **members: Any) -> type:
    """Make a suite for a detector of mints, or of two of them."""
    two = [token_request(time="2026-11-23T20:00:00Z"), token_request(time="2026-11-23T20:00:20Z")]
    examples = [two] if issubclass(cls, KeyedDetector) else [MINT]
    given = {"detector": cls, "reports": examples, "ignores": [token_request(code=403)], "max_examples": 5}
    return type("Suite", (DetectorConformance,), given | members)


@pytest.mark.parametrize("detector", [Good, Many])
def test_a_good_detector_passes(detector: type[Detector]) -> None:
    """Of a dozen lines."""
    assert failures(suite(detector)) == {}


@pytest.mark.parametrize(
    ("detector", "test", "wrong", "mend"),
    [
        (Raises, "test_it_keeps_the_laws_with_the_examples", "Raises.inspect raised AttributeError", "may be None"),
        (KeepsEvents, "test_it_keeps_no_event", "KeepsEvents stores the event", "write a KeyedDetector"),
        (WrongRule, "test_it_keeps_the_laws_with_the_examples", "its finding says 'token-request'", "self.finding"),
        (
            NoPath,
            "test_it_keeps_the_laws_with_the_examples",
            "'object_ref.name' leads nowhere",
            "`objectRef.namespace`",
        ),
        (WrongValue, "test_it_keeps_the_laws_with_the_examples", "says 'alice!', in the event stands 'alice'", "`why`"),
        (
            TooNarrow,
            "test_it_keeps_the_laws_with_the_examples",
            "watches only pods/exec",
            "add 'serviceaccounts/token'",
        ),
        (TooNarrow, "test_what_it_reports_is_found", "finds nothing in an example", "`watches` names the resource"),
        (Unpicklable, "test_it_survives_pickling", "Unpicklable cannot be pickled", "keep no lambdas"),
        (Random, "test_it_survives_pickling", "a pickled copy finds something else", "on the instance"),
        (Ordered, "test_fingerprints_rest_on_the_event_alone", "depends on the order of the fields", "by name"),
        (Leaks, "test_no_token_is_in_a_finding", "repeats a token in a finding: minted <token removed>", "decode none"),
        (FirstRead, "test_order_within_a_minute_is_irrelevant", "when events come in another order", "`event.time`"),
        (InSelf, "test_its_state_goes_on_half_way", "after its state was saved and restored", "in the state"),
        (NoJson, "test_its_state_goes_on_half_way", "its state does not survive JSON", "plain values"),
        (Changes, "test_it_keeps_the_laws_with_the_examples", "changed the event", "copy before you pop"),
        (
            Random,
            "test_it_keeps_the_laws_with_the_examples",
            "two different things about one event",
            "leave out clocks",
        ),
        (Silent, "test_it_says_what_it_is", "its rule has no description", "say it in `Rule("),
        (Disagrees, "test_it_keeps_the_laws_with_the_examples", "`reports` says True", "or return None"),
        (Gives, "test_it_keeps_the_laws_with_the_examples", "gave a str, not a Finding", "yield `self.finding("),
        (InSelf, "test_its_steps_are_pure", "remembers something in `self`", "in the state"),
        (Mutable, "test_its_steps_are_pure", "mutable state", "@attrs.frozen"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_a_bad_detector_is_taught(detector: type[Detector], test: str, wrong: str, mend: str) -> None:
    """It says what is wrong, why it matters and how to mend it."""
    first, why, last, *_ = said_by(suite(detector), test).split("\n\n")
    assert wrong in first
    assert why.startswith("Why it matters: ")
    assert last.startswith("How to mend it: ")
    assert mend in last


def test_what_should_be_ignored_is_told() -> None:
    """A near miss that is reported."""
    said = said_by(suite(Good, ignores=[MINT]), "test_what_it_ignores_is_not_found")
    assert "Good reports an example of `ignores`: alice minted" in said


@pytest.mark.parametrize(
    ("members", "test", "message"),
    [
        ({"detector": None}, "test_it_says_what_it_is", "say `detector = MyDetector`"),
        ({"detector": lambda: 3}, "test_it_says_what_it_is", "makes a int, no Detector"),
        ({"detector": lambda x: x}, "test_it_says_what_it_is", "cannot be made without arguments"),
        ({"detector": NoMemory}, "test_it_says_what_it_is", r"calls no super\(\).__init__\(\)"),
        ({"reports": ()}, "test_what_it_reports_is_found", "give `reports`"),
        ({"ignores": ()}, "test_what_it_ignores_is_not_found", "give `ignores`"),
    ],
)
def test_a_suite_that_is_not_complete_is_refused(members: dict[str, Any], test: str, message: str) -> None:
    """It proves nothing without examples."""
    with pytest.raises(ConfigError, match=message):
        getattr(suite(Good, **members)(), test)()


def wrap(events: list[dict[str, Any]]) -> bytes:
    """Write records of an imaginary shipper."""
    return "".join(json.dumps({"acme": 1, "audit": json.dumps(event)}) + "\n" for event in events).encode()


def recognises(record: Any) -> bool:
    """Tell whether it is one."""
    return isinstance(record, dict) and record.get("acme") == 1


def events(record: Any) -> Iterator[Inner]:
    """Take out what it holds."""
    text = record.get("audit")
    yield Inner(text if isinstance(text, str) else ReadError("an acme record without its event"), ".audit")


def parsed(record: Any, change: Callable[[Any], Any] = lambda event: event) -> Iterator[Inner]:
    """Take out the event, changed."""
    yield Inner(change(json.loads(record["audit"])), ".audit", is_event=True)


def forgiving(record: Any) -> Iterator[Inner]:
    """Take out what can be read, and say nothing of the rest."""
    try:
        yield from parsed(record)
    except (KeyError, TypeError, ValueError):
        return


def chatty(record: Any) -> Iterator[Inner]:
    """Repeat the record in the error."""
    for inner in events(record):
        error = not isinstance(inner.record, str) or not inner.record.endswith("}")
        yield Inner(ReadError(f"cannot read {record}")) if error else inner


def popping(record: Any) -> Iterator[Inner]:
    """Take the event out of the caller's record, too."""
    yield from events(dict(record))
    record.pop("audit", None)


ENVELOPE_SUITE = {"wrap": staticmethod(wrap), "max_examples": 5}


@pytest.mark.parametrize(
    ("changes", "test", "wrong"),
    [
        ({"events": parsed}, "test_it_never_raises", ".events raised"),
        ({"events": forgiving}, "test_damage_is_told", "an event was damaged (cut), and no error came out"),
        ({"events": forgiving}, "test_it_never_raises", "recognises a record and yields nothing"),
        ({"events": chatty}, "test_no_token_is_in_an_error", "repeats a token in an error"),
        ({"events": popping}, "test_it_leaves_the_record_alone", "changed the record"),
        ({"events": lambda _: [3]}, "test_every_event_comes_back", "gave a int, not an Inner"),
        ({"recognises": lambda record: record["acme"] == 1}, "test_it_never_raises", ".recognises raised"),
        ({"recognises": lambda _: True}, "test_it_recognises_what_it_wraps_and_nothing_native", "is not its own"),
        ({"recognises": lambda _: False}, "test_it_recognises_what_it_wraps_and_nothing_native", "does not recognise"),
        ({"recognises": lambda _: 1}, "test_it_never_raises", "neither True nor False"),
        (
            {"events": lambda record: parsed(record, lambda event: event | {"verb": "get"})},
            "test_every_event_comes_back",
            "verb went in as 'create' and came out as 'get'",
        ),
        ({"events": lambda record: [*events(record), *events(record)]}, "test_every_event_comes_back", "14 came out"),
    ],
)
def test_a_bad_envelope_is_taught(changes: dict[str, Any], test: str, wrong: str) -> None:
    """It says what is wrong, why it matters and how to mend it."""
    envelope = SimpleNamespace(**{"recognises": recognises, "events": events} | changes)
    bad = type("Suite", (EnvelopeConformance,), ENVELOPE_SUITE | {"envelope": envelope})
    first, why, last, *_ = said_by(bad, test).split("\n\n")
    assert wrong in first
    assert why.startswith("Why it matters: ")
    assert last.startswith("How to mend it: ")


def test_a_good_envelope_passes_and_declares_no_loss() -> None:
    """Of a dozen lines; a loss that is none is told."""
    members = ENVELOPE_SUITE | {"envelope": SimpleNamespace(recognises=recognises, events=events)}
    assert failures(type("Suite", (EnvelopeConformance,), members)) == {}
    said = failures(type("Suite", (EnvelopeConformance,), members | {"loses": frozenset({"userAgent"})}))
    assert list(said) == ["test_it_declares_no_loss_that_is_none"]
    with pytest.raises(ConfigError, match="say `envelope = my_module`"):
        EnvelopeConformance().reader()
    with pytest.raises(ConfigError, match="say how 1 events are wrapped"):
        EnvelopeConformance.wrap([MINT])


def shape(value: Any, depth: int = 0) -> Any:
    """Return the names of the fields, in their order, two levels deep, and the types of the values."""
    if isinstance(value, Mapping) and depth < 2:
        return [(key, shape(item, depth + 1)) for key, item in value.items()]
    return type(value).__name__


def recorded(path: Any, verb: str, resource: str, code: int, username: str) -> dict[str, Any]:
    """Return the first recorded request of that kind by somebody whose name begins so."""
    return next(
        record
        for record in records(path)
        if parse_event(record).does(verb, resource)
        and record.get("responseStatus", {}).get("code") == code
        and record["user"].get("username", "").startswith(username)
    )


@pytest.mark.parametrize(
    ("made", "real"),
    [
        (
            token_request(credential="X509SHA256=ab"),
            recorded(METADATA, "create", "serviceaccounts/token", 201, "system:node:"),
        ),
        (use_of(MINT), recorded(METADATA, "list", "secrets", 200, "system:serviceaccount:")),
        (
            token_request(level="RequestResponse", credential="X509SHA256=ab"),
            recorded(REQUEST_RESPONSE, "create", "serviceaccounts/token", 201, "system:kube-controller-manager"),
        ),
    ],
    ids=["mint", "use", "RequestResponse"],
)
def test_the_builders_write_what_api_servers_wrote(made: dict[str, Any], real: dict[str, Any]) -> None:
    """The same fields, in the same order, with values of the same types as a recorded request of the kind."""
    assert shape(made) == shape(real)


def test_the_log_is_written_as_the_api_server_does() -> None:
    """The recording, decoded and written again, is the same byte for byte, but for characters that were broken."""
    lines = gzip.decompress(METADATA.read_bytes()).split(b"\n")
    written = log(records(METADATA)).split(b"\n")
    assert len(lines) == len(written)
    different = [line for line, again in zip(lines, written, strict=True) if line != again]
    assert all(b"\\ufffd" in line for line in different)


def test_an_attack_is_one_incident() -> None:
    """Both mints are reported, the chain is followed, and its events are told as one story."""
    findings = list(detect(log(attack())))
    assert [f.event.target for f in findings if f.rule.id == "token-request"] == ["prod/payments-sa", "prod/deployer"]
    assert any("the chain of 2 mints" in finding.summary for finding in findings)
    assert len(incidents(findings)) == 1
    assert [event.audit_id for event in read(log(attack()))] == [event["auditID"] for event in attack()]


def test_builders_say_what_they_are_told() -> None:
    """Levels, ids, tokens, what is taken away."""
    assert parse_event(token_request(audiences=["vault"])).token_request.audiences == ("vault",)  # type: ignore[union-attr]  # it is there, or the test fails
    assert parse_event(token_request(level="RequestResponse")).carried_token
    assert LIVE_TOKEN in json.dumps(token_request(level="RequestResponse"))
    assert not parse_event(token_request(code=403)).mints_token
    assert parse_event(token_request(issued=None)).minted_credential is None
    assert parse_event(use_of(MINT)).used_credential == parse_event(MINT).minted_credential
    assert parse_event(request("list", "secrets", credential="JTI=1")).used_credential == "JTI=1"
    assert parse_event(request("get", "pods/exec", name="x", api_group="a.b")).request_uri == (
        "/apis/a.b/v1/namespaces/prod/pods/x/exec"
    )
    unauthorized = token_request(code=401)
    assert (unauthorized["stage"], unauthorized["user"], "annotations" in unauthorized) == (
        "ResponseStarted",
        {},
        False,
    )
    assert "userAgent" not in request(userAgent=None)
    assert MINT["auditID"] == token_request()["auditID"] != token_request("bob")["auditID"]
    bound = token_request(bound={"kind": "Pod", "name": "web-1"})
    assert use_of(bound)["user"]["extra"]["authentication.kubernetes.io/pod-name"] == ["web-1"]
    with pytest.raises(ConfigError, match="is not NAMESPACE/NAME"):
        token_request(target="payments-sa")


@settings(max_examples=30)
@given(strategies.token_requests())
def test_drawn_token_requests_can_be_read(record: dict[str, Any]) -> None:
    """They are what an API server could write."""
    assert parse_event(record).does("create", "serviceaccounts/token")


def test_without_hypothesis_it_says_what_to_install() -> None:
    """A clear error, not an ImportError from somewhere within."""
    code = (
        "import sys; sys.modules['hypothesis'] = None\n"
        "from k8stokendetect import ConfigError\n"
        "try:\n    import k8stokendetect.testing\n"
        "except ConfigError as error:\n    print(error)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603 - our own code
    assert "pip install 'k8stokendetect[testing]'" in result.stdout


PAGE = (Path(__file__).parents[1] / "docs/write-a-detector.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["TestVaultToken", "TestManyMints", "TestAcme"])
def test_the_page_for_authors_ends_in_a_suite_that_passes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block, saved as a file, holds a suite of which every test passes; the first, made worse, is told so."""
    (text,) = [block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if f"class {name}(" in block]
    module = ModuleType("page_for_authors")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(text, name, "exec"), vars(module))  # noqa: S102 - our own text
    cls = getattr(module, name)
    cls.max_examples = 5
    assert failures(cls) == {}


def test_the_page_shows_what_a_failing_test_really_says() -> None:
    """The lesson that is quoted is the one that the changed block gives."""
    quoted = " ".join(re.findall(r"^> ?(.*)$", PAGE, re.MULTILINE))
    text = next(block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "TestVaultToken" in block)
    module: dict[str, Any] = {"__name__": "page_for_authors"}
    exec(text.replace("event.mints_token and ", ""), module)  # noqa: S102 - our own text
    said = said_by(module["TestVaultToken"], "test_what_it_ignores_is_not_found")
    assert quoted.split() == said.partition("\n\nSeen with")[0].split()
