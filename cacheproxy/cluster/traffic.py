"""What all replicas have counted, in Redis: each writes its own sums, so none counts twice.

A sum that is written again says the same again; what was not told while Redis was away is told
when it is back, and the sums of all are exact then.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import msgspec

from cacheproxy.cluster.shared import Shared, healing
from cacheproxy.domain.errors import StorageError
from cacheproxy.domain.traffic import FIELDS, Hours, Totals, Traffic, added, folded

_KEPT_SECONDS = 35 * 86_400
_BATCH = 500
# Repositories that each replica tells by name: what each hour takes is bounded.
_NAMED_BY_HOUR = 10
_NAMED_OVERALL = 200

_Row = tuple[str, str, list[int]]
_ROWS = msgspec.json.Decoder(list[_Row])


class SharedTraffic:
    """The sums of all replicas."""

    def __init__(self, shared: Shared, namespace: str) -> None:
        self._shared = shared
        self._namespace = namespace

    async def tell(self, replica: str, hours: Hours, overall: Totals) -> bool:
        """Write this replica's sums; whether all are written."""
        by_hour: dict[int, Totals] = {}
        for (hour, registry, repository), traffic in hours.items():
            by_hour.setdefault(hour, {})[registry, repository] = traffic
        told = [(self._hour(hour), folded(one, _NAMED_BY_HOUR)) for hour, one in by_hour.items()]
        told.append((self._overall, folded(overall, _NAMED_OVERALL)))
        for start in range(0, len(told), _BATCH):
            batch = told[start : start + _BATCH]
            write = partial(self._write, replica=replica, batch=batch)
            try:
                await self._shared.call(healing(write, [key for key, _ in batch], "hash"))
            except StorageError:
                return False
        return True

    async def hours(self, hours: range) -> Hours:
        """The sums of all replicas, by hour.

        Raises:
            StorageError: Redis does not answer.
        """
        found: Hours = {}
        for start in range(0, len(hours), _BATCH):
            batch = hours[start : start + _BATCH]
            keys = [self._hour(hour) for hour in batch]
            answers = await self._shared.call(partial(_read, keys=keys))
            for hour, fields in zip(batch, answers, strict=True):
                for (registry, repository), traffic in _rows(fields):
                    added(found, [((hour, registry, repository), traffic)])
        return found

    async def overall(self) -> Totals:
        """The sums of all replicas, of all time.

        Raises:
            StorageError: Redis does not answer.
        """
        (fields,) = await self._shared.call(partial(_read, keys=[self._overall]))
        return added({}, _rows(fields))

    async def _write(
        self,
        redis: Any,  # noqa: ANN401  # of one server or of a Cluster
        replica: str,
        batch: list[tuple[str, Totals]],
    ) -> None:
        pipeline = redis.pipeline(transaction=False)
        for key, totals in batch:
            rows = [(*name, traffic.numbers) for name, traffic in totals.items()]
            pipeline.hset(key, replica, msgspec.json.encode(rows))
            if key != self._overall:
                pipeline.expire(key, _KEPT_SECONDS)
        await pipeline.execute()

    def _hour(self, hour: int) -> str:
        """Hash: replica to its rows of one hour."""
        return f"{self._namespace}:traffic:{hour}"

    @property
    def _overall(self) -> str:
        """Hash: replica to its rows of all time."""
        return f"{self._namespace}:traffic:all"


async def _read(
    redis: Any,  # noqa: ANN401  # likewise
    keys: list[str],
) -> list[Mapping[bytes, bytes]]:
    pipeline = redis.pipeline(transaction=False)
    for key in keys:
        pipeline.hgetall(key)
    answers: list[Any] = await pipeline.execute(raise_on_error=False)
    # A key of another kind, put there by somebody else, has nothing that we told.
    return [answer if isinstance(answer, Mapping) else {} for answer in answers]


def _rows(fields: Mapping[bytes, bytes]) -> Iterator[tuple[tuple[str, str], Traffic]]:
    for value in fields.values():
        try:
            rows = _ROWS.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue  # nothing that we told
        for registry, repository, numbers in rows:
            if len(numbers) >= len(FIELDS):
                yield (registry, repository), Traffic(*numbers[: len(FIELDS)])
