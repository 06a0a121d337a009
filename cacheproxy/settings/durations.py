"""Durations: `30s`, `5m`, `1h30m`, `7d`, `250ms`."""

import re
from decimal import Decimal

from cacheproxy.settings.problems import quoted

_MILLISECONDS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_NUMBER = r"[0-9]{1,9}(?:\.[0-9]{1,6})?"
_DURATION = re.compile("".join(rf"(?:({_NUMBER}){unit})?" for unit in _MILLISECONDS))
_BARE = re.compile(r"[0-9]{1,20}(?:\.[0-9]{0,20})?")
_LONGEST = 36_500 * _MILLISECONDS["d"]


def parse_duration(text: str) -> float:
    """Read a duration; return seconds, of whole milliseconds.

    Raises:
        ValueError: it is none, finer than a millisecond or longer than 36500d (a century);
            the message says what to write.
    """
    stripped = text.strip()
    if stripped == "0":
        return 0.0
    if _BARE.fullmatch(stripped):
        raise ValueError(f"{quoted(text)} has no unit; write {stripped}s (units: ms, s, m, h, d)")
    match = _DURATION.fullmatch(stripped)
    if match is None or not stripped:
        raise ValueError(f"{quoted(text)} is not a duration; write it like 250ms, 30s, 1h30m or 7d")
    total = sum(
        Decimal(number) * unit
        for number, unit in zip(match.groups(), _MILLISECONDS.values(), strict=True)
        if number is not None
    )
    if total != int(total):
        raise ValueError(f"{quoted(text)} is finer than a millisecond")
    if total > _LONGEST:
        raise ValueError(f"{quoted(text)} is longer than a century (36500d)")
    return int(total) / 1000


def parse_positive_duration(text: str) -> float:
    """Read a duration that must not be 0; return seconds.

    Raises:
        ValueError: as for `parse_duration`, and for 0.
    """
    seconds = parse_duration(text)
    if seconds == 0:
        raise ValueError(f"{quoted(text)} must be longer than 0s")
    return seconds


def format_duration(seconds: float) -> str:
    """Write seconds as `parse_duration` reads them, to the millisecond."""
    left = round(seconds * 1000)
    text = ""
    for unit, milliseconds in _MILLISECONDS.items():
        count, left = divmod(left, milliseconds)
        if count:
            text += f"{count}{unit}"
    return text or "0s"
