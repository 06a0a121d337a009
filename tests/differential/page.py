"""docs/compatibility.md, made from the quirks and the profiles."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.differential.profiles import PROFILES
from tests.differential.quirk import Quirk
from tests.differential.quirks import KINDS, NOT_YET, QUIRKS

PAGE = Path(__file__).parents[2] / "docs/compatibility.md"

_HEAD = """# Compatibility

{promise}

{suite}

- [Registries](#registries)
- [Quirks](#quirks)
"""
_PROMISE = (
    "A client can pull through the proxy what it can pull directly. The digest decides what is "
    "right; all else that a registry says is a hint, and each optional feature may be missing."
)
_SETS = (
    "Registries change, and differ by version and place. These are the quirks that public "
    "reports have told of each."
)
_SUITE = (
    "The suite in `tests/differential/` keeps this so. It pulls directly and through the proxy: "
    "cold, warm, after the tag has moved, and with the registry down. It tries each quirk below "
    "alone, and with others. `python -m tests.differential` writes this page."
)


def page() -> str:
    """Return the text of the page."""
    parts = [_HEAD.format(promise=_PROMISE, suite=_SUITE), "## Registries", "", *_registries()]
    parts += ["", "## Quirks"]
    for title, quirks in KINDS.items():
        parts += ["", f"### {title}", "", *_quirks(quirks)]
    return "\n".join(parts) + "\n"


def _registries() -> Iterable[str]:
    yield _SETS
    yield ""
    yield "| registry | quirks |"
    yield "|---|---|"
    for name, quirks in PROFILES.items():
        yield f"| {name} | {', '.join(f'`{quirk}`' for quirk in sorted(quirks))} |"


def _quirks(quirks: Sequence[Quirk]) -> Iterable[str]:
    yield "| quirk | what the registry does | report | through the proxy |"
    yield "|---|---|---|---|"
    for quirk in quirks:
        state = "not yet" if quirk.name in NOT_YET else "as directly"
        yield f"| `{quirk.name}` | {quirk.summary} | {_link(quirk)} | {state} |"


def _link(quirk: Quirk) -> str:
    repository, _, number = quirk.source.partition("#")
    return f"[{quirk.source}](https://github.com/{repository}/issues/{number})"


def unknown() -> set[str]:
    """Return the names that are used and are no quirks'."""
    named = {name for quirks in PROFILES.values() for name in quirks} | NOT_YET
    return named - QUIRKS.keys()
