"""Long work that the admin API does as a process of its own: how it is told, and how it ends."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from cacheproxy.bootstrap.aside import Aside
from cacheproxy.domain.errors import RequestError, StartError
from cacheproxy.ops.api.work import ScrubBegun, ScrubProgress, ScrubRequest, ScrubSummary
from cacheproxy.settings import Settings
from cacheproxy.settings.model import CacheSettings
from cacheproxy.settings.secret import Secret
from tests.integration.fills import until
from tests.support.hasty import HastyProxy, Wanted, hasty_proxy
from tests.support.scripted_registry import ScriptedRegistry

TOKEN = "s3cret"
BODY = os.urandom(400_000)
SLOW = {"rate": "50KB"}  # eight seconds


@pytest.fixture
async def proxy(hub: ScriptedRegistry, tmp_path: Path) -> AsyncIterator[HastyProxy]:
    """A proxy which has a blob."""
    digest = hub.add_blob("library/app", BODY)
    wanted = Wanted(admin={"token": Secret(TOKEN)})
    async with hasty_proxy({"docker.io": hub}, tmp_path / "cache", wanted) as running:
        await running.body(f"/v2/app/blobs/{digest}")
        await until(lambda: len(running.files("blobs")) == 1)
        yield running


def _scrubbing(proxy: HastyProxy, body: dict[str, Any]) -> "aiohttp.client._RequestContextManager":
    url = f"{proxy.admin_url}/api/v1/scrub"
    return proxy.client.post(url, json=body, headers={"Authorization": f"Bearer {TOKEN}"})


def _settings(directory: Path) -> Settings:
    return Settings(cache=CacheSettings(directory=directory), upstreams={})


def _children() -> set[str]:
    """The processes of this one, whichever of its threads has started them."""
    found: set[str] = set()
    for thread in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            found.update((thread / "children").read_text().split())
    return found


async def _gone(before: set[str]) -> None:
    async with asyncio.timeout(60):
        while _children() - before:  # noqa: ASYNC110  # the kernel tells nobody
            await asyncio.sleep(0.01)


async def test_a_scrub_is_told_line_by_line(proxy: HastyProxy) -> None:
    """What there is to read, how far it is, and what it came to."""
    async with _scrubbing(proxy, {}) as response:
        assert response.status == 200
        assert response.content_type == "application/x-ndjson"
        first, *rest, last = [json.loads(line) for line in (await response.read()).splitlines()]
    assert first["begun"]["total_bytes"] == len(BODY)
    assert rest[-1]["progress"]["bytes"] == len(BODY)
    assert last == {"summary": {"ok": True, "checked": 1, "bytes": len(BODY)}}


@pytest.mark.parametrize("body", [{"rate": "fast"}, {"after": "sha256:12"}, {"rate": 5}])
async def test_what_cannot_be_scrubbed_is_refused(proxy: HastyProxy, body: dict[str, Any]) -> None:
    """A rate or a digest that is none is answered as such, with nothing else before it."""
    async with _scrubbing(proxy, body) as response:
        assert response.status == 400
        assert (await response.json())["error"]["code"] == "invalid"


async def test_whoever_leaves_ends_it(proxy: HastyProxy) -> None:
    """The process goes with the client who asked for it, and the next one may ask."""
    before = _children()
    async with _scrubbing(proxy, SLOW) as response:
        await response.content.readline()
        assert len(_children() - before) == 1
    await _gone(before)
    async with _scrubbing(proxy, {}) as response:
        assert b"summary" in await response.read()


async def test_one_at_a_time(proxy: HastyProxy) -> None:
    """Who asks while one is under way is told so; pulls and reports go on meanwhile."""
    async with _scrubbing(proxy, SLOW) as first:
        await first.content.readline()
        async with _scrubbing(proxy, {}) as second:
            assert second.status == 503
            assert "under way" in (await second.json())["error"]["message"]


async def test_a_process_that_dies_is_said(proxy: HastyProxy) -> None:
    """Lines that were told are not taken back; the last one says that it went wrong."""
    before = _children()
    async with _scrubbing(proxy, SLOW) as response:
        await response.content.readline()
        (pid,) = _children() - before
        os.kill(int(pid), 9)
        lines = [json.loads(line) for line in (await response.read()).splitlines()]
    assert lines[-1]["error"]["code"] == "unavailable"
    assert "not done to its end" in lines[-1]["error"]["message"]


async def test_cancelled_at_any_moment(proxy: HastyProxy, tmp_path: Path) -> None:
    """However far it has come, no process is left."""
    settings = _settings(tmp_path / "cache")
    before = _children()
    for delay in (0.0, 0.001, 0.02, 0.1, 0.3, 0.6):
        aside = Aside(settings)

        async def all_of(aside: Aside = aside) -> None:
            async for _ in aside.do(ScrubRequest("50KB")):
                pass

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(delay):
                await all_of()
        await _gone(before)


async def test_the_steps_of_a_scrub(proxy: HastyProxy, tmp_path: Path) -> None:
    """They are values of the API; what cannot be is raised as what it is."""
    aside = Aside(_settings(tmp_path / "cache"))
    steps = [step async for step in aside.do(ScrubRequest())]
    assert isinstance(steps[0], ScrubBegun)
    assert {type(step) for step in steps[1:-1]} == {ScrubProgress}
    assert isinstance(steps[-1], ScrubSummary)
    with pytest.raises(RequestError, match="rate: 'fast' is not a size"):
        [step async for step in aside.do(ScrubRequest("fast"))]
    nowhere = Aside(_settings(tmp_path / "nowhere"))
    with pytest.raises(StartError, match="there is no cache"):
        [step async for step in nowhere.do(ScrubRequest())]
