"""From one upstream to one ingest: when to go on, and when to give up."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import UpstreamLimited
from cacheproxy.domain.reference import Name, Repository
from cacheproxy.pullthrough.context import FillContext
from cacheproxy.pullthrough.download import Download
from cacheproxy.pullthrough.origin import Origin
from cacheproxy.pullthrough.progress import Progress
from tests.support.hasty import Events, HastyClock

_BODY = bytes(5000)
_DIGEST = Digest.of(_BODY)


class _Limited:
    """Sends a little, then limits us for so long, then sends the rest."""

    source, size = "fill", len(_BODY)

    def __init__(self, retry_after: float) -> None:
        self.start = 0
        self._retry_after = retry_after

    @asynccontextmanager
    async def get_blob(
        self, _: Repository, __: Digest, start: int = 0, stop: int | None = None
    ) -> AsyncIterator["_Limited"]:
        """Begin to send."""
        self.start = start
        yield self

    async def chunks(self) -> AsyncIterator[bytes]:
        """Send."""
        if self.start == 0:
            yield _BODY[:1000]
            raise UpstreamLimited("upstream answered 429", self._retry_after)
        yield _BODY[self.start :]


class _Ingest:
    """Keeps count of bytes (`Ingest`)."""

    offset = resumed_at = 0
    identity = 0, 0

    async def reserve(self, _: int) -> None:
        """Reserve nothing."""

    async def append(self, chunk: bytes) -> None:
        """Count."""
        self.offset += len(chunk)

    def reader(self) -> "_Ingest":
        """Return itself: nobody reads."""
        return self

    def close(self) -> None:
        """Nothing is open."""


async def _download(retry_after: float) -> int:
    upstream: Any = _Limited(retry_after)
    ingest: Any = _Ingest()
    repository = Repository("docker.io", Name("library/app"))
    origin = Origin(upstream, repository, _DIGEST, len(_BODY), linked=True)
    context = FillContext(None, Events(), HastyClock(), longest_pause=60.0)  # type: ignore[arg-type]
    await Download(origin, ingest, Progress(), context).run(lambda: None)
    return int(ingest.offset)


async def test_a_limit_that_ends_soon_is_waited_for() -> None:
    """A download goes on when upstream has said that it may."""
    assert await _download(30.0) == len(_BODY)


async def test_a_limit_that_lasts_ends_the_download() -> None:
    """Its clients hear of it at once, instead of when they are cut for silence."""
    with pytest.raises(UpstreamLimited):
        await _download(300.0)
