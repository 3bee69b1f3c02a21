# SPDX-License-Identifier: Apache-2.0
"""The HTML page: it holds every finding, and nothing that a client chose can leave its place in it."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import about, token_request
from k8stokendetect import ConfigError, Event, Evidence, Finding, Rule, Severity, detect, parse_event
from k8stokendetect.findings import EventRef
from k8stokendetect.incidents import Incident, Step, incidents
from k8stokendetect.incidents.story import requests_of
from k8stokendetect.outputs.event_text import LONGEST_EVENT, to_event_text
from k8stokendetect.outputs.figures import COLUMNS, LANES, NODES, graph, lasting, timeline
from k8stokendetect.outputs.html import environment
from k8stokendetect.outputs.provenance import Scan, SourceFile
from k8stokendetect.outputs.report import OPEN_UP_TO, requests_shown, to_report
from k8stokendetect.outputs.text import neutral
from recordings import METADATA, labels
from strategies import JWT, texts

START = datetime(2026, 11, 23, 21, 43, 45, tzinfo=UTC)
RULE = Rule("token-request", "Mint", Severity.MEDIUM, description="Why.", response="Ask the caller.")
USED = Rule("minted-token-used", "Use", Severity.HIGH, response="End the token.")
DETECTORS = ["token-request", "token-request-uri", "minted-token-used"]
VOID = {"meta", "br", "input"}
ALLOWED = {
    *"html head meta title style script body header main nav section details summary div span".split(),
    *"h1 h2 p ul ol li dl dt dd a b br small code pre label input button output datalist".split(),
    *"svg rect circle line text".split(),
}
ATTRIBUTES = {
    *"class id href open lang charset name content http-equiv role aria-label hidden start".split(),
    *"type list autocomplete spellcheck data-severity data-actors".split(),
    *"width height x y x1 x2 y1 y2 cx cy r transform".split(),
}
HOSTILE = [
    "<script>alert(1)</script>",
    '"onload="alert(1)',
    "' onclick='alert(1)",
    "]]><script>",
    "</title></style></svg></details><img src=x onerror=alert(1)>",
    "&lt;script&gt;&#60;",
    "a\u202eb\u2066c",
    "nul\x00esc\x1b[2J\u2028\x9b",
    "\ud800",
    "javascript:alert(1)",
    "--><!--",
    "https://evil.example/",
    "中" * 100,
    "x" * 100_000,
]


class Page(HTMLParser):
    """Reads a page strictly: every tag is known and closed in turn, every attribute is known."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.counts: dict[str, int] = {}
        self.opened = 0
        self.text = ""
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Check a tag and its attributes."""
        assert tag in ALLOWED
        assert {name for name, _ in attrs} <= ATTRIBUTES
        given = dict(attrs)
        assert len(given) == len(attrs)
        self.ids += [str(value) for name, value in attrs if name == "id"]
        self.links += [str(value) for name, value in attrs if name == "href"]
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.opened += "open" in given
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Check an element without content, as SVG has them."""
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        """Check that it is the innermost one."""
        assert self.open.pop() == tag

    def handle_comment(self, data: str) -> None:
        """Refuse comments: the page has none."""
        raise AssertionError(data)

    def handle_data(self, data: str) -> None:
        """Collect what a person reads."""
        if self.open[-1:] not in (["style"], ["script"]):
            self.text += data


def read(page: str) -> Page:
    """Read a page and check what holds for every one."""
    assert all(char.isprintable() or char == "\n" for char in page)
    parsed = Page(page)
    assert len(set(parsed.ids)) == len(parsed.ids)
    assert set(parsed.links) <= {f"#{name}" for name in parsed.ids}
    for picture in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ET.fromstring(picture)  # noqa: S314 - our own, it must be well-formed
    return parsed


def incident(*findings: Finding, **fields: Any) -> Incident:
    """Return an incident of some findings."""
    (made, *others) = incidents(findings)
    assert not others
    return attrs.evolve(made, **fields)


