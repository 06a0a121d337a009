"""Sizes and times, as people read them."""

from datetime import UTC, datetime

_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB")
_SPANS = (("day", 86400), ("hour", 3600), ("minute", 60))


def size(count: int) -> str:
    """Bytes, to four digits or so: `812 bytes`, `3.5 MiB`."""
    if count < 1024:
        return counted(count, "byte")
    value, unit = float(count), ""
    for unit in _UNITS:  # noqa: B007 - the last one is kept
        value /= 1024
        if value < 1023.95:
            break
    return f"{value:.1f} {unit}"


def counted(count: int, word: str, words: str | None = None) -> str:
    """`1 blob`, `2 blobs`, `12,000 blobs`; `words` is the plural where that is another."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {words or word + 's'}"


def span(seconds: float) -> str:
    """A duration in its largest unit: `3 days`."""
    whole = max(0, round(seconds))
    for word, length in _SPANS:
        if whole >= 2 * length:  # 90 minutes say more than one hour
            return counted(whole // length, word)
    return counted(whole, "second")


def moment(at: float, now: float) -> str:
    """A time, and how far it is from now."""
    try:
        written = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return "at a time that is none"
    away = f"{span(now - at)} ago" if at <= now else f"in {span(at - now)}"
    return f"{written} ({away})"
