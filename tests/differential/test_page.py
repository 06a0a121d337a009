"""docs/compatibility.md is made from the suite."""

from tests.differential.page import PAGE, page


def test_the_page_is_current() -> None:
    """The page has today's quirks and profiles: `python -m tests.differential` writes it."""
    assert PAGE.read_text(encoding="utf-8") == page()
