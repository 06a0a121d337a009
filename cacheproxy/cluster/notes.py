"""What replicas tell each other of upstreams: rests and quotas, in Redis.

Each replica writes what it has learnt, and reads what others have, about once a second. The newest
note of a name counts; one that was overwritten by an older one is written again by its owner. Notes
are compared by the stamps with which they were first written, by the server's clock: a stamp never
changes, however often the offset of a replica's own clock is measured.
"""

import contextlib
from collections.abc import Mapping
from math import inf
from typing import Any, NoReturn

import msgspec

from cacheproxy.cluster.shared import Shared, healing
from cacheproxy.cluster_ports import Notable, Note
from cacheproxy.domain.errors import StorageError
from cacheproxy.ports import Clock

_SECONDS = 1.0
_KEPT_SECONDS = 86_400
# A stamp further in the future than clocks can be measured is of no clock that can be trusted.
_FUTURE_SECONDS = 5.0


class _Written(msgspec.Struct):
    at: float
    said: dict[str, float | str]


class Notes:
    """The notes of all replicas."""

    def __init__(self, shared: Shared, namespace: str, clock: Clock) -> None:
        self._shared = shared
        self._key = f"{namespace}:upstreams"
        self._clock = clock
        # Of each note that was written or read last: its time by our clock, and its stamp.
        self._stamps: dict[str, tuple[float, float]] = {}

    async def run(self, notables: Mapping[str, Notable]) -> NoReturn:
        """Tell and hear, for ever.

        Args:
            notables: who has something to say, by name.
        """
        while True:
            await self.exchange(notables)
            await self._clock.sleep(_SECONDS)

    async def exchange(self, notables: Mapping[str, Notable]) -> None:
        """Tell what is new here, and hear what is new elsewhere."""
        own = {
            f"{name}|{what}": note
            for name, notable in notables.items()
            for what, note in notable.notes().items()
        }

        stamps = {field: self._stamp(field, note) for field, note in own.items()}

        async def swap(redis: Any) -> dict[str, _Written]:  # noqa: ANN401  # of one server or of a Cluster
            found = self._understood(await redis.hgetall(self._key))
            news = {
                field: msgspec.json.encode(_Written(stamps[field], dict(note.said)))
                for field, note in own.items()
                if field not in found or stamps[field] > found[field].at
            }
            if news:
                await redis.hset(self._key, mapping=news)
                await redis.expire(self._key, _KEPT_SECONDS)
            return found

        with contextlib.suppress(StorageError):  # each goes by what it knows itself
            found = await self._shared.call(healing(swap, [self._key], "hash"))
            self._hear(found, notables)

    def _stamp(self, field: str, note: Note) -> float:
        """Return the stamp of a note: its first one, if it has one."""
        at, stamp = self._stamps.get(field, (None, 0.0))
        if at != note.at:
            stamp = note.at - self._shared.ahead
            self._stamps[field] = note.at, stamp
        return stamp

    def _hear(self, found: Mapping[str, _Written], notables: Mapping[str, Notable]) -> None:
        """Pass on the notes that are newer than those which were written or read before."""
        for field, written in found.items():
            name, _, what = field.rpartition("|")
            if name in notables and written.at > self._stamps.get(field, (0.0, -inf))[1]:
                note = Note(written.at + self._shared.ahead, written.said)
                self._stamps[field] = note.at, written.at
                notables[name].hear(what, note)

    def _understood(self, fields: Mapping[bytes, bytes]) -> dict[str, _Written]:
        """Return the notes, without what others have put there, or stamped in the future."""
        latest = self._clock.now() - self._shared.ahead + _FUTURE_SECONDS
        found = {}
        for field, value in fields.items():
            with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
                written = msgspec.json.decode(value, type=_Written)
                if written.at <= latest:
                    found[field.decode()] = written
        return found
