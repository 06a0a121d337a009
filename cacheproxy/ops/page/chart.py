"""The chart: bytes that clients got, over time; what crossed the link, and what of whom did not."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from cacheproxy.domain.savings import Hour, Numbers, Period, Savings
from cacheproxy.ops.api.figures import PERIODS, Missing
from cacheproxy.ops.page import words
from cacheproxy.ops.page.markup import Markup, element
from cacheproxy.ops.page.parts import missing, panel, path, table
from cacheproxy.ops.page.saved import NAMES, AllSavings, is_empty
from cacheproxy.ops.page.view import View

OTHERS = "others"
_NAMED = 5
_HOUR = 3600
# How many hours one column of the chart is about.
_HOURS: Mapping[Period, int] = {"today": 1, "week": 4, "month": 24, "all": 24}
_COLUMN_NAMES = {1: "by the hour", 4: "by four hours", 24: "by day"}
_STEPS = (1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768)
_GAP = 0.16


@dataclass(frozen=True, slots=True)
class Column:
    """What was served in some hours.

    Attributes:
        at: when they began.
        served: bytes that clients got.
        fetched: bytes that crossed the link.
        saved: bytes that did not, of each series.
    """

    at: float
    served: int
    fetched: int
    saved: tuple[int, ...]

    @property
    def height(self) -> int:
        """Of its parts together: of an upstream that gave more than was asked for, that counts."""
        return self.fetched + sum(self.saved)


def series_of(overall: Savings) -> list[str]:
    """The upstreams with colours of their own; `others` is the rest, if there are more."""
    ranked = sorted(
        overall.upstreams, key=lambda name: (-overall.upstreams[name].served_bytes, name)
    )
    return ranked if len(ranked) <= _NAMED + 1 else [*ranked[:_NAMED], OTHERS]


def columns_of(savings: Savings, series: Sequence[str]) -> list[Column]:
    """Each column of a chart, also those in which nothing was."""
    width = _HOURS[savings.period] * _HOUR
    first = int(savings.since // width)
    last = int(savings.until // width)
    if savings.period == "today":
        last = first + 23  # a day that fills up
    gathered: dict[int, list[Hour]] = {number: [] for number in range(first, last + 1)}
    for hour in savings.hours:
        if (number := int(hour.at // width)) in gathered:
            gathered[number].append(hour)
    return [_column(number * width, hours, series) for number, hours in gathered.items()]


def _column(at: float, hours: list[Hour], series: Sequence[str]) -> Column:
    balance: dict[str, int] = {}
    for hour in hours:
        name = hour.upstream if hour.upstream in series else OTHERS
        balance[name] = balance.get(name, 0) + hour.served_bytes - hour.fetched_bytes
    return Column(
        at,
        sum(hour.served_bytes for hour in hours),
        sum(hour.fetched_bytes for hour in hours),
        tuple(max(0, balance.get(name, 0)) for name in series),
    )


def chart(savings: AllSavings | Missing, view: View) -> Markup:
    """The chart of the period, with its legend, and the same as a table."""
    heading = "Served, by upstream"
    if isinstance(savings, Missing):
        return panel("chart", heading, missing(savings))
    if is_empty(savings):
        return panel("chart", heading, hidden=True)
    shown, series = savings[view.period], series_of(savings["all"])
    columns = columns_of(shown, series)
    return panel(
        "chart",
        heading,
        element("div", *_drawn(columns, shown), class_="plot"),
        _legend(shown, series),
        _as_table(columns, shown.period),
        beside=_periods(view),
    )


def _periods(view: View) -> Markup:
    """Links to the other periods."""
    links = (
        element(
            "a",
            NAMES[period],
            href=f"?{view.query(period=period)}",
            aria_current="page" if period == view.period else None,
        )
        for period in PERIODS
    )
    return element("nav", links, class_="choice", aria_label="Period")


def _drawn(columns: list[Column], shown: Savings) -> Iterator[Markup]:
    """The scale, the columns, and the times below them."""
    top = _top(max(column.height for column in columns))
    scale = (element("span", _plain_size(top * part)) for part in (1, 0.5, 0))
    yield element("div", scale, class_="scale", aria_hidden="true")
    yield _plot(columns, shown, top)
    yield _axis(columns, shown.period)


def _plot(columns: list[Column], shown: Savings, top: float) -> Markup:
    lines = [
        element("line", x1="0", x2="100%", y1=f"{y}%", y2=f"{y}%", class_="grid") for y in (0, 50)
    ]
    width = 100 / len(columns)
    bars = (_bar(column, index * width, width, top) for index, column in enumerate(columns))
    return element("svg", lines, bars, role="img", aria_label=_described(columns, shown))


def _bar(column: Column, x: float, width: float, top: float) -> Markup:
    amounts = (column.fetched, *column.saved)
    ends = accumulate(amounts)
    place = {"x": f"{x + width * _GAP / 2:.3f}%", "width": f"{width * (1 - _GAP):.3f}%"}
    parts = (
        element(
            "rect",
            **place,
            y=f"{100 - 100 * end / top:.2f}%",
            height=f"{100 * amount / top:.2f}%",
            class_=f"s{index}",
        )
        for index, (amount, end) in enumerate(zip(amounts, ends, strict=True))
        if amount
    )
    said = (
        f"{words.weekday(column.at)} {words.day(column.at)}, {words.hour(column.at)} UTC: "
        f"{words.size(column.served)} served, {words.size(column.fetched)} fetched"
    )
    reach = element("rect", x=f"{x:.3f}%", width=f"{width:.3f}%", y="0", height="100%")
    return element("g", element("title", said), reach, parts, class_="column")


def _axis(columns: list[Column], period: Period) -> Markup:
    """Times below the chart, where a day (or every sixth hour) begins."""
    width = 100 / len(columns)
    labels = (
        element("text", said, x=f"{index * width:.2f}%", y="1em")
        for index, column in enumerate(columns)
        if (said := _label(column.at, index, period)) is not None
        and index < len(columns) - 2  # its label would be cut
    )
    return element("svg", labels, class_="axis", aria_hidden="true")


def _label(at: float, index: int, period: Period) -> str | None:
    hours = int(at // _HOUR) % 24
    match period:
        case "today":
            return words.hour(at) if hours % 6 == 0 else None
        case "week":
            return words.weekday(at) if hours == 0 else None
        case _:
            return words.day(at) if index % 7 == 0 else None


def _described(columns: list[Column], shown: Savings) -> str:
    most = max(columns, key=lambda column: column.served)
    return (
        f"Bytes served, {NAMES[shown.period]}, {_COLUMN_NAMES[_HOURS[shown.period]]}: "
        f"{words.size(sum(c.served for c in columns))} in all, of which "
        f"{words.size(sum(c.fetched for c in columns))} crossed the upstream link; most, "
        f"{words.size(most.served)}, from {words.weekday(most.at)} {words.day(most.at)} "
        f"{words.hour(most.at)} UTC on."
    )


def _legend(shown: Savings, series: Sequence[str]) -> Markup:
    """What the colours mean, and how much of each there is."""
    rows = [
        _row(index, name, _amounts(shown, name, series))
        for index, name in enumerate(series, start=1)
    ]
    fetched = element(
        "tr",
        element("th", _swatch(0), "crossed the link", scope="row"),
        element("td", words.size(shown.all.fetched_bytes), class_="number"),
        element(
            "td", words.share(shown.all.fetched_bytes, shown.all.served_bytes), class_="number"
        ),
        data_key="-fetched",
    )
    caption = f"Saved by upstream, {NAMES[shown.period]}"
    return table(caption, ("Saved by upstream", "Bytes", "Share"), [*rows, fetched])


def _row(index: int, name: str, amounts: tuple[int, int]) -> Markup:
    saved, served = amounts
    return element(
        "tr",
        element("th", _swatch(index), element("span", path(name), class_="name"), scope="row"),
        element("td", words.size(saved), class_="number"),
        element("td", words.share(saved, served), class_="number"),
        data_key=name,
    )


def _amounts(shown: Savings, name: str, series: Sequence[str]) -> tuple[int, int]:
    """Bytes saved and served, of an upstream or of all that have no colour."""
    numbers: list[Numbers] = [
        one
        for upstream, one in shown.upstreams.items()
        if upstream == name or (name == OTHERS and upstream not in series)
    ]
    return sum(n.saved_bytes for n in numbers), sum(n.served_bytes for n in numbers)


def _swatch(index: int) -> Markup:
    return element(
        "svg",
        element("rect", width="100%", height="100%", class_=f"s{index}"),
        class_="swatch",
        aria_hidden="true",
    )


def _as_table(columns: list[Column], period: Period) -> Markup:
    rows = (
        element(
            "tr",
            element("th", f"{words.day(column.at)} {words.hour(column.at)}", scope="row"),
            element("td", words.size(column.served), class_="number"),
            element("td", words.size(column.fetched), class_="number"),
            data_key=f"{column.at:.0f}",
        )
        for column in columns
    )
    return element(
        "details",
        element("summary", "The chart as a table"),
        table(
            f"Bytes served and fetched, {_COLUMN_NAMES[_HOURS[period]]}",
            ("From (UTC)", "Served", "Fetched"),
            rows,
        ),
    )


def _top(most: int) -> float:
    """The end of the scale: a number that is easily halved."""
    unit = 1.0
    while most > unit * _STEPS[-1]:
        unit *= 1024
    return next(step * unit for step in _STEPS if step * unit >= most)


def _plain_size(count: float) -> str:
    """A size without zeros behind the point."""
    number, _, unit = words.size(count).partition(" ")
    return f"{float(number.replace(',', '')):g} {unit}"
