"""Ranges of a cold blob."""

import asyncio
from pathlib import Path

import pytest

from cacheproxy.domain.events import Responded
from tests.integration.fills import BODY, DIGEST, PATH, SIZE, all_of, cold, is_stored, pull, until
from tests.support.hasty import Wanted
from tests.support.scripted_registry import Gate


@pytest.mark.parametrize(
    ("field", "start", "stop"),
    [
        pytest.param("bytes=0-", 0, SIZE, id="from the beginning"),
        pytest.param("bytes=100-199", 100, 200, id="near"),
        pytest.param("bytes=2500000-", 2_500_000, SIZE, id="open"),
        pytest.param("bytes=-10", SIZE - 10, SIZE, id="suffix"),
        pytest.param("bytes=5-999999999", 5, SIZE, id="beyond the end"),
    ],
)
async def test_a_range_is_served_from_the_growing_file(
    field: str, start: int, stop: int, tmp_path: Path
) -> None:
    """A part of a cold blob is a 206 of just those bytes, and the whole is fetched once."""
    async with cold(tmp_path) as (hub, proxy):
        async with proxy.get(PATH, headers={"Range": field}) as response:
            assert response.status == 206
            assert response.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{SIZE}"
            assert await response.read() == BODY[start:stop]
        await until(lambda: is_stored(proxy))
        assert [get.headers.get("Range") for get in hub.blob_gets(DIGEST)] == [None]
        assert hub.body_bytes == SIZE


@pytest.mark.parametrize("relay_ahead", [64 * 1024 * 1024, 1_000])
async def test_open_ended_parallel_ranges_cost_one_fetch(tmp_path: Path, relay_ahead: int) -> None:
    """As containerd 2.1 does it: each reads its chunk of an open range and hangs up.

    However far ahead they start: they are all of one pull.
    """
    wanted = Wanted(cache={"relay_ahead": relay_ahead})
    chunk = SIZE // 6 + 1

    async def part(number: int) -> bytes:
        field = {"Range": f"bytes={number * chunk}-"}
        async with proxy.get(PATH, headers=field) as response:
            assert response.status == 206
            length = min(chunk, SIZE - number * chunk)
            body = await response.content.readexactly(length)
            response.close()
            return bytes(body)

    async with cold(tmp_path, wanted=wanted) as (hub, proxy):
        parts = await asyncio.gather(*(part(number) for number in range(6)))
        assert b"".join(parts) == BODY
        await until(lambda: is_stored(proxy))
        assert hub.body_bytes == SIZE


async def test_several_ranges_at_once_get_the_whole(tmp_path: Path) -> None:
    """Multi-range requests get a 200, which their clients accept."""
    async with cold(tmp_path) as (_, proxy):
        assert (await pull(proxy, headers={"Range": "bytes=0-1,5-9"})).right


async def test_a_range_behind_the_end_is_a_416(tmp_path: Path) -> None:
    """What the blob does not have is refused with its size, and the download goes on."""
    async with cold(tmp_path) as (_, proxy):
        async with proxy.get(PATH, headers={"Range": f"bytes={SIZE}-"}) as response:
            assert response.status == 416
            assert response.headers["Content-Range"] == f"bytes */{SIZE}"
        await until(lambda: is_stored(proxy))


async def test_a_range_far_ahead_does_not_wait(tmp_path: Path) -> None:
    """It is fetched beside the download, which stands still meanwhile, and then goes on."""
    gate = Gate(at=100_000)
    wanted = Wanted(cache={"relay_ahead": 1_000_000})
    async with cold(tmp_path, gate, wanted=wanted) as (hub, proxy), asyncio.TaskGroup() as group:
        client = group.create_task(pull(proxy))
        await gate.reached()
        field = {"Range": "bytes=2000000-2000999"}
        async with proxy.get(PATH, headers=field) as response:
            assert response.status == 206
            assert response.headers["Cache-Status"] == "cacheproxy; fwd=bypass; detail=range"
            assert await response.read() == BODY[2_000_000:2_001_000]
        gate.release()
        assert (await client).right
        ranges = [get.headers.get("Range") for get in hub.blob_gets(DIGEST)]
        assert ranges == [None, "bytes=2000000-2000999"]
        assert hub.body_bytes == SIZE + 1_000


async def test_a_relay_whose_client_leaves_hangs_up_on_upstream(tmp_path: Path) -> None:
    """A far range that nobody reads any more is not fetched to its end."""
    gate, far = Gate(at=10), Gate(at=100_000)
    wanted = Wanted(cache={"relay_ahead": 1_000_000})
    async with (
        cold(tmp_path, gate, far, wanted=wanted) as (hub, proxy),
        asyncio.TaskGroup() as group,
    ):
        client = group.create_task(pull(proxy))
        await gate.reached()
        async with proxy.get(PATH, headers={"Range": "bytes=1500000-3000000"}) as response:
            await response.content.readexactly(50_000)
            response.close()
        await until(lambda: proxy.events.of(Responded))
        far.release()
        await until(lambda: hub.blob_gets(DIGEST)[1].state == "cut")
        gate.release()
        assert (await client).right


async def test_an_if_range_that_names_the_blob_gets_the_part(tmp_path: Path) -> None:
    """If-Range with the blob's own tag keeps the range; with another it gets the whole."""
    async with cold(tmp_path) as (_, proxy):
        fields = {"Range": "bytes=0-9", "If-Range": f'"{DIGEST}"'}
        assert (await pull(proxy, headers=fields)).body == BODY[:10]
        fields["If-Range"] = '"sha256:other"'
        assert all(got.right for got in await all_of([pull(proxy, headers=fields)]))
