"""One blob's download: one upstream stream, one ingest, many followers.

A fill belongs to the core and to no request. The disk is the buffer: followers read the
growing file, each at its own speed, and none of them holds up the download or the others.
The file is also how processes share one download: whoever holds its lock leads, the others
watch it; and when the leader dies, the next one goes on from the bytes on disk.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import CacheproxyError, UpstreamUnavailable
from cacheproxy.domain.events import Source, Unexpected
from cacheproxy.domain.fill_state import FillState, Phase
from cacheproxy.domain.reference import Name, Repository
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.pullthrough.context import FillContext
from cacheproxy.pullthrough.leader import Leader
from cacheproxy.pullthrough.origin import Origin, Origins
from cacheproxy.pullthrough.progress import Progress
from cacheproxy.pullthrough.watcher import Watcher

# Of a blob that only replicas ask for: under no registry's name.
_NOBODYS = Repository("", Name("replicas"))


class Fill:
    """A download in flight: its election, its progress, and who attends it.

    Attributes:
        digest: of the blob.
        origins: where it may be fetched from.
        progress: how far it is.
    """

    def __init__(
        self,
        digest: Digest,
        origin: Origin | None,
        context: FillContext,
        on_end: Callable[["Fill"], None] = lambda _: None,
    ) -> None:
        self.digest = digest
        self.origins = Origins()
        if origin is not None:
            self.origins.add(origin)
        self.progress = Progress(lambda: on_end(self))
        self._context = context
        self._leader = Leader(digest, self.origins, self.progress, context)
        self._watcher = Watcher(digest, self.origins, self.progress, context)
        self._task: asyncio.Task[None] | None = None
        self._attended_by = 0
        self._abandon_timer: asyncio.TimerHandle | None = None

    @property
    def state(self) -> FillState:
        """The state of its progress."""
        return self.progress.state

    @property
    def source(self) -> Source:
        """Whether its bytes come from upstream, or from another replica."""
        return self.progress.source

    @property
    def repository(self) -> Repository:
        """The repository for which it was begun."""
        return next((origin.repository for origin in self.origins), _NOBODYS)

    @property
    def followers(self) -> int:
        """The number of those who wait for it, or follow it."""
        return self._attended_by

    @property
    def seconds(self) -> float | None:
        """Seconds since this process began to fetch it; None while another one does."""
        began = self._leader.began
        return None if began is None else self._context.clock.monotonic() - began

    # -- its life ---------------------------------------------------------------------------------

    def start(self, tasks: Tasks) -> None:
        """Start its task. Whoever wants it to go on attends it."""
        self._task = tasks.start(self.run(), f"fill {self.digest}")
        self._abandon_later()

    async def run(self) -> None:
        """Download, verify and commit. Ends quietly: the outcome is in the progress."""
        progress = self.progress
        try:
            while not progress.has_ended:
                await self._elect()
        except CacheproxyError as error:
            progress.fail(error)
        except Exception as error:  # noqa: BLE001  # followers must not wait for ever
            self._context.observer.observe(Unexpected(error))
            progress.fail(UpstreamUnavailable("the download broke"))
        except BaseException:
            # Cancelled, at shutdown: followers must not wait for what never comes.
            progress.fail(UpstreamUnavailable("the download was given up"))
            raise
        finally:
            self._leader.report_end()
            self._release()

    async def _elect(self) -> None:
        """Lead if there is no other leader, else watch the one there is."""
        origin = self.origins.next()
        repository = _NOBODYS if origin is None else origin.repository
        async with self._context.store.ingest(repository, self.digest) as ingest:
            if ingest is not None:
                await self._leader.lead(ingest)
                return
        await self._watcher.watch()

    # -- for those who want the blob --------------------------------------------------------------

    @contextmanager
    def attended(self) -> Iterator[None]:
        """Count as one who waits for it or follows it, within this context."""
        self._attended_by += 1
        if self._abandon_timer is not None:
            self._abandon_timer.cancel()
            self._abandon_timer = None
        try:
            yield
        finally:
            self._attended_by -= 1
            self._abandon_later()
            self._release()

    async def wait_open(self, repository: Repository | None = None) -> int | None:
        """Wait until bytes come that a repository may have; the blob's size where it is known.

        Args:
            repository: an origin's; None for another replica, which may have any.

        Raises:
            CacheproxyError: it could not be had.
        """
        while not self._is_open_for(repository):
            self.progress.raise_if_failed()
            await self.progress.wait_change()
        return self.progress.state.size

    def _is_open_for(self, repository: Repository | None) -> bool:
        origin = None if repository is None else self.origins.of(repository)
        if origin is not None and not self.origins.is_proven(origin):
            error = self.origins.error_of(origin.repository)
            if error is not None:
                raise error.with_traceback(None)
            return False
        return self.state.phase in (Phase.STREAMING, Phase.VERIFIED, Phase.COMMITTED)

    def _abandon_later(self) -> None:
        seconds = self._context.abandon_after
        if seconds is None or self._attended_by or self.state.over or self._task is None:
            return
        if self._abandon_timer is not None:
            self._abandon_timer.cancel()
        loop = asyncio.get_running_loop()
        self._abandon_timer = loop.call_later(seconds, self._abandon)

    def _abandon(self) -> None:
        """Give it up. In this step it is over, so that nobody can join what is being put down."""
        self._abandon_timer = None
        if not (self._attended_by or self.state.over) and self._task is not None:
            self.progress.fail(UpstreamUnavailable("nobody waits for this download any more"))
            self._task.cancel()

    def _release(self) -> None:
        """Close the file and forget the timer once nobody needs them."""
        if self.progress.has_ended:
            if self._abandon_timer is not None:
                self._abandon_timer.cancel()
                self._abandon_timer = None
            if not self._attended_by:
                self.progress.release_file()


class Fills:
    """The downloads under way in this process: at most one for each digest."""

    def __init__(self, context: FillContext, tasks: Tasks) -> None:
        self._context = context
        self._tasks = tasks
        self._fills: dict[Digest, Fill] = {}

    def __iter__(self) -> Iterator[Fill]:
        return iter(tuple(self._fills.values()))

    def get(self, digest: Digest) -> Fill | None:
        """Return the download of a blob; None if this process knows of none."""
        return self._fills.get(digest)

    def join(self, digest: Digest, origin: Origin | None) -> tuple[Fill, bool]:
        """Return the download of a blob, and whether it was under way; else begin it.

        Args:
            digest: of the blob.
            origin: from which it may be fetched, too; None follows what another process fetches.
        """
        fill = self._fills.get(digest)
        if fill is not None:
            if origin is not None:
                fill.origins.add(origin)
            return fill, True
        fill = self._fills[digest] = Fill(digest, origin, self._context, self._remove)
        fill.start(self._tasks)
        return fill, False

    def _remove(self, fill: Fill) -> None:
        if self._fills.get(fill.digest) is fill:
            del self._fills[fill.digest]
