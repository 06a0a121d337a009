"""Who may read from a replica that has a blob from another one: those who have less of it."""

import asyncio
from typing import Any, cast

import pytest

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import UpstreamUnavailable
from cacheproxy.domain.reference import Name, Repository
from cacheproxy.inprocess.clock import SystemClock
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.ports import BlobStore
from cacheproxy.pullthrough.fill import Fill, FillContext
from cacheproxy.pullthrough.origin import Origin
from tests.support.hasty import Events

SIZE, AT = 100_000, 50_000
AT_ONCE, LONG = 0.0, 10.0


@pytest.fixture
def fill() -> Fill:
    """A download that has begun, and has bytes up to AT; the last of them are held back."""
    repository = Repository("docker.io", Name("library/app"))
    origin = Origin(cast("Any", None), repository, Digest.of(b"a"), SIZE, linked=True)
    made = Fill(origin, FillContext(cast("BlobStore", None), Events(), SystemClock()))
    made.opened(SIZE, 0)
    made.grown(AT)
    return made


async def test_who_has_less(fill: Fill) -> None:
    """One that has less may read at once, wherever it comes from."""
    fill.comes_from("peer")
    await fill.leads(AT - 1, AT_ONCE)
    assert (fill.is_beyond(AT - 1), fill.is_beyond(AT)) == (True, False)


async def test_who_has_as_much(fill: Fill) -> None:
    """One that has as much may not, while more can only come from another replica."""
    fill.comes_from("peer")
    with pytest.raises(TimeoutError):
        await fill.leads(AT, AT_ONCE)


async def test_upstream_gives_it(fill: Fill) -> None:
    """Where upstream itself gives it, one may wait for it with whatever one has."""
    fill.comes_from("fill")
    await fill.leads(SIZE - 1, AT_ONCE)
    assert not fill.is_beyond(SIZE - 1)


@pytest.mark.parametrize("what", ["more comes", "upstream gives it"])
async def test_it_is_waited_for(fill: Fill, what: str) -> None:
    """It is told at once when more comes, or when upstream gives it."""
    fill.comes_from("peer")
    tasks = Tasks()
    waiting = tasks.start(fill.leads(AT, LONG), "wait")
    await asyncio.sleep(0)
    assert not waiting.done()
    if what == "more comes":
        fill.grown(AT + 1)
    else:
        fill.comes_from("fill")
    async with asyncio.timeout(LONG / 2):
        await waiting
    await tasks.close()


async def test_it_could_not_be_had(fill: Fill) -> None:
    """Who waits for one that fails is told that."""
    fill.comes_from("peer")
    tasks = Tasks()
    waiting = tasks.start(fill.leads(AT, LONG), "wait")
    await asyncio.sleep(0)
    fill._error = UpstreamUnavailable("it broke")
    fill._move(fill.state.failed())
    with pytest.raises(UpstreamUnavailable, match="it broke"):
        await waiting
    await tasks.close()
