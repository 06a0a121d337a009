"""What the tests of replicas on one Redis have in common: two of them, pulls, and a purge."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from redis import Redis

from cacheproxy.cli import commands
from cacheproxy.domain.events import (
    Responded,
    SharedStoreCalled,
    SharedStoreFound,
    SharedStoreLost,
)
from tests.integration.fills import until
from tests.support import images
from tests.support.hasty import HastyProxy, Wanted, hasty_proxy
from tests.support.scripted_registry import ScriptedRegistry
from tests.support.scripted_registry.journal import Recorded

OLD, NEW, COLD, COLDER = (images.simple(seed=seed) for seed in (71, 72, 73, 74))
REPOSITORY = "team/app"
# A pull waits for Redis once, for as long as a call may take; and the machine may be busy.
_PATIENCE = 20.0


@dataclass(frozen=True, slots=True)
class Replicas:
    """Two proxies with a directory each, in front of one registry."""

    one: HastyProxy
    other: HastyProxy


@asynccontextmanager
async def replica(
    hub: ScriptedRegistry, directory: Path, url: str, ahead: float = 0.0, **tags: Any
) -> AsyncIterator[HastyProxy]:
    """One that runs, and knows how its Redis does; its clock is so many seconds ahead."""
    policy = {"fresh_for": 1000.0, "stale_if_error": 5000.0, **tags}
    wanted = Wanted(metadata=url, tags=policy)
    async with hasty_proxy({"docker.io": hub}, directory, wanted, ahead=ahead) as proxy:
        events = proxy.events.all
        kinds = SharedStoreFound | SharedStoreLost
        await until(lambda: any(isinstance(each, kinds) for each in events))
        if proxy.events.of(SharedStoreFound):
            # What was purged is asked for when it is found, and when its messages are heard.
            await until(lambda: len(proxy.events.of(SharedStoreCalled)) >= 2)
        yield proxy


@asynccontextmanager
async def replicas(
    hub: ScriptedRegistry, directory: Path, url: str, **tags: Any
) -> AsyncIterator[Replicas]:
    """Two of these."""
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(replica(hub, directory / "one", url, **tags))
        other = await stack.enter_async_context(replica(hub, directory / "other", url, **tags))
        yield Replicas(one, other)


async def pull(proxy: HastyProxy, tag: str, image: images.Image) -> None:
    """Pull an image as a client does; all bytes must be right, and soon there."""
    before = time.monotonic()
    assert await proxy.body(f"/v2/{REPOSITORY}/manifests/{tag}") == image.manifest
    for digest, blob in image.all_blobs.items():
        assert await proxy.body(f"/v2/{REPOSITORY}/blobs/{digest}") == blob.body
    assert time.monotonic() - before < _PATIENCE


def digest_of(proxy: HastyProxy, tag: str) -> str:
    """What a tag named in the last response to a client that asked for it."""
    said = [each for each in proxy.events.of(Responded) if each.asked.reference == tag]
    return str(said[-1].digest)


async def wait_for_image(proxy: HastyProxy, tag: str, image: images.Image) -> None:
    """Wait until a replica serves this image under a tag: long before its record is stale."""
    deadline = time.monotonic() + _PATIENCE
    while await proxy.body(f"/v2/{REPOSITORY}/manifests/{tag}") != image.manifest:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def asked_for(entries: Sequence[Recorded], tag: str) -> list[str]:
    """The methods of requests for a tag."""
    return [each.method for each in entries if each.path.endswith(f"/manifests/{tag}")]


def records_in(client: Redis) -> set[bytes]:
    """Return the keys of what is remembered of repositories."""
    return {key for key in client.scan_iter(count=1000) if b"{" in key or b":listing:" in key}


def purged(directory: Path, url: str, *arguments: str) -> Result:
    """What `cacheproxy purge` says beside a replica that runs."""
    configuration = directory.with_suffix(".json")
    document = {
        "cache": {"directory": str(directory), "min_free": "1B"},
        "metadata": {"url": url},
        "default_upstream": "docker.io",
        "upstreams": {"docker.io": {}},
    }
    configuration.write_text(json.dumps(document))
    return CliRunner().invoke(commands, ["purge", "--config", str(configuration), *arguments])
