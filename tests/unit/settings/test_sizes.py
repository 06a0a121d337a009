import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.settings import Bytes, Share
from cacheproxy.settings.sizes import format_bytes, parse_bytes, parse_size


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("1", 1),
        ("1B", 1),
        ("1073741824", 1024**3),
        ("50GiB", 50 * 1024**3),
        ("50gib", 50 * 1024**3),
        (" 50 GiB ", 50 * 1024**3),
        ("170MB", 170 * 1000**2),
        ("1.5TiB", 3 * 1024**4 // 2),
        ("0.5KiB", 512),
        ("1.0001KB", 1000),
        ("2PB", 2 * 1000**5),
        (str(2**63 - 1), 2**63 - 1),
    ],
)
def test_a_size_is_bytes(text: str, count: int) -> None:
    """A size is a number with a binary or decimal unit, or plain bytes."""
    assert parse_size(text) == Bytes(count)
    assert parse_size(text).resolve(7) == count


@pytest.mark.parametrize(
    ("text", "percent", "of_1000"),
    [("80%", "80", 800), ("100%", "100", 1000), ("12.5 %", "12.5", 125), ("0.19%", "0.19", 1)],
)
def test_a_share_is_of_the_volume(text: str, percent: str, of_1000: int) -> None:
    """A share resolves to its part of the volume, rounded down."""
    share = parse_size(text)
    assert share == Share(Decimal(percent))
    assert share.resolve(1000) == of_1000


def test_a_share_of_a_large_volume_is_exact() -> None:
    """A share of an odd number of bytes near 2^60 loses none to rounding."""
    assert Share(Decimal(50)).resolve(2**60 + 2) == 2**59 + 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0", "'0' must be at least one byte"),
        ("0GiB", "must be at least one byte"),
        ("0.0001KiB", "must be at least one byte"),
        ("-1", "is not a size; write it like 50GiB"),
        ("-5GiB", "is not a size"),
        ("", "is not a size"),
        ("GiB", "is not a size"),
        ("1e9", "'1e9' is not a size"),
        ("1_000", "is not a size"),
        ("0777", "is not a size"),
        ("0x10", "is not a size"),
        ("\u0661GiB", "is not a size"),
        ("50G", "is ambiguous; write 50GiB (powers of 1024) or 50GB (of 1000)"),
        ("50Gi", "is ambiguous; write 50GiB (powers of 1024) or 50GB (of 1000)"),
        ("1.5m", "is ambiguous; write 1.5MiB"),
        ("50EiB", "has an unknown unit; the units are B, KB"),
        ("50Mbit", "has an unknown unit"),
        ("1.5", "is a fraction of a byte; add a unit: 1.5GiB"),
        ("1.5B", "is a fraction of a byte"),
        (str(2**63), "is more than any disk holds"),
        ("9999999PiB", "is more than any disk holds"),
        ("0%", "must be more than 0% and at most 100%"),
        ("120%", "must be more than 0% and at most 100%"),
        ("100.01%", "must be more than 0% and at most 100%"),
        ("-5%", "is not a size"),
        ("9" * 5000, "is not a size"),
    ],
)
def test_what_is_no_size_is_refused(text: str, message: str) -> None:
    """Whatever is no size is refused with a sentence that says what to write."""
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_size(text)


def test_a_share_is_no_number_of_bytes() -> None:
    """Where only bytes are meant, a share is refused."""
    with pytest.raises(ValueError, match="'80%' is not a size"):
        parse_bytes("80%")


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (1, "1"),
        (1001, "1001"),
        (1000, "1KB"),
        (32 * 1024, "32KiB"),
        (170 * 1000**2, "170MB"),
        (50 * 1024**3, "50GiB"),
        (1024**4 * 3 // 2, "1536GiB"),
    ],
)
def test_bytes_are_shown_short_and_exact(count: int, text: str) -> None:
    """Bytes are written in the unit that needs the fewest digits and loses nothing."""
    assert format_bytes(count) == text
    assert str(Bytes(count)) == text


@given(st.integers(1, 2**63 - 1))
def test_written_bytes_are_read_back(count: int) -> None:
    """Every number of bytes survives being written and read."""
    assert parse_size(str(Bytes(count))) == Bytes(count)


@given(st.decimals("0.000001", "100", places=6))
def test_written_shares_are_read_back(percent: Decimal) -> None:
    """Every share survives being written and read."""
    assert parse_size(str(Share(percent))) == Share(percent)


@given(st.text() | st.from_regex(r"[0-9.]+ ?[kKmMgGtTpPiIbB%]*", fullmatch=True))
def test_any_text_is_a_size_or_refused(text: str) -> None:
    """Reading a size returns one that is within its bounds, or raises ValueError, never else."""
    try:
        size = parse_size(text)
    except ValueError as error:
        assert str(error).startswith(("'", '"'))  # noqa: PT017 - raising is one of two outcomes
    else:
        assert 0 <= size.resolve(1000) < 2**63
