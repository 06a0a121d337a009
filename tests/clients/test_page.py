"""The page in a real browser, over figures that are made up: live, legible, and for everybody."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from cacheproxy.domain.traffic import Traffic
from cacheproxy.ops.api.model import FillStatus, StoreStatus, UpstreamStatus
from tests.support.figures import (
    GIB,
    MIB,
    NOW,
    FakeSource,
    busy_source,
    busy_status,
    digest,
    totals,
)
from tests.support.parts.browser import chromium, tab
from tests.support.parts.shown import TOKEN, shown

pytestmark = pytest.mark.clients

_PHONE = {"width": 390, "height": 844}
_DESKTOP = {"width": 1440, "height": 900}
_WALL = {"width": 1920, "height": 1080}
_SOON = 60_000  # milliseconds; for what a turn or two of the page bring
# For figures: they are kept for fifty times as long as they take, on a busy machine too.
_COUNTED = 60_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for all tests of this file."""
    with chromium() as running:
        yield running


def _crowded() -> FakeSource:
    """More of everything than there is room for, with names as long as they can be."""
    source = busy_source()
    long = "team/platform/" + "really-quite-long-" * 12
    hours = {
        (hour, upstream, long + repository): traffic
        for (hour, upstream, repository), traffic in source.hours.items()
    }
    last = max(hour for hour, _, _ in hours)
    for n in range(20):
        key = (last - n, f"registry-{n}.some-long-subdomain.example.com", "x" * 200)
        hours[key] = Traffic(100, GIB * (n + 1), 0, 0, 0, GIB * (20 - n) * 2, 5, 1)
    upstreams = [
        UpstreamStatus(
            f"registry-{n}.some-long-subdomain.example.com",
            "down" if n % 2 else "paused",
            "it did not answer: " + "x" * 150,
            NOW + 42,
            3,
            100,
            NOW - n,
        )
        for n in range(20)
    ]
    fills = [
        FillStatus(digest(n), "registry.example.com", long + str(n), n * GIB, 14 * GIB, 60.0, n)
        for n in range(12)
    ]
    store = StoreStatus(499 * GIB, 88 * GIB, 500 * GIB, 200 * MIB, 1_218_204)
    status = replace(busy_status(), upstreams=upstreams, fills=fills, store=store)
    return replace(source, hours=hours, overall=totals(hours), shown=status)


_SOURCES: dict[str, Callable[[], FakeSource]] = {
    "busy": busy_source,
    "empty": FakeSource,
    "crowded": _crowded,
    "failing": lambda: FakeSource(trouble="the ledger cannot be opened: " + "x" * 200),
}
every_source = pytest.mark.parametrize("name", _SOURCES)


def _live(page: Page) -> None:
    expect(page.locator("#word")).to_have_text("Live", timeout=_SOON)


def test_axe_finds_what_is_wrong(browser: Browser) -> None:
    """What must not be on the page would be found: grey on grey, and a field without a name."""
    with tab(browser) as opened:
        opened.page.set_content('<p style="color: #bbb; background: #aaa">faint</p><input>')
        found = {violation.partition(" ")[0] for violation in opened.violations()}
        assert {"color-contrast", "label"} <= found


@every_source
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(browser: Browser, name: str, scheme: str) -> None:
    """Light and dark, empty, busy and failing, live or not: the page passes all rules of axe."""
    with shown(_SOURCES[name]()) as server, tab(browser, color_scheme=scheme) as opened:
        opened.page.goto(server.url)
        _live(opened.page)
        assert opened.violations() == []
        server.go()
        expect(opened.page.locator("body")).to_have_class(re.compile("lost"), timeout=_SOON)
        assert opened.violations() == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_wrong_with_the_form(browser: Browser, scheme: str) -> None:
    """The form to sign in with passes all rules too, also after a wrong token."""
    with shown(FakeSource(), public=False) as server, tab(browser, color_scheme=scheme) as opened:
        opened.page.goto(server.url)
        assert opened.violations() == []
        opened.page.get_by_label("Admin token").fill("wrong")
        opened.page.get_by_role("button", name="Sign in").click()
        expect(opened.page.get_by_role("alert")).to_have_text("That is not the admin token.")
        assert opened.violations() == []


@every_source
@pytest.mark.parametrize("size", [_PHONE, _DESKTOP, _WALL], ids=["phone", "desktop", "wall"])
def test_nothing_is_wider_than_the_window(
    browser: Browser, name: str, size: dict[str, int]
) -> None:
    """On a phone, a desk and a wall the page fits, however long names are and how many."""
    with shown(_SOURCES[name]()) as server, tab(browser, viewport=size) as opened:
        opened.page.goto(server.url)
        _live(opened.page)
        assert opened.overflow() == 0
        assert _sticking_out(opened.page) == []
        assert opened.complaints == []


