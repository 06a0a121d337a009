import pytest

from cacheproxy.ops.page.markup import Markup, element, joined


def test_text_is_escaped_wherever_it_stands() -> None:
    """Text never becomes markup, in an element or in an attribute."""
    evil = "<script>alert('1')</script>\"&"
    made = element("p", evil, [evil, None], title=evil)
    assert "<script" not in made
    escaped = "&lt;script&gt;alert(&#x27;1&#x27;)&lt;/script&gt;&quot;&amp;"
    assert made == f'<p title="{escaped}">{escaped}{escaped}</p>'


def test_elements_within_elements_stay_elements() -> None:
    """What has been made an element is not escaped again."""
    assert element("p", element("b", "a & b")) == "<p><b>a &amp; b</b></p>"


@pytest.mark.parametrize(
    ("value", "written"),
    [(None, ""), (False, ""), (True, " hidden"), (0, ' hidden="0"'), ("", ' hidden=""')],
)
def test_attributes(value: str | int | bool | None, written: str) -> None:
    """An attribute is absent, without a value, or has one; zero and nothing are values."""
    assert element("p", hidden=value) == f"<p{written}></p>"


def test_names_of_attributes_can_be_words_of_python() -> None:
    """An underscore at the end goes, another one is a hyphen."""
    assert element("label", for_="a", data_key="b") == '<label for="a" data-key="b"></label>'


def test_void_elements_have_no_end() -> None:
    """Those of HTML that hold nothing have no end tag; those of SVG do, as browsers want them."""
    assert element("meta", charset="utf-8") == '<meta charset="utf-8">'
    assert element("rect", x="1") == '<rect x="1"></rect>'


def test_what_is_joined_is_escaped_too() -> None:
    """Text that is joined to elements is text."""
    assert joined(["<", element("br"), [Markup("<i>")], None]) == "&lt;<br><i>"
