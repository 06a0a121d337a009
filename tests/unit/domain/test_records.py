import pytest

from cacheproxy.domain.records import Link


@pytest.mark.parametrize(
    ("new", "known", "expected"),
    [
        pytest.param(Link(5, "a"), None, Link(5, "a"), id="nothing known"),
        pytest.param(Link(), Link(5, "a"), Link(5, "a"), id="nothing new"),
        pytest.param(Link(6, None), Link(5, "a"), Link(6, "a"), id="a new size"),
        pytest.param(Link(None, "b"), Link(5, "a"), Link(5, "b"), id="a new type"),
        pytest.param(Link(0, None), Link(5, "a"), Link(0, "a"), id="a size of zero is one"),
        pytest.param(Link(6, "b"), Link(5, "a"), Link(6, "b"), id="all new"),
        pytest.param(Link(), Link(), Link(), id="nothing at all"),
        pytest.param(Link(is_read=True), None, Link(is_read=True), id="read, nothing known"),
        pytest.param(Link(), Link(is_read=True), Link(is_read=True), id="read before"),
        pytest.param(Link(is_read=True), Link(), Link(is_read=True), id="read now"),
        pytest.param(
            Link(5), Link(None, "a", is_read=True), Link(5, "a", is_read=True), id="read, and more"
        ),
        pytest.param(
            Link(6, "b"), Link(5, "a", is_read=True), Link(5, "a", is_read=True), id="a claim"
        ),
        pytest.param(
            Link(6, "b", is_read=True), Link(5, "a"), Link(6, "b", is_read=True), id="a fact"
        ),
    ],
)
def test_what_is_known_is_not_forgotten(new: Link, known: Link | None, expected: Link) -> None:
    """A link takes what it lacks from what was known, and overrules all but a manifest itself."""
    assert new.or_known(known) == expected