def _sticking_out(page: Page) -> list[str]:
    """Elements that reach beyond the panel which they are in."""
    found = page.evaluate(
        """() => [...document.querySelectorAll(".panel")].flatMap((panel) => {
            const edge = panel.getBoundingClientRect().right;
            return [...panel.querySelectorAll("p, td, th, li, progress, .bar, .name")]
                .filter((one) => one.getBoundingClientRect().right > edge + 0.5)
                .map((one) => `${panel.id}: ${one.textContent.slice(0, 40)}`);
        })"""
    )
    return list(found)


def test_figures_need_no_script(browser: Browser) -> None:
    """Without JavaScript one signs in, sees all figures and the chart, and signs out."""
    with (
        shown(busy_source(), public=False) as server,
        tab(browser, java_script_enabled=False) as opened,
    ):
        page = opened.page
        page.goto(server.url)
        page.get_by_label("Admin token").fill(TOKEN)
        page.get_by_role("button", name="Sign in").click()
        expect(page).to_have_title("14.6 TiB saved · cacheproxy")
        expect(page.locator("#word")).to_have_text("Not live: reload for newer figures.")
        expect(page.locator("#fills progress")).to_have_count(4)
        assert page.locator("#chart .column").count() == 43
        page.get_by_role("link", name="Today").click()
        expect(page.get_by_role("link", name="Today")).to_have_attribute("aria-current", "page")
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("Admin token")).to_be_visible()


def test_downloads_go_on_before_ones_eyes(browser: Browser) -> None:
    """Progress moves without a reload, in the same element; what has ended goes."""
    source = busy_source()
    with shown(source) as server, tab(browser) as opened:
        page = opened.page
        page.goto(server.url)
        bar = page.locator("#fills li", has_text="library/postgres").locator("progress")
        expect(bar).to_have_attribute("value", str(int(148 * MIB * 0.31)))
        kept = bar.element_handle()
        source.shown = busy_status(step=4)
        expect(bar).to_have_attribute("value", str(int(148 * MIB * 0.59)), timeout=_SOON)
        assert kept.evaluate("(bar) => bar.isConnected")
        source.shown = replace(busy_status(), fills=[])
        expect(page.locator("#fills")).to_contain_text("Nothing is being fetched", timeout=_SOON)
        assert opened.complaints == []


def test_the_first_pull_turns_the_page(browser: Browser) -> None:
    """An empty page becomes one with figures by itself, and so does its title."""
    source = FakeSource()
    with shown(source) as server, tab(browser) as opened:
        page = opened.page
        page.goto(server.url)
        expect(page.locator("#saved")).to_contain_text("Nothing pulled yet")
        expect(page.locator("#chart")).to_be_hidden()
        busy = busy_source()
        source.hours, source.overall, source.prices = busy.hours, busy.overall, busy.prices
        expect(page.locator("#saved")).to_contain_text("14.6 TiB", timeout=_COUNTED)
        expect(page.locator("#chart")).to_be_visible()
        expect(page).to_have_title("14.6 TiB saved · cacheproxy")
        assert opened.complaints == []


def test_a_lost_connection_is_said_and_found_again(browser: Browser) -> None:
    """A page that hears nothing says so, and how old its figures are, until it does again."""
    with shown(busy_source()) as server, tab(browser) as opened:
        page = opened.page
        page.goto(server.url)
        _live(page)
        server.go()
        expect(page.locator("#word")).to_have_text(
            "Connection lost. What is shown is old,", timeout=_SOON
        )
        expect(page.locator("#age")).to_have_text(re.compile(r", \d+ s ago"))
        expect(page.locator("#saved")).to_contain_text("14.6 TiB")
        server.come()
        expect(page.locator("#word")).to_have_text("Live", timeout=_COUNTED)
        expect(page.locator("#age")).to_be_empty()


def test_a_session_that_ended_leads_to_the_form(browser: Browser) -> None:
    """A page whose cookie is gone does not go on showing old figures: it asks to sign in."""
    with shown(busy_source(), public=False) as server, tab(browser) as opened:
        page = opened.page
        page.goto(server.url)
        page.get_by_label("Admin token").fill(TOKEN)
        page.get_by_label("Admin token").press("Enter")
        _live(page)
        page.context.clear_cookies()
        expect(page.get_by_label("Admin token")).to_be_visible(timeout=_SOON)


