import pytest

from cacheproxy.ops.page import words

_GIB = 1024**3


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (-1, "\N{MINUS SIGN}1 byte"),
        (1023, "1023 bytes"),
        (1024, "1.00 KiB"),
        (9.996 * 1024, "10.0 KiB"),
        (99.96 * _GIB, "100 GiB"),
        (999.6 * _GIB, "0.98 TiB"),
        (-1.5 * _GIB, "\N{MINUS SIGN}1.50 GiB"),
        (1024**6 * 4321, "4,321 EiB"),
        (1024**6 * 2**70, "1,180,591,620,717,411,303,424 EiB"),
    ],
)
def test_sizes_have_three_digits_and_a_unit(count: float, said: str) -> None:
    """Bytes, also below nothing and beyond all units, are a number and a unit."""
    assert words.size(count) == said


@pytest.mark.parametrize(
    ("part", "whole", "said"),
    [
        (0, 0, "0"),
        (5, 0, "0"),
        (0, 5, "0"),
        (5, 5, "100"),
        (99_999, 100_000, "> 99.9"),
        (9_994, 10_000, "99.9"),
        (1, 100_000, "< 0.1"),
        (7, 1000, "0.7"),
        (885, 1000, "88"),
        (-50, 100, "\N{MINUS SIGN}50"),
        (-5, 1000, "\N{MINUS SIGN}0.5"),
        (40, 3, "1,333"),
    ],
)
def test_a_share_is_all_or_nothing_only_if_it_is(part: int, whole: int, said: str) -> None:
    """A hundred percent means all of it and zero none; there is a share of nothing, too."""
    assert words.share(part, whole) == said + words.NARROW + "%"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-3, "0 s"), (0.4, "0 s"), (119, "119 s"), (5400, "90 min"), (86_400 * 3, "3 d")],
)
def test_spans(seconds: float, said: str) -> None:
    """A duration is said in its largest unit that says enough; none is below nothing."""
    assert words.span(seconds) == said


def test_a_time_that_is_to_come_is_now() -> None:
    """Two clocks may differ: what is ahead of ours has just been."""
    assert words.ago(100.0, 50.0) == "just now"
    assert words.ago(100.0, 110.0) == "10 s ago"


def test_a_time_that_is_none_is_no_failure() -> None:
    """A time beyond all calendars, as from a spoilt ledger, is said to be none."""
    assert words.clock(1e20) == "at no time"
    assert words.clock(float("nan")) == "at no time"


def test_money_of_any_amount() -> None:
    """Little money has cents, much has none, and a loss has a sign."""
    assert words.money(12.345, "EUR") == "12.35 EUR"
    assert words.money(1_234_567.8, "EUR") == "1,234,568 EUR"
    assert words.money(-0.5, "USD") == "\N{MINUS SIGN}0.50 USD"


def test_a_rate_before_any_time_has_passed() -> None:
    """A download that began just now has no rate yet, which is no division by zero."""
    assert words.speed(100, 0.0) == "0 bytes/s"
    assert words.speed(3 * 1024**2, 2.0) == "1.50 MiB/s"


def test_digests_are_short() -> None:
    """Of a digest its first twelve digits are shown, and of what is none, what there is."""
    assert words.short("sha256:0123456789abcdef") == "0123456789ab"
    assert words.short("odd") == "odd"
