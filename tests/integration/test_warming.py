"""Images that are in the cache before anybody asks for them."""

import asyncio
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from cacheproxy.domain.events import Responded, Warmed, WarmFailed
from cacheproxy.domain.platforms import Platforms
from cacheproxy.domain.warming import WarmStep, WarmSummary
from cacheproxy.settings import Bytes
from tests.integration.fills import until
from tests.support import images
from tests.support.hasty import HastyProxy, Wanted, hasty_proxy
from tests.support.images import Image
from tests.support.scripted_registry import (
    Always,
    CloseAfter,
    Gate,
    Match,
    ScriptedRegistry,
    StatusFault,
    WithHeader,
    WrongBytes,
)
from tests.support.seen import see
from tests.support.warmed import ALL, names, warmed

SIZE = 200_000
IMAGE = images.simple(seed=301, size=SIZE)
OTHER = images.simple(seed=302, size=SIZE)
INDEX = images.multi_arch(303, SIZE)
AMD64, ARM64, PROOF = INDEX.children
REPOSITORY = "team/app"
NAME = "docker.io/team/app:1"
_SCHEDULE = "warm by schedule"
ONLY_AMD64 = replace(ALL, platforms=Platforms.parse(["linux/amd64"]))


def _bytes(*parts: Image) -> int:
    blobs = {digest: blob for part in parts for digest, blob in part.all_blobs.items()}
    return sum(len(blob.body) for blob in blobs.values())


async def _pull(proxy: HastyProxy, image: Image, repository: str = REPOSITORY) -> None:
    """As a client does that wants all of it."""
    base = f"/v2/{repository}"
    assert (await see(proxy, f"{base}/manifests/1")).body == image.manifest
    for part in image.walk():
        assert (await see(proxy, f"{base}/manifests/{part.digest}")).body == part.manifest
    for digest, blob in image.all_blobs.items():
        assert await proxy.body(f"{base}/blobs/{digest}") == blob.body


async def test_a_warm_image_costs_upstream_nothing(
    hub: ScriptedRegistry, proxy: HastyProxy
) -> None:
    """Each blob is fetched once by warming; a pull then needs no byte of upstream's."""
    hub.add_image(REPOSITORY, "1", INDEX)
    told = await warmed(proxy, "team/app:1")
    assert told.only == WarmStep(
        image=NAME,
        state="done",
        digest=told.only.digest,
        blobs_total=len(INDEX.all_blobs),
        blobs_done=len(INDEX.all_blobs),
        bytes_total=_bytes(INDEX),
        bytes_done=_bytes(INDEX),
        fetched_bytes=_bytes(INDEX),
        seconds=told.only.seconds,
    )
    assert told.only.digest == INDEX.digest
    assert {len(hub.blob_gets(digest)) for digest in INDEX.all_blobs} == {1}
    before = hub.body_bytes
    await _pull(proxy, INDEX)
    assert hub.body_bytes == before


async def test_nothing_of_it_counts_as_served(hub: ScriptedRegistry, proxy: HastyProxy) -> None:
    """Warming states what it fetched, and no response: savings are what clients got."""
    hub.add_image(REPOSITORY, "1", IMAGE)
    await warmed(proxy, NAME)
    assert not proxy.events.of(Responded)
    (event,) = proxy.events.of(Warmed)
    assert (event.image, event.digest, event.before) == (NAME, IMAGE.digest, None)
    assert (event.fetched_bytes, event.here_bytes) == (_bytes(IMAGE), 0)


@pytest.mark.parametrize(
    ("platforms", "parts", "others"),
    [
        (["linux/amd64"], [AMD64], [ARM64, PROOF]),
        (["linux/arm64/v8"], [ARM64], [AMD64, PROOF]),
        (["linux/amd64", "linux/arm64"], [AMD64, ARM64], [PROOF]),
        (["all"], [AMD64, ARM64, PROOF], []),
    ],
)
async def test_platforms(
    hub: ScriptedRegistry,
    proxy: HastyProxy,
    platforms: list[str],
    parts: list[Image],
    others: list[Image],
) -> None:
    """What is for a wanted platform is fetched, and nothing else; attestations go with all."""
    hub.add_image(REPOSITORY, "1", INDEX)
    told = await warmed(proxy, NAME, terms=replace(ALL, platforms=Platforms.parse(platforms)))
    assert told.only.fetched_bytes == _bytes(*parts)
    wanted = {digest for part in parts for digest in part.all_blobs}
    unwanted = {digest for part in others for digest in part.all_blobs} - wanted
    assert {digest for digest in wanted if hub.blob_gets(digest)} == wanted
    assert not any(hub.blob_gets(digest) for digest in unwanted)
    assert not any(hub.requests("GET", f"/manifests/{part.digest}") for part in others)


