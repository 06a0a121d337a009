import asyncio
from collections.abc import AsyncIterator
from traceback import walk_tb

import pytest

from cacheproxy.domain.errors import UpstreamUnavailable
from cacheproxy.inprocess.flights import Flights
from cacheproxy.inprocess.tasks import Tasks
from tests.support.leaks import settle


class Work:
    """Work that ends when a test says so, and counts how often it was begun."""

    def __init__(self) -> None:
        self.begun = 0
        self.ended: list[str] = []
        self.outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def __call__(self) -> str:
        self.begun += 1
        try:
            outcome = await asyncio.shield(self.outcome)
        except BaseException as error:
            self.ended.append(type(error).__name__)
            raise
        self.ended.append("well")
        return outcome


@pytest.fixture
async def tasks() -> AsyncIterator[Tasks]:
    made = Tasks()
    yield made
    await made.close()


@pytest.fixture
def flights(tasks: Tasks) -> Flights[str, str]:
    return Flights(tasks, "test")


async def test_the_first_starts_and_the_others_join(flights: Flights[str, str]) -> None:
    """Of many who ask for one key at once, one has the work begun and all get its outcome."""
    work = Work()
    async with asyncio.TaskGroup() as group:
        waiters = [group.create_task(flights.join("key", work)) for _ in range(50)]
        await settle()
        assert work.begun == 1
        work.outcome.set_result("done")
    assert [waiter.result() for waiter in waiters] == [("done", False)] + [("done", True)] * 49


async def test_keys_are_apart(flights: Flights[str, str]) -> None:
    """Work for two keys is two pieces of work."""
    one, other = Work(), Work()
    one.outcome.set_result("1")
    other.outcome.set_result("2")
    joined = await asyncio.gather(flights.join("a", one), flights.join("b", other))
    assert list(joined) == [("1", False), ("2", False)]


async def test_what_has_landed_is_begun_anew(flights: Flights[str, str]) -> None:
    """A flight is no cache: who asks after its end has the work done again."""
    work = Work()
    work.outcome.set_result("done")
    for times in (1, 2, 3):
        assert await flights.join("key", work) == ("done", False)
        assert work.begun == times


async def test_an_error_is_an_error_for_everyone(flights: Flights[str, str]) -> None:
    """Every waiter gets the error, its cause and all, and none a success."""
    cause = OSError("cable")
    work = Work()
    joins = (flights.join("key", work) for _ in range(20))
    waiting = asyncio.gather(*joins, return_exceptions=True)
    await settle()
    error = UpstreamUnavailable("down")
    error.__cause__ = cause
    work.outcome.set_exception(error)
    outcomes = await waiting
    assert outcomes == [error] * 20
    assert error.__cause__ is cause
    assert work.begun == 1


async def test_an_error_releases_its_key(flights: Flights[str, str]) -> None:
    """After an error the next one who asks has the work begun again."""
    failing, working = Work(), Work()
    failing.outcome.set_exception(UpstreamUnavailable("down"))
    working.outcome.set_result("done")
    with pytest.raises(UpstreamUnavailable):
        await flights.join("key", failing)
    assert await flights.join("key", working) == ("done", False)


async def test_a_traceback_does_not_grow_with_the_waiters(flights: Flights[str, str]) -> None:
    """An error that was raised in many tasks has the traceback of the last one alone."""
    work = Work()

    async def depth() -> int:
        with pytest.raises(UpstreamUnavailable) as caught:
            await flights.join("key", work)
        return len(list(walk_tb(caught.value.__traceback__)))

    async with asyncio.TaskGroup() as group:
        waiters = [group.create_task(depth()) for _ in range(50)]
        await settle()
        work.outcome.set_exception(UpstreamUnavailable("down"))
    assert max(waiter.result() for waiter in waiters) <= 5


async def test_one_who_leaves_takes_nobody_along(flights: Flights[str, str]) -> None:
    """A waiter that is cancelled leaves, even the first; the work and the rest go on."""
    work = Work()
    async with asyncio.TaskGroup() as group:
        waiters = [group.create_task(flights.join("key", work)) for _ in range(3)]
        await settle()
        waiters[0].cancel()
        await settle()
        assert waiters[0].cancelled()
        assert work.ended == []
        work.outcome.set_result("done")
    assert [waiter.result() for waiter in waiters[1:]] == [("done", True)] * 2


async def test_the_work_goes_on_when_all_have_left(
    flights: Flights[str, str], tasks: Tasks
) -> None:
    """Work whose waiters have all left is done to its end, and can be joined until then."""
    work = Work()
    async with asyncio.TaskGroup() as group:
        waiters = [group.create_task(flights.join("key", work)) for _ in range(3)]
        await settle()
        for waiter in waiters:
            waiter.cancel()
    assert len(tasks) == 1
    async with asyncio.TaskGroup() as group:
        late = group.create_task(flights.join("key", work))
        await settle()
        work.outcome.set_result("done")
    assert late.result() == ("done", True)
    assert (work.begun, work.ended) == (1, ["well"])


async def test_an_error_that_nobody_waits_for_is_no_accident(
    flights: Flights[str, str], tasks: Tasks
) -> None:
    """Work that fails after everybody left is not reported as a forgotten exception."""
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    work = Work()
    flights.launch("key", work)
    await settle()
    work.outcome.set_exception(UpstreamUnavailable("down"))
    await settle()
    assert (len(tasks), work.ended, reported) == (0, ["UpstreamUnavailable"], [])


async def test_launching_waits_for_nobody(flights: Flights[str, str]) -> None:
    """Launched work is begun once, is not waited for, and can be joined."""
    work = Work()
    for _ in range(3):
        flights.launch("key", work)
    await settle()
    assert work.begun == 1
    async with asyncio.TaskGroup() as group:
        waiter = group.create_task(flights.join("key", work))
        await settle()
        work.outcome.set_result("done")
    assert waiter.result() == ("done", True)


async def test_the_end_of_the_process_ends_the_work(
    flights: Flights[str, str], tasks: Tasks
) -> None:
    """Whoever still waits when the tasks are closed is released, and the key is too."""
    work = Work()
    waiter = asyncio.gather(flights.join("key", work), return_exceptions=True)
    await settle()
    await tasks.close()
    (outcome,) = await waiter
    assert isinstance(outcome, asyncio.CancelledError)
    assert work.ended == ["CancelledError"]
    again = Work()
    again.outcome.set_result("done")
    assert await flights.join("key", again) == ("done", False)
