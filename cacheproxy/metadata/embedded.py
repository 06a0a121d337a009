"""Metadata in a directory, by diskcache (SQLite): one node, no server.

Only metadata, never bodies: values are small JSON documents. diskcache's own eviction and
size limit are off, since it would silently drop what it was given; and so is pickle, since
whoever can write the file could run code through it (CVE-2025-69872).
"""

import asyncio
import sqlite3
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import diskcache
import msgspec

from cacheproxy.domain.digest import Digest, read_digest
from cacheproxy.domain.errors import DigestInvalid, StartError, StorageError
from cacheproxy.domain.freshness import TagRecord
from cacheproxy.domain.records import Link, Listing
from cacheproxy.domain.reference import Repository, Tag
from cacheproxy.inprocess.databases import make_file

T = TypeVar("T")

_PICKLED = 4  # diskcache.core.MODE_PICKLE
_UNBOUNDED = 2**60
# Under which is kept what this replica has heard of purges.
_PURGED = "purged until"


class _PlainDisk(diskcache.Disk):  # type: ignore[misc]  # diskcache ships no types
    """Strings and bytes only: refuses to write, and above all to read, a pickle."""

    def put(self, key: Any) -> Any:  # noqa: ANN401  # as in diskcache
        _refuse_unless(isinstance(key, str))
        return super().put(key)

    def store(self, value: Any, read: Any, key: Any = diskcache.UNKNOWN) -> Any:  # noqa: ANN401  # as in diskcache
        _refuse_unless(isinstance(value, bytes))
        return super().store(value, read, key=key)

    def get(self, key: Any, raw: Any) -> Any:  # noqa: ANN401  # as in diskcache
        _refuse_unless(bool(raw))
        return super().get(key, raw)

    def fetch(self, mode: Any, filename: Any, value: Any, read: Any) -> Any:  # noqa: ANN401  # as in diskcache
        _refuse_unless(mode != _PICKLED)
        return super().fetch(mode, filename, value, read)


def _refuse_unless(allowed: bool) -> None:  # an assertion, not an option
    if not allowed:
        raise TypeError("the metadata store holds bytes by string keys, and no pickle")


class EmbeddedMetadata:
    """`Metadata` in a directory. Calls go to one thread: SQLite has one writer anyway."""

    def __init__(self, path: Path) -> None:
        """Open or make the store.

        Raises:
            StartError: the directory cannot be used.
        """
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="metadata")
        try:
            self._cache = self._executor.submit(_open, path).result()
        except Exception as error:
            self._executor.shutdown()
            raise StartError(
                f"the metadata in {path} cannot be opened: {error}; make it writable for this "
                "user, and make room if its volume is full. If it is damaged, remove that "
                "directory: blobs are kept, and the rest is learnt again from upstream"
            ) from error

    async def tag(self, repository: Repository, tag: Tag) -> TagRecord | None:
        """The record of a tag."""
        return await self._read(tag_key(repository, tag), TagRecord)

    async def put_tag(self, repository: Repository, tag: Tag, record: TagRecord) -> bool:
        """Remember what upstream said of a tag."""
        await self._write({tag_key(repository, tag): record})
        return True

    async def listing(self, key: str) -> Listing | None:
        """A page of tags or referrers."""
        return await self._read(f"listing {key}", Listing)

    async def put_listing(self, key: str, listing: Listing) -> None:
        """Remember a page."""
        await self._write({f"listing {key}": listing})

    async def link(self, repository: Repository, digest: Digest) -> Link | None:
        """The link, or None."""
        return await self._read(_link_key(repository, digest), Link)

    async def add_links(self, repository: Repository, links: Mapping[Digest, Link]) -> None:
        """Remember that a repository holds these; all or none."""

        def merge() -> None:
            with self._cache.transact():
                for digest, link in links.items():
                    key = _link_key(repository, digest)
                    known = self._known(key, Link)
                    merged = link.or_known(known)
                    if merged != known:
                        self._cache.set(key, _encoded(merged))

        await self._in_thread(merge)

    async def purged_until(self) -> float:
        """Up to when purges that others share were carried out here; 0.0 where none ever was."""
        return await self._read(_PURGED, float) or 0.0

    async def note_purged(self, until: float) -> None:
        """Remember that; what another process has noted that is later stays."""

        def note() -> None:
            with self._cache.transact():
                known = self._known(_PURGED, float) or 0.0
                self._cache.set(_PURGED, _encoded(max(until, known)))

        await self._in_thread(note)

    def _known(self, key: str, kind: type[T]) -> T | None:
        try:
            return _decoded(self._cache.get(key), kind)
        except TypeError:
            return None  # a value that we did not write

    async def close(self) -> None:
        """Close the store, after what is under way."""
        await self._in_thread(self._cache.close)
        self._executor.shutdown()

    async def _read(self, key: str, kind: type[T]) -> T | None:
        try:
            value = await self._in_thread(lambda: self._cache.get(key))
        except (StorageError, TypeError):
            # A store that fails, or a value that we did not write: upstream knows it too.
            return None
        return _decoded(value, kind)

    async def _write(self, values: Mapping[str, object]) -> None:
        def write() -> None:
            with self._cache.transact():
                for key, value in values.items():
                    self._cache.set(key, _encoded(value))

        await self._in_thread(write)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, work)
        except (sqlite3.Error, diskcache.Timeout) as error:
            raise StorageError(f"the metadata store failed: {error}") from error


def tag_key(repository: Repository, tag: Tag) -> str:
    """Under which the record of a tag is kept."""
    return tag_of(f"{repository} ", tag)


def tag_of(scope: str, tag: str) -> str:
    """The same, of a repository with the space that ends its name."""
    return f"tag {scope}{tag}"


def read_tag(value: object) -> TagRecord | None:
    """The record of a tag from what is kept of it."""
    return _decoded(value, TagRecord)


def _open(path: Path) -> diskcache.Cache:
    """The one place that opens it: diskcache does not remember the class of its disk."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    make_file(path / diskcache.core.DBNAME)
    cache = diskcache.Cache.__new__(diskcache.Cache)
    try:
        cache.__init__(
            str(path),
            disk=_PlainDisk,
            eviction_policy="none",
            size_limit=_UNBOUNDED,
            cull_limit=0,
            disk_min_file_size=_UNBOUNDED,  # all in SQLite: a value in its own file can be lost
        )
    except BaseException:
        # By itself it leaves its connection open where the database cannot be used.
        with suppress(AttributeError):  # it has none yet
            cache.close()
        raise
    return cache


def _link_key(repository: Repository, digest: Digest) -> str:
    return f"link {repository} {digest}"


def _encoded(value: object) -> bytes:
    # msgspec takes a subclass of str for a type that it does not know.
    try:
        return msgspec.json.encode(value, enc_hook=str)
    except UnicodeEncodeError as error:
        raise StorageError(f"a record cannot be written down: {error.reason}") from error


def _decoded(value: object, kind: type[T]) -> T | None:
    """A record; one that cannot be read counts as none, since upstream can tell it again."""
    if not isinstance(value, bytes):
        return None
    try:
        return msgspec.json.decode(value, type=kind, dec_hook=read_digest)
    except (msgspec.MsgspecError, DigestInvalid, ValueError):
        return None
