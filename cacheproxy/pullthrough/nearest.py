"""Search for the replica to read a blob's bytes from.

A replica that has the blob whole is asked first. If there is none, one replica fetches the blob
from upstream: it holds the lease, and the others read from it while bytes come in. The holder of
the lease asks nobody but upstream. Each replica serves a few readers at once; a busy one names its
readers, and those are asked next, so a blob that all replicas want at once spreads along a tree.
A replica that reads from another one serves only replicas that have less than itself, so no two
of them ever wait for each other, whatever becomes of the tree.

A replica is blamed for nothing but its own answers, and by nobody but this process. One that gave
wrong bytes is shunned here for a while. One that does not answer is unreachable. One is busy only
if it says so, and then it is asked again until a deadline; afterwards the blob is fetched from
upstream.
"""

import random
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Literal

from cacheproxy.cluster_ports import Part, Peers, ReplicaBusy, Replicas
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import BlobUnknown, CacheproxyError, Denied, UpstreamLimited
from cacheproxy.ports import BlobStream, Clock

# At most so many holders are asked in one turn, and so many readers that busy replicas have named.
_MOST_HOLDERS = 3
_MOST_READERS = 32
# Seconds for which busy replicas are asked again, and for which a replica that itself waits for
# upstream's first bytes is waited for. Both are below the time after which clients give up.
_BUSY_SECONDS = 9.0
_WAITING_SECONDS = 60.0
# The pause between two turns grows by the first, up to the second.
_PAUSE = 0.02
_LONGEST_PAUSE = 0.25
# A replica that gave wrong bytes is not asked for that blob again for so many seconds.
_SHUN_SECONDS = 60.0
_REMEMBERED = 10_000

_Found = BlobStream | Literal["here", "busy", "waiting"]
"""Bytes from another replica; or the reason for which there are none.

`here`: this process is to fetch them. `busy`: replicas that have them are busy. `waiting`: the
holder of the lease waits for upstream itself.
"""


class Nearest:
    """The search, and the memory of replicas that gave wrong bytes."""

    def __init__(self, replicas: Replicas, peers: Peers, clock: Clock) -> None:
        self._replicas = replicas
        self._peers = peers
        self._clock = clock
        # The replicas that gave bytes of a blob since it was last wanted from its start.
        self._givers: OrderedDict[Digest, set[str]] = OrderedDict()
        self._shunned_until: OrderedDict[tuple[Digest, str], float] = OrderedDict()

    async def stream(self, stack: AsyncExitStack, part: Part) -> BlobStream | None:
        """Return the bytes from another replica; None if this process is to fetch them.

        The lease, if it is acquired, is held until the stack is left.
        """
        end = self._clock.monotonic() + _WAITING_SECONDS
        search = self._search(stack, part)
        pause = _PAUSE
        while self._clock.monotonic() < min(search.deadline, end):
            found = await search.look()
            if found == "waiting":
                search.deadline = self._clock.monotonic() + _BUSY_SECONDS
            elif found != "busy":
                return None if found == "here" else found
            await self._clock.sleep(pause)
            pause = min(pause + _PAUSE, _LONGEST_PAUSE)
        await search.take_lease()
        return None

    async def from_one(self, stack: AsyncExitStack, part: Part, address: str) -> BlobStream | None:
        """Return the bytes from the replica that should have them; None if it does not."""
        found = await self._search(stack, part).ask_holders([address])
        return None if isinstance(found, str) else found

    def distrust(self, digest: Digest) -> None:
        """Shun the replicas that gave bytes of a blob which have turned out to be wrong."""
        until = self._clock.monotonic() + _SHUN_SECONDS
        for address in self._givers.pop(digest, ()):
            self._shunned_until[digest, address] = until
        while len(self._shunned_until) > _REMEMBERED:
            self._shunned_until.popitem(last=False)

    def is_shunned(self, digest: Digest, address: str) -> bool:
        """Whether a replica gave wrong bytes of a blob lately."""
        return self._shunned_until.get((digest, address), 0.0) > self._clock.monotonic()

    def note_giver(self, part: Part, address: str) -> None:
        """Remember that a replica gives bytes, in case that they are wrong."""
        if part.start == 0:
            self._givers.pop(part.digest, None)
        self._givers.setdefault(part.digest, set()).add(address)
        while len(self._givers) > _REMEMBERED:
            self._givers.popitem(last=False)

    def _search(self, stack: AsyncExitStack, part: Part) -> "_Search":
        deadline = self._clock.monotonic() + _BUSY_SECONDS
        return _Search(self, self._replicas, self._peers, self._clock, stack, part, deadline)