def mint(user: str = "alice", target: str = "prod/payments-sa", seconds: float = 0, **fields: Any) -> Finding:
    """Return the finding about a mint."""
    known: dict[str, Any] = {
        "time": START + timedelta(seconds=seconds),
        "minted_credential": f"JTI={user}-{seconds}",
        "source_ips": ("192.0.2.7",),
        "verb": "create",
        "code": 201,
    }
    event = EventRef(audit_id=f"{user}-{seconds}", user=user, **about(target) | known | fields)
    evidence = (Evidence("user.username", user, "who called"), Evidence("responseStatus.code", 201, "a token"))
    return Finding(
        rule=RULE, severity=RULE.severity, summary=f"{user} minted a token for {target}", event=event, evidence=evidence
    )


def use(of: Finding, seconds: float, target: str = "secrets prod", code: int = 200, **fields: Any) -> Finding:
    """Return the finding about a use of a minted token."""
    assert of.event.target
    account = "system:serviceaccount:" + of.event.target.replace("/", ":")
    known: dict[str, Any] = {
        "verb": "list",
        "used_credential": of.event.minted_credential,
        "minted_credential": None,
        "code": code,
    }
    base = mint(account, target, seconds, **known | fields)
    return attrs.evolve(
        base, rule=USED, severity=USED.severity, related=(of.event,), summary=f"{account} used it on {target}"
    )


def nodes(drawn: str) -> Iterator[tuple[str, str, int]]:
    """Yield kind, label and depth of every node of a graph."""

    def below(listed: ET.Element, depth: int) -> Iterator[tuple[str, str, int]]:
        for item in listed.findall("li"):
            box = item.find("div")
            assert box is not None
            yield box.attrib["class"].split()[0], box.findtext("b") or "", depth
            for inner in item.findall("ul"):
                yield from below(inner, depth + 1)

    (listed,) = ET.fromstring(drawn.partition("<p")[0]).findall("ul")  # noqa: S314 - our own
    yield from below(listed, 0)


def test_every_recorded_finding_and_advice_is_in_the_page() -> None:
    """Summary, evidence and what to do: nothing is left out."""
    found = incidents(detect(METADATA, detectors=DETECTORS))
    text = read(to_report(found)).text

    for item in found:
        assert item.title in text
        assert all(step.text in text and step.command in text for step in item.advice)
        for finding in item.findings:
            assert neutral(finding.summary) in text
            assert all(fact.path in text and fact.why in text for fact in finding.evidence)
            assert all(caveat in text for caveat in finding.caveats)


def test_the_labelled_chain_is_drawn_link_by_link() -> None:
    """Scenario 05: alice's token mints one that mints one that lists secrets."""
    links = [label for label in labels(METADATA) if label["scenario"] == "05-attack-chain"]
    mints = [label["target"] for label in links if label["kind"] == "mint-ok"]
    ids = {label["auditID"] for label in links}
    found = [finding for finding in detect(METADATA, detectors=DETECTORS) if finding.event.audit_id in ids]
    drawn = list(nodes(graph(requests_of(found))))

    assert len(mints) == 3
    assert [("identity", "alice"), *(("token", target) for target in mints)] == [
        (kind, label) for kind, label, _ in drawn[:4]
    ]
    assert drawn[4][:2] == ("act", "list secrets prod")
    assert [depth for _, _, depth in drawn[:5]] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_no_value_leaves_its_place(text: str) -> None:
    """Wherever an attacker's text stands: no new tag, no attribute, no link, no control character."""
    check_hostile(text)


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=30) | texts | st.text(st.sampled_from("<>&\"'/-!]x= \x00\u202e"), max_size=30))
def test_no_drawn_value_leaves_its_place(text: str) -> None:
    """The same for any text."""
    check_hostile(text)


