"""Membership: the replicas of a cache that are live, by their heartbeats in Redis."""

from math import inf
from typing import NoReturn

from cacheproxy.cluster.shared import Keys, Shared, script, text
from cacheproxy.domain.errors import StorageError
from cacheproxy.domain.events import ReplicasSeen
from cacheproxy.ports import Clock, Observer

HEARTBEAT_SECONDS = 1.0
# A replica without a heartbeat for so long is not asked any more; one without a heartbeat for a
# minute is no member any more, and is to announce its blobs anew should it come back.
_LIVE_SECONDS = 4
_MEMBER_SECONDS = 60
_LOOK_SECONDS = 0.05
# A replica that leaves beats under this name: those that read from it know that it is there, and
# nobody asks it for more.
_LEAVING = " leaving"

# The time is Redis's own, since those of replicas may differ. Scores in the future are from before
# that clock was set back: they are as old as now. The answer begins with two facts by which a
# replica knows whether Redis still has what it was told: whether the replica was no member, and
# which run of a server answers. A key of another type is of no use to anybody, and makes room.
_BEAT = """
-- KEYS: members. ARGV: name, seconds of the live, seconds of members, a name to remove (or none).
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local added = redis.pcall('ZADD', KEYS[1], now, ARGV[1])
if type(added) == 'table' then
  redis.call('DEL', KEYS[1])
  added = redis.call('ZADD', KEYS[1], now, ARGV[1])
end
if ARGV[4] then redis.call('ZREM', KEYS[1], ARGV[4]) end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[3])
local live, silent = {}, {}
local found = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
for i = 1, #found, 2 do
  local at = tonumber(found[i + 1])
  if at > now then redis.call('ZADD', KEYS[1], now, found[i]) end
  local list = at < now - ARGV[2] and silent or live
  list[#list + 1] = found[i]
end
local server = redis.pcall('INFO', 'server')
local run = type(server) == 'string' and string.match(server, 'run_id:(%w+)') or ''
return {added, run, live, silent}
"""


class Membership:
    """The heartbeat of this replica, and the members that the last one found.

    Attributes:
        live: addresses of the others that may be asked.
        is_heard: Redis has answered the last heartbeat.
        losses: so often Redis turned out to have forgotten this replica, at its start too.
        joined_at: the time of the last loss, by the monotonic clock.
    """

    def __init__(self, shared: Shared, keys: Keys, me: str, clock: Clock) -> None:
        self._shared = shared
        self._key = keys.members
        self._me = me
        self._clock = clock
        self.live: frozenset[str] = frozenset()
        self.is_heard = False
        self.losses = 0
        self.joined_at = inf
        self._leaving: frozenset[str] = frozenset()
        self._members: frozenset[str] = frozenset()
        self._is_leaving = False
        self._run: str | None = None
        self._seen = 0

    def is_there(self, address: str) -> bool:
        """Whether a replica has beaten lately; true while that is unknown."""
        return address in self.live or address in self._leaving or not self.is_heard

    def is_gone(self, address: str) -> bool:
        """Whether a replica is no member any more; false while that is unknown."""
        return self.is_heard and address != self._me and address not in self._members

    def count(self) -> int:
        """Return the number of members, those that were live a minute ago included."""
        return len(self._members | {self._me})

    def leave(self) -> None:
        """Have the others ask another replica from the next heartbeat on."""
        self._is_leaving = True

    async def end(self) -> None:
        """End the membership, after `leave`.

        Raises:
            StorageError: Redis does not answer; the membership then expires.
        """
        if self._is_leaving:
            names = (self._me, self._me + _LEAVING)
            await self._shared.call(lambda redis: redis.zrem(self._key, *names))

    async def run(self, observer: Observer) -> NoReturn:
        """Beat every second, and once more as soon as this replica leaves.

        Args:
            observer: is told when the number of live replicas changes.
        """
        beaten, has_left = -inf, False
        while True:
            now = self._clock.monotonic()
            if now >= beaten + HEARTBEAT_SECONDS or has_left != self._is_leaving:
                beaten, has_left = now, self._is_leaving
                await self.beat()
                self._report(observer)
            await self._clock.sleep(_LOOK_SECONDS)

    async def beat(self) -> None:
        """Beat once, and find out who else does."""
        values = [self._me, str(_LIVE_SECONDS), str(_MEMBER_SECONDS)]
        if self._is_leaving:
            values = [self._me + _LEAVING, *values[1:], self._me]
        try:
            added, run, live, silent = await self._shared.call(script(_BEAT, [self._key], values))
        except StorageError:
            self.live, self._leaving, self.is_heard = frozenset(), frozenset(), False
            return
        self._note_server(text(run), is_new=bool(added))
        self.is_heard = True
        names = frozenset(map(text, live))
        # Another worker of one that leaves, or the next to have its address, is live.
        leaving = frozenset(name for name in names if name.endswith(_LEAVING))
        self.live = names - leaving - {self._me}
        self._leaving = frozenset(name.removesuffix(_LEAVING) for name in leaving)
        self._members = self.live | self._leaving | frozenset(map(text, silent))

    def _note_server(self, run: str, *, is_new: bool) -> None:
        """Count a loss if another server answers than before, or the same one knew us no more.

        A server that does not say which one it is may be another one after each silence.
        """
        is_same = run == self._run and (bool(run) or self.is_heard)
        if not is_same or (is_new and not self._is_leaving):
            self.losses += 1
            self.joined_at = self._clock.monotonic()
        self._run = run

    def _report(self, observer: Observer) -> None:
        count = len(self.live) + 1
        if count != self._seen:
            self._seen = count
            observer.observe(ReplicasSeen(count))
