"""A scripted registry (`Upstream`), which keeps account of what it sent."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Literal

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import (
    BlobUnknown,
    Denied,
    ManifestUnknown,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from cacheproxy.domain.media_types import OCI_MANIFEST
from cacheproxy.domain.operation import Query
from cacheproxy.domain.rate_limit import Spend
from cacheproxy.domain.records import Listing
from cacheproxy.domain.reference import Reference, Repository
from cacheproxy.ports import BlobStream, ManifestBody, ManifestHead
from tests.simulation.script import AMPLE, REPOSITORIES, Content, Mishap, Script
from tests.simulation.world import World

if TYPE_CHECKING:
    from tests.simulation.cluster import Disturbances
    from tests.simulation.cluster_script import Version

_ERRORS = {
    Mishap.REFUSES: Denied("upstream answered 403"),
    Mishap.MISSES: BlobUnknown("upstream answered 404"),
    Mishap.FAILS: UpstreamUnavailable("upstream answered 503"),
}
# A download survives so many breaks in a row: its retry policy has five further attempts.
_SURVIVED = 4
# Others learn so soon that a replica has a blob; after a disturbance they may need longer.
_ANNOUNCE_SECONDS = 3.0
_RECOVERY_SECONDS = 30.0


class Book:
    """What upstream has been asked for, and what it sent: shared by all workers."""

    def __init__(self, world: World, script: Script) -> None:
        self.world = world
        self.script = script
        self.is_well = False
        self.sent: Counter[Digest] = Counter()
        self.lied: set[Digest] = set()
        self._asked: Counter[tuple[int, int]] = Counter()
        self._breaks: Counter[int] = Counter()
        self._excused: set[tuple[int, int]] = set()
        self.disturbances: Disturbances | None = None
        # Since when a replica has a blob whole.
        self._stored_at: dict[tuple[int, Digest], float] = {}

    def content(self, digest: Digest) -> Content:
        """The blob of a digest."""
        return next(one for one in self.script.contents if one.digest == digest)

    def next_mishap(self, repository: Repository, digest: Digest) -> Mishap | None:
        """Decide what becomes of the next request."""
        blob = self.script.contents.index(self.content(digest))
        where = blob, REPOSITORIES.index(repository)
        number = self._asked[where]
        self._asked[where] += 1
        mishaps = self.script.mishaps.get(where, ())
        if self.is_well or number >= len(mishaps):
            return None
        mishap = mishaps[number]
        self.world.note(f"upstream: request {number} for {digest[7:15]} of {repository}: {mishap}")
        self._count(where, mishap)
        return mishap

    def _count(self, where: tuple[int, int], mishap: Mishap) -> None:
        blob, _ = where
        match mishap:
            case Mishap.IGNORES_RANGE:
                pass
            case Mishap.REFUSES | Mishap.MISSES:
                self._excused.add(where)  # says nothing of the other repository
            case Mishap.DROPS if self._breaks[blob] < _SURVIVED:
                self._breaks[blob] += 1
            case _:
                self._excused |= {(blob, 0), (blob, 1)}

    def note_stored(self, replica: int, digest: Digest, *, is_there: bool) -> None:
        """Remember that a replica has a blob from now on, or that it has not any more."""
        self._stored_at.pop((replica, digest), None)
        if is_there:
            self._stored_at[replica, digest] = self.world.time

    def judge_request(self, digest: Digest) -> None:
        """Complain of a request for a blob that a replica could have been asked for."""
        now, cluster = self.world.time, self.script.cluster
        if cluster is None or self.disturbances is None or self.script.mishaps:
            return
        is_calm = self.disturbances.is_calm(now - 1000.0 - _RECOVERY_SECONDS, now - 1000.0)
        if not is_calm or self.script.trouble or self.script.removes:
            return
        for (replica, stored), since in self._stored_at.items():
            is_kept = cluster.budgets[replica] == AMPLE and stored == digest
            if is_kept and since < now - _ANNOUNCE_SECONDS:
                name = digest[7:15]
                self.world.complain(f"upstream is asked for {name}, which r{replica} has")

    def version(self, reference: Reference) -> "Version":
        """Return the manifest that a tag names now, or that a digest always names.

        Raises:
            ManifestUnknown: there is none.
            UpstreamUnavailable: upstream fails at the moment.
        """
        now, cluster = self.world.time - 1000.0, self.script.cluster
        assert cluster is not None
        if not self.is_well and any(o.at <= now < o.at + o.seconds for o in cluster.outages):
            raise UpstreamUnavailable("upstream answered 503")
        for history in cluster.tags:
            number = history.number_at(now)
            if history.name == reference and number >= 0:
                return history.versions[number]
            for version in history.versions:
                if version.digest == reference:
                    return version
        raise ManifestUnknown("upstream answered 404")

    def excuses(self, repository: int, blob: int) -> bool:
        """Whether upstream has failed so that a client may have had to fail."""
        return (blob, repository) in self._excused


class _Stream:
    """One response (`BlobStream`)."""

    source: Literal["fill", "peer"] = "fill"

    def __init__(
        self, book: Book, content: Content, mishap: Mishap | None, start: int, stop: int | None
    ) -> None:
        self._book = book
        self._content = content
        self._mishap = mishap
        self.start = 0 if mishap is Mishap.IGNORES_RANGE else start
        self.size = content.size if content.tells_size else None
        self._stop = content.size if stop is None or mishap is Mishap.IGNORES_RANGE else stop

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Send the bytes, some at a time."""
        book, at = self._book, self.start
        lies = self._mishap is Mishap.LIES
        body = self._content.lie if lies else self._content.body
        breaks_at = (self.start + self._stop) // 2
        while at < self._stop:
            if self._mishap in (Mishap.DROPS, Mishap.STALLS) and at >= breaks_at:
                await self._break()
            chunk = body[at : min(at + book.script.step, self._stop)]
            if lies:
                book.lied.add(self._content.digest)
            book.sent[self._content.digest] += len(chunk)
            yield chunk
            at += len(chunk)
            await asyncio.sleep(book.script.latency)

    async def _break(self) -> None:
        if self._mishap is Mishap.STALLS:
            await asyncio.sleep(5.0)
            raise UpstreamTimeout("no byte came for 5 seconds")
        raise UpstreamUnavailable("the connection broke")