def check_hostile(text: str) -> None:
    """Put a text everywhere, read the page, and count: the tags are those of a harmless one."""
    pages = []
    for value in (text, "harmless"):
        found = everywhere(value)
        events = {
            found.findings[0].event.request_id: to_event_text(Event(audit_id=value, verb=value, user_agent=value))
        }
        file = SourceFile(name=value, note=f"N{value}", size=1, sha256="0" * 64)
        scan = Scan(
            files=(file,), errors=(value,), number_of_errors=2, options=(value,), note=f"N{value}", counts=(value,)
        )
        pages.append(read(to_report([found], title=value, scan=scan, events=events)))

    for tag in ("a", "code", "li", "pre", "small", "b", "details"):
        assert pages[0].counts.get(tag) == pages[1].counts.get(tag)
    if text.strip() and len(text) < 60:
        assert neutral(text) in pages[0].text


def everywhere(text: str) -> Incident:
    """Return an incident every text of which is this one."""
    ref = EventRef(
        audit_id=f"1{text}",
        time=START,
        verb=f"v{text}",
        user=f"u{text}",
        groups=(f"g{text}",),
        impersonating=f"i{text}",
        source_ips=(f"p{text}",),
        user_agent=f"a{text}",
        resource=f"t{text}",
        namespace=f"n{text}",
        name=f"m{text}",
        reason=f"r{text}",
        used_credential=f"c{text}",
        origin=f"o{text}",
    )
    rule = Rule("x", f"T{text}", Severity.LOW, f"D{text}", false_positives=(f"F{text}",), response=f"R{text}")
    facts = (Evidence(f"p{text}", f"v{text}", f"w{text}"), Evidence("list", [text, {text: text}], "w"))
    finding = Finding(
        rule=rule,
        severity=Severity.LOW,
        summary=f"S{text}",
        event=ref,
        evidence=facts,
        related=(attrs.evolve(ref, audit_id=f"2{text}", used_credential=None, minted_credential=f"c{text}"),),
        caveats=(f"C{text}",),
        excluded_by=f"E{text}",
    )
    many = (f"n{text}",) * 2
    return Incident(
        id=text,
        severity=Severity.LOW,
        title=f"I{text}",
        actors=many,
        service_accounts=many,
        credentials=many,
        first_seen=START,
        last_seen=START,
        depth=2,
        findings=(finding,),
        advice=(Step(f"A{text}", f"C{text}"),),
    )


def test_the_page_forbids_itself_to_load_anything_and_to_run_anything_else() -> None:
    """A policy before anything that a browser could act on; it names the one style and the one script by their hash."""
    page = to_report([everywhere("x")])
    (policy,) = re.findall('<meta http-equiv="Content-Security-Policy" content="(.*?)">', page)
    inline = {tag: re.findall(f"<{tag}[^>]*>(.*?)</{tag}>", page, re.DOTALL) for tag in ("script", "style")}
    hashes = {tag: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for tag, (text,) in inline.items()}

    assert html.unescape(policy).split("; ") == [
        "default-src 'none'",
        f"script-src 'sha256-{hashes['script']}'",
        f"style-src 'sha256-{hashes['style']}'",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    assert page.index("Content-Security-Policy") < page.index("<title>") < page.index("<style>")
    assert not re.search(r"url\(|@import|https?:|//| style=| on\w+=", page)
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|eval|Function|fetch|import", inline["script"][0]
    )


def test_no_token_reaches_the_page() -> None:
    """Whichever field a client put it into, findings hold none, and the page adds none."""
    found = incidents(detect(token_request(userAgent=f"x{JWT}"), exclusions=()))

    assert "eyJ" not in to_report(found)


