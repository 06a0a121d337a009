"""The events of a cluster script, and what must hold of tags and purges whatever happens."""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from math import inf
from typing import Any

from cacheproxy.domain.errors import CacheproxyError, StorageError, UpstreamTimeout
from cacheproxy.domain.operation import PullManifest
from cacheproxy.domain.records import Link
from cacheproxy.domain.redis_url import parse_redis_url
from cacheproxy.metadata.embedded import tag_of
from cacheproxy.metadata.embedded_records import EmbeddedRecords
from cacheproxy.metadata.redis_clients import RedisLogin
from cacheproxy.metadata.redis_keys import RedisKeys
from cacheproxy.metadata.redis_purge import RedisRecords
from cacheproxy.metadata.redis_records import write_link
from cacheproxy.ops.observers import Observers
from cacheproxy.storage.layout import Layout
from tests.simulation.clock import wall_time
from tests.simulation.cluster_script import (
    ClockStep,
    ClusterScript,
    RedisFault,
    Standstill,
    TagPull,
    TagPurge,
)
from tests.simulation.network import REDIS, Network, host_of, replica_address
from tests.simulation.redis_model import RedisModel
from tests.simulation.redis_server import RedisProtocol
from tests.simulation.script import REPOSITORIES, Script
from tests.simulation.upstream import Book
from tests.simulation.worker import Worker
from tests.simulation.world import Process, World

At = Callable[[float, Callable[[], None]], None]
"""Has something happen so many virtual seconds after the start."""

# As the edge waits for a response.
_RESPONSE_SECONDS = 25.0
# Clocks of replicas and of the server may differ so much, and an answer be under way so long.
_SLACK = 3.0
# Another process of a volume is believed that nothing has changed for so long; longer where it
# is taken to be heard and is not: a connection without a word is tried twice.
_HOT_SECONDS = 6.0
_DEAF_SECONDS = 25.0
# A purge is heard so soon, or after a disturbance.
_PURGE_SECONDS = 2.0
# A request that is under way while something is purged may still write what it has read before.
_UNDER_WAY = 2.0


@dataclass(slots=True)
class Disturbances:
    """All times in which something beside upstream failed."""

    spans: list[tuple[float, float, str]] = field(default_factory=list)

    def add(self, start: float, stop: float, kind: str) -> None:
        """Add one."""
        self.spans.append((start, stop, kind))

    def is_calm(self, start: float, stop: float, *kinds: str) -> bool:
        """Whether nothing of these kinds, or of any, lies in a span."""
        return not any(
            begun <= stop and ended >= start and (not kinds or kind in kinds)
            for begun, ended, kind in self.spans
        )


@dataclass(slots=True)
class TagAnswer:
    """What a client got of a tag.

    Attributes:
        pull: of the client.
        worker: that was asked.
        began: in virtual seconds since the start.
        ended: likewise.
        number: of the version; -1: there is no such tag; None: it failed.
        error: why.
        is_over: it has ended, or its worker has.
    """

    pull: TagPull
    worker: Worker
    began: float
    ended: float = 0.0
    number: int | None = None
    error: str = ""
    is_over: bool = False


@dataclass(frozen=True, slots=True)
class Purged:
    """A purge that was acknowledged."""

    began: float
    ended: float
    tag: int | None