@dataclass(slots=True)
class _Search:
    """One search for one part of a blob.

    Attributes:
        deadline: by the monotonic clock; no further replica is asked after it.
    """

    _nearest: Nearest
    _replicas: Replicas
    _peers: Peers
    _clock: Clock
    _stack: AsyncExitStack
    _part: Part
    deadline: float

    async def look(self) -> _Found:
        """Ask the holders of the blob, then the holder of the lease, once."""
        holders = await self._replicas.holders(self._part.digest)
        found = await self.ask_holders(holders[:_MOST_HOLDERS])
        if found != "here":
            return found
        claim = self._replicas.claim(self._part.digest)
        filler = await self._stack.enter_async_context(claim)
        return "here" if filler is None else await self._ask_filler(filler)

    async def take_lease(self) -> None:
        """Acquire the lease, also from a replica that has held it for too long."""
        claim = self._replicas.claim(self._part.digest)
        filler = await self._stack.enter_async_context(claim)
        if filler is not None:
            await self._replicas.release(self._part.digest, filler)
            await self._stack.enter_async_context(self._replicas.claim(self._part.digest))

    async def ask_holders(self, holders: Sequence[str]) -> _Found:
        """Ask replicas that have the blob whole."""
        is_busy, named = False, list[str]()
        for address in holders:
            if not self._may_ask(address):
                continue
            try:
                return await self._read_from(address)
            except ReplicaBusy as busy:
                is_busy = True
                named += busy.readers
            except CacheproxyError:
                continue  # it does not have the blob, or cannot give it; another one may
        return await self._ask_readers(named) if is_busy else "here"

    async def _ask_filler(self, address: str) -> _Found:
        """Ask the holder of the lease, which gives what it has and then what comes."""
        if self._nearest.is_shunned(self._part.digest, address):
            return "here"
        try:
            # Bytes that it fetches itself are right, or wrong for all: they are no giver's fault.
            return await self._open(self._part, address)
        except ReplicaBusy as busy:
            found = await self._ask_readers(busy.readers)
            return "waiting" if found == "busy" and busy.is_waiting else found
        except Denied:
            return "here"  # what it fetches is not for this replica
        except (UpstreamLimited, BlobUnknown):
            return "busy"  # it begins in a moment, or has just ended
        except CacheproxyError:
            # It is unreachable, so the next replica that claims the lease goes on.
            await self._replicas.release(self._part.digest, address)
            return "busy"

    async def _ask_readers(self, named: Iterable[str]) -> _Found:
        """Ask the readers of busy replicas, then the readers of those."""
        left, asked = _shuffled(named), set[str]()
        while left and len(asked) < _MOST_READERS:
            address = left.pop()
            if address in asked or not self._replicas.knows(address):
                continue
            asked.add(address)
            if not self._may_ask(address):
                continue
            try:
                return await self._read_from(address)
            except ReplicaBusy as busy:
                left += _shuffled(busy.readers)
            except CacheproxyError:
                continue  # there are others, and this one may be asked again
        return "busy"

    def _may_ask(self, address: str) -> bool:
        is_late = self._clock.monotonic() >= self.deadline
        return not (is_late or self._nearest.is_shunned(self._part.digest, address))

    async def _read_from(self, address: str) -> BlobStream:
        """Begin to read what a replica has beyond the start of the part."""
        stream = await self._open(replace(self._part, is_ahead=True), address)
        self._nearest.note_giver(self._part, address)
        return stream

    async def _open(self, part: Part, address: str) -> BlobStream:
        return await self._stack.enter_async_context(self._peers.get_blob(address, part))


def _shuffled(addresses: Iterable[str]) -> list[str]:
    """Return addresses in random order, so that replicas share the work."""
    found = list(addresses)
    random.shuffle(found)
    return found
