"""Cancellation at each place where a download, or a client of one, waits."""

import asyncio
import fcntl
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest
from yarl import URL

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.fill_state import Phase
from cacheproxy.domain.freshness import TagPolicy
from cacheproxy.domain.operation import PullBlob
from cacheproxy.domain.reference import Name, Repository
from cacheproxy.domain.retry import RetryPolicy
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.metadata.memory import MemoryMetadata
from cacheproxy.pullthrough.blobs import Blobs
from cacheproxy.pullthrough.context import FillContext
from cacheproxy.pullthrough.fill import Fill
from cacheproxy.pullthrough.origin import Origin
from cacheproxy.pullthrough.remote import Remote
from cacheproxy.upstream.client import RegistryClient
from cacheproxy.upstream.config import UpstreamConfig
from cacheproxy.upstream.transport import Transport
from tests.support.cancelling import CancelledAt
from tests.support.hasty import Events, HastyClock
from tests.support.leaks import open_files
from tests.support.scripted_registry import CloseAfter, Match, Redirect, ScriptedRegistry
from tests.support.stores import open_store

SIZE = 300_000
BODY = Random(7).randbytes(SIZE)
DIGEST = Digest("sha256:" + hashlib.sha256(BODY).hexdigest())
REPOSITORY = Repository("docker.io", Name("library/app"))
# More than a download of this size waits; each run says whether it was enough.
_MOST_WAITS = 400


class Parts:
    """What a download is made of, all of it real but for upstream's faults."""

    def __init__(self, root: Path, hub: ScriptedRegistry) -> None:
        self.tasks = Tasks()
        self.events = Events()
        clock = HastyClock()
        self.store = open_store(root)
        config = UpstreamConfig("docker.io", URL(hub.url), idle_timeout=5.0)
        transport = Transport(config, self.events, clock, self.tasks)
        self.upstream = RegistryClient(transport, clock)
        self.context = FillContext(self.store, self.events, clock)
        self.blobs = Blobs(self.context, MemoryMetadata(), self.tasks)
        self.remote = Remote(self.upstream, TagPolicy(), RetryPolicy(), REPOSITORY)

    def fill(self) -> Fill:
        origin = Origin(self.upstream, REPOSITORY, DIGEST, None, linked=True)
        return Fill(DIGEST, origin, self.context)

    async def close(self) -> None:
        await self.tasks.close()
        await self.upstream.close()
        self.store.close()


@asynccontextmanager
async def parts(root: Path) -> AsyncIterator[Parts]:
    """An upstream that breaks once and redirects, so that there is much to wait for."""
    async with ScriptedRegistry() as hub:
        hub.add_blob("library/app", BODY)
        hub.script(Match.blob(DIGEST), CloseAfter(100_000), Redirect())
        made = Parts(root, hub)
        try:
            yield made
        finally:
            await made.close()


def _locks(root: Path) -> list[str]:
    """The ingest files that somebody holds."""
    held = []
    for path in (root / "ingest").iterdir():
        descriptor = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            held.append(path.name)
        finally:
            os.close(descriptor)
    return held


async def _fill_cancelled_at(nth: int, root: Path) -> bool:
    """Whether the download was over before it waited for the nth time."""
    async with parts(root) as made:
        before = open_files()
        fill = made.fill()
        running = CancelledAt(fill.run(), nth)
        task = asyncio.get_running_loop().create_task(running)
        await asyncio.wait([task])
        over = running.waited < nth
        assert fill.state.over, "followers would wait for ever"
        assert over or task.cancelled() or fill.state.phase is Phase.COMMITTED
        assert not _locks(root)
        leftover = [path.stat().st_size for path in (root / "ingest").iterdir()]
        assert 0 not in leftover, "an empty file is of use to nobody"
        await asyncio.sleep(0.001)
        assert not [name for name in open_files() - before if name.startswith(str(root))]
        await _is_whole_after_another_try(made)
        return over


async def _is_whole_after_another_try(made: Parts) -> None:
    again = made.fill()
    await again.run()
    assert again.state.phase is Phase.COMMITTED
    assert await made.store.document(DIGEST) == BODY


async def test_a_download_can_be_cancelled_wherever_it_waits(tmp_path: Path) -> None:
    """Nothing is left of it but bytes that the next one takes up; no lock, no descriptor."""
    for nth in range(1, _MOST_WAITS):
        if await _fill_cancelled_at(nth, tmp_path / str(nth)):
            assert nth > 10, "so few waits cannot have been a download"
            return
    pytest.fail(f"it waited more than {_MOST_WAITS} times")


async def _read_all(made: Parts) -> bytes:
    """A client: asks, and reads to the end."""
    answer = await made.blobs.pull(made.remote, PullBlob(REPOSITORY, DIGEST), head=False)
    assert answer.content is not None
    body = b""
    try:
        while len(body) < SIZE:
            body += await answer.content.read(len(body), 65_536)
    finally:
        answer.content.close()
    return body


async def _client_cancelled_at(nth: int, root: Path) -> bool:
    """Whether the client had all before it waited for the nth time."""
    async with parts(root) as made:
        reading = CancelledAt(_read_all(made), nth)
        task = asyncio.get_running_loop().create_task(reading)
        await asyncio.wait([task])
        over = reading.waited < nth
        # The download is the core's: it goes on, and the next client has it all.
        assert await _read_all(made) == BODY
        fetched = [event for event in made.events.all if type(event).__name__ == "FillStarted"]
        assert len(fetched) == 1
        return over


async def test_a_client_can_be_cancelled_wherever_it_waits(tmp_path: Path) -> None:
    """A client that leaves costs the others nothing: there is still one download."""
    for nth in range(1, _MOST_WAITS):
        if await _client_cancelled_at(nth, tmp_path / str(nth)):
            assert nth > 2, "so few waits cannot have been a client of a cold blob"
            return
    pytest.fail(f"it waited more than {_MOST_WAITS} times")
