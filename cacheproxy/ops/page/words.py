"""Sizes, counts and times, as one reads them from across a room: three digits and a unit."""

from datetime import UTC, datetime

MINUS = "\N{MINUS SIGN}"
NARROW = "\N{NARROW NO-BREAK SPACE}"

_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_SPANS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def size_parts(count: float) -> tuple[str, str]:
    """Bytes as a number and its unit, so that they can be set in different sizes."""
    sign, value = (MINUS if count < 0 else ""), abs(float(count))
    if value < 1024:
        return f"{sign}{value:.0f}", "byte" if round(value) == 1 else "bytes"
    unit = ""
    for unit in _UNITS:  # noqa: B007 - the last one is kept
        value /= 1024
        if value < 999.5:
            break
    return sign + _three_digits(value), unit


def size(count: float) -> str:
    """Bytes: `812 bytes`, `3.52 MiB`, `1,230 EiB`."""
    return " ".join(size_parts(count))


def speed(count: float, seconds: float) -> str:
    """Bytes in a second."""
    return f"{size(count / seconds if seconds > 0 else 0)}/s"


def number(value: int) -> str:
    """A count, with its thousands set apart."""
    return f"{value:,}".replace("-", MINUS)


def counted(count: int, word: str, words: str | None = None) -> str:
    """`1 client`, `2 clients`; `words` is the plural where that is another."""
    return f"{number(count)} {word if count == 1 else words or word + 's'}"


def share(part: float, whole: float) -> str:
    """A part of a whole in percent; 100 % only if it is all of it, and 0 % only if none."""
    if whole <= 0:
        return "0" + NARROW + "%"
    percent = 100 * part / whole
    if 99 < percent < 100 or -1 < percent < 1:
        text = f"{percent:.1f}" if 0.05 <= abs(percent) < 99.95 else _nearly(percent)
    else:
        text = f"{percent:,.0f}"
    return text.replace("-", MINUS) + NARROW + "%"


def money(amount: float, currency: str) -> str:
    """`12.34 EUR`; of much money no cents."""
    text = f"{amount:,.2f}" if abs(amount) < 10_000 else f"{amount:,.0f}"
    return f"{text.replace('-', MINUS)} {currency}"


def span(seconds: float) -> str:
    """A duration in its largest unit: `3 d`, `90 min`."""
    whole = max(0, round(seconds))
    for word, length in _SPANS:
        if whole >= 2 * length:  # 90 minutes say more than one hour
            return f"{number(whole // length)} {word}"
    return f"{whole} s"


def ago(at: float, now: float) -> str:
    """How long something is past."""
    return "just now" if now - at < 2 else f"{span(now - at)} ago"


def clock(at: float) -> str:
    """A time of the day."""
    return _written(at, "%H:%M:%S UTC")


def day(at: float) -> str:
    """A date, for a column of a chart."""
    return _written(at, "%d %b").lstrip("0")


def weekday(at: float) -> str:
    """`Mon`, likewise."""
    return _written(at, "%a")


def hour(at: float) -> str:
    """`08:00`, likewise."""
    return _written(at, "%H:%M")


def machine(at: float) -> str:
    """A time for machines, as the element `time` wants it."""
    return _written(at, "%Y-%m-%dT%H:%M:%SZ")


def short(digest: str) -> str:
    """The beginning of a digest, which people know blobs by."""
    algorithm, _, encoded = digest.partition(":")
    return encoded[:12] or algorithm[:12]


def _three_digits(value: float) -> str:
    if value < 9.995:
        return f"{value:.2f}"
    return f"{value:.1f}" if value < 99.95 else f"{value:,.0f}"


def _nearly(percent: float) -> str:
    if percent == 0:
        return "0"
    return "> 99.9" if percent > 1 else "< 0.1"


def _written(at: float, how: str) -> str:
    try:
        return datetime.fromtimestamp(at, UTC).strftime(how)
    except (ValueError, OverflowError, OSError):
        return "at no time"
