"""The progress of a download: told by its writer, read by all who follow."""

import asyncio
from collections.abc import Callable
from typing import Literal

from cacheproxy.domain.errors import CacheproxyError
from cacheproxy.domain.fill_state import FillState, Phase
from cacheproxy.ports import BlobFile, StoredBlob


class Progress:
    """The state of one download, and the file that its bytes are in.

    The file is a handle of its own: it stays open while anybody may still ask for it, whatever
    becomes of the writer's or the watcher's. Every change is one step without an `await`, and
    the last one (`commit`, `fail`) calls `on_end` within that step.
    """

    def __init__(self, on_end: Callable[[], None] = lambda: None) -> None:
        self.state = FillState()
        self.error: CacheproxyError | None = None
        self.source: Literal["fill", "peer"] = "fill"
        self._file: BlobFile | None = None
        self._on_end = on_end
        self._changed = asyncio.Event()
        self._found = 0
        self._from_replicas = 0

    @property
    def has_ended(self) -> bool:
        """Whether it was committed, or has failed: nothing will change any more."""
        return self.state.phase in (Phase.COMMITTED, Phase.FAILED)

    @property
    def fetched(self) -> tuple[int, int]:
        """Bytes that came from upstream, and from other replicas, since it began.

        Bytes that another worker fetches meanwhile count as upstream's.
        """
        new = max(0, self.state.received - self._found)
        return max(0, new - self._from_replicas), self._from_replicas

    # -- for those who follow -------------------------------------------------------------------

    async def wait_change(self) -> None:
        """Wait until anything changes."""
        await self._changed.wait()

    async def wait_beyond(self, offset: int) -> int:
        """Wait until bytes behind `offset` are readable; returns how far they then go.

        The blob's end is the only other way out: then it is `offset` or less.

        Raises:
            CacheproxyError: the rest will never come.
        """
        while self.state.readable <= offset and not self.state.over:
            await self._changed.wait()
        if self.state.readable <= offset and not self.state.is_verified:
            self.raise_if_failed()
        return self.state.readable

    async def wait_committed(self) -> None:
        """Wait until the blob is in the store.

        Raises:
            CacheproxyError: it could not be had, or not be kept.
        """
        while not self.has_ended:
            await self._changed.wait()
        self.raise_if_failed()

    def raise_if_failed(self) -> None:
        """Raise the error with which it failed, if it did."""
        if self.error is not None:
            raise self.error.with_traceback(None)

    def share_file(self) -> BlobFile | None:
        """Return a handle of the file that is current; None before there is one."""
        return None if self._file is None else self._file.share()

    def release_file(self) -> None:
        """Close the file: nobody will ask for it any more."""
        if self._file is not None:
            self._file.close()
            self._file = None

    # -- for whoever fetches or watches -----------------------------------------------------------

    def begin(self, size: int | None, file: BlobFile, received: int) -> None:
        """Have the bytes be those of this file from now on; it is closed here."""
        if self.has_ended:
            file.close()
            return
        known, self._file = self._file, file
        is_same = known is not None and known.identity == file.identity
        if known is not None:
            known.close()
        if self.state.phase is Phase.OPENING:
            self._found = received
            self._move(self.state.opened(size, received))
        elif is_same:
            self._move(self.state.grown(max(received, self.state.received)))
        else:
            self._found = received
            self._from_replicas = 0
            self._move(self.state.restarted(size, received))

    def come_from(self, source: Literal["fill", "peer"]) -> None:
        """Say who gives the bytes that come next."""
        self.source = source
        self.notify()

    def check_growth(self, received: int) -> None:
        """Refuse so many bytes before they are on disk.

        Raises:
            ContentInvalid: those are more than the blob has.
        """
        if not self.has_ended:
            self.state.grown(received)

    def grow(self, received: int) -> None:
        """Let followers read on."""
        if self.has_ended:
            return
        if self.source == "peer":
            self._from_replicas += received - self.state.received
        self._move(self.state.grown(received))

    def verify(self) -> None:
        """Let followers have the end: the digest has been compared."""
        if not self.has_ended:
            self._move(self.state.verified())

    def commit(self) -> None:
        """Say that the blob is in the store."""
        if not self.has_ended:
            self._move(self.state.committed())
            self._on_end()

    def land(self, stored: StoredBlob) -> None:
        """Have the bytes be those of a blob that is in the store."""
        self.begin(stored.size, stored.share(), stored.size)
        self.verify()
        self.commit()

    def fail(self, error: CacheproxyError) -> None:
        """Say that nothing more will come. What was verified stays readable."""
        if not self.has_ended:
            self.error = error
            self._move(self.state.failed())
            self._on_end()

    def notify(self) -> None:
        """Wake everybody who waits for a change."""
        # A new event for each step: it wakes all who wait for this one.
        self._changed.set()
        self._changed = asyncio.Event()

    def _move(self, state: FillState) -> None:
        self.state = state
        self.notify()
