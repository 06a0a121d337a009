"""What other replicas may have of this one: what it holds, and what it is getting."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from cacheproxy.cluster_ports import Part, ReplicaBusy
from cacheproxy.domain.cache_status import HIT
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import BlobUnknown
from cacheproxy.ports import BlobStore, StoredBlob
from cacheproxy.pullthrough.answers import BlobAnswer
from cacheproxy.pullthrough.blobs import Blobs
from cacheproxy.pullthrough.fill import Fill

# Seconds from a question until its answer begins. One that may ask others instead, or again, must
# be told so well before it takes this replica for unreachable.
_MOMENT = 2.0
_LITTLE = 1024 * 1024


class Sharing:
    """Serves blobs by digest alone, to those who have proven that they are replicas."""

    def __init__(self, store: BlobStore, blobs: Blobs) -> None:
        self._store = store
        self._blobs = blobs

    def look(self, part: Part) -> "Offer":
        """What there is to give; it must be closed.

        Raises:
            BlobUnknown: it is neither here nor on its way here.
            ReplicaBusy: it is on its way, and no more of it is here than `part` says that there
                must be.
        """
        deadline = asyncio.get_running_loop().time() + _MOMENT
        stored = self._store.open(part.digest)
        if stored is not None:
            return Offer(part, stored, self._blobs, deadline)
        fill = self._coming(part.digest)
        if fill is None:
            # Another worker may have committed it since the first look.
            stored = self._store.open(part.digest)
            if stored is None:
                raise BlobUnknown("it is not here")
            return Offer(part, stored, self._blobs, deadline)
        if part.is_ahead and not is_beyond(fill, part.start):
            raise ReplicaBusy("no more of it is here")
        return Offer(part, fill, self._blobs, deadline)

    def _coming(self, digest: Digest) -> Fill | None:
        fill = self._blobs.fills.get(digest)
        if fill is not None:
            return fill
        partial = self._store.watch(digest)
        if partial is None:
            return None
        partial.close()  # another worker of this replica is getting it
        fill, _ = self._blobs.fills.join(digest, None)
        return fill


@dataclass(frozen=True, slots=True)
class Offer:
    """A blob that is here, or on its way here, for a replica that wants a part of it.

    Attributes:
        part: that is wanted.
    """

    part: Part
    _of: StoredBlob | Fill
    _blobs: Blobs
    _deadline: float

    @property
    def is_little(self) -> bool:
        """Whether all of it is sent in no time."""
        of = self._of
        size = (of.state.size or of.origins.size) if isinstance(of, Fill) else of.size
        return size is not None and size <= _LITTLE

    @property
    def is_waiting(self) -> bool:
        """Whether nothing behind the start of the part is here, and only upstream can give it."""
        of = self._of
        return isinstance(of, Fill) and of.source != "peer" and not is_beyond(of, self.part.start)

    async def wait_beyond(self) -> None:
        """Wait until there is more of it than what is before the part, or until the deadline.

        Raises:
            CacheproxyError: it was on its way, and is not any more.
        """
        if isinstance(self._of, Fill):
            with self._of.attended(), suppress(TimeoutError):
                async with asyncio.timeout_at(self._deadline):
                    await self._of.progress.wait_beyond(self.part.start)

    async def answer(self) -> BlobAnswer:
        """The blob.

        Raises:
            ReplicaBusy: upstream does not begin before the deadline; or the blob comes from
                another replica, and the one that asks has as much of it.
            CacheproxyError: it was on its way, and is not any more.
        """
        if not isinstance(self._of, Fill):
            return BlobAnswer(self.part.digest, self._of.size, self._of, HIT, "store")
        try:
            with self._of.attended():
                async with asyncio.timeout_at(self._deadline):
                    await wait_ahead(self._of, self.part.start)
        except TimeoutError:
            raise ReplicaBusy("nothing has come yet") from None
        return await self._blobs.follow(self._of)

    def close(self) -> None:
        """Give back what is not needed any more."""
        if not isinstance(self._of, Fill):
            self._of.close()


def is_beyond(fill: Fill, offset: int) -> bool:
    """Whether a download has more, by now, than what is before `offset`."""
    return fill.state.readable > offset or fill.state.is_verified


async def wait_ahead(fill: Fill, offset: int) -> None:
    """Wait until a download has more than what is before `offset`, or upstream itself gives it.

    Another replica that has so much may then read from it: nothing that it waits for can
    have to come from there.

    Raises:
        CacheproxyError: it could not be had.
    """
    await fill.wait_open()
    while _waits_at(fill, offset):
        await fill.progress.wait_change()
    fill.progress.raise_if_failed()


def _waits_at(fill: Fill, offset: int) -> bool:
    """Whether what is behind `offset` can only come from another replica."""
    state = fill.state
    return fill.source == "peer" and state.readable <= offset and not state.over
