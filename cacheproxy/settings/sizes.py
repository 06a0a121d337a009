"""Sizes: `50GiB`, `170MB`, `1.5TiB`, plain bytes, or a share of the volume: `80%`."""

import re
from dataclasses import dataclass
from decimal import Decimal

from cacheproxy.settings.problems import quoted

_LETTERS = "KMGTP"
_UNITS = {
    "B": 1,
    **{f"{letter}B": 1000**power for power, letter in enumerate(_LETTERS, 1)},
    **{f"{letter}iB": 1024**power for power, letter in enumerate(_LETTERS, 1)},
}
_BY_NAME = {name.upper(): factor for name, factor in _UNITS.items()}
# No leading zero: YAML 1.1 reads 0777 as octal, people do not.
_NUMBER = r"(?:0|[1-9][0-9]{0,18})(?:\.[0-9]{1,6})?"
_SIZE = re.compile(rf"({_NUMBER}) ?([A-Za-z]*)")
_SHARE = re.compile(rf"({_NUMBER}) ?%")
_LARGEST = 2**63 - 1  # what the system's file offsets hold


@dataclass(frozen=True, slots=True)
class Bytes:
    """A number of bytes.

    Attributes:
        count: at least 1.
    """

    count: int

    def resolve(self, volume_bytes: int) -> int:  # noqa: ARG002 - the signature of a Size
        """The bytes meant, whatever the volume's size."""
        return self.count

    def __str__(self) -> str:
        return format_bytes(self.count)


@dataclass(frozen=True, slots=True)
class Share:
    """A part of the volume that the cache is on.

    Attributes:
        percent: more than 0, at most 100.
    """

    percent: Decimal

    def resolve(self, volume_bytes: int) -> int:
        """The bytes meant on a volume of `volume_bytes`, rounded down."""
        return int(volume_bytes * self.percent / 100)

    def __str__(self) -> str:
        return f"{self.percent.normalize():f}%"


Size = Bytes | Share


def parse_size(text: str) -> Size:
    """Read a size or a share.

    Raises:
        ValueError: `text` is neither, or not within its bounds; the message says what to write.
    """
    match = _SHARE.fullmatch(text.strip())
    if match is None:
        return Bytes(parse_bytes(text))
    percent = Decimal(match[1])
    if not 0 < percent <= 100:
        raise ValueError(f"{quoted(text)} must be more than 0% and at most 100%")
    return Share(percent)


def parse_bytes(text: str) -> int:
    """Read a size that is no share; return bytes, rounded down to a whole one.

    Raises:
        ValueError: it is none, is 0, or larger than 2^63-1; the message says what to write.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{quoted(text)} is not a size; write it like 50GiB, 170MB or 1.5TiB")
    number, unit = match.groups()
    factor = _BY_NAME.get(unit.upper() or "B")
    if factor is None:
        raise ValueError(_unknown_unit(text, number, unit))
    if factor == 1 and "." in number:
        raise ValueError(f"{quoted(text)} is a fraction of a byte; add a unit: {number}GiB")
    count = int(Decimal(number) * factor)
    if count < 1:
        raise ValueError(f"{quoted(text)} must be at least one byte")
    if count > _LARGEST:
        raise ValueError(f"{quoted(text)} is more than any disk holds")
    return count


def format_bytes(count: int) -> str:
    """Write bytes in the unit that has the fewest digits and loses none."""
    exact = [(count // factor, unit) for unit, factor in _UNITS.items() if count % factor == 0]
    number, unit = min(exact)
    return str(number) if unit == "B" else f"{number}{unit}"


def _unknown_unit(text: str, number: str, unit: str) -> str:
    letter = unit[0].upper()
    if letter in _LETTERS and unit[1:].lower() in ("", "i"):
        return (
            f"{quoted(text)} is ambiguous; "
            f"write {number}{letter}iB (powers of 1024) or {number}{letter}B (of 1000)"
        )
    return f"{quoted(text)} has an unknown unit; the units are {', '.join(_UNITS)} and %"
