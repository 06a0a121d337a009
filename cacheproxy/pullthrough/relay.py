"""Straight from upstream to one client, past the disk: when that is full, or far behind."""

import asyncio
import random
from contextlib import aclosing, suppress

from cacheproxy.domain.digest import Hasher
from cacheproxy.domain.errors import (
    CacheproxyError,
    Denied,
    DigestMismatch,
    UpstreamError,
    UpstreamUnavailable,
)
from cacheproxy.domain.events import Unexpected
from cacheproxy.domain.fill_state import HOLD_BACK
from cacheproxy.domain.resumption import Resumption
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.ports import BlobStream
from cacheproxy.pullthrough.context import FillContext
from cacheproxy.pullthrough.origin import Origin

# Chunks that may wait for the client; upstream waits when there are more.
_QUEUED = 4


class Relay:
    """One reader's own stream (`Readable`), read in order from where it starts.

    With a hash of everything before its start it holds back its end until the digest is
    verified, as a fill does. A part that starts in the middle cannot be verified by anyone;
    but then it is never a whole blob either.
    """

    def __init__(
        self,
        origin: Origin,
        span: tuple[int, int | None],
        hasher: Hasher | None,
        context: FillContext,
        tasks: Tasks,
    ) -> None:
        """Begin to fetch.

        Args:
            origin: the blob at its upstream.
            span: the first byte, and the one behind the last; None for the end of the blob.
            hasher: of all bytes before the first; None where the end cannot be verified.
            context: for pauses, and to tell of mistakes.
            tasks: run it.
        """
        self._origin = origin
        self._position, self._stop = span
        self._fetched = self._position
        self._hasher = hasher
        self._resumption = Resumption()
        self._held = b""
        self._rest = b""
        self._end: CacheproxyError | None = None
        self._has_ended = False
        self._context = context
        self._chunks: asyncio.Queue[bytes] = asyncio.Queue(_QUEUED)
        self._size: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._task = tasks.start(self._run(), f"relay {origin.digest}")

    async def open(self) -> int | None:
        """Wait until upstream has answered; the blob's size where it says so.

        Raises:
            CacheproxyError: it could not be had.
        """
        return await asyncio.shield(self._size)

    def close(self) -> None:
        """Hang up on upstream."""
        self._task.cancel()

    def try_read(self, offset: int, length: int) -> bytes | None:
        """Return what came and was not read yet."""
        if offset != self._position or not self._rest:
            return None
        chunk, self._rest = self._rest[:length], self._rest[length:]
        self._position += len(chunk)
        return chunk

    def try_send(self, to: int, offset: int, length: int) -> int:  # noqa: ARG002  # nothing is on disk
        """Return 0: it is on no disk."""
        return 0

    async def read(self, offset: int, length: int) -> bytes:
        """Return what comes next; empty at the end."""
        if offset != self._position:
            raise AssertionError("a relay is read in order")
        if not self._rest:
            if not (self._has_ended and self._chunks.empty()):
                self._rest = await self._chunks.get()
            if not self._rest and self._end is not None:
                raise self._end.with_traceback(None)
        return self.try_read(offset, length) or b""

    async def _run(self) -> None:
        """Fetch to the end. Whatever happens, whoever reads hears of it."""
        self._end = UpstreamUnavailable("the relay was given up")
        try:
            await self._fetch()
            self._end = None
        except CacheproxyError as error:
            self._end = error
        except Exception as error:  # noqa: BLE001  # whoever reads must not wait for ever
            self._context.observer.observe(Unexpected(error))
            self._end = UpstreamUnavailable("the relay broke")
        finally:
            self._has_ended = True
            if not self._size.done():
                self._size.set_exception(self._end or UpstreamUnavailable("nothing came"))
                self._size.exception()  # seen, though nobody may wait for it
            with suppress(asyncio.QueueFull):
                self._chunks.put_nowait(b"")  # wakes a reader that waits: then there is room

    async def _fetch(self) -> None:
        failures = 0
        while True:
            before = self._fetched
            try:
                await self._attempt()
            except (Denied, UpstreamError) as error:
                failures = 1 if self._fetched > before else failures + 1
                await self._pause(error, failures)
            else:
                break
        await self._verify()

    async def _pause(self, error: Denied | UpstreamError, failures: int) -> None:
        """Wait before the next attempt, or raise the error if there is to be none."""
        seconds = None
        # Without a byte, an error is worth more to a client than a wait.
        if self._size.done() and not isinstance(error, Denied):
            seconds = self._origin.retry.delay(failures, random.random())  # noqa: S311  # jitter
        before = self._resumption
        if self._fetched:
            self._resumption = before.refused(error, is_last=seconds is None)
        if before.is_partial and not self._resumption.is_partial:
            return
        if seconds is None:
            raise error
        await self._context.clock.sleep(seconds)

    async def _attempt(self) -> None:
        """Fetch what is missing; what comes before it is skipped."""
        origin = self._origin
        if self._stop is not None and self._fetched >= self._stop and self._size.done():
            return
        async with origin.upstream.get_blob(
            origin.repository, origin.digest, self._resumption.start(self._fetched), self._stop
        ) as stream:
            if not self._size.done():
                self._size.set_result(stream.size)
            await self._copy(stream)
        size = self._stop if self._stop is not None else stream.size
        if size is not None and self._fetched < size:
            raise UpstreamUnavailable(f"upstream sent {self._fetched} of {size} bytes")

    async def _copy(self, stream: BlobStream) -> None:
        skip = self._fetched - stream.start
        async with aclosing(stream.chunks()) as chunks:
            async for received in chunks:
                chunk, skip = received[skip:], max(0, skip - len(received))
                self._fetched += len(chunk)
                await self._pass_on(chunk)

    async def _pass_on(self, chunk: bytes) -> None:
        """Pass on what may go, and hold back the rest."""
        if self._hasher is None:
            if chunk:
                await self._chunks.put(chunk)
            return
        held = self._held + chunk
        ready, self._held = held[:-HOLD_BACK], held[-HOLD_BACK:]
        if ready:
            self._hasher.update(ready)
            await self._chunks.put(ready)

    async def _verify(self) -> None:
        if self._hasher is None:
            return
        self._hasher.update(self._held)
        if self._hasher.hexdigest() != self._origin.digest.encoded:
            self._origin.upstream.distrust(self._origin.digest)
            raise DigestMismatch(f"upstream sent bytes that are not {self._origin.digest}")
        if self._held:
            await self._chunks.put(self._held)
