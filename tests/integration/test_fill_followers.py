"""Many clients of one cold blob."""

import asyncio
from pathlib import Path

import pytest

from cacheproxy.domain.events import FillEnded, FillStarted
from tests.integration.fills import (
    BODY,
    DIGEST,
    NEARLY_ALL,
    PATH,
    SIZE,
    all_of,
    cold,
    is_stored,
    pull,
    until,
)
from tests.support.hasty import Wanted, hasty_proxy
from tests.support.scripted_registry import Gate


async def test_a_cold_blob_streams_while_it_comes_in(tmp_path: Path) -> None:
    """A client has what upstream has sent before upstream has sent the rest."""
    gate = Gate(at=1_000_000)
    async with cold(tmp_path, gate) as (hub, proxy), proxy.get(PATH) as response:
        early = await response.content.readexactly(1_000_000)
        assert hub.blob_gets(DIGEST)[0].state == "open"
        gate.release()
        assert early + await response.read() == BODY


@pytest.mark.parametrize("clients", [1, 32])
async def test_a_cold_blob_is_fetched_once(clients: int, tmp_path: Path) -> None:
    """However many clients ask at once, upstream is asked once, and each gets the blob."""
    async with cold(tmp_path) as (hub, proxy):
        pulled = await all_of([pull(proxy) for _ in range(clients)])
        assert [got.right for got in pulled] == [True] * clients
        assert hub.body_bytes == SIZE
        await until(lambda: proxy.events.of(FillEnded))
        assert is_stored(proxy)
        assert sum("collapsed" in got.cache_status for got in pulled) == clients - 1
        assert len(proxy.events.of(FillStarted)) == 1
        assert [event.error for event in proxy.events.of(FillEnded)] == [None]


async def test_a_late_joiner_starts_at_the_beginning(tmp_path: Path) -> None:
    """A client that comes when half is here gets all of it, from the same download."""
    gate = Gate(at=2_000_000)
    async with cold(tmp_path, gate) as (hub, proxy), asyncio.TaskGroup() as group:
        first = group.create_task(pull(proxy))
        await gate.reached()
        async with proxy.get(PATH) as late:
            early = await late.content.readexactly(1_900_000)
            gate.release()
            assert early + await late.read() == BODY
        assert (await first).right
        assert len(hub.blob_gets(DIGEST)) == 1


@pytest.mark.parametrize(("asked", "status"), [({}, 200), ({"Range": "bytes=1000-"}, 206)])
async def test_what_another_worker_fetches_has_its_size(
    tmp_path: Path, asked: dict[str, str], status: int
) -> None:
    """Though no manifest has said how long it is, and only that worker has heard it."""
    gate = Gate(at=1_000_000)
    async with cold(tmp_path, gate) as (hub, one), one.get(PATH) as first:
        await gate.reached()
        async with (
            hasty_proxy({"docker.io": hub}, tmp_path / "cache") as other,
            other.get(PATH, headers=asked) as response,
        ):
            start = SIZE - int(response.headers["Content-Length"])
            gate.release()
            assert (response.status, await response.read()) == (status, BODY[start:])
            assert start == (1000 if asked else 0)
        assert await first.read() == BODY
        assert len(hub.blob_gets(DIGEST)) == 1


async def test_a_slow_reader_slows_nobody(tmp_path: Path) -> None:
    """A client that reads nothing keeps neither the download nor the others from ending."""
    async with cold(tmp_path) as (hub, proxy), proxy.get(PATH) as idle:
        assert all(got.right for got in await all_of([pull(proxy) for _ in range(5)]))
        await until(lambda: is_stored(proxy))
        assert hub.body_bytes == SIZE
        assert await idle.read() == BODY


