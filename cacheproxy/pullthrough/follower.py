"""One reader of a fill."""

import asyncio
from contextlib import ExitStack

from cacheproxy.domain.byte_range import ByteRange
from cacheproxy.domain.errors import DigestMismatch, StorageError, UpstreamUnavailable
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.ports import BlobFile
from cacheproxy.pullthrough.context import FillContext
from cacheproxy.pullthrough.fill import Fill
from cacheproxy.pullthrough.origin import Origin
from cacheproxy.pullthrough.relay import Relay

_COMPARE_STEP = 1024 * 1024


class Follower:
    """Reads the growing file (`Readable`), in order, from where its part begins.

    Two things may happen on the way. The bytes may go on in another file, because their writer
    was another process that has died or has dropped them: then this reader goes on in the new
    file, once it has compared what it has passed on. And the disk may refuse: then it goes on
    without the disk, from its own upstream.
    """

    def __init__(
        self,
        fill: Fill,
        origin: Origin | None,
        part: ByteRange | None,
        past_disk: tuple[FillContext, Tasks],
    ) -> None:
        """Begin to follow; only after `Fill.wait_open`.

        Args:
            fill: the download.
            origin: where this reader's client may have the blob from; None if nowhere else.
            part: that will be read; None for the whole.
            past_disk: what a relay needs, should the disk refuse.

        Raises:
            CacheproxyError: the download has failed.
        """
        file = fill.progress.share_file()
        if file is None:
            fill.progress.raise_if_failed()
            raise UpstreamUnavailable("this download has ended")
        self._fill = fill
        self._progress = fill.progress
        self._origin = origin
        self._start = 0 if part is None else part.start
        self._size = fill.state.size
        self._stop = self._size if part is None else part.stop
        self._is_whole = part is None or (self._start == 0 and self._stop == self._size)
        self._past_disk = past_disk
        self._file: BlobFile = file
        self._generation = fill.state.generation
        self._relay: Relay | None = None
        self._attention = ExitStack()
        self._attention.enter_context(fill.attended())

    @property
    def size(self) -> int | None:
        """Of the whole blob, as its client is told; None if nobody knows it before its end."""
        return self._size

    def close(self) -> None:
        """Stop reading; the fill goes on."""
        self._attention.close()
        self._file.close()
        if self._relay is not None:
            self._relay.close()

    def try_read(self, offset: int, length: int) -> bytes | None:
        """Return what is readable already, and in memory."""
        if self._relay is not None:
            return self._relay.try_read(offset, length)
        length = self._readable(offset, length)
        return self._file.try_read(offset, length) if length > 0 else None

    def try_send(self, to: int, offset: int, length: int) -> int:
        """Give a socket what is readable already, and in memory."""
        if self._relay is not None:
            return 0
        length = self._readable(offset, length)
        return self._file.try_send(to, offset, length) if length > 0 else 0

    def _readable(self, offset: int, length: int) -> int:
        state = self._progress.state
        return min(length, state.readable - offset) if state.generation == self._generation else 0

    async def read(self, offset: int, length: int) -> bytes:
        """Return what is at `offset`, once it is there; empty at the end of a verified blob."""
        if self._relay is not None:
            return await self._relay.read(offset, length)
        try:
            readable = await self._progress.wait_beyond(offset)
            while self._progress.state.generation != self._generation:
                await self._change_file(offset)
                readable = await self._progress.wait_beyond(offset)
        except StorageError:
            return await self._go_past_disk(offset, length)
        if readable <= offset:
            return b""
        return await self._file.read(offset, min(length, readable - offset))

    async def _change_file(self, offset: int) -> None:
        """Go on in the file that is current now, if it begins as the one before.

        Raises:
            DigestMismatch: it does not: what the client has is not the blob's.
        """
        generation, size = self._progress.state.generation, self._progress.state.size
        if self._size is not None and size is not None and size != self._size:
            raise DigestMismatch(f"the blob has {size} bytes, and not {self._size} as was said")
        file = self._progress.share_file()
        if file is None:
            raise StorageError("the file of this download is gone")
        with ExitStack() as stack:
            stack.callback(file.close)
            if await _begin_alike(self._file, file, self._start, offset):
                stack.pop_all()
                self._file.close()
                self._file, self._generation = file, generation
                return
        raise DigestMismatch("what was sent so far are not the blob's bytes")

    async def _go_past_disk(self, offset: int, length: int) -> bytes:
        """Go on from upstream: a full disk is not the client's error.

        What this reader has passed on is hashed again, from the file that it still has open,
        so that the end is held back here too until the whole is verified. A part of a blob can
        be verified by nobody.
        """
        origin = self._origin
        if origin is None:
            self._progress.raise_if_failed()
            raise UpstreamUnavailable("this replica does not get it any more")
        hasher = None
        if self._is_whole:
            hasher, done = origin.digest.hasher(), 0
            while done < offset:
                chunk = await self._file.read(done, min(_COMPARE_STEP, offset - done))
                if not chunk:
                    raise StorageError("what was passed on can no longer be read")
                await asyncio.to_thread(hasher.update, chunk)
                done += len(chunk)
        self._relay = Relay(origin, (offset, self._stop), hasher, *self._past_disk)
        return await self._relay.read(offset, length)


async def _begin_alike(one: BlobFile, other: BlobFile, start: int, stop: int) -> bool:
    """Compare the same bytes of two files."""
    offset = start
    while offset < stop:
        length = min(_COMPARE_STEP, stop - offset)
        chunk = await one.read(offset, length)
        if not chunk or await _read_fully(other, offset, len(chunk)) != chunk:
            return False
        offset += len(chunk)
    return True


async def _read_fully(file: BlobFile, offset: int, length: int) -> bytes:
    parts: list[bytes] = []
    while length > 0:
        part = await file.read(offset, length)
        if not part:
            break
        parts.append(part)
        offset, length = offset + len(part), length - len(part)
    return b"".join(parts)
