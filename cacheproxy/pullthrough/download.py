"""From one upstream to one ingest: open, copy, and when it breaks go on from where it broke."""

import random
from collections.abc import Callable
from contextlib import aclosing

from cacheproxy.domain.errors import (
    ConnectionsBusy,
    ContentInvalid,
    Denied,
    UpstreamError,
    UpstreamLimited,
    UpstreamOffline,
    UpstreamRefused,
    UpstreamResting,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from cacheproxy.ports import BlobStream, Ingest
from cacheproxy.pullthrough.context import FillContext
from cacheproxy.pullthrough.origin import Origin
from cacheproxy.pullthrough.progress import Progress

# While nobody has a byte yet, an error is worth more to a client than a long wait: it has
# other hosts to ask.
_ATTEMPTS_TO_OPEN = 2
_NO_USE_TO_WAIT = (
    ConnectionsBusy,
    Denied,
    UpstreamLimited,
    UpstreamOffline,
    UpstreamResting,
    UpstreamTimeout,
)
# Each step of a download costs a thread's turn and one of each follower, however few bytes it
# has. After a small one the next may gather for a moment, which no client notices.
_SMALL_STEP = 256 * 1024
_GATHER_SECONDS = 0.004


class Download:
    """One blob's way in."""

    def __init__(
        self, origin: Origin, ingest: Ingest, progress: Progress, context: FillContext
    ) -> None:
        self._origin = origin
        self._ingest = ingest
        self._progress = progress
        self._retry = origin.retry
        self._clock = context.clock
        self._longest_pause = context.longest_pause
        self._size = origin.size
        self._is_open = False
        self._ranges = True

    async def run(self, on_response: Callable[[], None]) -> None:
        """Fetch the whole blob; it is on disk then, and unverified.

        Args:
            on_response: is called when upstream has begun to give the blob.

        Raises:
            NotFound, Denied, UpstreamError: upstream does not give it, or not all of it.
            ContentInvalid: what it gives cannot be the blob.
            StorageError: the disk refused.
        """
        failures = 0
        while True:
            before = self._ingest.offset
            try:
                await self._attempt(on_response)
            except UpstreamError as error:
                progressed = self._ingest.offset - before >= self._retry.progress
                failures = 1 if progressed else failures + 1
                await self._pause(error, failures)
            else:
                return

    async def _pause(self, error: UpstreamError, failures: int) -> None:
        """Wait before the next attempt, or raise the error if there is to be none."""
        if isinstance(error, UpstreamRefused) and self._ingest.offset and self._ranges:
            # It will not give a part: take the whole, and skip what is here.
            self._ranges = False
            return
        if not self._is_open and isinstance(error, _NO_USE_TO_WAIT):
            raise error
        retry = self._retry if self._is_open else self._retry.at_most(_ATTEMPTS_TO_OPEN)
        seconds = retry.delay(failures, random.random())  # noqa: S311  # jitter is no secret
        if seconds is None:
            raise error
        if (
            isinstance(error, UpstreamLimited | UpstreamUnavailable)
            and error.retry_after is not None
        ):
            seconds = max(seconds, error.retry_after)
        if seconds > self._longest_pause:
            raise error  # the bytes on disk wait for the next attempt; clients would be cut
        await self._clock.sleep(seconds)

    async def _attempt(self, on_response: Callable[[], None]) -> None:
        origin, ingest = self._origin, self._ingest
        if self._size is not None and ingest.offset == self._size and ingest.offset:
            self._open()  # a leftover that only lacked its end: the digest will tell
            return
        start = ingest.offset if self._ranges else 0
        async with origin.upstream.get_blob(
            origin.repository, origin.digest, start, self._size
        ) as stream:
            self._learn(stream)
            on_response()
            self._progress.come_from(stream.source)
            if self._size is not None:
                await ingest.reserve(self._size)
            self._open()
            await self._copy(stream)
        if self._size is not None and ingest.offset < self._size:
            raise UpstreamUnavailable(f"upstream sent {ingest.offset} of {self._size} bytes")

    def _learn(self, stream: BlobStream) -> None:
        """The size, from the first answer; a later one that differs is of something else."""
        if self._size is None:
            self._size = stream.size
        elif stream.size is not None and stream.size != self._size:
            raise ContentInvalid(
                f"upstream has {stream.size} bytes for a blob that has {self._size}"
            )

    def _open(self) -> None:
        if not self._is_open:
            self._is_open = True
            self._progress.begin(self._size, self._ingest.reader(), self._ingest.offset)

    async def _copy(self, stream: BlobStream) -> None:
        ingest = self._ingest
        skip = ingest.offset - stream.start
        async with aclosing(stream.chunks()) as chunks:
            async for received in chunks:
                chunk, skip = received[skip:], max(0, skip - len(received))
                if not chunk:
                    continue
                # Before it is written: what is too much is never on disk.
                self._progress.check_growth(ingest.offset + len(chunk))
                await ingest.append(chunk)
                self._progress.grow(ingest.offset)
                if len(chunk) < _SMALL_STEP and ingest.offset != self._size:
                    await self._clock.sleep(_GATHER_SECONDS)
