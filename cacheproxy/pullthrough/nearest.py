"""Which replica to have a blob's bytes from.

One that has it whole is asked first. Of those that have not, one fetches it: it has the lease,
and the others read from it while it comes in. Who has the lease asks nobody but upstream. Each
serves a few at once; one that is busy names those who read from it, and they are asked next: so
a blob that all want at once goes down a tree. Who reads from another replica is read from only
by those who have less than it does, so that no two of them wait for each other, whatever becomes
of the tree.
"""

import random
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Literal

from cacheproxy.cluster_ports import Part, Peers, ReplicaBusy, Replicas
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import BlobUnknown, Denied, UpstreamError, UpstreamLimited
from cacheproxy.ports import BlobStream, Clock

# Of those that have it, so many are asked; then it is fetched from upstream.
_ASKED = 3
# And so many of those that busy ones have named, at one go.
_NAMED = 32
# How often those are asked who are fetching it, or have it and are busy; so many seconds apart,
# and more each time: in all well below what a client waits for.
_TURNS = 40
_PAUSE = 0.02
_LONGEST_PAUSE = 0.25
# What a replica gave and is asked for again within so long was of no use: another place is asked.
_SHUN_SECONDS = 60.0
_REMEMBERED = 10_000

# Bytes that come from another replica; or where else they are: for us to fetch, or to be had of
# another replica soon.
_Found = BlobStream | Literal["here", "later"]


class Nearest:
    """Finds it, and begins to read."""

    def __init__(self, replicas: Replicas, peers: Peers, clock: Clock) -> None:
        self._replicas = replicas
        self._peers = peers
        self._clock = clock
        # Which replica gave what, and when.
        self._given: OrderedDict[tuple[Digest, str], float] = OrderedDict()

    async def stream(self, stack: AsyncExitStack, part: Part) -> BlobStream | None:
        """The bytes from another replica; None where it is for us to fetch them.

        The lease, if it is ours, is held until the stack is left.
        """
        for turn in range(_TURNS):
            found = await self._nearest(stack, part)
            if found != "later":
                return None if found == "here" else found
            await self._clock.sleep(min(_PAUSE * (turn + 1), _LONGEST_PAUSE))
        # Whoever was said to fetch it does not give it.
        filler = await stack.enter_async_context(self._replicas.claim(part.digest))
        if filler is not None:
            await self._replicas.release(part.digest, filler)
            await stack.enter_async_context(self._replicas.claim(part.digest))
        return None

    async def from_one(self, stack: AsyncExitStack, part: Part, address: str) -> BlobStream | None:
        """The bytes from a replica that should have it; None if it does not give them."""
        found = await self._from_holders(stack, part, [address])
        return None if isinstance(found, str) else found

    async def _nearest(self, stack: AsyncExitStack, part: Part) -> _Found:
        holders = await self._replicas.holders(part.digest)
        found = await self._from_holders(stack, part, holders[:_ASKED])
        if found != "here":
            return found
        filler = await stack.enter_async_context(self._replicas.claim(part.digest))
        return "here" if filler is None else await self._from_filler(stack, part, filler)

    async def _from_holders(
        self, stack: AsyncExitStack, part: Part, holders: Sequence[str]
    ) -> _Found:
        is_busy, named = False, list[str]()
        for address in holders:
            if self._is_shunned(part, address):
                await self._replicas.doubt(part.digest, address)
                continue
            try:
                return await self._begin(stack, replace(part, is_ahead=True), address)
            except ReplicaBusy as busy:
                is_busy = True
                named += busy.readers
            except UpstreamLimited:
                is_busy = True  # it has it
            except BlobUnknown:
                await self._replicas.doubt(part.digest, address)
            except (Denied, UpstreamError):
                continue  # that says nothing of what it has
        return await self._from_readers(stack, part, named) if is_busy else "here"

    async def _from_filler(self, stack: AsyncExitStack, part: Part, address: str) -> _Found:
        if self._is_shunned(part, address):
            await self._replicas.release(part.digest, address)
            return "later"
        try:
            # What it fetches itself is right, or is wrong for all: it is not shunned for it.
            return await self._open(stack, part, address)
        except Denied:
            return "here"  # what it fetches is not for us
        except ReplicaBusy as busy:
            return await self._from_readers(stack, part, busy.readers)
        except (UpstreamLimited, BlobUnknown):
            return "later"
        except UpstreamError:
            # It is gone: whoever claims it next goes on.
            await self._replicas.release(part.digest, address)
            return "later"

    async def _from_readers(
        self, stack: AsyncExitStack, part: Part, named: Iterable[str]
    ) -> _Found:
        """From one of those who read from a busy one, or of those who read from them."""
        left, asked = _shuffled(named), set[str]()
        while left and len(asked) < _NAMED:
            address = left.pop()
            if address in asked or not self._replicas.knows(address):
                continue
            asked.add(address)
            if self._is_shunned(part, address):
                continue
            try:
                return await self._begin(stack, replace(part, is_ahead=True), address)
            except ReplicaBusy as busy:
                left += _shuffled(busy.readers)
            except (BlobUnknown, Denied, UpstreamError):
                continue  # there are others, and it is asked again
        return "later"

    def _is_shunned(self, part: Part, address: str) -> bool:
        """Whether it is asked for from the start again: what it gave was wrong, or cut."""
        while len(self._given) > _REMEMBERED:
            self._given.popitem(last=False)
        given = self._given.get((part.digest, address))
        is_recent = given is not None and self._clock.monotonic() < given + _SHUN_SECONDS
        return part.start == 0 and is_recent

    async def _begin(self, stack: AsyncExitStack, part: Part, address: str) -> BlobStream:
        stream = await self._open(stack, part, address)
        self._given[part.digest, address] = self._clock.monotonic()
        return stream

    async def _open(self, stack: AsyncExitStack, part: Part, address: str) -> BlobStream:
        return await stack.enter_async_context(self._peers.get_blob(address, part))


def _shuffled(addresses: Iterable[str]) -> list[str]:
    """In random order: so they share the work."""
    found = list(addresses)
    random.shuffle(found)
    return found