@pytest.mark.alone
def test_a_hidden_page_asks_nothing(browser: Browser) -> None:
    """A tab that nobody sees asks for nothing; when it is seen again it asks at once."""
    source = busy_source()
    with shown(source) as server, tab(browser) as opened:
        page = opened.page
        page.goto(server.url)
        _live(page)
        _hide(page, hidden=True)
        page.wait_for_timeout(1000)  # for what was under way
        before = len(source.asked)
        page.wait_for_timeout(4000)
        assert len(source.asked) == before
        with page.expect_response("**/api/v1/status", timeout=1000):
            _hide(page, hidden=False)


def _hide(page: Page, *, hidden: bool) -> None:
    page.evaluate(
        """(hidden) => {
            Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


def test_the_keyboard_reaches_everything(browser: Browser) -> None:
    """The first stop skips to the figures, each stop is seen, and one's place is kept."""
    with shown(busy_source()) as server, tab(browser) as opened:
        page = opened.page
        page.goto(server.url)
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the figures")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("main")).to_be_focused()
        names = []
        for _ in range(5):
            page.keyboard.press("Tab")
            names.append(page.evaluate("document.activeElement.textContent"))
            style = "getComputedStyle(document.activeElement).outlineStyle"
            assert page.evaluate(style) == "solid"
        assert names == ["Today", "7 days", "35 days", "All time", "The chart as a table"]
        page.keyboard.press("Enter")
        with page.expect_response("**/api/v1/figures?*", timeout=_COUNTED):
            pass
        page.wait_for_timeout(500)
        assert page.evaluate("document.activeElement.textContent") == "The chart as a table"
        expect(page.locator("#chart details table")).to_be_visible()


def test_what_is_read_aloud_is_little(browser: Browser) -> None:
    """Only the state of the connection is announced, and figures that change are not."""
    source = busy_source()
    with shown(source) as server, tab(browser) as opened:
        page = opened.page
        page.goto(server.url)
        _live(page)
        live = "[aria-live], [role=status], [role=alert], [role=log], output"
        assert [one.get_attribute("id") for one in page.locator(live).all()] == ["word"]
        page.evaluate(
            """() => {
                window.said = 0;
                new MutationObserver(() => { window.said += 1; }).observe(
                    document.getElementById("word"),
                    { childList: true, characterData: true, subtree: true });
            }"""
        )
        with page.expect_response("**/api/v1/status", timeout=_SOON):
            source.shown = busy_status(step=3)
        page.wait_for_timeout(2500)
        assert page.evaluate("window.said") == 0


def test_the_script_asks_the_api_and_nothing_else(browser: Browser) -> None:
    """What the page shows when it is live comes from the admin API, all of it."""
    with shown(busy_source()) as server, tab(browser) as opened:
        page = opened.page
        page.goto(server.url)
        asked: set[str] = set()
        page.on("request", lambda request: asked.add(urlsplit(request.url).path))
        with page.expect_response("**/api/v1/figures?*", timeout=_COUNTED):
            pass
        asked.discard("/dashboard/static/icon.svg")  # the browser's, whenever it likes
        assert asked == {"/api/v1/status", "/api/v1/figures"}


def test_a_theme_can_be_chosen(browser: Browser) -> None:
    """Light and dark follow the system, until one of them is chosen."""
    with shown(busy_source()) as server, tab(browser, color_scheme="dark") as opened:
        page = opened.page
        page.goto(server.url)
        dark = _paper(page)
        page.emulate_media(color_scheme="light")
        light = _paper(page)
        assert light != dark
        for theme, paper in (("Dark", dark), ("Light", light)):
            page.emulate_media(color_scheme="light" if theme == "Dark" else "dark")
            page.get_by_role("link", name=theme).click()
            _is_on(page, paper)
        page.get_by_role("link", name="System").click()
        _is_on(page, dark)


def _paper(page: Page) -> str:
    return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))


def _is_on(page: Page, paper: str) -> None:
    """Waits for it: a link has been followed before the new page has its style sheet."""
    expect(page.locator("body")).to_have_css("background-color", paper, timeout=_SOON)


def test_who_wants_no_motion_gets_none(browser: Browser) -> None:
    """Bars glide to their new length, but not for who has asked for less motion."""
    with shown(busy_source()) as server, tab(browser) as opened:
        opened.page.goto(server.url)
        duration = "getComputedStyle(document.querySelector('.bar rect')).transitionDuration"
        assert opened.page.evaluate(duration) == "0.8s"
        opened.page.emulate_media(reduced_motion="reduce")
        assert opened.page.evaluate(duration) == "0s"
