"""Clients that join a download and leave it, over and over, at several workers of one volume."""

import asyncio
import hashlib
import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from cacheproxy.domain.events import Unexpected
from tests.integration.fills import BODY, DIGEST, PATH, REPOSITORY, SIZE
from tests.support.hasty import HastyProxy, hasty_proxy
from tests.support.scripted_registry import Match, ScriptedRegistry, Trickle

SECONDS = float(os.environ.get("CACHEPROXY_CHURN_SECONDS", "3"))

pytestmark = [pytest.mark.alone, pytest.mark.timeout(SECONDS * 10 + 120)]

WORKERS, JOINERS, STAYERS = 3, 8, 3
TAKEN = 1000  # bytes, before a client leaves
_PIECES = 100  # of the blob, as it comes in
_PATIENT = aiohttp.ClientTimeout(total=SECONDS * 10 + 60)


@asynccontextmanager
async def _workers(directory: Path) -> AsyncIterator[list[HastyProxy]]:
    """Proxies that share a volume, before a registry that takes its time over one blob."""
    async with ScriptedRegistry() as hub, AsyncExitStack() as stack:
        hub.add_blob(REPOSITORY, BODY)
        trickle = Trickle(SIZE // _PIECES, SECONDS / _PIECES)
        hub.script(Match(method="GET", path_suffix=DIGEST), trickle)
        yield [
            await stack.enter_async_context(hasty_proxy({"docker.io": hub}, directory))
            for _ in range(WORKERS)
        ]


async def test_clients_that_join_and_leave_meet_no_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each that joins a download gets its bytes, and each that stays gets the whole blob."""
    ended = asyncio.Event()
    async with _workers(tmp_path) as workers, asyncio.TaskGroup() as group:
        staying = [group.create_task(_stay(workers[0])) for _ in range(STAYERS)]
        joining = [
            group.create_task(_join_and_leave(workers[number % WORKERS], ended))
            for number in range(JOINERS)
        ]
        stayed = Counter(await asyncio.gather(*staying))
        ended.set()
        joined = sum(await asyncio.gather(*joining), Counter[str]())
        unexpected = [repr(e.error) for worker in workers for e in worker.events.of(Unexpected)]
    with capsys.disabled():
        print(f"\nchurn of {SECONDS:g} s: {dict(joined)}, stayed {dict(stayed)}")  # noqa: T201  # for a person
    assert stayed == {"right": STAYERS}
    assert set(joined) == {"right"}
    assert unexpected == []


async def _stay(worker: HastyProxy) -> str:
    body = await worker.body(PATH, timeout=_PATIENT)
    return "right" if f"sha256:{hashlib.sha256(body).hexdigest()}" == DIGEST else "wrong"


async def _join_and_leave(worker: HastyProxy, ended: asyncio.Event) -> Counter[str]:
    """Join over and over; how often that ended in which way."""
    met = Counter[str]()
    while not ended.is_set():
        met[await _join(worker)] += 1
    return met


async def _join(worker: HastyProxy) -> str:
    try:
        async with worker.get(PATH, timeout=_PATIENT) as response:
            if response.status != 200:
                return str(response.status)
            taken = await response.content.readexactly(TAKEN)
            return "right" if taken == BODY[:TAKEN] else "wrong"
    except (aiohttp.ClientError, asyncio.IncompleteReadError, TimeoutError) as error:
        return type(error).__name__