def test_three_hundred_incidents_stay_small_and_closed() -> None:
    """A mint and two uses each: under 3 MB, the worst open, every summary there."""
    found = []
    for number in range(300):
        of = mint(f"attacker-{number}", f"team-{number}/payments-sa", number * 10)
        found.append(incident(of, use(of, number * 10 + 1), use(of, number * 10 + 2, "pods prod", 403)))
    page = to_report(found)
    parsed = read(page)

    assert len(page.encode()) < 3_000_000
    assert parsed.opened == 1
    assert all(finding.summary in parsed.text for item in found for finding in item.findings)


@pytest.mark.parametrize("number", [1, OPEN_UP_TO, OPEN_UP_TO + 1])
def test_few_incidents_are_open(number: int) -> None:
    """Of more, the worst is; one needs no filter."""
    page = read(to_report([incident(mint(f"user-{place}")) for place in range(number)]))

    assert page.opened == (number if number <= OPEN_UP_TO else 1)
    assert page.counts.get("input", 0) == (2 if number > 1 else 0)


def test_the_worst_comes_first_and_the_counts_add_up() -> None:
    """By severity; within one, in the order given."""
    found = [
        incident(mint(), title=name, severity=severity)
        for name, severity in (("a", Severity.LOW), ("b", Severity.CRITICAL), ("c", Severity.LOW), ("d", Severity.HIGH))
    ]
    page = to_report(found)

    assert re.findall(r'<span class="t v">(\w)</span><small>', page) == ["b", "d", "a", "c"]
    assert re.findall(r"<b>(\d+)</b>(\w+)", page) == [("1", "critical"), ("1", "high"), ("2", "low")]
    assert "4 incidents, 4 findings" in page


def test_nothing_found_is_said() -> None:
    """An empty page would look like a broken one."""
    page = read(to_report([]))

    assert "No incident was found." in page.text
    assert "0 incidents, 0 findings" in page.text


def test_equal_incidents_give_equal_pages() -> None:
    """The clock is asked by nobody; a given time is shown in UTC."""
    found = [incident(mint())]
    east = datetime.fromisoformat("2026-11-24T02:00:00+02:00")

    assert to_report(found) == to_report(found)
    assert "2026-11-24 00:00:00Z" in to_report(found, scan=Scan(ended=east))


def test_without_advice_the_rules_say_what_to_do() -> None:
    """The worst rule first, each once."""
    of = mint()
    page = to_report([incident(of, use(of, 1), use(of, 2, "pods prod"), advice=())])

    assert "<ol><li>End the token.</li><li>Ask the caller.</li></ol>" in page


def test_of_many_things_to_do_the_repetitions_are_folded() -> None:
    """Tokens to end before others, and never what comes last: the secrets to rotate, what to undo."""
    kinds = [("Review", 3), ("End", 5), ("Rotate", 1), ("Check", 1)]
    steps = [Step(f"{kind} {number}") for kind, times in kinds for number in range(times)]

    def folded(*some: Step) -> list[str]:
        text = to_report([incident(mint(), advice=some)])
        section = text[text.index("What to do now") : text.index("What happened")]
        assert [section.count(f">{step.text}<") for step in some] == [1] * len(some)
        return re.findall(r"<li>(\w+ \d)<", "".join(re.findall(r"<details>.*?</details>", section)))

    assert folded(*steps) == ["End 3", "End 4"]
    assert folded(*steps[:8]) == []
    more = [Step(f"{kind} {number}") for kind in ("Review", "End") for number in range(6 if kind == "Review" else 3)]
    assert folded(*more) == ["End 2"]
    assert folded(*steps, *(Step(f"Take {number}") for number in range(4))) == [
        *(f"End {number}" for number in (1, 2, 3, 4)),
        *("Take 2", "Take 3"),
    ]
    assert folded(*(Step(f"{name} {name}") for name in map(str, range(12)))) == []


