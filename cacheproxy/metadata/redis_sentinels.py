"""Asking Sentinels which server it is, and saying in one sentence why none of them tells.

By itself redis-py names objects of its own there, and does not ask the next Sentinel where one
has refused.
"""

from typing import Any

from redis.asyncio import Redis
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError
from typing_extensions import override

_REFUSALS = (AuthenticationError, NoPermissionError)


class SentinelsFailedError(MasterNotFoundError):
    """No Sentinel has named a server."""


class SentinelsRefuseError(SentinelsFailedError):
    """None has, and at least one of them does not let us in."""


class Sentinels(Sentinel):
    """Sentinels, asked in turn; who has told last is asked first."""

    @override
    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """Host and port of the server that has this name.

        Raises:
            SentinelsFailedError: none told it; `SentinelsRefuseError`, if one of them refused.
        """
        errors: dict[str, RedisError | OSError | None] = {}
        for sentinel in list(self.sentinels):
            try:
                masters: Any = await sentinel.sentinel_masters()
            except (RedisError, OSError) as error:
                errors[_place(sentinel)] = error
                continue
            state = masters.get(service_name)
            if state and self.check_master_state(state, service_name):
                self.sentinels.remove(sentinel)
                self.sentinels.insert(0, sentinel)
                return state["ip"], state["port"]
            errors[_place(sentinel)] = None
        raise _failure(service_name, errors)


def _place(sentinel: Redis) -> str:
    told = sentinel.connection_pool.connection_kwargs
    return f"{told['host']}:{told['port']}"


def _failure(service: str, errors: dict[str, RedisError | OSError | None]) -> SentinelsFailedError:
    # Most often it is the same with all of them.
    places: dict[str, list[str]] = {}
    for place, error in errors.items():
        said = "knows none that is up" if error is None else str(error) or type(error).__name__
        places.setdefault(said.rstrip("."), []).append(place)
    told = "; ".join(f"{', '.join(those)}: {said}" for said, those in places.items())
    if any(isinstance(error, _REFUSALS) for error in errors.values()):
        return SentinelsRefuseError(
            f"the Sentinels do not let us in, metadata.sentinel_password is for them ({told})"
        )
    return SentinelsFailedError(f"no Sentinel names a server for {service!r} ({told})")
