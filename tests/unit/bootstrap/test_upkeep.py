import asyncio
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

from cacheproxy.bootstrap.upkeep import Upkeep
from cacheproxy.domain.errors import StorageError
from cacheproxy.domain.events import Unexpected, UpkeepFailed
from tests.support.clock import FakeClock
from tests.support.hasty import Events
from tests.support.stores import open_store

_DAY = 86400.0


async def test_a_mistake_does_not_end_upkeep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A turn that fails in a way that nobody foresaw is stated once, and the next turn comes."""
    clock, events, turns = FakeClock(), Events(), list[int]()

    async def flush() -> None:
        turns.append(1)
        if len(turns) == 3:
            raise asyncio.CancelledError
        raise ZeroDivisionError

    with closing(open_store(tmp_path, clock=clock)) as store:
        monkeypatch.setattr(store.accounts, "flush", flush)
        upkeep = Upkeep(store, clock, events, keep_partial=_DAY)
        with pytest.raises(asyncio.CancelledError):
            await upkeep.run()
    assert [type(event.error) for event in events.of(Unexpected)] == [ZeroDivisionError]


async def test_a_failure_that_lasts_is_stated_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fails turn after turn is stated once, also if other work succeeds in between."""
    clock, events, turns = FakeClock(), Events(), list[int]()

    async def keep_within() -> None:
        turns.append(1)
        if len(turns) == 4:
            raise asyncio.CancelledError
        raise StorageError("no room" if len(turns) < 3 else "read-only")

    with closing(open_store(tmp_path, clock=clock)) as store:
        monkeypatch.setattr(store.accounts, "keep_within", keep_within)
        with pytest.raises(asyncio.CancelledError):
            await Upkeep(store, clock, events, keep_partial=_DAY).run()
    assert [event.error for event in events.of(UpkeepFailed)] == ["no room", "read-only"]


async def test_records_are_looked_through_once_a_day(tmp_path: Path) -> None:
    """Not while it starts, then each day; a store that fails is told of, and tried again."""
    clock, events, looked = FakeClock(), Events(), list[float]()
    begun = clock.now()

    async def records() -> int:
        looked.append(clock.now() - begun)
        if len(looked) == 2:
            raise StorageError("the metadata store failed: disk I/O error")
        if len(looked) == 4:
            raise asyncio.CancelledError
        return 0

    with closing(open_store(tmp_path, clock=clock)) as store:
        upkeep = Upkeep(store, clock, events, keep_partial=_DAY)
        with pytest.raises(asyncio.CancelledError):
            await upkeep.forget(records)
    assert looked[0] > 60
    assert all(_DAY <= later - one < 1.1 * _DAY for one, later in pairwise(looked))
    assert [event.error for event in events.of(UpkeepFailed)] == [
        "the metadata store failed: disk I/O error"
    ]
