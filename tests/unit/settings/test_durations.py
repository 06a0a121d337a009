import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.settings.durations import (
    format_duration,
    parse_duration,
    parse_positive_duration,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("0s", 0.0),
        ("250ms", 0.25),
        ("30s", 30.0),
        ("1.5s", 1.5),
        (" 5m ", 300.0),
        ("1h30m", 5400.0),
        ("1m1s1ms", 61.001),
        ("7d", 604800.0),
        ("36500d", 36500 * 86400.0),
    ],
)
def test_a_duration_is_seconds(text: str, seconds: float) -> None:
    """A duration is numbers with units, the larger unit first; it comes as seconds."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a duration; write it like 250ms, 30s, 1h30m or 7d"),
        ("30", "'30' has no unit; write 30s"),
        ("1.5", "has no unit; write 1.5s"),
        ("0.0", "has no unit"),
        ("-5s", "is not a duration"),
        ("30 s", "is not a duration"),
        ("30S", "is not a duration"),
        ("30sec", "is not a duration"),
        ("2w", "is not a duration"),
        ("30m1h", "is not a duration"),
        ("1h1h", "is not a duration"),
        ("1:30", "is not a duration"),
        ("1e3s", "is not a duration"),
        ("infs", "is not a duration"),
        ("\u0663s", "is not a duration"),
        ("0.0001s", "is finer than a millisecond"),
        ("0.5ms", "is finer than a millisecond"),
        ("36501d", "is longer than a century"),
        ("9" * 5000 + "s", "is not a duration"),
    ],
)
def test_what_is_no_duration_is_refused(text: str, message: str) -> None:
    """Whatever is no duration is refused with a sentence that says what to write."""
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_duration(text)


@pytest.mark.parametrize("text", ["0", "0s", "0d0h"])
def test_a_timeout_must_not_be_zero(text: str) -> None:
    """Where a timeout is meant, 0 is refused."""
    with pytest.raises(ValueError, match="must be longer than 0s"):
        parse_positive_duration(text)


def test_a_timeout_is_a_duration() -> None:
    """Where a timeout is meant, any other duration is taken."""
    assert parse_positive_duration("1ms") == 0.001


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0s"), (0.25, "250ms"), (60.0, "1m"), (90.0, "1m30s"), (604800.0, "7d")],
)
def test_seconds_are_shown_in_units(seconds: float, text: str) -> None:
    """Seconds are written in units, those that are 0 left out."""
    assert format_duration(seconds) == text


@given(st.integers(0, 36_500 * 86_400_000))
def test_written_durations_are_read_back(milliseconds: int) -> None:
    """Every duration of whole milliseconds survives being written and read."""
    seconds = milliseconds / 1000
    assert parse_duration(format_duration(seconds)) == seconds


@given(st.text() | st.from_regex(r"([0-9.]{1,12}(d|h|m|s|ms)?){1,5}", fullmatch=True))
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    """Reading a duration returns one within its bounds, or raises ValueError, never else."""
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        assert str(error).startswith(("'", '"'))  # noqa: PT017 - raising is one of two outcomes
    else:
        assert 0 <= seconds <= 36_500 * 86_400
