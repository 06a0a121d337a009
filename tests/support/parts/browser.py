"""Chromium, driven by Playwright: what a person at the page sees, and what they would hear."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from tests.support.parts.process import require

PACKAGE = "chromium"

# Chromium's sandbox does without root, and tests in CI run as root. It sees our own pages only.
_OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a window."""
    program = require("chromium", PACKAGE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_OPTIONS)
        try:
            yield browser
        finally:
            browser.close()


@dataclass(frozen=True, slots=True)
class Tab:
    """A page that is open, and all that its browser complained of."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    def violations(self) -> list[str]:
        """What axe finds wrong for people who see, hear or move otherwise: rule, how bad, where."""
        self.page.evaluate(files("axe_playwright_python").joinpath("axe.min.js").read_text())
        found = self.page.evaluate("axe.run({resultTypes: ['violations']})")
        return [
            f"{one['id']} ({one['impact']}): {node['target']} {node['failureSummary']}"
            for one in found["violations"]
            for node in one["nodes"]
        ]

    def overflow(self) -> int:
        """Pixels by which the page is wider than its window."""
        wider = self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        return max(0, int(wider))


@contextmanager
def tab(browser: Browser, **options: Any) -> Iterator[Tab]:
    """A tab of its own, without cookies of others; `options` are Playwright's of a context."""
    context = browser.new_context(**options)
    try:
        opened = Tab(context.new_page())
        opened.page.on(
            "console", lambda said: opened.complaints.append(f"{said.type}: {said.text}")
        )
        opened.page.on("pageerror", lambda error: opened.complaints.append(f"error: {error}"))
        yield opened
    finally:
        context.close()
