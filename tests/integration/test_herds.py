"""What many ask for at once is one question to upstream, and one answer that is written down."""

import asyncio
from pathlib import Path

import pytest

from cacheproxy.domain.operation import PullManifest
from cacheproxy.domain.reference import Name, Repository, Tag
from tests.support import images
from tests.support.bare_core import WatchedMetadata, bare_core
from tests.support.hasty import HastyClock, HastyProxy
from tests.support.scripted_registry import ScriptedRegistry
from tests.support.seen import see, see_hit

_IMAGE = images.simple(seed=151)
_BODY = b"x" * 100_000
_A, _B = "team/a", "team/b"
_BY_TAG = PullManifest(Repository("docker.io", Name(_A)), Tag("1"))


@pytest.mark.parametrize("head", [False, True], ids=["GET", "HEAD"])
async def test_a_revalidation(hub: ScriptedRegistry, tmp_path: Path, head: bool) -> None:
    """A stale tag that 50 ask for costs one HEAD, and its record is written once."""
    hub.add_image(_A, "1", _IMAGE)
    written, clock = WatchedMetadata(), HastyClock()
    async with bare_core(hub, tmp_path, written, clock) as core:
        await core.manifest(_BY_TAG, head=False)
        clock.advance(61)
        before = len(written.tags), len(written.links)
        answers = await asyncio.gather(*(core.manifest(_BY_TAG, head=head) for _ in range(50)))
        assert {answer.digest for answer in answers} == {_IMAGE.digest}
        assert [entry.method for entry in hub.requests()] == ["GET", "HEAD"]
        assert written.tags[before[0] :] == [_IMAGE.digest]
        assert written.links[before[1] :] == [{_IMAGE.digest}]


async def test_a_revalidation_by_those_who_come_one_by_one(
    hub: ScriptedRegistry, proxy: HastyProxy
) -> None:
    """Who asks at the very moment at which the answer arrives does not ask upstream again."""
    hub.add_image(_A, "1", _IMAGE)
    path = f"/v2/{_A}/manifests/1"
    await see(proxy, path)
    proxy.clock.advance(61)

    async def ask(number: int) -> bytes:
        await asyncio.sleep(number * 0.0005)
        return (await see(proxy, path)).body

    assert set(await asyncio.gather(*map(ask, range(300)))) == {_IMAGE.manifest}
    assert [entry.method for entry in hub.requests()] == ["GET", "HEAD"]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_blob_of_another_repository(
    hub: ScriptedRegistry, proxy: HastyProxy, method: str
) -> None:
    """However many ask at once whether a cached blob is in a repository, upstream is asked once."""
    digest = hub.add_blob(_A, _BODY)
    hub.add_blob(_B, _BODY)
    await see_hit(proxy, f"/v2/{_A}/blobs/{digest}")
    path = f"/v2/{_B}/blobs/{digest}"
    answers = await asyncio.gather(*(see(proxy, path, method=method) for _ in range(30)))
    assert {answer.status for answer in answers} == {200}
    assert {answer.headers["Content-Length"] for answer in answers} == {str(len(_BODY))}
    assert [entry.method for entry in hub.requests()] == ["GET", "HEAD"]


async def test_a_cold_blob(hub: ScriptedRegistry, proxy: HastyProxy) -> None:
    """A blob that no manifest has named costs one GET, and nobody has to confirm it besides."""
    path = f"/v2/{_A}/blobs/{hub.add_blob(_A, _BODY)}"
    answers = await asyncio.gather(*(see(proxy, path) for _ in range(30)))
    assert {answer.body for answer in answers} == {_BODY}
    assert [entry.method for entry in hub.requests()] == ["GET"]


@pytest.mark.parametrize("what", ["tags/list", f"referrers/{_IMAGE.digest}", "manifests/1"])
async def test_a_page(hub: ScriptedRegistry, proxy: HastyProxy, what: str) -> None:
    """A cold page or manifest costs one GET, also for who asks when that has just ended."""
    hub.add_image(_A, "1", _IMAGE)

    async def ask(number: int) -> bytes:
        await asyncio.sleep(number * 0.0005)
        return (await see(proxy, f"/v2/{_A}/{what}")).body

    assert len(set(await asyncio.gather(*map(ask, range(100))))) == 1
    assert [entry.method for entry in hub.requests()] == ["GET"]
