"""What Redis does in one step: scripts, each of whose keys are all on one server.

Each may be sent twice, when a connection broke before its answer: twice does what once does.
None fails for what somebody else put under our keys, whatever its type: it is written over.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

from redis.exceptions import NoScriptError

from cacheproxy.metadata.redis_clients import Client


class RedisScript:
    """A script that a server is sent once, and again after it has forgotten it."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()

    async def run(
        self, client: Client, keys: Sequence[str | bytes], values: Sequence[str | bytes | int]
    ) -> Any:  # noqa: ANN401  # what a script answers is its own
        """Run it on the server that has the keys.

        Raises:
            redis.exceptions.RedisError: it failed.
        """
        try:
            return await client.evalsha(self._sha, len(keys), *keys, *values)
        except NoScriptError:
            # Not SCRIPT LOAD: in a Cluster that asks servers that have none of the keys.
            return await client.eval(self._source, len(keys), *keys, *values)


PUT_TAG = RedisScript("""
-- KEYS: of the tag. ARGV: value, time to live, '"digest":…' as in the value, channel, message,
-- epoch and time of the value, and the tolerance of clocks. The order is that of `newest`.
local known = redis.pcall('GET', KEYS[1])
if type(known) ~= 'string' then known = '' end
local at = tonumber(string.match(known, '"checked_at":([%d.e+-]+)') or '')
if at then
  at = at - (tonumber(string.match(known, '"ahead":([%d.e+-]+)') or '') or 0)
  local epoch, ours = tonumber(string.match(known, '"epoch":(%d+)') or ''), tonumber(ARGV[6])
  if not epoch or epoch == 0 then epoch = ours end
  local time = redis.call('TIME')
  local limit = time[1] + time[2] / 1000000 + ARGV[8]
  local is_later = epoch > ours or epoch == ours and at > tonumber(ARGV[7])
  if at <= limit and (is_later or tonumber(ARGV[7]) > limit) then return 0 end
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
if not string.find(known, ARGV[3], 1, true) then redis.pcall('PUBLISH', ARGV[4], ARGV[5]) end
return 1
""")
"""Writes what a tag points to, and says so on the channel if that is something else; returns 0 if
the record that is there is newer."""

ADD_LINKS = RedisScript("""
-- KEYS: of links. ARGV: time to live, then a value for each.
for i, key in ipairs(KEYS) do
  local size, read, kind = string.match(ARGV[i + 1], '^(%d*),([01]),(.*)$')
  local known = redis.pcall('GETEX', key, 'EX', ARGV[1])
  if type(known) == 'string' then
    local s, r, k = string.match(known, '^(%d*),([01]),(.*)$')
    if s and #s <= 20 then
      if size == '' or r == '1' and read == '0' and s ~= '' then size = s end
      if kind == '' or r == '1' and read == '0' and k ~= '' then kind = k end
      if r == '1' then read = '1' end
    end
  end
  local value = size .. ',' .. read .. ',' .. kind
  if value ~= known then redis.call('SET', key, value, 'EX', ARGV[1]) end
end
return 1
""")
"""Adds to links what is known now, as `Link.or_known` does."""

RECORD_PURGE = RedisScript("""
-- KEYS: of purges. ARGV: message, channel, seconds and number of them to keep.
-- By this server's clock, but never at or before the last one: a reader goes on from there.
local time = redis.call('TIME')
local at = time[1] + time[2] / 1000000
local last = redis.pcall('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
if last.err then
  redis.call('DEL', KEYS[1])
elseif last[2] and tonumber(last[2]) >= at then
  at = tonumber(last[2]) + 0.000001
end
redis.call('ZADD', KEYS[1], string.format('%.6f', at), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.6f', at - ARGV[3]))
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - ARGV[4])
-- Without a lifetime: a server that is full may evict what has one.
redis.call('PERSIST', KEYS[1])
redis.pcall('PUBLISH', ARGV[2], ARGV[1])
return 1
""")
"""Keeps what was purged, and says so on the channel."""

READ_PURGES = RedisScript("""
-- KEYS: of purges. ARGV: a time. What is of another type was put there by somebody else.
local found = redis.pcall('ZRANGEBYSCORE', KEYS[1], '(' .. ARGV[1], '+inf', 'WITHSCORES')
if found.err then return {} end
return found
""")
"""What was purged after some time, and when: by turns."""
