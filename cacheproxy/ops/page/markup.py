"""HTML that cannot be forgotten to be escaped: what is text, is escaped; only elements are not."""

from collections.abc import Iterable
from html import escape

# Those of HTML; in SVG every element has an end.
_VOID = frozenset({"br", "hr", "input", "link", "meta", "wbr"})

Attribute = str | int | float | bool | None
Content = str | Iterable["Content"] | None


class Markup(str):
    """HTML, as opposed to text that is yet to be escaped."""

    __slots__ = ()


def element(name: str, /, *content: Content, **attributes: Attribute) -> Markup:
    """An element.

    Args:
        name: of the element.
        content: text and elements, one after the other; lists of them too. None is nothing.
        attributes: `class_` stands for `class`, `data_key` for `data-key`. True is an attribute
            without a value; None and False are none.
    """
    written = "".join(_attribute(key, value) for key, value in attributes.items())
    opening = f"<{name}{written}>"
    return Markup(opening if name in _VOID else f"{opening}{joined(content)}</{name}>")


def joined(content: Content) -> Markup:
    """Text and elements, one after the other."""
    match content:
        case None:
            return Markup()
        case Markup():
            return content
        case str():
            return Markup(escape(content))
        case _:
            return Markup("".join(map(joined, content)))


def _attribute(key: str, value: Attribute) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'