def test_what_was_said_about_one_request_is_one_step() -> None:
    """A person reads each fact once."""
    first = mint()
    other = attrs.evolve(first, rule=USED, evidence=(*first.evidence, Evidence("verb", "create", "new")))
    page = to_report([incident(first, other)])

    assert page.count('<details class="f"') == 1
    assert page.count("user.username: alice") == 1
    assert page.count("verb: create") == 1
    assert '<a href="#rule-token-request">' in page
    assert '<a href="#rule-minted-token-used">' in page


def test_steps_that_say_the_same_are_one_with_a_number_and_the_ids_of_all() -> None:
    """Three hundred equal lists are one step; a step with an event of its own stays one."""
    of = mint()
    uses = [attrs.evolve(use(of, 1 + number), summary="used") for number in range(300)]
    page = to_report([incident(of, *uses)])

    assert page.count('<details class="f"') == 2
    assert "<b>300 times</b>" in page
    assert all(one.event.request_id in page for one in uses[1:11])
    assert "and 289 more" in page


def test_an_incident_without_end_has_a_bounded_page_that_says_what_it_leaves_out() -> None:
    """Two thousand different requests: the worst are there, however late they came."""
    of = mint()
    uses = [use(of, 1 + number, f"secrets prod/s-{number}") for number in range(2000)]
    worst = attrs.evolve(use(of, 3000, "secrets prod/last"), severity=Severity.CRITICAL)
    page = to_report([incident(of, *uses, worst)])

    assert len(page) < 1_000_000
    assert worst.summary in page
    assert "and 1,802 more requests, none more severe" in page


def test_the_events_behind_the_steps_are_shown_as_far_as_there_is_room() -> None:
    """Of the others the page says how to see them, in one command for an incident."""
    of = mint()
    found = [incident(of, use(of, 1))]
    scan = Scan(logs=("a b.log",))
    shown = [ref.request_id for ref in requests_shown(found)]
    command = "k8stokendetect explain {} &#39;a b.log&#39;"

    assert shown == [use(of, 1).event.request_id, of.event.request_id]
    page = to_report(found, scan=scan, events={shown[0]: '{"verb": "<list>"}'})
    assert '<pre>{"verb": "&lt;list&gt;"}</pre>' in page
    assert command.format(shown[0]) not in page
    assert command.format(shown[1]) in page
    assert "was not kept" not in page
    assert to_report(found).count("Its audit event was not kept") == 2


