"""Announcements: this replica's entries in the index of blobs, in Redis."""

import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import islice
from math import inf
from typing import Any, Literal, NoReturn

from cacheproxy.cluster.membership import HEARTBEAT_SECONDS, Membership
from cacheproxy.cluster.shared import Keys, Shared, script, text
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import StorageError
from cacheproxy.ports import Clock

# Sets of holders live so long, and all blobs are announced anew well within that.
_ENTRY_SECONDS = 3 * 86_400
_ANNOUNCE_ALL_SECONDS = 86_400.0
# More holders of one blob are of no use to anybody, and cost memory.
MOST_HOLDERS = 64
_MOST_READ = 1000
_BATCH = 500
_FLUSH_SECONDS = 0.05
_AGAIN_SECONDS = 1.0
# A joining replica announces its blobs when all others have had a heartbeat to learn of it. Until
# then they may take its entries for those of a replica that is gone, and remove them.
_JOIN_SECONDS = 2 * HEARTBEAT_SECONDS

_Change = Literal["add", "create", "renew", "remove"]
"""A change of one entry: `add` to a set that others keep alive; `create` the set if need be;
`renew` the set, whatever is there, and look at its size; `remove`."""

_RENEW: _Change = "renew"
_COMMANDS: Mapping[_Change, int] = {"add": 1, "create": 2, "remove": 1}

# One command for many blobs: a client spends more time on a command than Redis does.
_RENEW_ALL = """
-- KEYS: sets of holders. ARGV: address, time to live, size from which on a set is large.
-- A key of another type is of no use to anybody, and makes room. Returns the numbers of large sets.
local large = {}
for i, key in ipairs(KEYS) do
  local size = redis.pcall('SCARD', key)
  if type(size) == 'table' then
    redis.call('DEL', key)
    size = 0
  end
  size = size + redis.call('SADD', key, ARGV[1])
  redis.call('EXPIRE', key, ARGV[2])
  if size > tonumber(ARGV[3]) then large[#large + 1] = i end
end
return large
"""


