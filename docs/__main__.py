"""`python -m docs`: write types and defaults of configuration.md anew."""

from docs.generated import PAGE, filled

PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
