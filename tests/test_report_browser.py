# SPDX-License-Identifier: Apache-2.0
"""The report page in Chromium, from a file and without a network: it copies, filters, fits, and is read without script.

It drives the browser with Playwright: https://playwright.dev/python/docs/api/class-browsertype#browser-type-launch.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import pytest

from k8stokendetect import Severity, detect, read
from k8stokendetect.incidents import Incident, incidents
from k8stokendetect.outputs.event_text import to_event_text
from k8stokendetect.outputs.provenance import Scan, SourceFile
from k8stokendetect.outputs.report import requests_shown, to_report
from k8stokendetect.reading.lookup import events_of
from recordings import METADATA

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
]

HTTP = "https://example.com/"


@functools.cache
def sync_api() -> Any:
    """Import Playwright, which takes half a second that other tests need not wait for."""
    return pytest.importorskip("playwright.sync_api")


@pytest.fixture(scope="module")
def found() -> Sequence[Incident]:
    """Return the incidents of a recording."""
    return incidents(detect(METADATA))


@pytest.fixture(scope="module")
def path(found: Sequence[Incident], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the page about them, with the events behind the steps."""
    events = {id_: to_event_text(event) for id_, event in events_of(read(METADATA), requests_shown(found))}
    scan = Scan(files=(SourceFile.of(METADATA),), events=6758, ended=datetime(2026, 11, 27, tzinfo=UTC))
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(to_report(found, scan=scan, events=events), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Start Chromium once."""
    with sync_api().sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any, path: Path) -> Iterator[Any]:
    """Open the page, and fail for anything that the console says or that is asked of a network."""
    with browser.new_context(viewport={"width": 1280, "height": 800}) as context:
        page = context.new_page()
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: said.append(request.url) if request.url != path.as_uri() else None)
        page.goto(path.as_uri())
        yield page
        assert said == []


def shown(page: Any) -> list[str]:
    """Return the titles of the incidents that are shown."""
    titles: list[str] = page.locator(".incident:visible > summary .t").all_inner_texts()
    return titles


@pytest.mark.parametrize("has_clipboard", [True, False])
def test_a_command_is_copied_whole(page: Any, found: Sequence[Incident], *, has_clipboard: bool) -> None:
    """With the clipboard's interface and without, as in a browser that offers none to a file."""
    if not has_clipboard:
        page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    step = next(step for step in found[0].advice if step.command)
    button = page.locator(".todo li", has_text=step.text).first.get_by_role("button")
    button.click()
    sync_api().expect(button).to_have_text("Copied")
    page.locator("#text").click()
    page.keyboard.press("Control+V")

    assert page.locator("#text").input_value() == step.command
    sync_api().expect(page.locator("#shown")).to_contain_text("of")  # a filter, too


def test_what_is_folded_is_copied_and_led_to(page: Any) -> None:
    """A step opens to its event, which has a button of its own; a link opens the rule that it names."""
    step = page.locator(".incident").first.locator(".f").first
    step.locator("summary").first.click()
    step.locator(".event > summary").click()

    assert step.locator(".event .copy").count() == 1
    assert '"kind": "Event"' in step.locator("pre").inner_text()
    step.locator("a[href^='#rule-']").first.click()
    assert page.locator(".rules details[open]").count() == 1


def test_incidents_are_filtered_by_severity_actor_and_text(page: Any, found: Sequence[Incident]) -> None:
    """One after the other and together; the number is said, and everything comes back."""
    every, high = shown(page), [one.title for one in found if str(one.severity) == "high"]
    page.locator(".counts a", has_text="high").click()
    assert shown(page) == high
    assert page.locator("#shown").inner_text() == f"{len(high)} of {len(found)} incidents"
    page.locator("#actor").fill("BOB")
    sync_api().expect(page.locator("#shown")).to_have_text(f"1 of {len(found)} incidents")
    assert shown(page)[0].startswith("bob ")
    page.locator("#text").fill("nowhere to be found")
    sync_api().expect(page.locator("#shown")).to_have_text(f"0 of {len(found)} incidents")
    page.locator("#clear").click()
    assert shown(page) == every == [one.title for one in found]
    event = found[-1].findings[0].event.audit_id
    page.locator("#text").fill(event)
    sync_api().expect(page.locator("#shown")).to_have_text(f"1 of {len(found)} incidents")
    assert shown(page) == [found[-1].title]


def test_the_policy_stops_what_would_get_in(browser: Any, path: Path) -> None:
    """Nothing runs and nothing loads, even where somebody found a way to write a tag."""
    with browser.new_context() as context:
        page = context.new_page()
        refused: list[str] = []
        page.on("requestfailed", lambda request: refused.append(f"{request.url} {request.failure}"))
        broken = path.with_name("broken.html")
        tags = (
            f"<script>window.ran = 1</script><img src={HTTP} onerror='window.ran = 1'><style>h1{{display:none}}</style>"
        )
        broken.write_text(path.read_text(encoding="utf-8").replace("<header>", f"<header>{tags}"), encoding="utf-8")
        page.goto(broken.as_uri())

        assert page.evaluate("window.ran") is None
        assert page.locator("h1").is_visible()
        assert refused == [f"{HTTP} csp"]
        assert page.locator(".copy").count() > 0  # our own script runs


def test_everything_is_there_without_script(browser: Any, path: Path, found: Sequence[Incident]) -> None:
    """No button that does nothing, no field that filters nothing; every title and step, the worst incident open."""
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(path.as_uri())
        text = page.locator("body").text_content()

        assert page.locator("button:visible, input:visible").count() == 0
        assert all(one.title in text for one in found)
        assert page.locator(".todo").first.is_visible()
        page.locator(".incident > summary").nth(1).click()
        assert page.locator(".todo").nth(1).is_visible()


@pytest.mark.parametrize("width", [390, 768, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_and_its_steps_are_seen_at_once(browser: Any, path: Path, width: int, scheme: Any) -> None:
    """Nothing is wider than the window, though everything is open; what to do begins on the first screen."""
    with browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme) as context:
        page = context.new_page()
        page.goto(path.as_uri())
        top = page.locator(".todo").first.bounding_box()["y"]
        page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true })")

        assert top < 844
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_what_to_do_is_printed_of_every_incident(browser: Any, path: Path, found: Sequence[Incident]) -> None:
    """What is closed is printed, too, and no control is."""
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(path.as_uri())
        page.emulate_media(media="print")
        heights = page.locator(".todo li").evaluate_all("(all) => all.map((one) => one.offsetHeight)")

        assert all(heights)
        assert len(heights) > len(found)
        assert page.locator("button:visible, input:visible").count() == 0


def test_a_page_of_1200_incidents_stays_small_and_works(
    browser: Any, found: Sequence[Incident], tmp_path: Path
) -> None:
    """Under 10 MB; only what is near the window is laid out, and the filter finds the last one."""
    many = [attrs.evolve(one, id=f"{number}-{one.id}") for number in range(80) for one in found]
    last = attrs.evolve(found[-1], id="the last", severity=Severity.INFORMATIONAL, title="the last one")
    big = tmp_path / "big.html"
    big.write_text(to_report([*many, last]), encoding="utf-8")
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(big.as_uri())
        page.locator("#text").fill("the last one")
        sync_api().expect(page.locator("#shown")).to_have_text("1 of 1201 incidents")

        assert big.stat().st_size < 10_000_000
        assert shown(page) == ["the last one"]