class Announcements:
    """Entries that are yet to be written, and the service that writes them.

    Each entry is written as often as need be: what a failure has left open is tried again, and
    twice is as good as once. So a hiccup of Redis costs the batch that it has hit.
    """

    def __init__(
        self, shared: Shared, keys: Keys, me: str, members: Membership, clock: Clock
    ) -> None:
        self._shared = shared
        self._keys = keys
        self._me = me
        self._members = members
        self._clock = clock
        self._pending: dict[tuple[Digest, str], _Change] = {}
        self._announced_at = -inf
        self._known_losses = 0

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, digest: Digest, *, is_known: bool) -> None:
        """Announce a blob that has come.

        Args:
            digest: of the blob.
            is_known: another live replica has announced it, and so keeps its set alive.
        """
        self._pending[digest, self._me] = "add" if is_known else "create"

    def remove(self, digest: Digest) -> None:
        """Announce that a blob has gone."""
        self._pending[digest, self._me] = "remove"

    def remove_gone(self, digest: Digest, addresses: Iterable[str]) -> None:
        """Remove the entries of replicas that are no members any more."""
        for address in addresses:
            if self._members.is_gone(address):
                self._pending[digest, address] = "remove"

    async def run(self, stored: Callable[[], Awaitable[Iterable[Digest]]]) -> NoReturn:
        """Write entries as they come; all of them once a day, and after Redis has lost some.

        Args:
            stored: returns the blobs that are here.
        """
        while True:
            if self._is_due():
                losses, begun = self._members.losses, self._clock.monotonic()
                mine = dict.fromkeys(((digest, self._me) for digest in await stored()), _RENEW)
                self._pending = {**mine, **self._pending}
                self._known_losses, self._announced_at = losses, begun
            await self._clock.sleep(await self.flush())

    async def flush(self) -> float:
        """Write a batch of entries; return the seconds until the next one."""
        if not self._pending or not self._members.is_heard:
            return _FLUSH_SECONDS
        begun = self._clock.monotonic()
        # The latest first: somebody may wait for them.
        batch = [self._pending.popitem() for _ in range(min(_BATCH, len(self._pending)))]
        try:
            await self._write(dict(batch))
        except StorageError:
            self._pending = {**dict(batch), **self._pending}
            return _AGAIN_SECONDS
        # As long as it took, so that at most half of the time goes into announcements.
        return self._clock.monotonic() - begun if self._pending else _FLUSH_SECONDS

    def _is_due(self) -> bool:
        now, members = self._clock.monotonic(), self._members
        if not members.is_heard or now < members.joined_at + _JOIN_SECONDS:
            return False
        is_lost = members.losses != self._known_losses
        return is_lost or now >= self._announced_at + _ANNOUNCE_ALL_SECONDS

    async def _write(self, batch: Mapping[tuple[Digest, str], _Change]) -> None:
        """Write entries.

        Raises:
            StorageError: some were not written.
        """
        changes = {entry: change for entry, change in batch.items() if change != "renew"}
        if changes:
            await self._write_changes(changes)
        renewed = [digest for (digest, _), change in batch.items() if change == "renew"]
        if renewed:
            await self._trim(await self._renew(renewed))

    async def _write_changes(self, changes: Mapping[tuple[Digest, str], _Change]) -> None:
        """Write the entries of blobs that have come or gone.

        Raises:
            StorageError: some were not written.
        """
        answers = iter(await self._shared.call(lambda redis: _send(redis, self._keys, changes)))
        for entry, change in changes.items():
            problem, *_ = islice(answers, _COMMANDS[change])
            if not isinstance(problem, Exception) or change == "remove":
                continue
            if "WRONGTYPE" not in str(problem):
                raise StorageError("Redis does not keep what it is told") from problem
            self._pending[entry] = "renew"

    async def _renew(self, digests: Sequence[Digest]) -> Sequence[Digest]:
        """Write entries, and begin the time of their sets anew; return those with large sets."""
        by_key = {self._keys.holders(digest): digest for digest in digests}
        most = min(MOST_HOLDERS, self._members.count())
        values = [self._me, str(_ENTRY_SECONDS), str(most)]

        async def work(redis: Any) -> list[Digest]:  # noqa: ANN401  # of one server or of a Cluster
            large = list[Digest]()
            for keys in _on_one_server(redis, list(by_key)):
                found = await script(_RENEW_ALL, keys, values)(redis)
                large += [by_key[keys[number - 1]] for number in found]
            return large

        return await self._shared.call(work)

    async def _trim(self, digests: Sequence[Digest]) -> None:
        """Remove entries of replicas that are gone, and as many as there are too many."""
        if not digests:
            return
        keys = [(digest, self._keys.holders(digest)) for digest in digests]

        async def read(redis: Any) -> list[Any]:  # noqa: ANN401  # of one server or of a Cluster
            pipeline = redis.pipeline(transaction=False)
            for _, key in keys:
                pipeline.srandmember(key, _MOST_READ)
            found: list[Any] = await pipeline.execute(raise_on_error=False)
            return found

        for (digest, _), found in zip(keys, await self._shared.call(read), strict=True):
            if isinstance(found, Exception):
                continue
            holders = list(map(text, found))
            self.remove_gone(digest, holders)
            others = [one for one in holders if one != self._me and not self._members.is_gone(one)]
            for one in random.sample(others, max(0, len(others) + 1 - MOST_HOLDERS)):
                self._pending[digest, one] = "remove"


async def _send(
    redis: Any,  # noqa: ANN401  # of one server or of a Cluster
    keys: Keys,
    changes: Mapping[tuple[Digest, str], _Change],
) -> list[Any]:
    """Send the commands of some changes; return all answers, errors too."""
    pipeline = redis.pipeline(transaction=False)
    for (digest, address), change in changes.items():
        key = keys.holders(digest)
        if change == "remove":
            pipeline.srem(key, address)
            continue
        pipeline.sadd(key, address)
        if change == "create":
            pipeline.expire(key, _ENTRY_SECONDS)
    answers: list[Any] = await pipeline.execute(raise_on_error=False)
    return answers


def _on_one_server(redis: Any, keys: Sequence[str]) -> Iterable[list[str]]:  # noqa: ANN401  # of one server or of a Cluster
    """Group keys so that one script may have them; in a Cluster those of one slot."""
    slot_of: Callable[[str], int] = getattr(redis, "keyslot", lambda _: 0)
    groups = dict[int, list[str]]()
    for key in keys:
        groups.setdefault(slot_of(key), []).append(key)
    return groups.values()