def test_many_incidents_share_the_room_for_details(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worst have one step in full, all one command for the rest; events are shown until there is no more room."""
    monkeypatch.setattr("k8stokendetect.outputs.report._IN_FULL", 30)
    monkeypatch.setattr("k8stokendetect.outputs.report._FIRST", 35)
    monkeypatch.setattr("k8stokendetect.outputs.report._EVENTS", 20_000)
    found = []
    for number in range(40):
        of = mint(f"attacker-{number}", f"team-{number}/payments-sa", number * 10)
        found.append(incident(of, use(of, number * 10 + 1), use(of, number * 10 + 2, "pods prod", 403)))
    events = {ref.request_id: "x" * 2000 for ref in requests_shown(found)}
    page = to_report(found, scan=Scan(logs=("a.log",)), events=events)

    assert len(events) == 35
    assert page.count('<details class="f"') == 35
    assert page.count('<p class="f"') == 85
    assert page.count("x" * 2000) == 10
    assert page.count("of the steps that do not open") == 40
    assert all(finding.summary in page for item in found for finding in item.findings)


def test_of_very_many_incidents_the_worst_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page says how many it leaves out, and counts them all."""
    monkeypatch.setattr("k8stokendetect.outputs.report.MOST_INCIDENTS", 2)
    found = [incident(mint(f"user-{number}"), severity=Severity(1 + number)) for number in range(4)]
    page = read(to_report(found))

    assert page.counts["details"] == 2 * 2 + 1
    assert "and 2 more incidents, none more severe" in page.text
    assert "1informational" in page.text


def test_the_page_says_first_what_it_rests_on() -> None:
    """Files with hashes, counts, errors, options, version, time: before any incident."""
    scan = Scan(
        files=(
            SourceFile(name="audit.log", size=1234567, sha256="ab" * 32),
            SourceFile(name="standard input", note="not hashed"),
        ),
        events=6758,
        findings=375,
        excluded={"kubelet": 300},
        errors=("audit.log:7: not JSON",),
        number_of_errors=3,
        options=("scan", "--platform", "eks", "my log"),
        version="1.2.3",
        started=START,
        ended=START + timedelta(seconds=90),
        note="Interrupted.",
    )
    text = read(to_report([incident(mint())], scan=scan)).text
    head = text[: text.index("What to do now")]

    for said in (
        *("audit.log 1,234,567 bytes", f"SHA-256 {'ab' * 32}", "standard input", "not hashed", "Interrupted."),
        *("6,758 events, 375 findings; excluded: kubelet 300", "3: what they are about", "audit.log:7: not JSON"),
        *("and 2 more", "scan --platform eks 'my log'", "by k8stokendetect 1.2.3", "21:43:45Z to 21:45:15Z"),
    ):
        assert said in head


def test_a_file_is_hashed_and_what_cannot_be_is_said_to_be(tmp_path: Path) -> None:
    """As sha256sum does; a folder, a missing file and a name that is none have a note."""
    (tmp_path / "a.log").write_bytes(b"{}")
    file = SourceFile.of(tmp_path / "a.log")

    assert (file.size, file.sha256) == (2, "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a")
    for name in (tmp_path, tmp_path / "b.log", tmp_path / ("x" * 300), "a\0b"):
        assert SourceFile.of(name).sha256 == ""
        assert "not hashed" in SourceFile.of(name).note


def test_an_event_is_written_without_its_token_and_of_bounded_length() -> None:
    """Redaction is that of reading; a long body is cut and says so, the whole form has it."""
    bodies = {"a": "y" * 100_000, "b": ["z"] * 10_000}
    event = parse_event(token_request(userAgent=f"x{JWT}", requestObject=bodies, responseObject=bodies))
    text, whole = to_event_text(event), to_event_text(event, is_bounded=False)

    assert "eyJ" not in text + whole
    assert len(text) <= LONGEST_EVENT
    assert "(100,000 characters)" in text
    assert "more" in text
    assert json.loads(whole)["requestObject"]["a"] == "y" * 100_000
    assert list(json.loads(text))[:4] == ["kind", "apiVersion", "level", "auditID"]


@pytest.mark.parametrize("text", ["\u202e\u2028\x9b\x1b\n", "\ud800", "\U000e0001"])
def test_an_event_stays_json_whatever_a_client_chose(text: str) -> None:
    """What is not printable is escaped as JSON does."""
    written = to_event_text(Event(audit_id="1", verb="get", user_agent=text))

    assert all(char.isprintable() or char == "\n" for char in written)
    assert json.loads(written)["userAgent"] == text


def test_an_excluded_finding_says_by_which_exclusion() -> None:
    """For those who keep excluded findings."""
    made = incident(mint())
    aside = attrs.evolve(made, findings=(attrs.evolve(made.findings[0], excluded_by="kubelet"),))

    assert "excluded by kubelet" in to_report([aside])
    assert "excluded by" not in to_report([made])


def test_long_values_and_long_lists_are_cut_and_say_so() -> None:
    """A query string of a megabyte must not drown the rest."""
    long = attrs.evolve(mint(), evidence=(Evidence("requestURI", "y" * 5000, "long"),))
    page = to_report([incident(long, credentials=tuple(f"JTI={number}" for number in range(40)))])

    assert f"{'y' * 1000}… (5000 characters)" in page
    assert "y" * 1001 not in page
    assert "<code>JTI=11</code> and 28 more" in page


def test_equal_nodes_are_one_and_refused_ones_look_refused() -> None:
    """Twelve equal lists are a node with a number."""
    of = mint()
    uses = [use(of, 1 + number) for number in range(12)]
    drawn = graph(requests_of([of, *uses, use(of, 20, "pods prod", 403)]))

    assert list(nodes(drawn)) == [
        ("identity", "alice", 0),
        ("token", "prod/payments-sa", 1),
        ("act", "list secrets prod", 2),
        ("refused", "list pods prod", 2),
    ]
    assert "12 times, 21:43:46Z to 21:43:57Z, answered 200" in drawn
    assert "21:44:05Z, refused 403" in drawn
    assert "from 192.0.2.7" in drawn


def test_a_large_graph_keeps_the_worst_and_counts_the_rest() -> None:
    """However late it happened."""
    of = mint()
    uses = [use(of, 1 + number, f"pods prod/web-{number}") for number in range(100)]
    worst = attrs.evolve(use(of, 500), severity=Severity.CRITICAL)
    drawn = graph(requests_of([of, *uses, worst]))
    found = list(nodes(drawn))

    assert len(found) == NODES
    assert found[2][1] == "list secrets prod"
    assert f"… and {103 - NODES} more: see the steps" in drawn


def test_a_deep_chain_is_drawn_without_recursion() -> None:
    """Three thousand mints, one with another, have a bounded number of columns."""
    links = [mint("alice", "n/sa-0")]
    for number in range(1, 3000):
        of = links[-1]
        links.append(use(of, number, f"n/sa-{number}", verb="create", minted_credential=f"JTI={number}"))

    assert len(list(nodes(graph(requests_of(links))))) == COLUMNS


def test_the_timeline_has_bounded_marks_and_lanes() -> None:
    """Ten thousand requests of a hundred callers."""
    found = [mint(f"user-{number % 100}", seconds=number) for number in range(10_000)]
    svg = timeline(requests_of(found))

    assert svg.count("<line") == LANES
    assert f"{100 - LANES + 1} other callers" in svg
    assert svg.count("<rect") <= LANES * 961
    ET.fromstring(svg)  # noqa: S314 - our own


def test_marks_stand_where_their_time_is() -> None:
    """The first near the left end, the last near the right one, with the time between them written out."""
    of = mint()
    svg = timeline(requests_of([of, *(use(of, seconds) for seconds in (30, 60, 90, 100, 120))]))

    assert re.findall(r'<(?:rect x|circle cx)="([\d.]+)%"', svg) == ["1.0", "25.5", "50.0", "74.5", "82.7", "99.0"]
    assert "2.0 min" in svg
    assert "21:43:45Z" in svg
    assert "21:45:45Z" in svg


def test_a_few_moments_have_no_timeline() -> None:
    """The steps say as much."""
    of = mint()

    assert not timeline(requests_of([of, use(of, 1), use(of, 2), use(of, 2)]))


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.05, "50 ms"), (5, "5.0 s"), (119, "119.0 s"), (7200, "2.0 h"), (864_000, "10.0 days")]
)
def test_a_span_is_told_in_its_own_unit(seconds: float, words: str) -> None:
    """Neither 0.0 s nor 864000 s helps anybody."""
    assert lasting(START, START + timedelta(seconds=seconds)) == words


def test_times_that_are_missing_are_said_to_be() -> None:
    """A wrapper may drop them."""
    page = read(to_report([incident(mint(time=None))]))

    assert "time unknown" in page.text


def test_what_a_request_without_a_user_is_called() -> None:
    """By its address."""
    drawn = graph(requests_of([mint("", source_ips=("203.0.113.9",))]))

    assert "an unknown caller at 203.0.113.9" in drawn


def test_without_the_template_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra that is missing is named."""
    environment.cache_clear()
    monkeypatch.setitem(sys.modules, "jinja2", None)

    with pytest.raises(ConfigError, match=r"k8stokendetect\[cli\]"):
        to_report([])
