"""What the parts of the page are made of."""

import re
from collections.abc import Iterable, Sequence

from cacheproxy.ops.api.figures import Missing
from cacheproxy.ops.page.markup import Attribute, Content, Markup, element

_BREAK = re.compile(r"(?<=/)|(?<=[^/.])(?=\.)")


def panel(
    name: str, title: str, *content: Content, beside: Content = None, **attributes: Attribute
) -> Markup:
    """A part with a heading.

    Args:
        name: its id, by which a newer one takes its place.
        title: its heading.
        content: what is in it.
        beside: what stands beside the heading.
        attributes: further ones.
    """
    heading = element("h2", title, id=f"{name}-title")
    return element(
        "section",
        element("div", heading, beside, class_="heading"),
        *content,
        id=name,
        class_="panel",
        aria_labelledby=f"{name}-title",
        **attributes,
    )


def badge(text: str, tone: str = "plain") -> Markup:
    """A word beside a heading; its tone is good, bad or plain."""
    return element("span", text, class_=f"badge {tone}")


def missing(value: Missing) -> Markup:
    """In the place of what cannot be shown."""
    return element("p", f"This cannot be told now: {value.reason}", class_="missing")


def table(caption: str, columns: Sequence[str], rows: Iterable[Markup], words: int = 1) -> Markup:
    """A table whose first column names the rows.

    Args:
        caption: what it is of, for those who do not see the heading above it.
        columns: their names.
        rows: of its body.
        words: so many of the first columns are no numbers.
    """
    head = (
        element("th", column, scope="col", class_="number" if index >= words else None)
        for index, column in enumerate(columns)
    )
    return element(
        "table",
        element("caption", caption),
        element("thead", element("tr", head)),
        element("tbody", rows),
    )


def path(name: str) -> list[Markup | str]:
    """A name with slashes or dots, at which a line may break before it does elsewhere."""
    first, *rest = _BREAK.split(name)
    return [first, *(piece for part in rest for piece in (element("wbr"), part))]


def bar(part: float, kind: str, more: float = 0) -> Markup:
    """A bar that is filled in part; a picture of numbers that stand beside it as text.

    Args:
        part: of 1, that is filled.
        kind: a class of it.
        more: of 1, that is filled up to there in another way.
    """
    return element(
        "svg",
        element("rect", width=_percent(more), height="100%", class_="more") if more else None,
        element("rect", width=_percent(part), height="100%", class_="part"),
        class_=f"bar {kind}",
        aria_hidden="true",
    )


def _percent(part: float) -> str:
    return f"{100 * min(max(part, 0), 1):.2f}%"
