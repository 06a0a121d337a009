"""Who may read from a replica that has a blob from another one: those who have less of it."""

import asyncio
from typing import cast

import pytest

from cacheproxy.cluster_ports import Part, ReplicaBusy
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import UpstreamUnavailable
from cacheproxy.inprocess.clock import SystemClock
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.ports import BlobFile, BlobStore
from cacheproxy.pullthrough.blobs import Blobs
from cacheproxy.pullthrough.context import FillContext
from cacheproxy.pullthrough.fill import Fill
from cacheproxy.pullthrough.sharing import Offer, is_beyond, wait_ahead
from tests.support.hasty import Events

SIZE, AT = 100_000, 50_000
LONG = 60.0


@pytest.fixture
def fill() -> Fill:
    """A download that has begun, and has bytes up to AT; the last of them are held back."""
    made = Fill(
        Digest.of(b"a"), None, FillContext(cast("BlobStore", None), Events(), SystemClock())
    )
    made.progress.begin(SIZE, cast("BlobFile", _NoFile()), 0)
    made.progress.grow(AT)
    return made


class _NoFile:
    """A file that nobody reads."""

    identity = 0, 0

    def close(self) -> None:
        """Nothing is open."""


async def test_who_has_less(fill: Fill) -> None:
    """One that has less may read at once, wherever it comes from."""
    fill.progress.come_from("peer")
    await wait_ahead(fill, AT - 1)
    assert (is_beyond(fill, AT - 1), is_beyond(fill, AT)) == (True, False)


async def test_who_has_as_much(fill: Fill) -> None:
    """One that has as much may not, while more can only come from another replica."""
    fill.progress.come_from("peer")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await wait_ahead(fill, AT)


async def test_upstream_gives_it(fill: Fill) -> None:
    """Where upstream itself gives it, one may wait for it with whatever one has."""
    fill.progress.come_from("fill")
    await wait_ahead(fill, SIZE - 1)
    assert not is_beyond(fill, SIZE - 1)


@pytest.mark.parametrize("what", ["more comes", "upstream gives it"])
async def test_it_is_waited_for(fill: Fill, what: str) -> None:
    """It is told at once when more comes, or when upstream gives it."""
    fill.progress.come_from("peer")
    tasks = Tasks()
    waiting = tasks.start(wait_ahead(fill, AT), "wait")
    await asyncio.sleep(0)
    assert not waiting.done()
    if what == "more comes":
        fill.progress.grow(AT + 1)
    else:
        fill.progress.come_from("fill")
    async with asyncio.timeout(LONG):
        await waiting
    await tasks.close()


async def test_a_download_that_has_not_begun_is_busy_by_the_deadline() -> None:
    """An answer begins before its deadline, also while upstream has not begun."""
    context = FillContext(cast("BlobStore", None), Events(), SystemClock())
    fill = Fill(Digest.of(b"a"), None, context)
    offer = Offer(Part(fill.digest), fill, cast("Blobs", None), asyncio.get_running_loop().time())
    with pytest.raises(ReplicaBusy):
        await offer.answer()
    assert offer.is_waiting


async def test_it_could_not_be_had(fill: Fill) -> None:
    """Who waits for one that fails is told that."""
    fill.progress.come_from("peer")
    tasks = Tasks()
    waiting = tasks.start(wait_ahead(fill, AT), "wait")
    await asyncio.sleep(0)
    fill.progress.fail(UpstreamUnavailable("it broke"))
    with pytest.raises(UpstreamUnavailable, match="it broke"):
        await waiting
    await tasks.close()
