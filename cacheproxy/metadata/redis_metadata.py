"""Metadata in Redis, for all replicas: `Metadata` without any other store behind it.

Every method but `close` may raise StorageError: what then counts is its caller's to decide.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from redis.exceptions import ClusterDownError, ResponseError

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.events import SharedStoreUnreadable
from cacheproxy.domain.freshness import CLOCK_TOLERANCE, TagRecord
from cacheproxy.domain.records import Link, Listing
from cacheproxy.domain.reference import Repository, Tag
from cacheproxy.metadata import redis_keys as keys
from cacheproxy.metadata.redis_clients import Client
from cacheproxy.metadata.redis_connection import RedisConnection, RedisFailed
from cacheproxy.metadata.redis_messages import Message, write_message
from cacheproxy.metadata.redis_records import (
    UnreadableError,
    read_link,
    read_record,
    write_link,
    write_record,
)
from cacheproxy.metadata.redis_scripts import ADD_LINKS, PUT_TAG
from cacheproxy.ports import Observer

R = TypeVar("R", TagRecord, Listing)

# Links that one script writes: it holds up everyone else's commands meanwhile.
_BATCH = 200


class RedisMetadata:
    """`Metadata` by way of a connection, which its owner closes."""

    def __init__(self, connection: RedisConnection, observer: Observer) -> None:
        self._connection = connection
        self._keys = connection.keys
        self._clock = connection.clock
        self._observer = observer

    async def tag(self, repository: Repository, tag: Tag) -> TagRecord | None:
        """Return the record of a tag."""
        name = self._keys.tag(repository, tag)
        record = await self._record(name, TagRecord, keys.TAG_SECONDS)
        if record is not None and record.digest is None:
            await self._connection.call(lambda client: _expire(client, name, keys.ABSENCE_SECONDS))
        return record

    async def put_tag(self, repository: Repository, tag: Tag, record: TagRecord) -> bool:
        """Remember what upstream said of a tag; return False if something newer is known.

        Other replicas are told if it is something else than before.
        """
        record = await self._stamped(record)
        digest = "null" if record.digest is None else f'"{record.digest}"'
        message = Message(self._connection.replica, f"{repository} ", tag)
        values: list[str | bytes | int] = [
            write_record(record),
            keys.ABSENCE_SECONDS if record.digest is None else keys.TAG_SECONDS,
            f'"digest":{digest}',
            self._keys.changes,
            write_message(message),
            record.epoch,
            repr(record.checked_at),
            repr(CLOCK_TOLERANCE),
        ]
        name = self._keys.tag(repository, tag)
        return bool(await self._connection.call(lambda client: PUT_TAG.run(client, [name], values)))

    async def listing(self, key: str) -> Listing | None:
        """A page of tags or referrers."""
        return await self._record(self._keys.listing(key), Listing, keys.LISTING_SECONDS)

    async def put_listing(self, key: str, listing: Listing) -> None:
        """Remember a page."""
        name = self._keys.listing(key)
        value = write_record(await self._stamped(listing))
        await self._connection.call(
            lambda client: client.set(_named(name), value, ex=keys.LISTING_SECONDS)
        )

    async def link(self, repository: Repository, digest: Digest) -> Link | None:
        """The link, or None."""
        key = self._keys.link(repository, digest)
        value = await self._value(key, keys.LINK_SECONDS)
        try:
            return None if value is None else read_link(value)
        except UnreadableError:
            self._unreadable(key, "it is no link")
            return None

    async def add_links(self, repository: Repository, links: Mapping[Digest, Link]) -> None:
        """Remember that a repository holds these."""
        names = [self._keys.link(repository, digest) for digest in links]
        values = [write_link(link) for link in links.values()]
        for start in range(0, len(names), _BATCH):
            await self._add(names[start : start + _BATCH], values[start : start + _BATCH])

    async def close(self) -> None:
        """Nothing is pending."""

    async def _add(self, names: Sequence[str], values: Sequence[bytes]) -> None:
        await self._connection.call(
            lambda client: ADD_LINKS.run(client, names, [keys.LINK_SECONDS, *values])
        )

    async def _stamped(self, record: R) -> R:
        """Return a record by the cluster's time, which is measured first if it must be."""
        if self._clock.must_be_measured:
            await self._connection.measure()
        return self._clock.settle(self._clock.sign(record))

    async def _record(self, key: str, kind: type[R], seconds: int) -> R | None:
        if self._clock.must_be_measured:
            await self._connection.measure()
        value = await self._value(key, seconds)
        try:
            if value is None:
                return None
            return read_record(value, kind, self._clock.epoch)
        except UnreadableError:
            self._unreadable(key, "it is no record")
            return None

    async def _value(self, key: str, seconds: int) -> bytes | None:
        name = _named(key)
        try:
            value = await self._connection.call(lambda client: _read(client, name, seconds))
        except RedisFailed as failed:
            if isinstance(failed.__cause__, ResponseError) and "WRONGTYPE" in str(failed):
                self._unreadable(key, "it is of another type")
                return None
            raise
        return value if isinstance(value, bytes) else None

    def _unreadable(self, key: str, error: str) -> None:
        """What others put there counts as none: it is written over by what comes next."""
        self._observer.observe(SharedStoreUnreadable(key, error))


async def _read(client: Client, name: bytes, seconds: int) -> Any:  # noqa: ANN401  # untyped
    """The value of a key, or None; its time begins anew, if the server may write."""
    try:
        return await client.getex(name, ex=seconds)
    except ResponseError as error:
        if isinstance(error, ClusterDownError) or "WRONGTYPE" in str(error):
            raise
        return await client.get(name)


async def _expire(client: Client, key: str, seconds: int) -> None:
    """Have a key go after so many seconds, if the server may write."""
    with suppress(ResponseError):
        await client.expire(key, seconds)


def _named(key: str) -> bytes:
    """A key's name; what clients wrote is in those of listings, so it may be no Unicode."""
    return key.encode("utf-8", "surrogatepass")
