import pytest

from cacheproxy.domain.errors import UpstreamUnavailable
from cacheproxy.domain.web_links import next_query

_PATH = "/v2/team/app/tags/list"
_BASE = f"https://registry.example{_PATH}"


@pytest.mark.parametrize(
    ("fields", "query"),
    [
        pytest.param([], None, id="none"),
        pytest.param(["nonsense", "<>", ""], None, id="nonsense"),
        pytest.param(['<?last=a>; rel="prev"'], None, id="another relation"),
        pytest.param(["<?last=a>; rel=next-page"], None, id="a longer relation"),
        pytest.param(['<?last=a>; title="rel=next"'], None, id="in another parameter"),
        pytest.param(["<?last=a>; rel=prev; rel=next"], None, id="the first relation counts"),
        pytest.param(["<?last=a>; rel=next"], "last=a", id="unquoted"),
        pytest.param(["<?last=a> ; REL = NEXT"], "last=a", id="upper case and spaces"),
        pytest.param(['<?last=a>; rel="last next"'], "last=a", id="several relations"),
        pytest.param(['<?last=p>; rel="prev", <?last=a>; rel="next"'], "last=a", id="two links"),
        pytest.param(['<?last=p>; rel="prev"', "<?last=a>; rel=next"], "last=a", id="two fields"),
        pytest.param(['<?last=a>; title="x, \\"<y>"; rel=next'], "last=a", id="commas in quotes"),
        pytest.param(["<?last=a,b&n=2>; rel=next"], "last=a,b&n=2", id="a comma in the cursor"),
        pytest.param(["<list?n=1&last=a%26b%3D>; rel=next"], "n=1&last=a%26b%3D", id="encoded"),
        pytest.param([f"<http://inner:80{_PATH}?last=a>; rel=next"], "last=a", id="another host"),
        pytest.param(["<//inner/v2/app/tags/list?last=a>; rel=next"], "last=a", id="shorter name"),
        pytest.param([f"</hub{_PATH}?last=a#x>; rel=next"], "last=a", id="a path in front"),
        pytest.param(["</v2/team%2Fapp/tags/list?last=a>; rel=next"], "last=a", id="encoded path"),
        pytest.param(["<?last=a&ns=b&orderby=>; rel=next"], "last=a", id="other parameters"),
        pytest.param(["</x?last=b>; rel=next, <?last=a>; rel=next"], "last=a", id="the own one"),
    ],
)
def test_the_next_page_is_found(fields: list[str], query: str | None) -> None:
    """Only the query of a link to the list itself counts, as it was written."""
    assert next_query(fields, _BASE, _PATH) == query


@pytest.mark.parametrize(
    "target",
    [
        "/v2/team/other/tags/list?last=a",
        "/v2/eam/app/tags/list?last=a",
        "/v2/team/app/referrers/x?last=a",
        "http://169.254.169.254/latest?last=a",
        "https://evil.example?last=a",
        "list",
        "?page=2",
        "?last=\u20ac",
        "?last=a\u007f",
    ],
)
def test_a_list_that_cannot_be_followed_is_refused(target: str) -> None:
    """A list that goes on elsewhere, or in an unknown way, does not pass for the whole."""
    with pytest.raises(UpstreamUnavailable):
        next_query([f"<{target}>; rel=next"], _BASE, _PATH)
