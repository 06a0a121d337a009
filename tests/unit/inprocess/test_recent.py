import gc
import weakref

import pytest

from cacheproxy.inprocess.recent import Recent
from tests.support.clock import FakeClock, time_the_loop
from tests.support.leaks import settle


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """What the timers of the event loop go by."""
    made = FakeClock()
    time_the_loop(made, monkeypatch)
    return made


async def test_a_value_lives_for_its_seconds(clock: FakeClock) -> None:
    """A value is there until its time is over, and not after."""
    recent: Recent[str] = Recent(10)
    await recent.set("a", "short", 5.0)
    await recent.set("b", "long", 50.0)
    clock.advance(4.9)
    await settle()
    assert (await recent.get("a"), await recent.get("b")) == ("short", "long")
    clock.advance(0.2)
    await settle()
    assert (await recent.get("a"), await recent.get("b")) == (None, "long")
    await recent.close()


async def test_a_new_value_has_a_life_of_its_own(clock: FakeClock) -> None:
    """The time of a value that was replaced does not end the new one's."""
    recent: Recent[str] = Recent(10)
    await recent.set("a", "old", 5.0)
    clock.advance(4.0)
    await recent.set("a", "new", 5.0)
    clock.advance(4.0)
    await settle()
    assert await recent.get("a") == "new"
    clock.advance(1.1)
    await settle()
    assert await recent.get("a") is None
    await recent.close()


@pytest.mark.parametrize("value", ["", 0, False, (), 0.0, b""])
async def test_falsy_values_are_values(value: object) -> None:
    """A value that is false is there nonetheless."""
    recent: Recent[object] = Recent(10)
    await recent.set("a", value, 5.0)
    assert await recent.get("a") == value
    assert await recent.get("a") is not None
    await recent.close()


@pytest.mark.parametrize("seconds", [0.0, -1.0])
async def test_a_value_without_a_life_is_none(seconds: float) -> None:
    """A value that is to live for no time replaces what was there by nothing."""
    recent: Recent[str] = Recent(10)
    await recent.set("a", "old", 5.0)
    await recent.set("a", "new", seconds)
    await recent.set("b", "new", seconds)
    assert (await recent.get("a"), await recent.get("b")) == (None, None)
    await recent.close()


async def test_there_are_never_more_than_the_limit() -> None:
    """Beyond the limit the oldest value goes, and its timer with it."""
    recent: Recent[int] = Recent(3)
    for number in range(100):
        await recent.set(str(number), number, 1000.0)
        assert await recent.get(str(number)) == number
    kept = [await recent.get(str(number)) for number in range(100)]
    assert [number for number in kept if number is not None] == [97, 98, 99]
    assert len(recent._cache._handlers) == 3
    await recent.close()


async def test_dropping_is_forgetting() -> None:
    """What was dropped is not there, and dropping what is not there is harmless."""
    recent: Recent[str] = Recent(10)
    await recent.set("a", "x", 5.0)
    await recent.drop("a")
    await recent.drop("a")
    await recent.drop("b")
    assert await recent.get("a") is None
    await recent.close()


async def test_keys_are_apart() -> None:
    """Keys that are alike are two, whatever is in them."""
    recent: Recent[int] = Recent(10)
    keys = ["", " ", "a", "a ", "A", "a:b", "a\x00", "\u00e9"]
    for number, key in enumerate(keys):
        await recent.set(key, number, 5.0)
    assert [await recent.get(key) for key in keys] == list(range(len(keys)))
    await recent.close()


async def test_two_of_them_share_nothing() -> None:
    """What one remembers another one does not."""
    one: Recent[str] = Recent(10)
    other: Recent[str] = Recent(10)
    await one.set("a", "x", 5.0)
    assert await other.get("a") is None
    await one.close()
    await other.close()


async def test_closing_forgets_values_and_timers() -> None:
    """After closing nothing is remembered, and no timer keeps a value alive."""

    class Value:
        pass

    recent: Recent[Value] = Recent(10)
    value = Value()
    gone = weakref.ref(value)
    await recent.set("a", value, 3600.0)
    await recent.close()
    assert await recent.get("a") is None
    del value
    gc.collect()
    assert gone() is None
