"""What the tests of tags have in common: one tag that can change, and a proxy that pulls it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.integration.fills import until
from tests.support import images
from tests.support.hasty import HastyProxy, Wanted, hasty_proxy
from tests.support.scripted_registry import ScriptedRegistry
from tests.support.seen import Seen, see

OLD, NEW = images.simple(seed=51), images.simple(seed=52)
REPOSITORY = "team/app"
BY_TAG = f"/v2/{REPOSITORY}/manifests/1"
BY_DIGEST = f"/v2/{REPOSITORY}/manifests/{OLD.digest}"
FRESH_FOR, STALE_IF_ERROR = 1000.0, 5000.0
_POLICY = {"fresh_for": FRESH_FOR, "stale_if_error": STALE_IF_ERROR, "not_found_for": 500.0}
# Real time passes too, on a busy machine.
SLACK = 60


@asynccontextmanager
async def serving(
    hub: ScriptedRegistry,
    directory: Path,
    *,
    patience: float = 5.0,
    server: Mapping[str, Any] | None = None,
    **tags: Any,
) -> AsyncIterator[HastyProxy]:
    """A proxy in front of an upstream that has the old image; `patience` is its idle timeout."""
    hub.add_image(REPOSITORY, "1", OLD)
    upstream = {"idle_timeout": patience}
    wanted = Wanted(server=server or {}, upstream=upstream, tags={**_POLICY, **tags})
    async with hasty_proxy({"docker.io": hub}, directory, wanted) as proxy:
        yield proxy


def asked_of(hub: ScriptedRegistry, since: int = 0) -> list[tuple[str, str]]:
    """Method and reference of each request to upstream."""
    return [(e.method, e.path.rpartition("/")[2]) for e in hub.requests()[since:]]


def is_stale(answer: Seen, detail: str | None = None) -> bool:
    """Whether it was served although it is stale, for that reason."""
    ttl = answer.cache["ttl"]
    assert isinstance(ttl, int)
    return answer.cache["hit"] is True and ttl < 0 and answer.cache.get("detail") == detail


async def pull_old(proxy: HastyProxy) -> None:
    """Pull the old image with all its layers, as a client does, and wait until it is stored."""
    assert (await see(proxy, BY_TAG)).body == OLD.manifest
    for digest in OLD.all_blobs:
        await proxy.body(f"/v2/{REPOSITORY}/blobs/{digest}")
    await until(lambda: len(proxy.files("blobs")) == len(OLD.all_blobs) + 1)
