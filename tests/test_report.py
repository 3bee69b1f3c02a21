# SPDX-License-Identifier: Apache-2.0
"""The HTML page: it holds every finding, and nothing that a client chose can leave its place in it."""

from __future__ import annotations

import html
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree as ET

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import about, token_request
from k8stokendetect import ConfigError, Evidence, Finding, Rule, Severity, detect
from k8stokendetect.findings import EventRef
from k8stokendetect.incidents import Incident, Step, incidents
from k8stokendetect.incidents.story import requests_of
from k8stokendetect.outputs.figures import LANES, ROWS, chain, timeline
from k8stokendetect.outputs.html import environment
from k8stokendetect.outputs.provenance import Scan
from k8stokendetect.outputs.report import OPEN_UP_TO, to_report
from k8stokendetect.outputs.text import neutral
from recordings import METADATA, labels
from strategies import JWT, texts

START = datetime(2026, 11, 23, 21, 43, 45, tzinfo=UTC)
RULE = Rule("token-request", "Mint", Severity.MEDIUM, description="Why.", response="Ask the caller.")
USED = Rule("minted-token-used", "Use", Severity.HIGH, response="End the token.")
DETECTORS = ["token-request", "token-request-uri", "minted-token-used"]
VOID = {"meta"}
ALLOWED = {
    *"html head meta title style body header main nav section details summary div span".split(),
    *"h1 h2 h3 p ul ol li dl dt dd a b small code table tbody tr td".split(),
    *"svg g rect circle line path text".split(),
}
ATTRIBUTES = {
    *"class id href open lang charset name content http-equiv role aria-label".split(),
    *"width height viewbox x y x1 x2 y1 y2 cx cy r rx d transform".split(),
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
        if self.open[-1:] != ["style"]:
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


def boxes(svg: str) -> Iterator[tuple[str, str, float]]:
    """Yield kind, label and indentation of every box of a chain."""
    for group in ET.fromstring(svg).findall("g"):  # noqa: S314 - our own
        label, rect = group.find("text"), group.find("rect")
        assert label is not None
        assert rect is not None
        yield group.attrib["class"].split()[0], label.text or "", float(rect.attrib["x"])


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
    drawn = list(boxes(chain(requests_of(found))))

    assert len(mints) == 3
    assert [("identity", "alice"), *(("token", f"token of {target}") for target in mints)] == [
        (kind, label) for kind, label, _ in drawn[:4]
    ]
    assert drawn[4][:2] == ("act", "list secrets prod")
    assert [box[2] for box in drawn[:5]] == sorted({box[2] for box in drawn[:5]})


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
    pages = [read(to_report([everywhere(value)], title=value)) for value in (text, "harmless")]

    for tag in ("a", "code", "li", "td", "rect", "circle", "svg", "details"):
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


def test_the_page_forbids_itself_to_load_and_run() -> None:
    """A policy before anything else that a browser could act on, no script, no address."""
    page = to_report([everywhere("x")])
    policy = "default-src 'none'; style-src 'unsafe-inline'"

    assert f'<meta http-equiv="Content-Security-Policy" content="{policy}">' in page
    assert page.index(policy) < page.index("<title>") < page.index("<style>")
    assert not re.search(r"<script|url\(|@import|https?:|//", page)


def test_no_token_reaches_the_page() -> None:
    """Whichever field a client put it into, findings hold none, and the page adds none."""
    found = incidents(detect(token_request(userAgent=f"x{JWT}"), exclusions=()))

    assert "eyJ" not in to_report(found)


def test_three_hundred_incidents_stay_small_and_closed() -> None:
    """A mint and two uses each: under 3 MB, nothing open, everything linked from the contents."""
    found = []
    for number in range(300):
        of = mint(f"attacker-{number}", f"team-{number}/payments-sa", number * 10)
        found.append(incident(of, use(of, number * 10 + 1), use(of, number * 10 + 2, "pods prod", 403)))
    page = to_report(found)
    parsed = read(page)

    assert len(page.encode()) < 3_000_000
    assert parsed.opened == 0
    assert {f"#incident-{number}" for number in range(1, 301)} <= set(parsed.links)
    assert all(finding.summary in parsed.text for item in found for finding in item.findings)


@pytest.mark.parametrize("number", [1, OPEN_UP_TO, OPEN_UP_TO + 1])
def test_few_incidents_are_open(number: int) -> None:
    """Whoever gets one incident does not have to click; a list of one is no list."""
    page = read(to_report([incident(mint(f"user-{place}")) for place in range(number)]))

    assert page.opened == (number if number <= OPEN_UP_TO else 0)
    assert page.counts.get("nav", 0) == (number > 1)


def test_the_worst_comes_first_and_the_counts_add_up() -> None:
    """By severity; within one, in the order given."""
    found = [
        incident(mint(), title=name, severity=severity)
        for name, severity in (("a", Severity.LOW), ("b", Severity.CRITICAL), ("c", Severity.LOW), ("d", Severity.HIGH))
    ]
    page = to_report(found)

    assert re.findall(r'<span class="t v">(\w)</span>\n<small>', page) == ["b", "d", "a", "c"]
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
    assert "report of" not in to_report(found)
    assert "report of 2026-11-24 00:00:00Z" in to_report(found, scan=Scan(ended=east))


def test_without_advice_the_rules_say_what_to_do() -> None:
    """The worst rule first, each once."""
    of = mint()
    page = to_report([incident(of, use(of, 1), use(of, 2, "pods prod"), advice=())])

    assert "<ol><li>End the token.</li><li>Ask the caller.</li></ol>" in page


def test_a_finding_about_the_same_request_says_only_what_is_new() -> None:
    """A person reads each fact once, and is told so."""
    first = mint()
    other = attrs.evolve(first, rule=USED, evidence=(*first.evidence, Evidence("verb", "create", "new")))
    page = to_report([incident(first, other)])

    assert page.count("<td>user.username</td>") == 1
    assert page.count("<td>verb</td>") == 1
    assert page.count("About the same request") == 1


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


def test_equal_boxes_are_one_and_refused_ones_look_refused() -> None:
    """Twelve equal lists are a box with a number."""
    of = mint()
    uses = [use(of, 1 + number) for number in range(12)]
    svg = chain(requests_of([of, *uses, use(of, 20, "pods prod", 403)]))

    assert [box[:2] for box in boxes(svg)] == [
        ("identity", "alice"),
        ("token", "token of prod/payments-sa"),
        ("act", "list secrets prod"),
        ("refused", "list pods prod"),
    ]
    assert "12 times, 21:43:46Z to 21:43:57Z, answered 200" in svg
    assert "21:44:05Z, refused 403" in svg
    assert "from 192.0.2.7" in svg


def test_a_large_chain_keeps_the_worst_and_counts_the_rest() -> None:
    """However late it happened."""
    of = mint()
    uses = [use(of, 1 + number, f"pods prod/web-{number}") for number in range(100)]
    worst = attrs.evolve(use(of, 500), severity=Severity.CRITICAL)
    drawn = list(boxes(svg := chain(requests_of([of, *uses, worst]))))

    assert len(drawn) == ROWS
    assert drawn[2][1] == "list secrets prod"
    assert f"… and {103 - ROWS} more: see the findings" in svg


def test_a_deep_chain_is_drawn_without_recursion() -> None:
    """Three thousand mints, one with another, stay in a picture of bounded width."""
    links = [mint("alice", "n/sa-0")]
    for number in range(1, 3000):
        of = links[-1]
        links.append(use(of, number, f"n/sa-{number}", verb="create", minted_credential=f"JTI={number}"))
    svg = chain(requests_of(links))

    assert len(list(boxes(svg))) == ROWS
    assert float(ET.fromstring(svg).attrib["width"]) < 1000  # noqa: S314 - our own


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
    svg = timeline(requests_of([of, use(of, 30), use(of, 120)]))

    assert re.findall(r'<(?:rect x|circle cx)="([\d.]+)%"', svg) == ["2.0", "26.0", "98.0"]
    assert "2.0 min" in svg
    assert "21:43:45Z" in svg
    assert "21:45:45Z" in svg


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.05, "50 ms"), (5, "5.0 s"), (119, "119.0 s"), (7200, "2.0 h"), (864_000, "10.0 days")]
)
def test_a_span_is_told_in_its_own_unit(seconds: float, words: str) -> None:
    """Neither 0.0 s nor 864000 s helps anybody."""
    of = mint()

    assert f">{words}<" in timeline(requests_of([of, use(of, seconds)]))


def test_times_that_are_missing_are_said_to_be() -> None:
    """A wrapper may drop them."""
    page = read(to_report([incident(mint(time=None))]))

    assert "No timestamp was logged." in page.text
    assert "time unknown" in page.text


def test_what_a_request_without_a_user_is_called() -> None:
    """By its address."""
    svg = chain(requests_of([mint("", source_ips=("203.0.113.9",))]))

    assert html.escape("an unknown caller at 203.0.113.9") in svg


def test_without_the_template_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra that is missing is named."""
    environment.cache_clear()
    monkeypatch.setitem(sys.modules, "jinja2", None)

    with pytest.raises(ConfigError, match=r"k8stokendetect\[cli\]"):
        to_report([])
