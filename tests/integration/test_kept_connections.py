"""Connections that an upstream, or a load balancer before it, has ended without a word."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cacheproxy.domain.events import UpstreamPaused
from tests.support import images
from tests.support.hasty import HastyProxy, Wanted, hasty_proxy
from tests.support.scripted_registry import Always, Gate, HangUp, Match, ScriptedRegistry
from tests.support.seen import see

_REPOSITORY = "team/app"
_IMAGE = images.simple(seed=98)
_BY_TAG = f"/v2/{_REPOSITORY}/manifests/1"
_KEPT = 5


@pytest.fixture
async def proxy(hub: ScriptedRegistry, tmp_path: Path) -> AsyncIterator[HastyProxy]:
    """A proxy with several kept connections to its upstream."""
    hub.add_image(_REPOSITORY, "1", _IMAGE)
    missing = [f"/v2/{_REPOSITORY}/manifests/none{number}" for number in range(_KEPT)]
    wanted = Wanted(upstream={"max_connections": _KEPT + 1})
    async with hasty_proxy({"docker.io": hub}, tmp_path, wanted) as running:
        gate = Gate(at=None)
        hub.script(Match("GET", path_regex="/none"), *[gate] * _KEPT)
        asking = asyncio.gather(*(see(running, path) for path in missing))
        for _ in range(_KEPT):
            await gate.reached()
        gate.release()
        assert {answer.status for answer in await asking} == {404}
        yield running


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
async def test_a_request_outlives_dead_connections(
    hub: ScriptedRegistry, proxy: HastyProxy, reset: bool
) -> None:
    """However many kept connections are dead, a request is sent again until one is not."""
    hub.script(Match("GET", path_suffix="/1"), *[HangUp(reset=reset)] * _KEPT)
    assert (await see(proxy, _BY_TAG)).body == _IMAGE.manifest
    assert not proxy.events.of(UpstreamPaused)


async def test_a_server_that_always_hangs_up(hub: ScriptedRegistry, proxy: HastyProxy) -> None:
    """A server that hangs up on new connections too is given up, in words."""
    hub.script(Match("GET", path_suffix="/1"), Always(HangUp()))
    answer = await see(proxy, _BY_TAG)
    assert answer.status == 502
    assert b"docker.io: the server closed the connection without an answer" in answer.body
    assert len(hub.requests("GET", "/1")) <= _KEPT + 2
