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
    UpstreamResting,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from cacheproxy.domain.resumption import Resumption
from cacheproxy.ports import BlobStream, Ingest
from cacheproxy.pullthrough.context import FillContext
from cacheproxy.pullthrough.origin import Origin
from cacheproxy.pullthrough.progress import Progress

# While nobody has a byte yet, an error is worth more to a client than a long wait: it has
# other hosts to ask.
_ATTEMPTS_TO_OPEN = 2
_NO_USE_TO_WAIT = (
    ConnectionsBusy,
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
        # As upstream states it: a descriptor may be wrong.
        self._size: int | None = None
        self._is_open = False
        self._resumption = Resumption()

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
            except (Denied, UpstreamError) as error:
                progressed = self._ingest.offset - before >= self._retry.progress
                failures = 1 if progressed else failures + 1
                await self._pause(error, failures)
            else:
                return

    async def _pause(self, error: Denied | UpstreamError, failures: int) -> None:
        """Wait before the next attempt, or raise the error if there is to be none."""
        seconds = self._wait(error, failures)
        before = self._resumption
        if self._ingest.offset:
            self._resumption = before.refused(error, is_last=seconds is None)
        if before.is_partial and not self._resumption.is_partial:
            return
        if seconds is None:
            raise error
        await self._clock.sleep(seconds)

    def _wait(self, error: Denied | UpstreamError, failures: int) -> float | None:
        """Return the seconds until the next attempt; None if there is to be none."""
        is_useless = isinstance(error, _NO_USE_TO_WAIT) and not self._is_open
        if is_useless or isinstance(error, Denied):
            return None
        retry = self._retry if self._is_open else self._retry.at_most(_ATTEMPTS_TO_OPEN)
        seconds = retry.delay(failures, random.random())  # noqa: S311  # jitter is no secret
        if seconds is None:
            return None
        if (
            isinstance(error, UpstreamLimited | UpstreamUnavailable)
            and error.retry_after is not None
        ):
            seconds = max(seconds, error.retry_after)
        # The bytes on disk wait for the next attempt; clients would be cut.
        return seconds if seconds <= self._longest_pause else None

    async def _attempt(self, on_response: Callable[[], None]) -> None:
        origin, ingest = self._origin, self._ingest
        expected = origin.size if self._size is None else self._size
        if ingest.offset and ingest.offset == expected:
            self._open()  # a leftover that only lacked its end: the digest will tell
            return
        start = self._resumption.start(ingest.offset)
        stop = expected if expected is not None and expected > start else None
        async with origin.upstream.get_blob(
            origin.repository, origin.digest, start, stop
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
        """Take the size from the first response; a later one that differs is of another blob."""
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
