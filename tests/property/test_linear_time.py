"""The grammars in linear time: a hostile text costs what its length costs, not more."""

import re
import time
from collections.abc import Callable

import pytest

from cacheproxy.domain import (
    byte_range,
    digest,
    list_pages,
    media_types,
    patterns,
    reference,
    target,
    web_links,
)
from cacheproxy.domain.errors import CacheproxyError
from cacheproxy.upstream import challenge

_LENGTH = 20_000
# Twice the text in twice the time; a quadratic grammar needs four times as long.
_RATIO = 3.0
_ATTEMPTS = 8

_HOSTILE = [
    pytest.param("a", "!", id="letters"),
    pytest.param("a-", "!", id="dashes between letters"),
    pytest.param("-", "!", id="dashes"),
    pytest.param("a__", "_", id="underscores"),
    pytest.param("a.", ".", id="dots"),
    pytest.param("a/", "/", id="slashes"),
    pytest.param("a--b/", "A", id="components"),
    pytest.param("_", "!", id="tag underscores"),
    pytest.param("0", "g", id="digits"),
]


def _seconds(work: Callable[[str], object], text: str) -> float:
    begun = time.process_time()
    work(text)
    return time.process_time() - begun


def _assert_linear(work: Callable[[str], object], unit: str, end: str) -> None:
    """Compare the least times of many: whatever else the machine does only adds to them."""
    count = _LENGTH // len(unit)
    short, long = unit * count + end, unit * 2 * count + end
    least_short = least_long = ratio = float("inf")
    for _ in range(_ATTEMPTS):
        for _ in range(5):
            least_short = min(least_short, _seconds(work, short))
            least_long = min(least_long, _seconds(work, long))
        # What fails at once takes no time that could be measured: 20 µs more see to that.
        ratio = least_long / (least_short + 2e-5)
        if ratio < _RATIO:
            return
    pytest.fail(f"twice the text takes {ratio:.1f} times as long")


@pytest.mark.parametrize(("unit", "end"), _HOSTILE)
@pytest.mark.parametrize(
    "pattern",
    [
        pytest.param(reference._NAME, id="name"),
        pytest.param(reference._TAG, id="tag"),
        pytest.param(digest._GRAMMAR, id="digest"),
        pytest.param(byte_range._ONE_RANGE, id="range"),
        pytest.param(target._PATH, id="path"),
        pytest.param(media_types._VALID, id="media type"),
    ],
)
def test_a_grammar_is_linear(pattern: re.Pattern[str], unit: str, end: str) -> None:
    """A grammar's regular expression refuses a text in time proportional to its length."""
    _assert_linear(pattern.fullmatch, unit, end)


def test_the_measure_finds_what_is_not_linear() -> None:
    """The measure itself fails for a regular expression that backtracks."""
    backtracking = re.compile(r"a*b?a*b?a*!")
    with pytest.raises(pytest.fail.Exception, match="times as long"):
        _assert_linear(lambda text: backtracking.fullmatch(text[: len(text) // 100]), "a", "?")


@pytest.mark.parametrize(
    ("unit", "end"),
    [
        pytest.param("a/", "tags/list", id="components"),
        pytest.param("%61", "/tags/list", id="escapes"),
        pytest.param("%", "", id="broken escapes"),
        pytest.param("a/manifests/", "x", id="words"),
        pytest.param("/", "", id="slashes"),
    ],
)
def test_a_target_is_parsed_in_linear_time(unit: str, end: str) -> None:
    """A request target is read or refused in time proportional to its length."""

    def parse(text: str) -> None:
        try:
            target.parse("/v2/" + text)
        except CacheproxyError:
            return

    _assert_linear(parse, unit, end)


@pytest.mark.parametrize(
    ("unit", "end"),
    [
        pytest.param(" ", "!", id="spaces"),
        pytest.param("\t", "!", id="tabs"),
        pytest.param(" ,", "!", id="empty elements"),
        pytest.param("a ", "=", id="schemes"),
        pytest.param("a=", "!", id="parameters"),
        pytest.param('a="', "!", id="quotes"),
        pytest.param('a="\\"', "!", id="escapes"),
    ],
)
def test_a_challenge_is_read_in_linear_time(
    monkeypatch: pytest.MonkeyPatch, unit: str, end: str
) -> None:
    """A challenge, of which white space is part, is read in time proportional to its length."""
    monkeypatch.setattr(challenge, "_FIELD_LIMIT", 10 * _LENGTH)
    _assert_linear(lambda text: challenge.parse(["Bearer realm=x" + text]), unit, end)


@pytest.mark.parametrize(
    ("unit", "end"),
    [
        pytest.param("<", "", id="angles"),
        pytest.param("<>", '"', id="links"),
        pytest.param('<>"', "", id="quotes"),
        pytest.param('"\\"', "", id="escapes"),
        pytest.param(";a=", "", id="parameters"),
        pytest.param("; ", "", id="spaces"),
        pytest.param(";a", "", id="names"),
    ],
)
def test_a_link_is_read_in_linear_time(unit: str, end: str) -> None:
    """The fields that link the next page are read in time proportional to their length."""

    def read(text: str) -> None:
        try:
            web_links.next_query([f"<x>;{text}"], "http://x/v2/a/tags/list", "/v2/a/tags/list")
        except CacheproxyError:
            return

    _assert_linear(read, unit, end)


@pytest.mark.parametrize("unit", ["[", "[]", '"', '"\\"', '\\"', "\\", '"[', "[1,"])
def test_a_page_is_looked_into_in_linear_time(unit: str) -> None:
    """The depth of a page, which may be no JSON, is found in time proportional to its length."""
    _assert_linear(lambda text: list_pages.is_tag_page(text.encode(), None), unit, "")


@pytest.mark.parametrize("pattern", ["*a*a*a*a*ab", "**a**a**a**a**ab", "**/**/**/**/b", "?*?*?*!"])
@pytest.mark.parametrize("unit", ["a", "a/"])
def test_a_pattern_is_matched_in_linear_time(pattern: str, unit: str) -> None:
    """A name is matched in time proportional to its length, whatever the stars of the pattern."""
    matches = patterns._matches.__wrapped__
    _assert_linear(lambda text: matches(pattern, text), unit, "c")
