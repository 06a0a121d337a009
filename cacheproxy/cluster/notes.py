"""What replicas tell each other of upstreams: rests and quotas, in Redis.

Each says what it has learnt, and hears what others have, about once a second. The newest note
of a name counts; one that was written over by an older one is written again by who has it.
"""

import contextlib
from collections.abc import Mapping
from typing import Any, NoReturn

import msgspec

from cacheproxy.cluster.shared import Shared, healing
from cacheproxy.cluster_ports import Notable, Note
from cacheproxy.domain.errors import StorageError
from cacheproxy.ports import Clock

_SECONDS = 1.0
_KEPT_SECONDS = 86_400


class _Written(msgspec.Struct):
    at: float
    said: dict[str, float | str]


class Notes:
    """The notes of all replicas."""

    def __init__(self, shared: Shared, namespace: str, clock: Clock) -> None:
        self._shared = shared
        self._key = f"{namespace}:upstreams"
        self._clock = clock

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

        async def swap(redis: Any) -> None:  # noqa: ANN401  # of one server or of a Cluster
            read = self._understood(await redis.hgetall(self._key))
            news = {
                field: self._written(note)
                for field, note in own.items()
                if field not in read or note.at > read[field].at
            }
            if news:
                await redis.hset(self._key, mapping=news)
                await redis.expire(self._key, _KEPT_SECONDS)
            for field, note in read.items():
                name, _, what = field.rpartition("|")
                if name in notables:
                    notables[name].hear(what, note)

        with contextlib.suppress(StorageError):  # each goes by what it knows itself
            await self._shared.call(healing(swap, [self._key], "hash"))

    def _written(self, note: Note) -> bytes:
        """By the server's clock: those of replicas may differ."""
        return msgspec.json.encode(_Written(note.at - self._shared.ahead, dict(note.said)))

    def _understood(self, fields: Mapping[bytes, bytes]) -> dict[str, Note]:
        """The notes by our clock, without what somebody else has put there."""
        found = {}
        for field, value in fields.items():
            with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
                written = msgspec.json.decode(value, type=_Written)
                found[field.decode()] = Note(written.at + self._shared.ahead, written.said)
        return found
