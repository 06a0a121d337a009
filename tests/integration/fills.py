"""What the tests of downloads have in common: a blob, and clients that pull it."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import aiohttp

from cacheproxy.domain.fill_state import HOLD_BACK
from tests.support.hasty import HastyProxy, Wanted, hasty_proxy
from tests.support.scripted_registry import Fault, Match, ScriptedRegistry

SIZE = 3 * 1024 * 1024 + 17
BODY = Random(20261124).randbytes(SIZE)  # any bytes, the same each time
DIGEST = "sha256:" + hashlib.sha256(BODY).hexdigest()
PATH = f"/v2/app/blobs/{DIGEST}"
REPOSITORY = "library/app"
NEARLY_ALL = SIZE - HOLD_BACK


@dataclass(frozen=True, slots=True)
class Pulled:
    """What one client got.

    Attributes:
        status: of the response; None where none came.
        body: the bytes that came.
        whole: the response ended as it should.
        cache_status: the field.
    """

    status: int | None
    body: bytes
    whole: bool
    cache_status: str = ""

    @property
    def right(self) -> bool:
        """The blob, whole."""
        return self.status == 200 and self.whole and self.body == BODY

    @property
    def harmless(self) -> bool:
        """Not the blob, and nothing that passes for it: an error, or a cut that shows."""
        return self.status != 200 or (not self.whole and len(self.body) < SIZE)


async def pull(proxy: HastyProxy, path: str = PATH, **options: Any) -> Pulled:
    """Pull as a client does that hashes what it gets."""
    body = bytearray()
    try:
        async with proxy.get(path, **options) as response:
            field = response.headers.get("Cache-Status", "")
            try:
                async for chunk in response.content.iter_any():
                    body += chunk
            except aiohttp.ClientError:
                return Pulled(response.status, bytes(body), False, field)
            return Pulled(response.status, bytes(body), True, field)
    except aiohttp.ClientError:
        return Pulled(None, b"", False)


async def all_of(pulls: list[Coroutine[Any, Any, Pulled]]) -> list[Pulled]:
    """What all clients got, at once."""
    return list(await asyncio.gather(*pulls))


@asynccontextmanager
async def cold(
    tmp_path: Path, *faults: Fault, wanted: Wanted | None = None
) -> AsyncIterator[tuple[ScriptedRegistry, HastyProxy]]:
    """An upstream that holds the blob and has these faults, and a proxy without it."""
    async with ScriptedRegistry() as hub:
        hub.add_blob(REPOSITORY, BODY)
        if faults:
            hub.script(Match.blob(DIGEST), *faults)
        async with hasty_proxy({"docker.io": hub}, tmp_path / "cache", wanted) as proxy:
            yield hub, proxy


async def until(condition: Any, within: float = 60.0) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110  # what it waits for has no event
            await asyncio.sleep(0.002)


def is_stored(proxy: HastyProxy) -> bool:
    """The blob has been committed, and nothing of its download is left."""
    return len(proxy.files("blobs")) == 1 and not proxy.files("ingest")