class ClusterEvents:
    """Plays a cluster script, and judges what came of it."""

    def __init__(self, world: World, script: Script, book: Book, at: At) -> None:
        assert script.cluster is not None
        self._world = world
        self._script: ClusterScript = script.cluster
        self._book = book
        self._network = Network(world, script.latency)
        world.network = self._network
        self._model = RedisModel(self._server_time, world.random)
        self._saved: dict[bytes, Any] = {}
        self._redis = self._start_redis()
        self._answers: list[TagAnswer] = []
        self._purges: list[Purged] = []
        # From the beginning of each purge until a while after its end.
        self._purge_spans: list[tuple[float, float]] = []
        self._running_purges: list[asyncio.Task[None]] = []
        self.disturbances = book.disturbances = Disturbances()
        self._add_links(script)
        self._schedule(at)

    @property
    def now(self) -> float:
        """Virtual seconds since the start."""
        return self._world.time - 1000.0

    def _add_links(self, script: Script) -> None:
        keys = RedisKeys.of("cacheproxy")
        for repository, blob, says_size in script.linked:
            content = script.contents[blob]
            link = Link(content.size if says_size else None)
            key = keys.link(REPOSITORIES[repository], content.digest).encode()
            self._model.execute([b"SET", key, write_link(link)])

    def _schedule(self, at: At) -> None:
        script = self._script
        for step in script.steps:
            at(step.at, partial(self._step, step))
        for cut in script.cuts:
            one, other = map(host_of, cut.hosts)
            at(cut.at, partial(self._network.cut, one, other))
            at(cut.at + cut.seconds, partial(self._network.mend, one, other))
            self.disturbances.add(cut.at, cut.at + cut.seconds, "cut")
        for fault in script.redis_faults:
            if fault.kind == "fails over":
                at(max(0.0, fault.at - fault.lag), self._save)
            at(fault.at, partial(self._fail_redis, fault))
            at(fault.at + fault.seconds, partial(self._mend_redis, fault))
            kind = "redis" if fault.kind in ("stops", "stalls") else "loss"
            self.disturbances.add(fault.at, fault.at + fault.seconds, kind)
        muted = self._network.muted
        for mute in script.mutes:
            address = replica_address(mute.replica)
            at(mute.at, partial(muted.add, address))
            at(mute.at + mute.seconds, partial(muted.discard, address))
            self.disturbances.add(mute.at, mute.at + mute.seconds, "mute")
        for outage in script.outages:
            self.disturbances.add(outage.at, outage.at + outage.seconds, "upstream")

    # -- Redis ----------------------------------------------------------------------------------

    def _server_time(self) -> float:
        return wall_time(self._redis)

    def _start_redis(self) -> Process:
        process = self._world.spawn("redis", REDIS[0])
        self._network.listen(REDIS, process, lambda: RedisProtocol(self._model))
        return process

    def _save(self) -> None:
        self._saved = self._model.save()

    def _fail_redis(self, fault: RedisFault) -> None:
        self._world.note(f"redis {fault.kind}")
        if fault.kind == "stalls":
            self._redis.frozen_until = self._world.time + fault.seconds
        elif self._redis.is_alive:
            self._redis.kill()

    def _mend_redis(self, fault: RedisFault) -> None:
        if fault.kind == "stalls" or self._redis.is_alive:
            return
        if fault.kind != "stops":
            self._model.load(self._saved if fault.kind == "fails over" else {})
        self._model.restart()
        self._redis = self._start_redis()

    # -- hosts ------------------------------------------------------------------------------------

    def _step(self, step: ClockStep) -> None:
        host = host_of(step.host)
        self._world.note(f"the clock of {host} steps by {step.seconds:g} s")
        offsets = self._world.clock_offsets
        offsets[host] = offsets.get(host, 0.0) + step.seconds
        self.disturbances.add(step.at, step.at, "step")

    def stand_still(self, standstill: Standstill, process: Process) -> None:
        """Have a worker stand still."""
        self._world.note(f"{process.name} stands still for {standstill.seconds:g} s")
        process.frozen_until = self._world.time + standstill.seconds
        self.disturbances.add(self.now, self.now + standstill.seconds, "standstill")

    def stood_still(self, worker: int) -> bool:
        """Whether a worker did not run for a while: its clients wait, and may give up."""
        return any(one.worker == worker for one in self._script.standstills)

    def note_crash(self, down_for: float) -> None:
        """Remember a crash of a worker."""
        self.disturbances.add(self.now, self.now + down_for, "crash")

    def mend_all(self) -> None:
        """Let all faults end."""
        self._network.mend_all()
        self._network.muted.clear()
        for process in self._world.living:
            process.frozen_until = 0.0
        if not self._redis.is_alive:
            self._model.restart()
            self._redis = self._start_redis()
        self.disturbances.add(self.now, self.now, "mended")

    # -- clients and operators --------------------------------------------------------------------

    def pull_tag(self, pull: TagPull, worker: Worker) -> None:
        """Have a client pull a tag."""
        answer = TagAnswer(pull, worker, self.now)
        if not worker.process.is_alive or not worker.is_ready:
            return
        self._answers.append(answer)
        worker.process.start(self._pull(answer), "client")

    async def _pull(self, answer: TagAnswer) -> None:
        history = self._script.tags[answer.pull.tag]
        asked = PullManifest(REPOSITORIES[0], history.name)
        digests = [version.digest for version in history.versions]
        try:
            async with asyncio.timeout(_RESPONSE_SECONDS):
                got = await answer.worker.core.manifest(asked, head=answer.pull.is_head)
            answer.number = digests.index(got.digest)
            if got.body is not None and got.body != history.versions[answer.number].body:
                self._world.complain(f"a client gets other bytes than those of {got.digest}")
        except CacheproxyError as error:
            answer.number = -1 if "Unknown" in type(error).__name__ else None
            answer.error = f"{type(error).__name__}: {error}"
        except TimeoutError:
            answer.error = str(UpstreamTimeout(f"504 after {_RESPONSE_SECONDS:g} s"))
        except Exception as error:  # noqa: BLE001  # a 500
            self._world.complain(f"{answer.worker.name}: a client of a tag gets a 500: {error!r}")
        answer.ended, answer.is_over = self.now, True
        self._world.note(
            f"{answer.worker.name}: {history.name} is version {answer.number} {answer.error}"
        )

    def purge(self, purge: TagPurge) -> None:
        """Have an operator purge, by the command on a replica's host."""
        process = self._world.spawn(f"purge on r{purge.replica}", host_of(purge.replica))
        self._running_purges.append(process.start(self._purge(purge), "purge"))

    async def _purge(self, purge: TagPurge) -> None:
        """Purge as `bootstrap.purging` does: our own records, then those that are shared."""
        began = self.now
        scope = f"{REPOSITORIES[0]} "
        tag = None if purge.tag is None else str(self._script.tags[purge.tag].name)
        directory = Layout(self._world.directory(purge.replica)).metadata
        url = parse_redis_url(f"redis://{REDIS[0]}:{REDIS[1]}/0")
        shared = RedisRecords(url, Observers(()), 1.0, RedisLogin())
        with closing(EmbeddedRecords(directory)) as records:
            records.forget(records.below(scope) if tag is None else [tag_of(scope, tag)])
        try:
            await shared._forget(scope, tag, is_rehearsal=False)
        except StorageError as error:
            self._world.note(f"a purge fails: {error}")
            self._purge_spans.append((began, inf))
            return
        self._purge_spans.append((began, self.now + _PURGE_SECONDS))
        self._world.note(f"{tag or scope} is purged")
        self._purges.append(Purged(began, self.now, purge.tag))

    def has_ended(self) -> bool:
        """Whether all clients and commands have come to their end."""
        for answer in self._answers:
            answer.is_over = answer.is_over or not answer.worker.process.is_alive
        return all(answer.is_over for answer in self._answers) and all(
            task.done() for task in self._running_purges
        )

    @property
    def outcomes(self) -> Counter[str]:
        """Count what clients got of tags."""
        return Counter(
            "failed" if one.number is None else "absent" if one.number < 0 else "tag"
            for one in self._answers
            if one.ended
        )

    # -- what must hold ---------------------------------------------------------------------------

    def judge(self) -> None:
        """Judge all answers by what upstream named at the time, and by each other."""
        answers = [one for one in self._answers if one.ended]
        for answer in answers:
            self._judge_failure(answer)
            if answer.number is not None and answer.number >= 0:
                self._judge_age(answer)
                for purged in self._purges:
                    self._judge_purge(answer, purged)
        found = [one for one in answers if one.number is not None and one.number >= 0]
        for later in found:
            for earlier in found:
                self._judge_order(earlier, later)

    def _complain(self, what: str, answer: TagAnswer) -> None:
        at = f"{answer.began:.2f} to {answer.ended:.2f} s"
        got = f"version {answer.number} {answer.error}"
        self._world.complain(f"{answer.worker.name}: {what}: v{answer.pull.tag}, {got}, {at}")

    def _judge_failure(self, answer: TagAnswer) -> None:
        if answer.number is not None and answer.number >= 0:
            return
        history = self._script.tags[answer.pull.tag]
        was_missing = (
            history.versions[0].at > answer.began - self._script.policy.not_found_for - _SLACK
        )
        if was_missing and history.versions[0].at > 0:
            return
        if self._is_undisturbed(answer, answer.began - _SLACK, "upstream", "standstill"):
            self._complain("a client fails for no reason", answer)

    def _is_undisturbed(self, answer: TagAnswer, since: float, *kinds: str) -> bool:
        return self.disturbances.is_calm(since, answer.ended, *kinds)

    def _judge_age(self, answer: TagAnswer) -> None:
        """A tag is no older than its rule allows, unless upstream did not answer."""
        policy, history = self._script.policy, self._script.tags[answer.pull.tag]
        assert answer.number is not None
        since = answer.began - policy.fresh_for - policy.stale_while_revalidate - _SLACK
        if history.number_at(since) <= answer.number:
            return
        if self._is_undisturbed(answer, since, "upstream", "standstill"):
            self._complain("a tag is staler than its rule allows", answer)

    def _judge_order(self, earlier: TagAnswer, later: TagAnswer) -> None:
        """A replica never goes back to an older version."""
        assert earlier.number is not None
        assert later.number is not None
        is_other = earlier.pull.tag != later.pull.tag or (
            earlier.worker.replica != later.worker.replica
        )
        if is_other or later.number >= earlier.number or later.began <= earlier.ended:
            return
        if self._may_be_forgotten(earlier, later):
            return
        if later.worker is not earlier.worker:
            is_calm = self.disturbances.is_calm(earlier.began - _DEAF_SECONDS, later.ended)
            seconds = _HOT_SECONDS if is_calm else _DEAF_SECONDS
            if later.began < earlier.ended + seconds:
                return
        self._complain(f"a tag goes back from version {earlier.number}", later)

    def _may_be_forgotten(self, earlier: TagAnswer, later: TagAnswer) -> bool:
        """Whether a purge has dropped what a replica knew, and left what others know.

        That is so until the purge is acknowledged; for longer where Redis has lost records.
        """
        if not self.disturbances.is_calm(0.0, later.ended, "loss"):
            return any(began <= later.ended for began, _ in self._purge_spans)
        return any(
            began <= later.ended and ended >= earlier.began - _UNDER_WAY
            for began, ended in self._purge_spans
        )

    def _judge_purge(self, answer: TagAnswer, purged: Purged) -> None:
        """Nothing that was known before a purge is served after it."""
        history = self._script.tags[answer.pull.tag]
        assert answer.number is not None
        if purged.tag not in (None, answer.pull.tag) or answer.began < purged.ended:
            return
        if answer.number >= history.number_at(purged.began - _UNDER_WAY):
            return
        calm, is_lost = self.disturbances.is_calm, False
        is_lost = not calm(purged.ended - _SLACK, answer.ended, "loss")
        since = max(purged.ended, answer.worker.began_at - 1000.0)
        is_calm = calm(since - 5.0, answer.began)
        seconds = _PURGE_SECONDS if is_calm else _DEAF_SECONDS
        if is_lost or not calm(answer.began - seconds, answer.began, "redis", "cut", "standstill"):
            return
        if answer.began > since + seconds:
            self._complain(f"what was purged at {purged.ended:.2f} s comes back", answer)
