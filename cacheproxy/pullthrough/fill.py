"""One blob's download: one upstream stream, one ingest, many followers.

A fill belongs to the core and to no request. The disk is the buffer: followers read the
growing file, each at its own speed, and none of them holds up the download or the others.
The file is also how processes share one download: whoever holds its lock writes, the others
follow it; and when its writer dies, the next one takes over from the bytes on disk.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Literal

from cacheproxy.domain.errors import (
    CacheproxyError,
    ContentInvalid,
    StorageError,
    UpstreamUnavailable,
)
from cacheproxy.domain.events import FillEnded, FillStarted, Source, Unexpected
from cacheproxy.domain.fill_state import FillState, Phase
from cacheproxy.ports import BlobStore, Clock, Ingest, Observer, Readable
from cacheproxy.pullthrough.download import Download
from cacheproxy.pullthrough.origin import Origin

# How often to look at a file that another process writes: well below what a client notices.
_WATCH_SECONDS = 0.005
# How many looks until the lock is tried, in case its holder has died.
_LOOKS_PER_TRY = 40


@dataclass(frozen=True, slots=True)
class FillContext:
    """What all fills have in common.

    Attributes:
        store: where the bytes go.
        observer: is told of each beginning and end.
        clock: for durations and pauses.
        abandon_after: seconds without anybody who follows or waits after which a fill is
            given up; None lets it go on to its end.
        patience: seconds that upstream is waited for where something stale can stand in.
        relay_ahead: bytes ahead of the download from which a range is fetched beside it.
    """

    store: BlobStore
    observer: Observer
    clock: Clock
    abandon_after: float | None = None
    relay_ahead: int = 64 * 1024 * 1024
    patience: float = 15.0


class Fill:
    """A download in flight. `run` is its life; everything else is for its followers."""

    def __init__(self, origin: Origin, context: FillContext) -> None:
        self.origin = origin
        self._context = context
        self._state = FillState()
        self._error: CacheproxyError | None = None
        self._reader: Callable[[], Readable] | None = None
        self._confirmed = origin.linked
        self._size = origin.size
        self._has_asked = False
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._led_since: float | None = None
        self._were_here = 0
        self._from_replicas = 0
        self._attended_by = 0
        self._source: Source = "fill"
        self._abandon: asyncio.TimerHandle | None = None

    @property
    def source(self) -> Source:
        """Whether its bytes come from upstream, or from another replica."""
        return self._source

    @property
    def followers(self) -> int:
        """How many wait for it, or follow it."""
        return self._attended_by

    @property
    def seconds(self) -> float | None:
        """Since this process began to fetch it; None where another one does."""
        began = self._led_since
        return None if began is None else self._context.clock.monotonic() - began

    @property
    def state(self) -> FillState:
        """How far it is."""
        return self._state

    async def run(self) -> None:
        """Download, verify and commit. Ends quietly: the outcome is in the state."""
        self._task = asyncio.current_task()
        try:
            await self._live()
        except CacheproxyError as error:
            self._error = error
        except Exception as error:  # noqa: BLE001  # followers must not wait for ever
            self._context.observer.observe(Unexpected(error))
            self._error = UpstreamUnavailable("the download broke")
        except BaseException:
            # Cancelled, at shutdown: followers must not wait for what never comes.
            self._error = UpstreamUnavailable("the download was given up")
            raise
        finally:
            if self._abandon is not None:
                self._abandon.cancel()
            if self._error is not None:
                self._move(self._state.failed())
            self._report_end()

    # -- for followers ------------------------------------------------------------------

    @contextmanager
    def attended(self) -> Iterator[None]:
        """Count as one who waits for it or follows it."""
        self._attended_by += 1
        if self._abandon is not None:
            self._abandon.cancel()
            self._abandon = None
        try:
            yield
        finally:
            self._attended_by -= 1
            self._abandon_later()

    def _abandon_later(self) -> None:
        seconds = self._context.abandon_after
        if seconds is None or self._attended_by or self._state.over or self._task is None:
            return
        self._abandon = asyncio.get_running_loop().call_later(seconds, self._task.cancel)

    async def open(self) -> int | None:
        """Wait until upstream has answered; the blob's size where it is known.

        Raises:
            CacheproxyError: it could not be had.
        """
        while self._state.phase is Phase.OPENING:
            await self._changed.wait()
        self._raise_if_failed()
        return self._state.size

    async def leads(self, offset: int, within: float) -> None:
        """Wait until it has more than what is before `offset`, or upstream itself gives it.

        Another replica that has so much may then read from it: nothing that it waits for can
        have to come from there.

        Raises:
            CacheproxyError: it could not be had.
            TimeoutError: that takes longer than `within` seconds, from when it was begun.
        """
        await self.open()
        async with asyncio.timeout(within):
            while self._waits_at(offset):
                await self._changed.wait()
        self._raise_if_failed()

    def _waits_at(self, offset: int) -> bool:
        """Whether what is behind `offset` can only come from another replica."""
        state = self._state
        return self._source == "peer" and state.readable <= offset and not state.over

    def is_beyond(self, offset: int) -> bool:
        """Whether it has more, by now, than what is before `offset`."""
        return self._state.readable > offset or self._state.is_verified

    async def landed(self) -> None:
        """Wait until the blob is in the store.

        Raises:
            CacheproxyError: it could not be had, or not be kept.
        """
        while self._state.phase not in (Phase.COMMITTED, Phase.FAILED):
            await self._changed.wait()
        self._raise_if_failed()

    @property
    def gained(self) -> tuple[int, int]:
        """Bytes that came from upstream, and from other replicas, since it began.

        What another worker fetches meanwhile counts as upstream's.
        """
        new = max(0, self._state.received - self._were_here)
        return new - self._from_replicas, self._from_replicas

    def reader(self) -> Readable | None:
        """The growing file; None once it is over, and can be had from the store.

        Only after `open`.

        Raises:
            CacheproxyError: it has failed since.
        """
        self._raise_if_failed()
        if self._reader is None or self._state.phase is Phase.COMMITTED:
            return None
        return self._reader()

    async def readable_beyond(self, offset: int) -> int:
        """Wait until there is something behind `offset`; how far it then goes.

        The blob's end is the only other way out: then it is `offset` or less.

        Raises:
            CacheproxyError: the rest will never come.
        """
        while self._state.readable <= offset and not self._state.over:
            await self._changed.wait()
        if self._state.readable <= offset and not self._state.is_verified:
            self._raise_if_failed()
        return self._state.readable

    # -- its life -----------------------------------------------------------------------

    async def _live(self) -> None:
        """Lead if there is no other leader, else follow; and again, until it is over."""
        while not self._state.over:
            async with self._context.store.ingest(
                self.origin.repository, self.origin.digest
            ) as ingest:
                if ingest is not None:
                    await self._lead(ingest)
                    return
            await self._watch()

    def _report_start(self) -> None:
        self._led_since = self._context.clock.monotonic()
        origin = self.origin
        self._context.observer.observe(FillStarted(origin.repository.registry, origin.digest))

    def _report_end(self) -> None:
        """What it came to; only the leader says it, for a download is one for all processes."""
        if self._led_since is not None:
            registry, digest = self.origin.repository.registry, self.origin.digest
            reason = None if self._error is None else str(self._error)
            seconds = self._context.clock.monotonic() - self._led_since
            self._context.observer.observe(
                FillEnded(registry, digest, reason, self._state.received, seconds, self._source)
            )

    async def _lead(self, ingest: Ingest) -> None:
        stored = await self._context.store.prove(self.origin.digest, self.origin.size)
        if stored is not None:
            # It landed between the look that missed it and the lock that we hold now; or it
            # was here, and nobody could say that it still was what it had been.
            stored.close()
            await self._confirm()
            self._land(stored.size)
            return
        self._reader = ingest.reader
        self._report_start()
        try:
            download = Download(self.origin, ingest, self, self._context.clock)
            await download.run()
            ingest.verify()
        except ContentInvalid:
            # Nothing of what a lying upstream sent is worth taking up again.
            await ingest.discard()
            raise
        except StorageError:
            # The room is needed for others; those who follow have the file open still.
            await ingest.discard()
            raise
        # Followers may have the end now; that it gets a name is nothing to wait for.
        self._move(self._state.verified())
        await ingest.commit()
        self._move(self._state.committed())

    async def _watch(self) -> None:
        """Follow the file of another process, until that is over or its lock may be free."""
        growing = self._context.store.watch(self.origin.digest)
        if growing is None:
            return
        try:
            await self._confirm()
            await self._ask_size()
            self._reader = growing.reader
            for _ in range(_LOOKS_PER_TRY):
                if growing.is_gone():
                    await self._ended_elsewhere()
                    return
                self._seen(growing.received())
                await self._context.clock.sleep(_WATCH_SECONDS)
        finally:
            growing.close()

    async def _confirm(self) -> None:
        """Others fetch these bytes, for a repository of theirs: are they in ours too?"""
        if not self._confirmed:
            await self._ask_upstream()
            self._confirmed = True

    async def _ask_size(self) -> None:
        """How long it is, where no manifest has said it: clients want to know before its end.

        Who fetches it has heard it from upstream, and does not keep what nothing has verified.
        """
        if self._size is None and not self._has_asked:
            with suppress(CacheproxyError):
                await self._ask_upstream()

    async def _ask_upstream(self) -> None:
        self._has_asked = True
        size = await self.origin.confirm()
        self._size = size if self._size is None else self._size

    def _seen(self, received: int) -> None:
        if self._state.phase is Phase.OPENING and received:
            self.opened(self._size, 0)
        if received > self._state.received:
            self.grown(received)

    async def _ended_elsewhere(self) -> None:
        stored = await self._context.store.prove(self.origin.digest)
        if stored is not None:
            stored.close()
            self._land(stored.size)
        elif self._state.phase is Phase.STREAMING:
            # Its disk was full, or its bytes were wrong: who goes on without it finds out.
            raise StorageError("another worker has given this download up")

    def _land(self, size: int) -> None:
        """It is in the store."""
        if self._state.phase is Phase.OPENING:
            self._were_here = size
            self._state = self._state.opened(size)
        self._state = self._state.grown(size).verified()
        self._move(self._state.committed())

    # -- what the download reports (`Progress`) -------------------------------------------

    def comes_from(self, source: Literal["fill", "peer"]) -> None:
        """Who gives the bytes that come next."""
        self._source = source
        self._move(self._state)

    def opened(self, size: int | None, received: int) -> None:
        """Upstream has answered. Not the first time where a dead writer's work is taken over."""
        if self._state.phase is Phase.OPENING:
            self._were_here = received
            self._move(self._state.opened(size, received))
        else:
            self._move(self._state.grown(received))

    def growing(self, received: int) -> None:
        """Refuse what is too much, before it is on disk."""
        self._state.grown(received)

    def grown(self, received: int) -> None:
        """Let followers read on."""
        if self._source == "peer":
            self._from_replicas += received - self._state.received
        self._move(self._state.grown(received))

    def _move(self, state: FillState) -> None:
        self._state = state
        # A new event for each step: it wakes all who wait for this one.
        self._changed.set()
        self._changed = asyncio.Event()

    def _raise_if_failed(self) -> None:
        if self._error is not None:
            raise self._error.with_traceback(None)
