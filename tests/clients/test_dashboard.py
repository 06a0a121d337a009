"""The page of a real server in a real browser, while images are pulled through it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.clients import catalogue
from tests.clients.stage import Registries, staged
from tests.support.parts.browser import chromium, tab
from tests.support.parts.proxy import Proxy
from tests.support.parts.skopeo import Skopeo

pytestmark = pytest.mark.clients

_SOON = 60_000  # milliseconds
# For figures: they are kept for fifty times as long as they take, on a busy machine too.
_COUNTED = 60_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for all tests of this file."""
    with chromium() as running:
        yield running


def _sign_in(page: Page, proxy: Proxy) -> None:
    """As the form says: with the token in the file that it names."""
    page.goto(f"{proxy.admin_url}/dashboard")
    token = Path(page.locator("form code").inner_text()).read_text(encoding="ascii").strip()
    page.get_by_label("Admin token").fill(token)
    page.get_by_role("button", name="Sign in").click()


def test_figures_change_during_a_pull(browser: Browser, registries: Registries) -> None:
    """A download moves before one's eyes, ends, and is saved the next time: without a reload."""
    with (
        staged(registries, settings={"server": {"workers": 2}}) as stage,
        tab(browser) as opened,
        ThreadPoolExecutor(1) as pool,
    ):
        page, reference = opened.page, f"{stage.proxy.host}/docker.io/library/large:1"
        _sign_in(page, stage.proxy)
        expect(page.locator("#saved")).to_contain_text(f"docker pull {stage.proxy.host}/docker.io")
        page.evaluate("window.isTheSame = true")

        stage.hub.rate = 400_000.0
        pull = pool.submit(Skopeo().pull, reference)
        bar = page.locator("#fills li", has_text="library/large").locator("progress")
        expect(bar).to_be_visible(timeout=_SOON)
        first = int(bar.get_attribute("value") or 0)
        page.wait_for_function(
            "(first) => document.querySelector('#fills progress')?.value > first",
            arg=first,
            timeout=_SOON,
        )
        stage.hub.rate = None
        pull.result()
        expect(page.locator("#fills")).to_contain_text("Nothing is being fetched", timeout=_SOON)
        expect(page.locator("#by-fetched")).to_contain_text("library/large", timeout=_COUNTED)

        stage.forget()
        Skopeo().pull(reference)
        assert stage.hub.blob_bytes == 0
        size = catalogue.LARGE.blob_bytes / 1024**2
        expect(page.locator("#saved .hero")).to_have_text(f"{size:.2f} MiB", timeout=_COUNTED)
        expect(page).to_have_title(f"{size:.2f} MiB saved · cacheproxy")
        expect(page.locator("#by-saved")).to_contain_text("library/large")
        expect(page.locator("#upstreams")).to_contain_text("docker.io")
        assert page.evaluate("window.isTheSame")
        assert opened.complaints == []


def test_an_upstream_that_is_down_is_seen(browser: Browser, registries: Registries) -> None:
    """When a registry goes away, the page says so as soon as somebody has asked it in vain."""
    with staged(registries) as stage, tab(browser) as opened:
        _sign_in(opened.page, stage.proxy)
        stage.hub.cut()
        with pytest.raises(AssertionError):
            Skopeo().pull(f"{stage.proxy.host}/docker.io/library/app:1")
        failing = opened.page.locator("#upstreams")
        expect(failing).to_contain_text("1 failing", timeout=_SOON)
        expect(failing).to_contain_text("did not answer")
        assert opened.violations() == []
