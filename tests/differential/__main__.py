"""`python -m tests.differential`: write docs/compatibility.md anew."""

from tests.differential.page import PAGE, page

PAGE.write_text(page(), encoding="utf-8")
