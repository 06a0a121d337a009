"""A model of Redis: its commands on plain values, with Lua scripts, in whatever time it is given.

It holds what the project uses of Redis, answers errors to everything else, and is compared with
real servers by the tests of tests/integration that run against every engine.
"""

import fnmatch
import hashlib
import random
import secrets
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Protocol

from lupa.lua51 import LuaRuntime, lua_type

Value = bytes | set[bytes] | dict[bytes, float] | dict[bytes, bytes]
"""A string, a set, a sorted set, or a hash."""

_VERSION = "7.0.15"
_OK = "OK"


class ReplyError(Exception):
    """An error reply; its text begins with its code."""


class Subscriber(Protocol):
    """A connection that waits for messages."""

    def push(self, channel: bytes, message: bytes) -> None:
        """Send a message."""


@dataclass(slots=True)
class _Entry:
    """A value, its type as `TYPE` names it, and when it expires."""

    kind: str
    value: Any
    expires_at: float | None = None


class RedisModel:
    """One server: a single database.

    Attributes:
        run_id: of this run of the server; another one after each restart.
        subscribers: connections, by the channel that they listen to.
    """

    def __init__(self, now: Callable[[], float], chance: random.Random | None = None) -> None:
        """Begin empty.

        Args:
            now: returns the server's time in seconds since the epoch.
            chance: draws random members and the run's identifier.
        """
        self._now = now
        self._chance = chance or random.Random(secrets.randbits(64))  # no secret
        self._entries: dict[bytes, _Entry] = {}
        self._scripts: dict[str, bytes] = {}
        self.subscribers: dict[bytes, set[Subscriber]] = {}
        self.run_id = ""
        self.restart()

    def restart(self) -> None:
        """Begin another run with the same data; scripts and subscriptions are lost."""
        self.run_id = f"{self._chance.getrandbits(160):040x}"
        self._scripts.clear()
        self.subscribers.clear()

    def save(self) -> dict[bytes, _Entry]:
        """Return a copy of all data, as a replica of this server has it."""
        return deepcopy(self._entries)

    def load(self, saved: dict[bytes, _Entry]) -> None:
        """Go on with other data: after a failover, or with nothing after a flush."""
        self._entries = deepcopy(saved)

    def execute(self, arguments: Sequence[bytes]) -> Any:  # a reply of any type
        """Execute a command; return its reply.

        Returns:
            An int, bytes, None, a str for a status, or a list of these.

        Raises:
            ReplyError: the command is unknown, wrong, or for another type.
        """
        name = arguments[0].decode("ascii", "replace").lower()
        command: Callable[..., Any] | None = getattr(self, f"_do_{name}", None)
        if command is None:
            raise ReplyError(f"ERR unknown command '{name}'")
        try:
            return command(*arguments[1:])
        except (TypeError, ValueError) as error:
            raise ReplyError(f"ERR wrong arguments for '{name}': {error}") from error

    # -- entries ------------------------------------------------------------------------------

    def _entry(self, key: bytes, kind: str) -> _Entry | None:
        entry = self._live(key)
        if entry is not None and entry.kind != kind:
            raise ReplyError("WRONGTYPE Operation against a key holding the wrong kind of value")
        return entry

    def _live(self, key: bytes) -> _Entry | None:
        entry = self._entries.get(key)
        if entry is not None and entry.expires_at is not None and entry.expires_at <= self._now():
            del self._entries[key]
            return None
        return entry

    def _of(self, key: bytes, kind: str) -> Any:  # a value of this type
        """Return the value of a key for reading, empty if there is none."""
        entry = self._entry(key, kind)
        return (set() if kind == "set" else {}) if entry is None else entry.value

    def _made(self, key: bytes, kind: str) -> Any:  # likewise
        """Return the value of a key for writing, made if there is none."""
        entry = self._entry(key, kind)
        if entry is None:
            entry = self._entries[key] = _Entry(kind, set() if kind == "set" else {})
        return entry.value

    def _drop_empty(self, key: bytes) -> None:
        entry = self._entries.get(key)
        if entry is not None and entry.kind != "string" and not entry.value:
            del self._entries[key]

    # -- the server ---------------------------------------------------------------------------

    def _do_ping(self, *message: bytes) -> Any:
        return message[0] if message else "PONG"

    def _do_client(self, *_: bytes) -> str:
        return _OK

    def _do_select(self, _: bytes) -> str:
        return _OK

    def _do_info(self, *_: bytes) -> bytes:
        return f"# Server\r\nredis_version:{_VERSION}\r\nrun_id:{self.run_id}\r\n".encode()

    def _do_time(self) -> list[bytes]:
        micros = round(self._now() * 1_000_000)
        return [str(micros // 1_000_000).encode(), str(micros % 1_000_000).encode()]

    def _do_flushall(self, *_: bytes) -> str:
        self._entries.clear()
        return _OK

    def _do_dbsize(self) -> int:
        return sum(self._live(key) is not None for key in list(self._entries))

    def _do_publish(self, channel: bytes, message: bytes) -> int:
        listening = list(self.subscribers.get(channel, ()))
        for one in listening:
            one.push(channel, message)
        return len(listening)

    # -- keys ---------------------------------------------------------------------------------

    def _do_del(self, *keys: bytes) -> int:
        count = sum(self._live(key) is not None for key in keys)
        for key in keys:
            self._entries.pop(key, None)
        return count

    _do_unlink = _do_del

    def _do_exists(self, *keys: bytes) -> int:
        return sum(self._live(key) is not None for key in keys)

    def _do_type(self, key: bytes) -> str:
        entry = self._live(key)
        return "none" if entry is None else entry.kind

    def _do_expire(self, key: bytes, seconds: bytes) -> int:
        entry = self._live(key)
        if entry is not None:
            entry.expires_at = self._now() + int(seconds)
        return int(entry is not None)

    def _do_persist(self, key: bytes) -> int:
        entry = self._live(key)
        had = entry is not None and entry.expires_at is not None
        if entry is not None:
            entry.expires_at = None
        return int(had)

    def _do_ttl(self, key: bytes) -> int:
        entry = self._live(key)
        if entry is None:
            return -2
        return -1 if entry.expires_at is None else round(entry.expires_at - self._now())

    def _do_scan(self, _: bytes, *options: bytes) -> list[Any]:
        pattern = dict(zip(options[::2], options[1::2], strict=True)).get(b"MATCH", b"*").decode()
        # Only the star means something in the project's patterns.
        pattern = pattern.replace("[", "[[]")
        keys = [key for key in list(self._entries) if self._live(key) is not None]
        return [b"0", [key for key in keys if fnmatch.fnmatchcase(key.decode(), pattern)]]

    # -- strings ------------------------------------------------------------------------------

    def _do_get(self, key: bytes) -> bytes | None:
        entry = self._entry(key, "string")
        return None if entry is None else entry.value

    def _do_getex(self, key: bytes, *options: bytes) -> bytes | None:
        value = self._do_get(key)
        if value is not None and options:
            self._do_expire(key, options[1])
        return value

    def _do_set(self, key: bytes, value: bytes, *options: bytes) -> str | None:
        words = [option.upper() for option in options]
        if b"NX" in words and self._live(key) is not None:
            return None
        entry = _Entry("string", value)
        for unit, name in ((1.0, b"EX"), (0.001, b"PX")):
            if name in words:
                entry.expires_at = self._now() + int(options[words.index(name) + 1]) * unit
        self._entries[key] = entry
        return _OK

    def _do_incrby(self, key: bytes, by: bytes) -> int:
        number = int(self._do_get(key) or b"0") + int(by)
        entry = self._entries.setdefault(key, _Entry("string", b""))
        entry.value = str(number).encode()
        return number

    # -- sets and hashes ------------------------------------------------------------------------

    def _do_sadd(self, key: bytes, *members: bytes) -> int:
        value = self._made(key, "set")
        before = len(value)
        value.update(members)
        return len(value) - before

    def _do_srem(self, key: bytes, *members: bytes) -> int:
        value = self._of(key, "set")
        before = len(value)
        value.difference_update(members)
        count = before - len(value)
        self._drop_empty(key)
        return count

    def _do_scard(self, key: bytes) -> int:
        return len(self._of(key, "set"))

    def _do_smembers(self, key: bytes) -> list[bytes]:
        return sorted(self._of(key, "set"))

    def _do_srandmember(self, key: bytes, count: bytes) -> list[bytes]:
        members = sorted(self._of(key, "set"))
        return self._chance.sample(members, min(len(members), int(count)))

    def _do_hset(self, key: bytes, *pairs: bytes) -> int:
        value = self._made(key, "hash")
        before = len(value)
        value.update(zip(pairs[::2], pairs[1::2], strict=True))
        return len(value) - before

    def _do_hget(self, key: bytes, field: bytes) -> bytes | None:
        found: bytes | None = self._of(key, "hash").get(field)
        return found

    def _do_hgetall(self, key: bytes) -> list[bytes]:
        return [part for pair in self._of(key, "hash").items() for part in pair]

    def _do_hdel(self, key: bytes, *fields: bytes) -> int:
        value = self._of(key, "hash")
        count = sum(value.pop(field, None) is not None for field in fields)
        self._drop_empty(key)
        return count

    # -- sorted sets ----------------------------------------------------------------------------

    def _ordered(self, key: bytes) -> list[tuple[bytes, float]]:
        return sorted(self._of(key, "zset").items(), key=lambda item: (item[1], item[0]))

    def _do_zadd(self, key: bytes, *pairs: bytes) -> int:
        value = self._made(key, "zset")
        before = len(value)
        value.update(zip(pairs[1::2], map(float, pairs[::2]), strict=True))
        return len(value) - before

    def _do_zrem(self, key: bytes, *members: bytes) -> int:
        value = self._of(key, "zset")
        count = sum(value.pop(member, None) is not None for member in members)
        self._drop_empty(key)
        return count

    def _do_zscore(self, key: bytes, member: bytes) -> bytes | None:
        score = self._of(key, "zset").get(member)
        return None if score is None else _number(score)

    def _do_zcard(self, key: bytes) -> int:
        return len(self._of(key, "zset"))

    def _do_zrange(self, key: bytes, first: bytes, last: bytes, *options: bytes) -> list[bytes]:
        found = self._ordered(key)
        return _flat(found[_span(first, last, len(found))], options)

    def _do_zrangebyscore(
        self, key: bytes, least: bytes, most: bytes, *options: bytes
    ) -> list[bytes]:
        is_between = _between(least, most)
        return _flat([item for item in self._ordered(key) if is_between(item[1])], options)

    def _do_zremrangebyscore(self, key: bytes, least: bytes, most: bytes) -> int:
        is_between = _between(least, most)
        return self._do_zrem(key, *[m for m, score in self._ordered(key) if is_between(score)])

    def _do_zremrangebyrank(self, key: bytes, first: bytes, last: bytes) -> int:
        found = self._ordered(key)
        return self._do_zrem(key, *[m for m, _ in found[_span(first, last, len(found))]])

    # -- scripts --------------------------------------------------------------------------------

    def _do_script(self, what: bytes, *rest: bytes) -> Any:
        if what.upper() != b"LOAD":
            raise ReplyError("ERR only SCRIPT LOAD is modelled")
        return self._keep_script(rest[0]).encode()

    def _do_eval(self, source: bytes, count: bytes, *arguments: bytes) -> Any:
        self._keep_script(source)
        number = int(count)
        return _run_script(self, source, arguments[:number], arguments[number:])

    def _do_evalsha(self, sha: bytes, count: bytes, *arguments: bytes) -> Any:
        source = self._scripts.get(sha.decode())
        if source is None:
            raise ReplyError("NOSCRIPT No matching script. Please use EVAL.")
        return self._do_eval(source, count, *arguments)

    def _keep_script(self, source: bytes) -> str:
        sha = hashlib.sha1(source, usedforsecurity=False).hexdigest()
        self._scripts[sha] = source
        return sha


def _flat(items: Sequence[tuple[bytes, float]], options: Sequence[bytes]) -> list[bytes]:
    if not any(option.upper() == b"WITHSCORES" for option in options):
        return [member for member, _ in items]
    return [part for member, score in items for part in (member, _number(score))]


def _number(score: float) -> bytes:
    return (str(int(score)) if score == int(score) else repr(score)).encode()


def _span(first: bytes, last: bytes, size: int) -> slice:
    """Return the slice between two ranks, both included; negative ones count from the end."""
    start, stop = int(first), int(last)
    start = max(0, start + size) if start < 0 else start
    stop = stop + size if stop < 0 else stop
    return slice(start, max(start, stop + 1))


def _between(least: bytes, most: bytes) -> Callable[[float], bool]:
    low, high = float(least.lstrip(b"(")), float(most.lstrip(b"("))
    is_low_out, is_high_out = least.startswith(b"("), most.startswith(b"(")

    def is_between(score: float) -> bool:
        above = score > low if is_low_out else score >= low
        below = score < high if is_high_out else score <= high
        return above and below

    return is_between


# -- Lua: one runtime for all models of this process, which run one script at a time ----------

_LUA = LuaRuntime(encoding=None, unpack_returned_tuples=False)
_FUNCTIONS: dict[bytes, Any] = {}
# A reply that is an error is raised by `call` and returned by `pcall`, as tables with `err`.
_PRELUDE = b"""
return function(execute)
  redis = {}
  redis.pcall = function(...) return execute(...) end
  redis.call = function(...)
    local reply = execute(...)
    if type(reply) == 'table' and reply.err then error(reply) end
    return reply
  end
end
"""
_CATCH = b"""
return function(work, keys, argv)
  KEYS, ARGV = keys, argv
  local ok, reply = pcall(work)
  if ok then return reply end
  if type(reply) == 'table' and reply.err then return reply end
  return {err = 'ERR ' .. tostring(reply)}
end
"""
_current: list[RedisModel] = []


def _execute(*arguments: Any) -> Any:
    try:
        reply = _current[-1].execute([_argument(argument) for argument in arguments])
    except ReplyError as error:
        return _LUA.table_from({b"err": str(error).encode()})
    return _to_lua(reply)


_LUA.execute(_PRELUDE)(_execute)
_catch = _LUA.execute(_CATCH)


def _run_script(
    model: RedisModel, source: bytes, keys: Sequence[bytes], values: Sequence[bytes]
) -> Any:
    work = _FUNCTIONS.get(source)
    if work is None:
        work = _FUNCTIONS[source] = _LUA.execute(b"return function() " + source + b"\nend")
    _current.append(model)
    try:
        reply = _catch(work, _LUA.table_from(keys), _LUA.table_from(values))
    finally:
        _current.pop()
    return _from_lua(reply)


def _argument(value: Any) -> bytes:
    match value:
        case bytes():
            return value
        case float():
            return b"%.17g" % value
        case _:
            return str(value).encode()


def _to_lua(reply: Any) -> Any:
    match reply:
        case None:
            return False
        case str():
            return _LUA.table_from({b"ok": reply.encode()})
        case list():
            return _LUA.table_from([_to_lua(one) for one in reply])
        case _:
            return reply


def _from_lua(reply: Any) -> Any:
    if reply is None or reply is False:
        return None
    if reply is True:
        return 1
    if isinstance(reply, float):
        return int(reply)
    if lua_type(reply) != "table":
        return reply
    if reply[b"err"] is not None:
        raise ReplyError(reply[b"err"].decode())
    if reply[b"ok"] is not None:
        return reply[b"ok"].decode()
    found: list[Any] = []
    while (one := reply[len(found) + 1]) is not None:
        found.append(_from_lua(one))
    return found
