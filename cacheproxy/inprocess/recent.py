"""Values of a short life, in bounded memory: tokens, hot tags, links, failures."""

from typing import Any, Generic, TypeVar, cast

from aiocache import SimpleMemoryCache

V = TypeVar("V")


class _Bounded(SimpleMemoryCache):  # type: ignore[misc]  # aiocache ships no types
    """aiocache's memory, which has no bound of its own in 0.12: the oldest value goes first."""

    def __init__(self, limit: int) -> None:
        # timeout=0: no task and no timer around what is a look-up in a dict.
        super().__init__(timeout=0)
        self._limit = limit

    async def _set(self, key: str, value: Any, ttl: float | None = None, **rest: Any) -> bool:  # noqa: ANN401  # as in aiocache
        stored = await super()._set(key, value, ttl=ttl, **rest)
        while len(self._cache) > self._limit:
            await super()._delete(next(iter(self._cache)))
        return bool(stored)


class Recent(Generic[V]):
    """At most `limit` values by key, each for at most its seconds.

    A value is None to no-one: `get` returns None only where there is nothing.
    """

    def __init__(self, limit: int) -> None:
        self._cache = _Bounded(limit)

    async def get(self, key: str) -> V | None:
        """The value, or None."""
        return cast("V | None", await self._cache.get(key))

    async def set(self, key: str, value: V, seconds: float) -> None:
        """Keep a value; one that is to live for no time is dropped."""
        if seconds <= 0:
            await self._cache.delete(key)
            return
        await self._cache.set(key, value, ttl=seconds)

    async def drop(self, key: str) -> None:
        """Forget a value."""
        await self._cache.delete(key)

    async def drop_below(self, begin: str) -> None:
        """Forget all whose keys begin so; empty: all."""
        for key in [key for key in self._cache._cache if key.startswith(begin)]:  # noqa: SLF001  # it has no listing
            await self._cache.delete(key)

    async def close(self) -> None:
        """Forget all, and their timers."""
        for timer in self._cache._handlers.values():  # noqa: SLF001  # clear() leaves them running
            timer.cancel()
        self._cache._handlers.clear()  # noqa: SLF001  # as above
        await self._cache.clear()
