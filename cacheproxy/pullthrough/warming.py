"""Having images in the cache before anybody asks for them.

An image is resolved, and each of its blobs is waited for, as a client would wait for it; but
nobody reads it, and nothing of it counts as served. Downloads are those of the core: who pulls
meanwhile follows them, and who stops to wait for them does not end them.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

from cacheproxy.domain import manifest as manifests
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import CacheproxyError
from cacheproxy.domain.events import Unexpected, Warmed, WarmFailed
from cacheproxy.domain.image import Image, parse_image, pullable
from cacheproxy.domain.manifest import Manifest
from cacheproxy.domain.operation import PullBlob, PullManifest
from cacheproxy.domain.reference import Repository, Tag
from cacheproxy.domain.routing import Routes
from cacheproxy.domain.warming import (
    State,
    WarmStep,
    WarmSummary,
    WarmTerms,
    deeper,
    summed,
    wanted_of,
)
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.ports import Clock, Observer
from cacheproxy.pullthrough.answers import ManifestAnswer
from cacheproxy.pullthrough.fill import Fill
from cacheproxy.pullthrough.pull_through import PullThrough

T = TypeVar("T")

# How often it is told how far it is; and that it is no further, for who listens to know that
# somebody is still there.
_TELL_SECONDS = 0.25
_TELL_AGAIN = 40  # times that
# How often it is looked for a manifest that another task is about to store.
_LOOKS = 20
_LOOK_SECONDS = 0.05
# What is begun behind; more than this is not taken.
_MOST_WAITING = 1000
# What `docker pull nginx` means.
_DEFAULT_TAG = Tag("latest")


class Warmer:
    """Warms images, for whoever asks."""

    def __init__(
        self,
        core: PullThrough,
        routes: Routes,
        observer: Observer,
        clock: Clock,
        tasks: Tasks,
    ) -> None:
        """Nothing is to be warmed yet.

        Args:
            core: has what is warm, and fetches what is not.
            routes: what images' names mean; may be replaced.
            observer: is told of each image at its end.
            clock: for durations.
            tasks: for what is begun behind; they end before what the core uses.
        """
        self.core = core
        self.routes = routes
        self.observer = observer
        self.clock = clock
        self._tasks = tasks
        self._waiting: dict[str, WarmTerms] = {}
        self._is_busy = False

    async def warm(
        self, images: Iterable[str], terms: WarmTerms
    ) -> AsyncGenerator[WarmStep | WarmSummary, None]:
        """Warm images, and tell how far it is: steps of each, now and then; at last the sum.

        An image that fails does not stop the others. Who stops listening closes this
        (`contextlib.aclosing`), and then nothing new is begun; downloads under way go on as
        they do when a client leaves.
        """
        run = _Run(self, self._jobs(images), terms)
        tasks = Tasks()
        try:
            work = tasks.start(run.all(), "warm")
            turn = 0
            while not work.done():
                await asyncio.wait({work}, timeout=_TELL_SECONDS)
                turn += 1
                for step in run.news(everything=turn % _TELL_AGAIN == 0):
                    yield step
            await work
            for step in run.news():
                yield step
            yield run.summary()
        finally:
            await tasks.close()

    def begin(self, images: Sequence[str], terms: WarmTerms) -> bool:
        """Warm images behind, one after the other; whether there is room for them to wait.

        What waits already is not warmed twice.
        """
        new = dict.fromkeys(images, terms)
        if len(self._waiting | new) > _MOST_WAITING:
            return False
        self._waiting |= new
        if not self._is_busy:
            self._is_busy = True
            self._tasks.start(self._behind(), "warm behind")
        return True

    async def _behind(self) -> None:
        try:
            while self._waiting:
                terms = next(iter(self._waiting.values()))
                alike = [image for image, its in self._waiting.items() if its == terms]
                for image in alike:
                    del self._waiting[image]
                async for _ in self.warm(alike, terms):
                    pass
        finally:
            self._is_busy = False

    def _jobs(self, images: Iterable[str]) -> list["_Job"]:
        """Each image once, also where it is written in two ways."""
        jobs: dict[str, _Job] = {}
        for text in images:
            try:
                image = pullable(parse_image(text, self.routes), self.routes)
            except CacheproxyError as error:
                jobs.setdefault(text, _Job(text, None, str(error)))
                continue
            if image.tag is None and image.digest is None:
                image = Image(image.repository, _DEFAULT_TAG)
            jobs.setdefault(str(image), _Job(str(image), image))
        return list(jobs.values())


class _Job:
    """One image on its way."""

    def __init__(self, name: str, image: Image | None, error: str | None = None) -> None:
        self.name = name
        self.image = image
        self.error = error
        self.state: State = "resolving"
        self.digest: Digest | None = None
        self.before: Digest | None = None
        self.seconds = 0.0
        self.told: WarmStep | None = None
        # What it consists of: manifests, and blobs with the repository's word on their size.
        self.manifests: set[Digest] = set()
        self.blobs: dict[Digest, int] = {}
        self._landed: set[Digest] = set()
        self._here = 0
        # By blob: the download, and whether its bytes count for this image.
        self._fills: dict[Digest, tuple[Fill, bool]] = {}

    def coming(self, digest: Digest, fill: Fill, *, counts: bool) -> None:
        """A blob is being downloaded."""
        self._fills[digest] = fill, counts

    def landed(self, digest: Digest) -> None:
        """A blob is in the store."""
        self._landed.add(digest)
        fill, counts = self._fills.get(digest, (None, False))
        if fill is not None:
            self.blobs[digest] = fill.state.received
        # What came for another image, or was left of an earlier download, cost this one nothing.
        gained = sum(fill.progress.fetched) if fill is not None and counts else 0
        self._here += self.blobs[digest] - gained

    def step(self) -> WarmStep:
        """How far it is."""
        gained = [fill.progress.fetched for fill, counts in self._fills.values() if counts]
        under_way = [
            fill.state.received
            for digest, (fill, _) in self._fills.items()
            if digest not in self._landed
        ]
        done = sum(self.blobs[digest] for digest in self._landed)
        return WarmStep(
            image=self.name,
            state=self.state,
            digest=self.digest,
            blobs_total=len(self.blobs),
            blobs_done=len(self._landed),
            bytes_total=sum(self.blobs.values()),
            bytes_done=done + sum(under_way),
            fetched_bytes=sum(fetched for fetched, _ in gained),
            replica_bytes=sum(given for _, given in gained),
            here_bytes=self._here,
            seconds=round(self.seconds, 3),
            error=self.error,
        )


class _Run:
    """Some images on their way together."""

    def __init__(self, warmer: Warmer, jobs: list[_Job], terms: WarmTerms) -> None:
        self._warmer = warmer
        self._core = warmer.core
        self._jobs = jobs
        self._terms = terms
        self._began = warmer.clock.monotonic()
        self._begun: list[_Job] = []
        self._turns = asyncio.Semaphore(terms.parallel)
        # For which image a blob comes: it counts once.
        self._owners: dict[Digest, _Job] = {}

    async def all(self) -> None:
        """Warm them."""
        await _each(self._jobs, self._terms.parallel, self._one)
        for job in self._jobs:
            # What came later may have had no room but that of what came before.
            if job.state == "done" and not self._is_whole(job):
                self._begun.append(job)
                self._tell(job)

    def news(self, *, everything: bool = False) -> list[WarmStep]:
        """What has changed since it was asked last; or how far all is that is under way."""
        changed = []
        for job in self._begun:
            step = job.step()
            if step != job.told or everything:
                job.told = step
                changed.append(step)
        self._begun = [job for job in self._begun if not (job.told and job.told.is_over)]
        return changed

    def summary(self) -> WarmSummary:
        """What it came to."""
        spent = self._warmer.clock.monotonic() - self._began
        return summed((job.step() for job in self._jobs), round(spent, 3))

    async def _one(self, job: _Job) -> None:
        clock, begun = self._warmer.clock, self._warmer.clock.monotonic()
        self._begun.append(job)
        try:
            if job.image is not None:
                await self._fetched(job, job.image)
                self._is_whole(job)
        except CacheproxyError as error:
            job.error = str(error)
        except Exception as error:  # noqa: BLE001  # the other images are warmed all the same
            self._warmer.observer.observe(Unexpected(error))
            job.error = "it could not be warmed, by a mistake of this program; its log has more"
        job.state = "done" if job.error is None else "failed"
        job.seconds = clock.monotonic() - begun
        self._tell(job)

    def _tell(self, job: _Job) -> None:
        step = job.step()
        if step.error is not None or step.digest is None:
            error = step.error or "it was not resolved"
            self._warmer.observer.observe(WarmFailed(step.image, error, step.seconds))
            return
        self._warmer.observer.observe(
            Warmed(
                step.image,
                step.digest,
                job.before,
                step.fetched_bytes,
                step.replica_bytes,
                step.here_bytes,
                step.seconds,
            )
        )

    def _is_whole(self, job: _Job) -> bool:
        """Whether all is still here which was put there; if not, that is its error."""
        gone = [each for each in (*job.manifests, *job.blobs) if not self._core.has(each)]
        if gone:
            job.state = "failed"
            job.error = (
                f"{len(gone)} of its parts are not in the cache: it has no room for all of this; "
                "make cache.max_size larger, or warm less"
            )
        return not gone

    async def _fetched(self, job: _Job, image: Image) -> None:
        reference = image.digest or image.tag
        if reference is None:
            raise AssertionError("an image without a tag has the default one")
        asked = PullManifest(image.repository, reference)
        answer, job.before = await self._core.latest(asked, self._terms.within, self._terms.spend)
        job.digest = answer.digest
        await self._read(job, image.repository, _parsed(answer), 0)
        job.state = "fetching"

        async def fetch(digest: Digest) -> None:
            await self._blob(job, PullBlob(image.repository, digest))

        await _each(list(job.blobs), self._terms.parallel, fetch)
        for _ in range(_LOOKS):
            if all(self._core.has(digest) for digest in job.manifests):
                return
            # Somebody else is writing the same one.
            await self._warmer.clock.sleep(_LOOK_SECONDS)

    async def _read(
        self, job: _Job, repository: Repository, manifest: Manifest, depth: int
    ) -> None:
        """Learn what an image consists of, by fetching the manifests that say so."""
        job.manifests.add(manifest.digest)
        wanted = wanted_of(manifest, self._terms.platforms)
        job.blobs |= {blob.digest: blob.size or 0 for blob in wanted.blobs}
        for child in wanted.manifests:
            if child.digest not in job.manifests:
                asked = PullManifest(repository, child.digest)
                answer, _ = await self._core.latest(asked, spend=self._terms.spend)
                await self._read(job, repository, _parsed(answer), deeper(depth))

    async def _blob(self, job: _Job, asked: PullBlob) -> None:
        digest = asked.digest
        async with self._turns:
            owner = self._owners.setdefault(digest, job)

            def begun(fill: Fill) -> None:
                job.coming(digest, fill, counts=owner is job)

            try:
                await self._core.keep(asked, begun, is_use=self._terms.is_use)
            except BaseException:
                if owner is job:
                    del self._owners[digest]  # the next one may fetch it
                raise
            job.landed(digest)


def _parsed(answer: ManifestAnswer) -> Manifest:
    if answer.body is None:
        raise AssertionError("a manifest that was not asked for by HEAD has a body")
    return manifests.parse(answer.body, answer.media_type, answer.digest)


async def _each(items: Iterable[T], parallel: int, work: Callable[[T], Awaitable[None]]) -> None:
    """Do the work for each, for so many at once; the first that fails ends it."""
    tasks, rest = Tasks(), iter(items)

    async def some() -> None:
        for item in rest:
            await work(item)

    try:
        running = [tasks.start(some(), "warm some") for _ in range(parallel)]
        done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_EXCEPTION)
        errors = [error for task in done if (error := task.exception()) is not None]
        if errors:
            raise errors[0]
    finally:
        await tasks.close()