async def test_clients_that_hang_up_change_nothing_for_the_rest(tmp_path: Path) -> None:
    """Half of the clients leave in the middle; the others get the blob from the same download."""
    gate = Gate(at=1_500_000)
    async with cold(tmp_path, gate) as (hub, proxy), asyncio.TaskGroup() as group:
        staying = [group.create_task(pull(proxy)) for _ in range(8)]
        leaving = [await proxy.get(PATH) for _ in range(8)]
        for response in leaving:
            await response.content.readexactly(1_000)
            response.close()
        await gate.reached()
        gate.release()
        assert all([(await got).right for got in staying])
        assert hub.body_bytes == SIZE


async def test_a_download_that_everyone_has_left_goes_on(tmp_path: Path) -> None:
    """By default a download ends in the store although nobody is there any more."""
    gate = Gate(at=1_500_000)
    async with cold(tmp_path, gate) as (hub, proxy):
        async with proxy.get(PATH) as response:
            await response.content.readexactly(1_000_000)
            response.close()
        gate.release()
        await until(lambda: is_stored(proxy))
        assert await proxy.body(PATH) == BODY
        assert hub.body_bytes == SIZE


async def test_a_download_that_everyone_has_left_can_be_bounded(tmp_path: Path) -> None:
    """With `abandon_after` it is given up, and what came is kept for the next client."""
    gate = Gate(at=1_500_000)
    wanted = Wanted(cache={"abandon_after": 0.02})
    async with cold(tmp_path, gate, wanted=wanted) as (hub, proxy):
        async with proxy.get(PATH) as response:
            await response.content.readexactly(1_400_000)
            response.close()
        await until(lambda: proxy.events.of(FillEnded))
        assert [path.stat().st_size for path in proxy.files("ingest")] == [1_500_000]
        gate.release()
        assert (await pull(proxy)).right
        assert hub.blob_gets(DIGEST)[1].headers["Range"] == "bytes=1500000-"


async def test_a_client_that_comes_back_in_time_keeps_the_download(tmp_path: Path) -> None:
    """`abandon_after` counts from when the last one left, and not if another came meanwhile."""
    gate = Gate(at=1_500_000)
    wanted = Wanted(cache={"abandon_after": 0.3})
    async with cold(tmp_path, gate, wanted=wanted) as (hub, proxy):
        async with proxy.get(PATH) as response:
            await response.content.readexactly(1_000_000)
            response.close()
        async with asyncio.TaskGroup() as group:
            other = group.create_task(pull(proxy))
            await asyncio.sleep(0.4)
            gate.release()
        assert other.result().right
        assert len(hub.blob_gets(DIGEST)) == 1


async def test_the_end_is_held_back_until_the_digest_is_verified(tmp_path: Path) -> None:
    """While the last byte is missing, no client has the bytes before it either."""
    gate = Gate(at=SIZE - 1)
    async with cold(tmp_path, gate) as (_, proxy), proxy.get(PATH) as response:
        early = await response.content.readexactly(NEARLY_ALL)
        await gate.reached()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await response.content.readany()
        gate.release()
        assert early + await response.read() == BODY


async def test_a_head_of_a_cold_blob_fetches_no_body(tmp_path: Path) -> None:
    """HEAD tells the size, and neither fetches nor begins to."""
    async with cold(tmp_path) as (hub, proxy):
        async with proxy.head(PATH) as response:
            assert response.status == 200
            assert response.headers["Content-Length"] == str(SIZE)
            assert response.headers["Docker-Content-Digest"] == DIGEST
        assert not hub.blob_gets(DIGEST)
        assert not proxy.files("ingest")


async def test_a_head_joins_no_download_and_waits_for_none(tmp_path: Path) -> None:
    """HEAD is answered while the blob's download stands still."""
    gate = Gate(at=10)
    async with cold(tmp_path, gate) as (_, proxy), asyncio.TaskGroup() as group:
        client = group.create_task(pull(proxy))
        await gate.reached()
        async with proxy.head(PATH) as response:
            assert response.headers["Content-Length"] == str(SIZE)
        gate.release()
        assert (await client).right
