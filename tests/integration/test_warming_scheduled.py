"""Images that are warmed by schedule, by one replica or by several."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.events import Warmed, WarmFailed
from cacheproxy.domain.routing import Route, Routes
from cacheproxy.domain.warming import WarmSummary, WarmTerms
from cacheproxy.inprocess.clock import SystemClock
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.metadata.memory import MemoryMetadata
from cacheproxy.pullthrough.warming import Warmer
from cacheproxy.settings.model import WarmRuleSettings, WarmSettings
from tests.integration.fills import until
from tests.support import images
from tests.support.hasty import HastyProxy, Wanted, hasty_proxy, settings_for
from tests.support.logged import Log
from tests.support.parts.redis import redis_server
from tests.support.replicas import Replica, replica
from tests.support.scripted_registry import ScriptedRegistry
from tests.support.seen import see
from tests.support.warmed import ALL

OLD = images.simple(seed=321)
NEW = images.simple(seed=322)
RULE = WarmRuleSettings(("team/app:1", "team/missing:1"), 600.0)
ROUTES = Routes({"docker.io": Route("docker.io", "library")}, Route("docker.io", "library"))
IMAGE = images.simple(seed=323, size=1_000_000)
SIZE = sum(len(blob.body) for blob in IMAGE.all_blobs.values())


@pytest.fixture
async def scheduled(hub: ScriptedRegistry, tmp_path: Path, log: Log) -> AsyncIterator[HastyProxy]:
    """A proxy with a schedule of ten minutes; the first turn is over."""
    hub.add_image("team/app", "1", OLD)
    wanted = Wanted(warm=WarmSettings((RULE,)))
    async with hasty_proxy({"docker.io": hub}, tmp_path / "cache", wanted) as proxy:
        await _turn(proxy, 60)
        yield proxy


async def _turn(proxy: HastyProxy, seconds: float) -> None:
    """Let time pass, and wait for the turn that is due then: each of its images has an end."""

    def ended() -> int:
        return len(proxy.events.of(WarmFailed)) + len(proxy.events.of(Warmed))

    before = ended()
    proxy.clock.advance(seconds)
    await until(lambda: ended() == before + len(RULE.images))


async def test_a_new_version_is_here_before_nodes_ask(
    hub: ScriptedRegistry, scheduled: HastyProxy
) -> None:
    """What was pushed upstream is in the cache after the next turn, without anybody's pull."""
    hub.add_image("team/app", "1", NEW)
    await _turn(scheduled, 661)
    before = hub.body_bytes
    answer = await see(scheduled, "/v2/team/app/manifests/1")
    assert answer.body == NEW.manifest
    for digest, blob in NEW.all_blobs.items():
        assert await scheduled.body(f"/v2/team/app/blobs/{digest}") == blob.body
    assert hub.body_bytes == before


async def test_a_turn_without_news_costs_a_head(
    hub: ScriptedRegistry, scheduled: HastyProxy
) -> None:
    """Where nothing is new, upstream is asked once what the tag names."""
    asked = len(hub.requests())
    await _turn(scheduled, 661)
    assert not scheduled.events.of(Warmed)[-1].is_news
    those = [entry for entry in hub.requests()[asked:] if "team/app" in entry.path]
    assert [entry.method for entry in those] == ["HEAD"]


async def test_what_is_logged(hub: ScriptedRegistry, scheduled: HastyProxy, log: Log) -> None:
    """News are a line, no news one for those who look for it, and failures a warning."""
    await _turn(scheduled, 661)
    lines = [line for line in log.lines if line.get("image")]
    said = {(line["event"], line["level"], line["image"]) for line in lines}
    assert said == {
        ("image warmed", "info", "docker.io/team/app:1"),
        ("image still warm", "debug", "docker.io/team/app:1"),
        ("image not warmed", "warning", "docker.io/team/missing:1"),
    }
    (new,) = [line for line in lines if line["event"] == "image warmed"]
    assert new["digest"] == OLD.digest
    assert new["fetched_bytes"] == sum(len(blob.body) for blob in OLD.all_blobs.values())


async def test_it_is_counted(scheduled: HastyProxy) -> None:
    """The metric has how many came to what."""
    await _turn(scheduled, 661)
    async with scheduled.client.get(f"{scheduled.admin_url}/metrics") as response:
        page = await response.text()
    for outcome, count in (("new", 1), ("here", 1), ("failed", 2)):
        assert f'cacheproxy_warmed_images_total{{outcome="{outcome}"}} {count}.0' in page


async def test_another_schedule_is_taken_over(
    hub: ScriptedRegistry, scheduled: HastyProxy, tmp_path: Path
) -> None:
    """A changed schedule is gone by without a restart."""
    hub.add_image("team/other", "2", NEW)
    other = Wanted(warm=WarmSettings((WarmRuleSettings(("team/other:2",), 60.0),)))
    scheduled.core.apply(settings_for({"docker.io": hub}, tmp_path / "cache", other))
    async with asyncio.timeout(60):
        while scheduled.events.of(Warmed)[-1].image != "docker.io/team/other:2":
            scheduled.clock.advance(1)
            await asyncio.sleep(0.005)


# -- replicas ----------------------------------------------------------------------------


async def _warm(one: Replica, terms: WarmTerms) -> WarmSummary:
    tasks = Tasks()
    warmer = Warmer(one.core, ROUTES, one.events, SystemClock(), tasks)
    async with aclosing(warmer.warm(["library/app:1"], terms)) as steps:
        async for told in steps:
            if isinstance(told, WarmSummary):
                return told
    raise AssertionError("there was no summary")


@pytest.fixture
async def replicas(hub: ScriptedRegistry, tmp_path: Path) -> AsyncIterator[list[Replica]]:
    """Three that know each other."""
    hub.add_image("library/app", "1", IMAGE)
    metadata = MemoryMetadata()
    async with AsyncExitStack() as stack:
        port = stack.enter_context(redis_server()).port
        made = [
            await stack.enter_async_context(replica(hub, tmp_path / str(number), port, metadata))
            for number in range(3)
        ]
        everyone = {one.address for one in made}
        await until(lambda: all(one.index.live == everyone - {one.address} for one in made))
        yield made


async def test_replicas_that_come_at_once_fetch_once(
    hub: ScriptedRegistry, replicas: list[Replica]
) -> None:
    """Each replica is warm, says whence its bytes came, and they have crossed the link once."""
    sums = await asyncio.gather(*(_warm(one, ALL) for one in replicas))
    assert [told.done for told in sums] == [1, 1, 1]
    assert {len(hub.blob_gets(digest)) for digest in IMAGE.all_blobs} == {1}
    assert sum(told.fetched_bytes for told in sums) == SIZE
    assert sum(told.replica_bytes for told in sums) == 2 * SIZE


async def _learnt(one: Replica) -> None:
    """Wait until it is told who has the manifest, which is told behind."""
    async with asyncio.timeout(60):
        while not await one.index.holders(Digest(IMAGE.digest)):  # noqa: ASYNC110  # in Redis
            await asyncio.sleep(0.01)


async def test_who_comes_a_moment_later_asks_nobody(
    hub: ScriptedRegistry, replicas: list[Replica]
) -> None:
    """Upstream's word is shared: of a turn of all replicas, one asks what the tag names."""
    terms = replace(ALL, within=300.0, spend="refresh")
    await _warm(replicas[0], terms)
    await _learnt(replicas[-1])
    asked = len(hub.requests())
    for one in replicas[1:]:
        told = await _warm(one, terms)
        assert (told.done, told.fetched_bytes, told.replica_bytes) == (1, 0, SIZE)
    assert len(hub.requests()) == asked
