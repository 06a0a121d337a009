import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from typing_extensions import override

from cacheproxy.domain.savings import Prices
from cacheproxy.domain.traffic import HOUR, Hours, Traffic
from cacheproxy.ops.api.figures import Figures, Missing
from cacheproxy.ops.api.model import Candidate, Eviction, FillStatus, Status, UpstreamStatus
from cacheproxy.ops.page.document import render, render_figures, render_sign_in
from cacheproxy.ops.page.now import render_now
from cacheproxy.ops.page.view import View
from tests.support.figures import (
    GIB,
    MIB,
    NOW,
    FakeSource,
    busy_source,
    busy_status,
    digest,
    figures_of,
    idle_status,
    totals,
)

_HOUR = int(NOW // HOUR)
_VOID = {"br", "input", "link", "meta", "wbr"}
_EVIL = "<script>alert(1)</script>\"'&"


class _Outline(HTMLParser):
    """What is in a page: its elements, which must be closed in order, its ids, its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._goes_on = False  # a word that may be broken is still one
        self.feed(page)
        self.close()
        assert not self.open

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._goes_on = tag == "wbr"
        if tag not in _VOID:
            self.open.append(tag)

    @override
    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    @override
    def handle_data(self, data: str) -> None:
        if self._goes_on:
            data = self.words.pop() + data
        self._goes_on = False
        self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    def ids(self) -> list[str]:
        return [found for _, attributes in self.elements if (found := attributes.get("id"))]


def _page(source: FakeSource, view: View | None = None) -> str:
    return render(source.shown or idle_status(), figures_of(source), view or View(), NOW)


def _failing() -> str:
    missing = Missing("the disk is full")
    return render(missing, Figures(missing, missing, missing, missing), View(), NOW)


def _pages() -> list[Callable[[], str]]:
    return [
        lambda: _page(busy_source()),
        lambda: _page(FakeSource()),
        _failing,
        lambda: render_sign_in("/var/cache/admin.token", "That is not it."),
    ]


every_page = pytest.mark.parametrize("make", _pages(), ids=["busy", "empty", "failing", "sign-in"])


@every_page
def test_elements_are_closed_and_ids_are_unique(make: Callable[[], str]) -> None:
    """Every page is well-formed, names its language, and has no id twice."""
    outline = _Outline(make())
    assert outline.elements[0] == ("html", {"lang": "en", "data-theme": "system"})
    assert len(outline.ids()) == len(set(outline.ids()))


@every_page
def test_nothing_is_inline(make: Callable[[], str]) -> None:
    """No page has a script, a style or a handler in it, so that its policy can forbid them."""
    for tag, attributes in _Outline(make()).elements:
        assert tag != "style"
        assert tag != "script" or attributes.get("src")
        assert "style" not in attributes
        assert not [name for name in attributes if name.startswith("on")]


@every_page
def test_nothing_comes_from_elsewhere(make: Callable[[], str]) -> None:
    """No page refers to another host, and all its addresses are relative."""
    for _, attributes in _Outline(make()).elements:
        for name in ("src", "href", "action"):
            assert not re.match(r"[a-z]+:|/", attributes.get(name) or "")


@every_page
def test_what_is_described_is_there(make: Callable[[], str]) -> None:
    """Whatever an element refers to for its name or description is on the page."""
    outline = _Outline(make())
    for _, attributes in outline.elements:
        for name in ("aria-labelledby", "aria-describedby", "for"):
            if (reference := attributes.get(name)) is not None:
                assert reference in outline.ids()


def test_that_nothing_is_stored_is_on_the_page() -> None:
    """A store that cannot be written is said beside the disk budget, with the reason."""
    source = busy_source()
    assert "nothing is stored" not in _Outline(_page(source)).text.lower()
    problem = "the ledger cannot be written: disk I/O error"
    source.shown = replace(source.shown or idle_status(), store_problem=problem)
    text = _Outline(_page(source)).text
    assert f"Nothing is stored: {problem}" in text
    assert "nothing is stored" in text


def test_every_figure_is_there() -> None:
    """What the API has is on the page without a script: savings, money, fills, upstreams, disk."""
    text = _Outline(_page(busy_source())).text
    for words in (
        "Saved in all 14.6 TiB",
        "Docker Hub pulls avoided",
        "EUR",
        "library/postgres",
        "45.9 MiB of 148 MiB",
        "6 clients",
        "36.0 MiB of unknown size",
        "412 GiB of 500 GiB",
        "18,204 blobs",
        "5.00 GiB of it for downloads under way",
        "310 GiB free on the volume",
        "76 of 100",
        "not asked yet",
        "docker.io/library/python:3.9-bookworm",
        "and 1 more tag",
        "gdsf-decay",
        "10.0.3.12:5002 this one",
        "cacheproxy 0.9.0 , 2 workers".replace(" ,", ","),
        "up for 9 d",
        "13:10:00 UTC",
    ):
        assert words in text, words


def test_the_title_has_what_was_saved() -> None:
    """The tab of a browser says how much was saved, once there is something."""
    assert "<title>14.6 TiB saved · cacheproxy</title>" in _page(busy_source())
    assert "<title>cacheproxy</title>" in _page(FakeSource())


def test_an_empty_cache_tells_how_to_begin() -> None:
    """Before the first pull the page says how to make it, from where its reader reaches it."""
    text = _Outline(_page(FakeSource(), View(host="cache.example", pull_port=5555))).text
    assert "docker pull cache.example:5555/docker.io/library/alpine:3" in text
    assert "Saved in all" not in text
    (six,) = re.findall(r"docker pull (\S+)", _page(FakeSource(), View(host="fd00::1")))
    assert six.startswith("[fd00::1]:5000/")


def _hostile() -> tuple[Status, Figures, View]:
    """All that others may have written, written by somebody who means harm."""
    hours: Hours = {(_HOUR, _EVIL, _EVIL): Traffic(9, 900, 0, 0, 0, 90, 9, 1)}
    source = FakeSource(hours, totals(hours), Prices({_EVIL: 1e9}, _EVIL))
    source.entries = Eviction(_EVIL, [Candidate(_EVIL, 1, "blob", _EVIL, 0.0, 0.0, [_EVIL])])
    status = replace(
        busy_status(),
        version=_EVIL,
        fills=[FillStatus(_EVIL, _EVIL, _EVIL, 1, 2, 3.0, 4)],
        upstreams=[UpstreamStatus(_EVIL, "down", _EVIL)],
    )
    return status, figures_of(source), View(host=_EVIL)


def test_what_others_have_written_is_text() -> None:
    """Names, errors, tags and hosts never become markup, on the page or in its newer parts."""
    status, figures, view = _hostile()
    for part in (
        render(status, figures, view, NOW),
        render_now(status),
        render_figures(figures, view, NOW),
        render_figures(figures_of(FakeSource()), view, NOW),
        render_now(Missing(_EVIL)),
        render_sign_in(_EVIL, _EVIL),
    ):
        assert "<script>" not in part
        assert "alert(1)" in part
        for _, attributes in _Outline(part).elements:
            assert not [name for name in attributes if name.startswith(("on", "alert"))]


@pytest.mark.parametrize("amount", [1, 1024**4, 10**30])
def test_more_fetched_than_served_is_said(amount: int) -> None:
    """A cache that fetched more than was asked for says so, with a sign and a reason."""
    hours: Hours = {(_HOUR, "docker.io", "a"): Traffic(1, 0, amount, 0, 0, 3 * amount, 1, 2)}
    text = _Outline(_page(FakeSource(hours, totals(hours)))).text
    assert "Saved in all \N{MINUS SIGN}" in text
    assert "more than was asked for" in text


def test_bars_stay_within_their_bounds() -> None:
    """No bar is longer than its place or shorter than nothing, whatever the figures are."""
    status = busy_status()
    store = replace(status.store, bytes=900 * GIB, reserved_bytes=901 * GIB, max_bytes=0)
    odd = replace(
        status,
        store=store,
        fills=[FillStatus(digest(1), "docker.io", "a", 10 * MIB, 5 * MIB, 0.0, 0)],
        upstreams=[UpstreamStatus("docker.io", "up", ratelimit_remaining=300, ratelimit_limit=100)],
    )
    page = render(odd, figures_of(busy_source()), View(), NOW)
    widths = [float(width) for width in re.findall(r'width="(-?[\d.]+)%"', page)]
    assert widths
    assert all(0 <= width <= 100 for width in widths)
    assert f'max="{5 * MIB}" value="{5 * MIB}"' in page


def test_a_blob_of_no_bytes_is_no_division_by_zero() -> None:
    """A download of an empty blob is shown like any other."""
    fill = FillStatus(digest(1), "docker.io", "a", 0, 0, 0.0, 0)
    text = _Outline(render_now(replace(busy_status(), fills=[fill]))).text
    assert "0 bytes of 0 bytes" in text


def test_many_downloads_are_counted_and_the_oldest_shown() -> None:
    """Of more downloads than there is room for, the oldest are shown and the rest is counted."""
    fills = [
        FillStatus(digest(n), "docker.io", f"app-{n}", 1, 2, float(n), 0) for n in range(1, 21)
    ]
    part = render_now(replace(busy_status(), fills=fills))
    assert part.count("<progress") == 12
    assert "app-20<" in part
    assert "app-8<" not in part
    assert "and 8 more" in part
    assert 'data-fills="20"' in part


def test_upstreams_that_fail_come_first() -> None:
    """Who fails is at the top, with the reason; who rests, with when it is asked again."""
    upstreams = [
        UpstreamStatus("a.example", "up", answered_at=NOW - 3),
        UpstreamStatus("b.example", "down", "it answered 503", answered_at=NOW - 4),
        UpstreamStatus("c.example", "paused", "it did not answer", NOW + 20),
    ]
    text = _Outline(render_now(replace(busy_status(), upstreams=upstreams))).text
    assert "2 failing" in text
    names = [text.index(name) for name in ("b.example", "c.example", "a.example")]
    assert names == sorted(names)
    assert "it answered 503" in text
    assert "resting asked again in 20 s" in text


def test_a_budget_beyond_the_volume_is_said() -> None:
    """A volume that ends before the budget does is told of, since blobs stream past it then."""
    status = busy_status()
    assert "the volume ends" not in render_now(status)
    short = replace(status.store, free_bytes=1 * GIB)
    assert "the volume ends 87.0 GiB before the budget does" in render_now(
        replace(status, store=short)
    )


def test_what_cannot_be_told_is_said_in_its_place() -> None:
    """A part whose figures cannot be had says why, and the rest of the page is there."""
    figures = replace(figures_of(busy_source()), eviction=Missing("the ledger is locked"))
    text = _Outline(render(busy_status(), figures, View(), NOW)).text
    assert "This cannot be told now: the ledger is locked" in text
    assert "Saved in all 14.6 TiB" in text


def test_the_rest_of_the_repositories_has_a_name() -> None:
    """Repositories that are not listed by name are shown as what they are."""
    hours: Hours = {(_HOUR, "docker.io", ""): Traffic(9, 900, 0, 0, 0, 90, 9, 1)}
    assert "(all others)" in _page(FakeSource(hours, totals(hours)))


def test_newer_parts_take_the_place_of_older_ones() -> None:
    """What is asked for again has the ids of what is on the page, and nothing else."""
    source = busy_source()
    on_page = set(_Outline(_page(source)).ids())
    for part in (render_now(busy_status()), render_figures(figures_of(source), View(), NOW)):
        assert set(_Outline(part).ids()) <= on_page


def test_the_view_is_kept_from_link_to_link() -> None:
    """Who has chosen a period and a theme keeps one while choosing another of the other."""
    page = _page(busy_source(), View("today", "dark"))
    assert '<html lang="en" data-theme="dark">' in page
    assert 'href="?period=month&amp;theme=dark"' in page
    assert 'href="?period=today&amp;theme=light"' in page
    assert 'data-figures="api/v1/figures?period=today&amp;theme=dark"' in page


def test_signing_out_is_offered_to_who_signed_in() -> None:
    """Where reading needs no token there is nothing to sign out of."""
    assert "Sign out" not in _page(busy_source())
    assert 'action="dashboard/session/end"' in _page(busy_source(), View(may_sign_out=True))


def test_the_form_says_where_the_token_is() -> None:
    """Who has to sign in is told where the token is: in which file, or in the configuration."""
    assert "<code>/var/cache/admin.token</code>" in render_sign_in("/var/cache/admin.token")
    assert "admin.token" in render_sign_in(None)
    assert 'role="alert"' not in render_sign_in(None)
