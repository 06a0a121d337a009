import re
from dataclasses import replace
from itertools import pairwise

import pytest

from cacheproxy.domain.savings import Period, Savings
from cacheproxy.domain.traffic import HOUR, Hours, Traffic
from cacheproxy.ops.page.chart import OTHERS, chart, columns_of, series_of
from cacheproxy.ops.page.view import View
from tests.support.figures import GIB, NOW, FakeSource, busy_source, figures_of, totals

_HOUR = int(NOW // HOUR)


def _traffic(served: int, fetched: int) -> Traffic:
    return Traffic(1, served, 0, 0, 0, fetched, 1, 1)


def _savings(hours: Hours) -> dict[Period, Savings]:
    found = figures_of(FakeSource(hours, totals(hours))).savings
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    ("period", "count", "width"),
    [("today", 24, HOUR), ("week", 43, 4 * HOUR), ("month", 36, 24 * HOUR), ("all", 36, 24 * HOUR)],
)
def test_columns_are_of_the_same_width(period: Period, count: int, width: int) -> None:
    """Each period has its columns, one after the other, whether something was in them or not."""
    savings = _savings({(_HOUR, "docker.io", "a"): _traffic(100, 10)})
    columns = columns_of(savings[period], series_of(savings["all"]))
    assert len(columns) == count
    starts = [column.at for column in columns]
    assert {after - before for before, after in pairwise(starts)} == {width}
    assert sum(column.served for column in columns) == 100
    assert sum(column.fetched for column in columns) == 10


@pytest.mark.parametrize("period", ["today", "week", "month"])
def test_no_byte_is_lost_in_a_column(period: Period) -> None:
    """All columns together have what the period has."""
    found = figures_of(busy_source()).savings
    assert isinstance(found, dict)
    columns = columns_of(found[period], series_of(found["all"]))
    assert sum(column.served for column in columns) == found[period].all.served_bytes
    assert sum(column.fetched for column in columns) == found[period].all.fetched_bytes
    assert sum(sum(c.saved) for c in columns) == found[period].all.saved_bytes


def test_an_upstream_that_gave_more_takes_nothing_from_others() -> None:
    """What was fetched in vain is part of a column's height, and no series is below nothing."""
    hours = {(_HOUR, "docker.io", "a"): _traffic(100, 10), (_HOUR, "quay.io", "b"): _traffic(5, 50)}
    savings = _savings(hours)
    column = columns_of(savings["today"], series_of(savings["all"]))[_HOUR % 24]
    assert column.saved == (90, 0)
    assert column.height == 60 + 90


def test_many_upstreams_share_a_colour() -> None:
    """The five with the most bytes have colours of their own, and the rest is one series."""
    hours = {(_HOUR, f"r{n}.example", "a"): _traffic(100 + n, 0) for n in range(20)}
    savings = _savings(hours)
    series = series_of(savings["all"])
    assert series == [f"r{n}.example" for n in (19, 18, 17, 16, 15)] + [OTHERS]
    column = columns_of(savings["today"], series)[_HOUR % 24]
    assert sum(column.saved) == column.served
    drawn = chart(savings, View())
    assert "others" in drawn
    assert "r14.example" not in drawn


def test_six_upstreams_have_a_colour_each() -> None:
    """No series of the rest is made for a rest of one."""
    hours = {(_HOUR, f"r{n}.example", "a"): _traffic(100 + n, 0) for n in range(6)}
    assert OTHERS not in series_of(_savings(hours)["all"])


@pytest.mark.parametrize("most", [0, 1, 999, 1000, 1024, 768 * 1024, 769 * 1024, 1024**7, 10**30])
def test_the_scale_holds_every_column(most: int) -> None:
    """The highest column ends within the drawing, however high it is."""
    hours = {
        (_HOUR, "docker.io", "a"): _traffic(most, most // 3),
        (_HOUR - 1, "docker.io", "a"): _traffic(1, 0),
    }
    drawn = chart(_savings(hours), View("today"))
    places = [float(y) for y in re.findall(r'y="(-?[\d.]+)%"', drawn)]
    assert places
    assert all(0 <= y <= 100 for y in places)
    heights = [float(h) for h in re.findall(r'height="(-?[\d.]+)%" class="s', drawn)]
    assert all(0 <= height <= 100 for height in heights)
    if most > 1:
        assert sum(heights) > 50  # nor is it lost in an empty drawing


def test_the_chart_can_be_heard() -> None:
    """The drawing is described in a sentence, and its figures are in a table."""
    hours = {(_HOUR, "docker.io", "a"): _traffic(3 * GIB, GIB)}
    drawn = chart(_savings(hours), View("today"))
    assert 'role="img"' in drawn
    assert "3.00 GiB in all, of which 1.00 GiB crossed the upstream link" in drawn
    assert "<caption>Bytes served and fetched, by the hour</caption>" in drawn


def test_a_period_without_traffic_is_an_empty_chart() -> None:
    """Nothing today, after a busy week, is a chart without columns and no failure."""
    savings = _savings({(_HOUR - 40, "docker.io", "a"): _traffic(100, 10)})
    assert 'class="s1"' in chart(savings, View("week"))
    today = chart({**savings, "today": replace(savings["today"], hours=[])}, View("today"))
    assert "<title>" in today
    assert today.count('class="s1"') == 1  # the legend's