class ScriptedUpstream:
    """A registry as one worker sees it (`Upstream`)."""

    is_silent = False
    may_refresh = True

    def __init__(self, book: Book, replica: int) -> None:
        self._book = book
        self._replica = replica

    async def head_blob(self, repository: Repository, digest: Digest) -> int | None:
        """Confirm a blob; repositories are refused as when its bytes are asked for."""
        await asyncio.sleep(self._book.script.latency)
        mishap = self._book.next_mishap(repository, digest)
        if mishap in _ERRORS:
            raise _ERRORS[mishap].with_traceback(None)
        content = self._book.content(digest)
        return content.size if content.tells_size else None

    @asynccontextmanager
    async def get_blob(
        self, repository: Repository, digest: Digest, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[BlobStream]:
        """Begin a response."""
        await asyncio.sleep(self._book.script.latency)
        self._book.judge_request(digest)
        mishap = self._book.next_mishap(repository, digest)
        if mishap in _ERRORS:
            raise _ERRORS[mishap].with_traceback(None)
        yield _Stream(self._book, self._book.content(digest), mishap, start, stop)

    async def head_manifest(self, repository: Repository, reference: Reference) -> ManifestHead:
        """Say what a tag names."""
        version = await self._version(reference)
        return ManifestHead(version.digest, len(version.body), OCI_MANIFEST)

    async def get_manifest(
        self, repository: Repository, reference: Reference, spend: Spend = "fetch"
    ) -> ManifestBody:
        """Send a manifest."""
        version = await self._version(reference)
        return ManifestBody(version.body, OCI_MANIFEST)

    async def _version(self, reference: Reference) -> "Version":
        latency = self._book.script.latency
        await asyncio.sleep(latency)
        version = self._book.version(reference)
        await asyncio.sleep(latency)
        return version

    def distrust(self, digest: Digest) -> None:
        """Do nothing: there is no other source."""

    async def list_tags(self, repository: Repository, query: Query) -> Listing:
        """Not part of a simulation."""
        raise NotImplementedError

    async def list_referrers(
        self, repository: Repository, digest: Digest, query: Query
    ) -> Listing | None:
        """Not part of a simulation."""
        raise NotImplementedError
