"""What a bound on an upstream's bandwidth slows, and what it does not."""

import asyncio
import statistics
from pathlib import Path

import pytest
from typing_extensions import override

from tests.integration.fills import BODY, PATH, REPOSITORY, SIZE, pull
from tests.support import images
from tests.support.hasty import HastyClock, Wanted, hasty_proxy
from tests.support.scripted_registry import ScriptedRegistry
from tests.support.seen import see

_RATE = 1_500_000
_TAGS = 50


class _SteadyClock(HastyClock):
    """One whose pauses take as long as they should."""

    @override
    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def _fill(hub: ScriptedRegistry) -> None:
    hub.add_blob(REPOSITORY, BODY)
    for number in range(_TAGS):
        hub.add_image("library/small", f"t{number}", images.simple(seed=100 + number, size=64))


async def _pulls(proxy: object, tags: range) -> list[float]:
    """How long each of these manifests took, one after another."""
    loop, seconds = asyncio.get_running_loop(), []
    for number in tags:
        begun = loop.time()
        answer = await see(proxy, f"/v2/small/manifests/t{number}")  # type: ignore[arg-type]
        assert answer.status == 200
        seconds.append(loop.time() - begun)
        await asyncio.sleep(0.01)
    return seconds


async def test_blobs_take_their_time_and_manifests_do_not(
    hub: ScriptedRegistry, tmp_path: Path
) -> None:
    """A blob takes as long as the bound says; cold manifests beside it are as fast as ever."""
    _fill(hub)
    wanted = Wanted(upstream={"max_bandwidth": _RATE})
    loop = asyncio.get_running_loop()
    async with hasty_proxy({"docker.io": hub}, tmp_path, wanted, _SteadyClock()) as proxy:
        alone = await _pulls(proxy, range(_TAGS // 2))
        begun = loop.time()
        pulled, beside = await asyncio.gather(pull(proxy), _pulls(proxy, range(_TAGS // 2, _TAGS)))
        seconds = loop.time() - begun
    assert pulled.right
    # Its buffers may be ahead of it, by half a megabyte.
    assert (SIZE - 600_000) / _RATE < seconds < 10 * SIZE / _RATE
    assert statistics.median(beside) < 10 * statistics.median(alone) + 0.005
    assert max(beside) < seconds / 2


async def test_two_blobs_share_it(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """Two blobs at once take as long as both of them one after another."""
    hub.add_blob(REPOSITORY, BODY)
    second = hub.add_blob("library/second", BODY[::-1])
    wanted = Wanted(upstream={"max_bandwidth": 2 * _RATE})
    loop = asyncio.get_running_loop()
    async with hasty_proxy({"docker.io": hub}, tmp_path, wanted, _SteadyClock()) as proxy:
        begun = loop.time()
        first, other = await asyncio.gather(
            pull(proxy, PATH), pull(proxy, f"/v2/second/blobs/{second}")
        )
        seconds = loop.time() - begun
    assert first.right
    assert other.body == BODY[::-1]
    assert seconds > (2 * SIZE - 1_200_000) / (2 * _RATE)


async def test_mirrors_share_it(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """What comes from a mirror takes of the upstream's bound, too."""
    second = hub.add_blob("library/second", BODY[::-1])
    async with ScriptedRegistry() as mirror:
        mirror.add_blob(REPOSITORY, BODY)
        wanted = Wanted(upstream={"max_bandwidth": 2 * _RATE, "mirrors": (mirror.url,)})
        loop = asyncio.get_running_loop()
        async with hasty_proxy({"docker.io": hub}, tmp_path, wanted, _SteadyClock()) as proxy:
            begun = loop.time()
            first, other = await asyncio.gather(
                pull(proxy, PATH), pull(proxy, f"/v2/second/blobs/{second}")
            )
            seconds = loop.time() - begun
        assert first.right
        assert other.body == BODY[::-1]
        assert (len(mirror.requests()), len(hub.requests())) == (2, 1)
    assert seconds > (2 * SIZE - 1_200_000) / (2 * _RATE)


@pytest.mark.alone
@pytest.mark.parametrize("bound", [None, 10**9])
async def test_without_a_bound_that_matters(
    hub: ScriptedRegistry, tmp_path: Path, bound: int | None
) -> None:
    """Where there is no bound, or one above what comes, nothing waits."""
    _fill(hub)
    wanted = Wanted(upstream={"max_bandwidth": bound})
    loop = asyncio.get_running_loop()
    async with hasty_proxy({"docker.io": hub}, tmp_path, wanted, _SteadyClock()) as proxy:
        begun = loop.time()
        assert (await pull(proxy)).right
        assert loop.time() - begun < SIZE / _RATE