async def test_a_platform_that_an_image_lacks(hub: ScriptedRegistry, proxy: HastyProxy) -> None:
    """An index without the wanted platform fails, and says what it has."""
    hub.add_image(REPOSITORY, "1", INDEX)
    terms = replace(ALL, platforms=Platforms.parse(["linux/s390x"]))
    told = await warmed(proxy, NAME, terms=terms)
    assert told.only.state == "failed"
    assert told.only.error == "it is not for linux/s390x, but for linux/amd64, linux/arm64"


async def test_what_is_here_costs_nothing(hub: ScriptedRegistry, proxy: HastyProxy) -> None:
    """A second time costs a HEAD; and of another image, what the two do not share."""
    hub.add_image(REPOSITORY, "1", AMD64)
    hub.add_image(REPOSITORY, "2", ARM64)
    await warmed(proxy, NAME)
    hub_before = hub.body_bytes
    again = await warmed(proxy, NAME)
    assert (again.only.fetched_bytes, again.only.here_bytes) == (0, _bytes(AMD64))
    assert hub.body_bytes == hub_before
    assert hub.requests()[-1].method == "HEAD"
    shared = AMD64.layers[0]
    assert shared in ARM64.layers
    second = await warmed(proxy, "docker.io/team/app:2")
    assert second.only.here_bytes == len(shared.body)
    assert second.only.fetched_bytes == _bytes(ARM64) - len(shared.body)


async def test_a_fresh_tag_is_asked_for_again(hub: ScriptedRegistry, proxy: HastyProxy) -> None:
    """Warming has what upstream has now, however fresh what was known is; pulls have it then."""
    hub.add_image(REPOSITORY, "1", IMAGE)
    await _pull(proxy, IMAGE)
    hub.add_image(REPOSITORY, "1", OTHER)
    await _pull(proxy, IMAGE)  # which is fresh
    told = await warmed(proxy, NAME)
    assert told.only.digest == OTHER.digest
    assert proxy.events.of(Warmed)[-1].before == IMAGE.digest
    before = hub.body_bytes
    await _pull(proxy, OTHER)
    assert hub.body_bytes == before


async def test_upstreams_word_may_be_as_old_as_is_said(
    hub: ScriptedRegistry, proxy: HastyProxy
) -> None:
    """A word that is young enough is not asked for again, also where it is that there is none."""
    hub.add_image(REPOSITORY, "1", IMAGE)
    terms = replace(ALL, within=300.0)
    await warmed(proxy, NAME)
    await warmed(proxy, "docker.io/team/none:1")
    asked = len(hub.requests())
    assert (await warmed(proxy, NAME, terms=terms)).only.state == "done"
    assert (await warmed(proxy, "docker.io/team/none:1", terms=terms)).only.state == "failed"
    assert len(hub.requests()) == asked
    proxy.clock.advance(301)
    await warmed(proxy, NAME, terms=terms)
    assert [entry.method for entry in hub.requests()[asked:]] == ["HEAD"]


async def test_two_warm_at_once(hub: ScriptedRegistry, proxy: HastyProxy) -> None:
    """Two who warm the same share each download; in one of them, so do two images."""
    hub.add_image("team/a", "1", AMD64)
    hub.add_image("team/b", "1", AMD64)
    both = names(["team/a", "team/b"])
    first, second = await asyncio.gather(warmed(proxy, *both), warmed(proxy, *both))
    for told in (first, second):
        assert told.summary.done == 2
        assert told.summary.fetched_bytes <= _bytes(AMD64)
        assert told.summary.fetched_bytes + told.summary.here_bytes == 2 * _bytes(AMD64)
    assert first.summary.fetched_bytes + second.summary.fetched_bytes >= _bytes(AMD64)
    assert {len(hub.blob_gets(digest)) for digest in AMD64.all_blobs} == {1}


async def test_warming_beside_pulls(hub: ScriptedRegistry, proxy: HastyProxy) -> None:
    """Who pulls what is being warmed follows the same download, and gets right bytes."""
    hub.add_image(REPOSITORY, "1", IMAGE)
    pulls = asyncio.gather(*(_pull(proxy, IMAGE) for _ in range(8)))
    told = await warmed(proxy, NAME)
    await pulls
    assert told.only.state == "done"
    assert {len(hub.blob_gets(digest)) for digest in IMAGE.all_blobs} == {1}


