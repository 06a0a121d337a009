"""Glob patterns over repository names: `team/**`, `*/tools`, `library/nginx`."""

import re
from dataclasses import dataclass
from functools import lru_cache

_WILD = re.compile(r"(\*\*|\*|\?)")


@dataclass(frozen=True, slots=True)
class Patterns:
    """Which names are accepted: those that match `allow` and do not match `deny`.

    `*` stands for any characters but `/`, `**` for any at all, `?` for one but `/`.
    """

    allow: tuple[str, ...] = ("**",)
    deny: tuple[str, ...] = ()

    def accept(self, name: str) -> bool:
        """Whether `name` is accepted; what is denied stays denied."""
        return any(_matches(pattern, name) for pattern in self.allow) and not any(
            _matches(pattern, name) for pattern in self.deny
        )


@lru_cache(maxsize=8192)
def _matches(pattern: str, name: str) -> bool:
    """Follow all ways of matching at once.

    A regular expression tries one after another, and takes for ever over some names.
    """
    parts = _parts(pattern)
    at = _behind_stars(parts, {0})
    for character in name:
        at = _behind_stars(
            parts, {place for here in at for place in _steps(parts, here, character)}
        )
    return len(parts) in at


@lru_cache(maxsize=1024)
def _parts(pattern: str) -> tuple[str, ...]:
    """Wildcards, and single characters."""
    return tuple(
        part
        for piece in _WILD.split(pattern)
        for part in ([piece] if _WILD.fullmatch(piece) else piece)
    )


def _behind_stars(parts: tuple[str, ...], places: set[int]) -> set[int]:
    """Those places, and those behind stars that stand for nothing."""
    reached = set(places)
    for place in places:
        here = place
        while here < len(parts) and parts[here] in ("*", "**"):
            here += 1
            reached.add(here)
    return reached


def _steps(parts: tuple[str, ...], place: int, character: str) -> tuple[int, ...]:
    """Where one character leads."""
    if place == len(parts):
        return ()
    match parts[place]:
        case "**":
            return (place,)
        case "*":
            return () if character == "/" else (place,)
        case "?":
            return () if character == "/" else (place + 1,)
        case literal:
            return (place + 1,) if literal == character else ()
