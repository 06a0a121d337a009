"""The Redis that replicas share: how it is asked, and what keys there are."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from cacheproxy.domain.digest import Digest

T = TypeVar("T")

# One that another replica has just made anew stays.
_HEAL = """
if redis.call('TYPE', KEYS[1]).ok ~= ARGV[1] then redis.call('DEL', KEYS[1]) end
return 0
"""


class Shared(Protocol):
    """Redis, with a deadline for each call."""

    @property
    def ahead(self) -> float:
        """Seconds by which our clock is ahead of the server's."""
        ...

    async def call(self, work: Callable[[Any], Awaitable[T]]) -> T:
        """Do something with it.

        Raises:
            StorageError: it does not answer, or refuses.
        """
        ...


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one cache: all begin with its namespace."""

    namespace: str

    @property
    def members(self) -> str:
        """Sorted set: addresses by when they were last heard of."""
        return f"{self.namespace}:members"

    def holders(self, digest: Digest) -> str:
        """Set: addresses of those that have a blob whole."""
        return f"{self.namespace}:at:{{{digest}}}"

    def lease(self, what: str) -> str:
        """String: the address of who fetches a blob, or asks what a tag names."""
        return f"{self.namespace}:lease:{{{what}}}"


def script(text: str, keys: list[str], arguments: list[str]) -> Callable[["Redis"], Any]:
    """Work that runs a script, and gives back what that does."""

    def work(redis: "Redis") -> Any:  # noqa: ANN401  # what a script gives back
        return redis.register_script(text)(keys=keys, args=arguments)

    return work


def healing(
    work: Callable[[Any], Awaitable[T]], keys: Sequence[str], kind: str
) -> Callable[[Any], Awaitable[T]]:
    """Return the same work, tried once more if keys have to be removed that are of another type.

    Args:
        work: sends commands to these keys.
        keys: that somebody else may have written.
        kind: the type that they should be of, as `TYPE` names it.
    """

    async def healed(redis: Any) -> T:  # noqa: ANN401  # of one server or of a Cluster
        try:
            return await work(redis)
        except ResponseError as error:
            if "WRONGTYPE" not in str(error):
                raise
        for key in keys:
            await script(_HEAL, [key], [kind])(redis)
        return await work(redis)

    return healed


def text(value: bytes | str) -> str:
    """What Redis has sent, as text."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