async def test_one_image_does_not_stop_the_others(hub: ScriptedRegistry, proxy: HastyProxy) -> None:
    """Each image that fails says why, and the others are warm."""
    hub.add_image(REPOSITORY, "1", IMAGE)
    hub.add_image("team/broken", "1", OTHER)
    hub.script(Match.blob(OTHER.layers[0].digest), Always(WrongBytes()))
    asked = [NAME, *names(["team/none", "team/broken"]), "quay.io/a/b:1", "No Name", "team/app:1"]
    told = await warmed(proxy, *asked)
    assert {name: step.state for name, step in told.images.items()} == {
        NAME: "done",
        "docker.io/team/none:1": "failed",
        "docker.io/team/broken:1": "failed",
        "quay.io/a/b:1": "failed",
        "No Name": "failed",
    }
    assert told.images["quay.io/a/b:1"].error == "'quay.io' is not a configured upstream"
    assert (told.summary.images, told.summary.done, told.summary.failed) == (5, 1, 4)
    assert len(proxy.events.of(WarmFailed)) == 4

    def asked_of_upstream() -> list[str]:
        return [
            entry.path for entry in hub.requests() if entry.path.startswith(f"/v2/{REPOSITORY}/")
        ]

    # The other layer of the broken image may still be on its way: only this image counts.
    before = asked_of_upstream()
    assert before
    await _pull(proxy, IMAGE)
    assert asked_of_upstream() == before


async def test_upstream_is_down(hub: ScriptedRegistry, proxy: HastyProxy) -> None:
    """What cannot be asked of upstream has not been warmed, though what is stale is served."""
    hub.add_image(REPOSITORY, "1", IMAGE)
    await warmed(proxy, NAME)
    await hub.stop()
    told = await warmed(proxy, NAME, "docker.io/team/other:1")
    assert {step.state for step in told.images.values()} == {"failed"}
    await _pull(proxy, IMAGE)
    await hub.start()
    proxy.clock.advance(60)  # it may be given a rest
    assert (await warmed(proxy, NAME)).only.state == "done"


async def test_a_tag_that_is_gone(hub: ScriptedRegistry, proxy: HastyProxy) -> None:
    """A tag that upstream has no more fails; what the rules say of cached ones stays as it is."""
    hub.add_image(REPOSITORY, "1", IMAGE)
    await warmed(proxy, NAME)
    hub.remove_tag(REPOSITORY, "1")
    assert (await warmed(proxy, NAME)).only.state == "failed"
    await _pull(proxy, IMAGE)


