"""Long work on the cache directory, as a process of its own: pulls must not wait for it."""

import asyncio
import os
import pickle
import struct
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from typing import TYPE_CHECKING, cast

from cacheproxy.bootstrap.inspection import Inspection
from cacheproxy.domain.errors import CacheproxyError, StorageError
from cacheproxy.ops.api.work import PlanRequest, ScrubRequest, Step, Work
from cacheproxy.settings.model import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_LENGTH = struct.Struct(">I")
_COMMAND = (sys.executable, "-c", f"import {__name__} as aside; aside.main()")
# Of ten parts of a busy processor, pulls get nine.
_NICENESS = 10


class Aside:
    """Does what is asked for, step by step, one thing of a kind at a time."""

    def __init__(self, settings: Settings) -> None:
        """Know where the cache is.

        Args:
            settings: of the server whose it is.
        """
        self.settings = settings
        self._planning = asyncio.Lock()
        self._scrubbing = asyncio.Lock()

    async def do(self, work: Work) -> AsyncGenerator[Step, None]:
        """Do it; the last step is what it came to. Leaving it ends the process.

        Raises:
            RequestError, NotFound, StartError, StorageError: it cannot be done.
        """
        async with self._turn(work), aclosing(_steps(self.settings, work)) as steps:
            async for step in steps:
                yield step

    @asynccontextmanager
    async def _turn(self, work: Work) -> "AsyncIterator[None]":
        match work:
            case PlanRequest():
                async with self._planning:
                    yield
            case ScrubRequest():
                if self._scrubbing.locked():
                    raise StorageError("a scrub is under way already; ask again when it has ended")
                async with self._scrubbing:
                    yield


async def _steps(settings: Settings, work: Work) -> AsyncGenerator[Step, None]:
    process = await asyncio.create_subprocess_exec(*_COMMAND, stdin=PIPE, stdout=PIPE)
    asking = cast("asyncio.StreamWriter", process.stdin)
    output = cast("asyncio.StreamReader", process.stdout)
    try:
        with suppress(ConnectionError):  # it has died: its output says so
            asking.write(pickle.dumps((settings, work)))
            await asking.drain()
            asking.close()
        while (step := await _read(output)) is not None:
            if isinstance(step, CacheproxyError):
                raise step
            yield step
        if await process.wait():
            raise StorageError("it was not done to its end; the server's output says why")
    finally:
        await _ended(process)


async def _read(output: asyncio.StreamReader) -> Step | CacheproxyError | None:
    try:
        (length,) = _LENGTH.unpack(await output.readexactly(_LENGTH.size))
        written = await output.readexactly(length)
    except asyncio.IncompleteReadError:
        return None
    told: Step | CacheproxyError = pickle.loads(written)  # noqa: S301  # our own
    return told


async def _ended(process: Process) -> None:
    # At any moment: what it has found until then is mended, and nothing is half done.
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()


def main() -> None:
    """What the process does: reads what is asked for, and writes each step."""
    with suppress(PermissionError):  # a sandbox, as that of our systemd unit, may allow none
        os.nice(_NICENESS)
    settings, work = pickle.load(sys.stdin.buffer)  # noqa: S301  # of the server
    try:
        _tell(_done(Inspection(settings), work, _tell))
    except CacheproxyError as error:
        _tell(error)


def _done(inspection: Inspection, work: Work, told: Callable[[Step], None]) -> Step:
    match work:
        case PlanRequest():
            return inspection.plan(work, told)
        case ScrubRequest():
            return inspection.scrub(work, told)


def _tell(step: Step | CacheproxyError) -> None:
    written = pickle.dumps(step)
    sys.stdout.buffer.write(_LENGTH.pack(len(written)) + written)
    sys.stdout.buffer.flush()