async def test_a_download_that_breaks_is_gone_on_with(
    hub: ScriptedRegistry, proxy: HastyProxy
) -> None:
    """What broke in the middle is taken up where it was, and each byte is counted once."""
    hub.add_image(REPOSITORY, "1", IMAGE)
    layer = IMAGE.layers[0]
    hub.script(Match.blob(layer.digest), CloseAfter(SIZE // 2))
    told = await warmed(proxy, NAME)
    assert told.only.fetched_bytes == _bytes(IMAGE)
    assert hub.body_bytes <= _bytes(IMAGE) + len(IMAGE.manifest)


async def test_it_can_be_stopped_and_resumed(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """Who stops listening ends no download; the next one fetches only what is missing."""
    hub.add_image(REPOSITORY, "1", IMAGE)
    first, second = IMAGE.layers
    gate = Gate(at=SIZE // 2)
    hub.script(Match.blob(second.digest), gate)
    async with hasty_proxy({"docker.io": hub}, tmp_path / "cache") as proxy:
        async with aclosing(proxy.core.warmer.warm([NAME], replace(ALL, parallel=1))) as steps:
            async for told in steps:
                assert isinstance(told, WarmStep)
                if told.bytes_done > len(first.body) + SIZE // 4:
                    break
        gate.release()
        await until(lambda: not proxy.core.pull_through.fills)
        again = await warmed(proxy, NAME)
    assert again.only.state == "done"
    assert again.only.here_bytes >= len(first.body) + len(second.body)
    assert {len(hub.blob_gets(digest)) for digest in IMAGE.all_blobs} == {1}


async def test_a_restart_goes_on_from_the_bytes_on_disk(
    hub: ScriptedRegistry, tmp_path: Path
) -> None:
    """What an earlier process left of a download was here already: only the rest is fetched."""
    hub.add_image(REPOSITORY, "1", IMAGE)
    layer = IMAGE.layers[0]
    gate = Gate(at=SIZE // 2)
    hub.script(Match.blob(layer.digest), gate)
    async with hasty_proxy({"docker.io": hub}, tmp_path / "cache") as proxy:
        warming = asyncio.get_running_loop().create_task(warmed(proxy, NAME))
        await gate.reached()
        await until(lambda: any(path.stat().st_size > SIZE // 4 for path in proxy.files("ingest")))
        warming.cancel()
        await asyncio.wait([warming])
    left = sum(path.stat().st_size for path in proxy.files("ingest"))
    gate.release()
    async with hasty_proxy({"docker.io": hub}, tmp_path / "cache") as proxy:
        told = await warmed(proxy, NAME)
    assert told.only.state == "done"
    assert 0 < left <= told.only.here_bytes
    assert told.only.fetched_bytes + told.only.here_bytes == _bytes(IMAGE)


async def test_a_cache_that_is_too_small(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """Images for which there is no room are not said to be warm."""
    for number in range(4):
        hub.add_image(f"team/app-{number}", "1", images.simple(seed=310 + number, size=SIZE))
    wanted = Wanted(cache={"max_size": Bytes(1024 * 1024)})
    async with hasty_proxy({"docker.io": hub}, tmp_path / "cache", wanted) as proxy:
        told = await warmed(proxy, *names([f"team/app-{number}" for number in range(4)]))
        assert told.summary.failed >= 2
        assert told.summary.done >= 1
        errors = {step.error for step in told.images.values() if step.error}
        assert all("max_size" in error for error in errors)
        last = [step for step in told.images.values() if step.state == "done"]
        assert len(last) == told.summary.done
        assert len(proxy.events.of(WarmFailed)) == told.summary.failed


async def test_pulls_that_are_kept_are_left_to_clients(
    hub: ScriptedRegistry, proxy: HastyProxy
) -> None:
    """What is warmed by schedule spends no pull of the reserve; what somebody asks for does."""
    for repository in ("team/a", "team/b"):
        hub.add_image(repository, "1", IMAGE)
    few = WithHeader("RateLimit-Remaining", "3;w=21600")
    hub.script(Match(), Always(few))
    await warmed(proxy, "docker.io/team/a:1")
    spare = replace(ALL, spend="refresh")
    told = await warmed(proxy, "docker.io/team/b:1", terms=spare)
    assert told.only.error == "docker.io grants no more pulls for now"
    assert (await warmed(proxy, "docker.io/team/a:1", terms=spare)).only.state == "done"
    assert (await warmed(proxy, "docker.io/team/b:1")).only.state == "done"


async def test_an_upstream_that_refuses_us(hub: ScriptedRegistry, proxy: HastyProxy) -> None:
    """A failure has upstream's reason in it."""
    hub.add_image(REPOSITORY, "1", IMAGE)
    hub.script(Match.manifest(), Always(StatusFault(403)))
    told = await warmed(proxy, NAME)
    assert told.only.state == "failed"
    assert "403" in str(told.only.error)


async def test_progress_is_told_while_bytes_come(hub: ScriptedRegistry, proxy: HastyProxy) -> None:
    """A step says how many bytes are on disk before all of them are."""
    hub.add_image(REPOSITORY, "1", IMAGE)
    gate = Gate(at=SIZE // 2)
    hub.script(Match.blob(IMAGE.layers[1].digest), gate)
    seen: list[WarmStep] = []
    async with aclosing(proxy.core.warmer.warm([NAME], ALL)) as steps:
        async for told in steps:
            if isinstance(told, WarmSummary):
                break
            seen.append(told)
            if told.bytes_done > SIZE + SIZE // 4:
                gate.release()
    assert seen[-1].state == "done"
    middle = [step for step in seen if step.state == "fetching"]
    assert any(0 < step.bytes_done < step.bytes_total == _bytes(IMAGE) for step in middle)


async def test_what_is_begun_behind_is_warmed_once(
    hub: ScriptedRegistry, proxy: HastyProxy
) -> None:
    """What waits is warmed without anybody who listens, and not twice; too much is refused."""
    hub.add_image(REPOSITORY, "1", IMAGE)
    warmer = proxy.core.warmer
    assert warmer.begin([NAME, NAME], ALL)
    assert warmer.begin([NAME], ALL)
    assert not warmer.begin([f"team/app:{number}" for number in range(2000)], ALL)
    await until(lambda: proxy.events.of(Warmed))
    assert {len(hub.blob_gets(digest)) for digest in IMAGE.all_blobs} == {1}
    assert warmer.begin([NAME], ONLY_AMD64)
    await until(lambda: len(proxy.events.of(Warmed)) >= 2)
    assert not proxy.events.of(WarmFailed)


async def test_who_is_cancelled_leaves_no_task(hub: ScriptedRegistry, proxy: HastyProxy) -> None:
    """A caller that goes away leaves the download, and nothing else of its own."""
    hub.add_image(REPOSITORY, "1", IMAGE)
    gate = Gate(at=SIZE // 2)
    hub.script(Match.blob(IMAGE.layers[0].digest), gate)

    def ours() -> list[str]:
        names_now = [task.get_name() for task in asyncio.all_tasks()]
        return [name for name in names_now if name.startswith("warm") and name != _SCHEDULE]

    warming = asyncio.get_running_loop().create_task(warmed(proxy, NAME))
    await gate.reached()
    assert ours()
    warming.cancel()
    await asyncio.wait([warming])
    assert not ours()
    gate.release()
    await until(lambda: not proxy.core.pull_through.fills)
    assert (await warmed(proxy, NAME)).only.state == "done"
    assert {len(hub.blob_gets(digest)) for digest in IMAGE.all_blobs} == {1}
