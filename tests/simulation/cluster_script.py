"""The part of a script that is about several replicas: tags, purges, Redis, clocks, the network."""

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.freshness import TagPolicy
from cacheproxy.domain.media_types import OCI_MANIFEST
from cacheproxy.domain.reference import Tag
from tests.simulation.script import AMPLE, Client, Content, Crash, Script, write_script

REDIS = -1
"""The number of Redis, where replicas have numbers."""

BEGINS = 3.0
"""Virtual seconds until the first thing happens: by then the replicas know each other."""

_STEPS = (0.3, 3600.0, 3600.0, -3600.0, 40 * 86_400.0, -40 * 86_400.0)


@dataclass(frozen=True, slots=True)
class Version:
    """A manifest, and when upstream's tag begins to name it.

    Attributes:
        at: virtual seconds after the start.
        body: the manifest.
        digest: of it.
    """

    at: float
    body: bytes = field(repr=False)
    digest: Digest


@dataclass(frozen=True, slots=True)
class TagHistory:
    """A tag of the first repository: all that upstream ever names by it, in order."""

    name: Tag
    versions: tuple[Version, ...]

    def number_at(self, at: float) -> int:
        """Return the number of the version at a time; -1 if there is no such tag yet."""
        return sum(version.at <= at for version in self.versions) - 1


@dataclass(frozen=True, slots=True)
class TagPull:
    """A client that pulls a manifest by tag, from a worker."""

    at: float
    worker: int
    tag: int
    is_head: bool


@dataclass(frozen=True, slots=True)
class TagPurge:
    """An operator who purges a tag, or the whole repository (None), on a replica's host."""

    at: float
    replica: int
    tag: int | None


@dataclass(frozen=True, slots=True)
class ClockStep:
    """A step of the wall clock of a replica's host, or of Redis's."""

    at: float
    host: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Cut:
    """A time in which two hosts do not reach each other."""

    at: float
    seconds: float
    hosts: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Standstill:
    """A time in which a worker does not run, while its kernel accepts connections."""

    at: float
    seconds: float
    worker: int


@dataclass(frozen=True, slots=True)
class Mute:
    """A time in which a replica's port accepts connections and answers none of them."""

    at: float
    seconds: float
    replica: int


@dataclass(frozen=True, slots=True)
class RedisFault:
    """A time without Redis.

    Attributes:
        at: when it begins.
        seconds: how long it lasts.
        kind: `stops` and keeps its data; `loses` all of it; `stalls`: is there, and answers
            nothing; `fails over` to a server that has missed the last `lag` seconds.
        lag: seconds of writes that a failover loses.
    """

    at: float
    seconds: float
    kind: Literal["stops", "loses", "stalls", "fails over"]
    lag: float


@dataclass(frozen=True, slots=True)
class Outage:
    """A time in which upstream fails every request for a manifest."""

    at: float
    seconds: float


@dataclass(frozen=True, slots=True)
class ClusterScript:
    """Everything that happens to a cluster beside what happens to each cache.

    Attributes:
        replicas: how many.
        readers: as many read a blob from one replica at once.
        budgets: bytes that each replica may store.
        policy: for tags.
    """

    replicas: int
    readers: int
    budgets: tuple[int, ...]
    policy: TagPolicy
    tags: tuple[TagHistory, ...]
    tag_pulls: tuple[TagPull, ...]
    purges: tuple[TagPurge, ...]
    steps: tuple[ClockStep, ...]
    cuts: tuple[Cut, ...]
    standstills: tuple[Standstill, ...]
    redis_faults: tuple[RedisFault, ...]
    outages: tuple[Outage, ...]
    mutes: tuple[Mute, ...]

    @property
    def is_disturbed(self) -> bool:
        """Whether anything fails but upstream."""
        faults = (self.steps, self.cuts, self.standstills, self.mutes, self.redis_faults)
        return any(faults)


def write_cluster_script(seed: int) -> Script:
    """Draw a script of several replicas, each with a directory and one or two workers.

    Events attract each other: most happen soon after one of a few moments, since a coincidence
    of three faults is what nobody has thought of. A script is about blobs, about tags, or both.
    """
    script = write_script(seed)
    chance = random.Random(f"cluster {seed}")
    focus = chance.choice(("blobs", "tags", "tags", "both"))
    if focus == "tags":
        script = replace(script, clients=script.clients[:1], chores=(), trouble=(), mishaps={})
    replicas = chance.choice((2, 2, 2, 3, 3, 4) if focus == "blobs" else (2, 2, 2, 3))
    times = _Times(chance, 4.0 if focus == "blobs" else 16.0)
    workers = replicas * chance.choice((1, 1, 2))
    purges = times.some(0, 0, 1, 2) if focus != "blobs" else []
    tags = () if focus == "blobs" else _tags(chance, script.contents, times, purges)
    cluster = _draw_cluster(chance, (replicas, workers), tags, times, purges)
    drawn = replace(
        script,
        workers=workers,
        cluster=cluster,
        clients=tuple(
            # Some come when others have the blob.
            replace(
                one,
                at=chance.choice((one.at + BEGINS, times.draw())),
                worker=chance.randrange(workers),
            )
            for one in script.clients
        ),
        chores=tuple(
            replace(one, at=one.at + BEGINS, worker=chance.randrange(workers))
            for one in script.chores
        ),
        crashes=_crashes(chance, replicas, workers, times),
        trouble=tuple(
            replace(one, start=one.start + BEGINS, stop=one.stop + BEGINS) for one in script.trouble
        ),
    )
    return _draw_mute_holder(chance, drawn) if not tags and chance.random() < 0.2 else drawn


def _draw_mute_holder(chance: random.Random, script: Script) -> Script:
    """Draw a holder of a blob that answers nobody when another replica asks for the blob."""
    cluster = script.cluster
    assert cluster is not None
    holder, asker = chance.sample(range(cluster.replicas), 2)
    at = BEGINS + 6.0
    first = Client(BEGINS, holder, 0, 0, None, 100_000, 0.0, None, None)
    others = tuple(
        replace(first, at=at + chance.uniform(0.1, 3.0), worker=asker)
        for _ in range(chance.randint(1, 3))
    )
    return replace(
        script,
        clients=(first, *others),
        crashes=(),
        cluster=replace(
            cluster, budgets=(AMPLE,) * cluster.replicas, mutes=(Mute(at, 60.0, holder),)
        ),
    )


class _Times:
    """The times at which things happen."""

    def __init__(self, chance: random.Random, lasts: float) -> None:
        self._chance = chance
        self.ends = BEGINS + lasts * chance.choice((0.25, 1.0, 1.0, 2.0))
        self._moments = [chance.uniform(BEGINS, self.ends) for _ in range(3)]

    def draw(self) -> float:
        """Draw a time: mostly soon after a moment at which other things happen."""
        if self._chance.random() < 0.3:
            return self._chance.uniform(BEGINS, self.ends)
        mean = self._chance.choice((0.03, 0.5, 2.0))
        return self._chance.choice(self._moments) + self._chance.expovariate(1 / mean)

    def some(self, *counts: int) -> list[float]:
        """Draw several times."""
        return [self.draw() for _ in range(self._chance.choice(counts))]


def _draw_cluster(
    chance: random.Random,
    counts: tuple[int, int],
    tags: tuple[TagHistory, ...],
    times: _Times,
    purges: Sequence[float],
) -> ClusterScript:
    replicas, workers = counts
    everywhere = range(-1, replicas)
    pulls = times.some(*((8, 20) if tags else (0,)))
    for at in purges:
        # Those before know what is purged; those meanwhile may keep it; those after show it.
        pulls += [at - chance.uniform(4.0, 6.0) for _ in range(3)]
        pulls += [at + chance.uniform(-0.1, 0.3) for _ in range(3)]
        pulls += [at + chance.uniform(2.0, 6.0) for _ in range(4)]
    return ClusterScript(
        replicas=replicas,
        readers=chance.choice((2, 16, 16)),
        budgets=tuple(chance.choice((AMPLE, AMPLE, AMPLE, 8192)) for _ in range(replicas)),
        policy=TagPolicy(
            fresh_for=chance.choice((0.5, 2.0, 60.0, *(60.0 for _ in purges))),
            stale_while_revalidate=chance.choice((0.0, 0.0, 2.0)),
            stale_if_error=chance.choice((0.0, 7 * 86_400.0)),
        ),
        tags=tags,
        tag_pulls=tuple(
            TagPull(at, chance.randrange(workers), chance.randrange(len(tags)), number % 2 == 0)
            for number, at in enumerate(pulls)
        ),
        purges=tuple(
            TagPurge(at, chance.randrange(replicas), chance.choice((None, *range(len(tags)))))
            for at in purges
        ),
        steps=tuple(
            ClockStep(at, chance.choice(everywhere), chance.choice(_STEPS))
            for at in times.some(0, 0, 1, 2)
        ),
        cuts=tuple(_cut(chance, replicas, at) for at in times.some(0, 0, 1, 2)),
        standstills=tuple(
            Standstill(at, chance.choice((1.0, 8.0, 60.0)), chance.randrange(workers))
            for at in times.some(0, 0, 0, 1)
        ),
        redis_faults=tuple(_redis_fault(chance, at) for at in times.some(0, 0, 1, 2)),
        outages=tuple(Outage(at, chance.choice((0.5, 5.0))) for at in times.some(0, 0, 0, 1)),
        mutes=tuple(
            Mute(at, chance.choice((1.0, 8.0, 60.0)), chance.randrange(replicas))
            for at in times.some(0, 0, 0, 1)
        ),
    )


def _crashes(
    chance: random.Random, replicas: int, workers: int, times: _Times
) -> tuple[Crash, ...]:
    """Draw crashes of a worker, or of a whole replica, which is away for a while."""
    crashes = []
    for at in times.some(0, 0, 1, 1):
        replica, down_for = chance.randrange(replicas), chance.choice((0.01, 1.0, 4.0))
        is_all = chance.random() < 0.5
        for worker in range(replica, workers, replicas):
            if is_all or chance.random() < 0.5:
                calls = 0 if is_all else chance.choice((0, 1, 3, 8, 20))
                crashes.append(Crash(at, worker, calls, down_for))
    return tuple(crashes)


def _tags(
    chance: random.Random, contents: tuple[Content, ...], times: _Times, purges: Sequence[float]
) -> tuple[TagHistory, ...]:
    histories = []
    for number in range(chance.choice((1, 1, 2))):
        layers = chance.choice(((), (chance.choice(contents),)))
        # Who purges a tag mostly does so since it has moved.
        moves = times.some(1, 2, 4) + [at - chance.uniform(2.0, 4.0) for at in purges]
        histories.append(_tag(chance, number, layers, sorted(moves)))
    return tuple(histories)


def _tag(
    chance: random.Random, number: int, layers: tuple[Content, ...], moves: Sequence[float]
) -> TagHistory:
    begins = chance.choice((0.0, 0.0, 0.0, BEGINS + 1.0))
    versions = []
    for version, at in enumerate((begins, *(move for move in moves if move > begins))):
        body = _manifest(layers, f"{number}.{version}")
        versions.append(Version(at, body, Digest("sha256:" + hashlib.sha256(body).hexdigest())))
    return TagHistory(Tag(f"v{number}"), tuple(versions))


def _manifest(layers: tuple[Content, ...], title: str) -> bytes:
    config = layers[0] if layers else None
    empty = "sha256:" + hashlib.sha256(b"").hexdigest()
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": str(config.digest) if config else empty,
            "size": config.size if config else 0,
        },
        "layers": [
            {
                "mediaType": "application/vnd.oci.image.layer.v1.tar",
                "digest": str(layer.digest),
                "size": layer.size,
            }
            for layer in layers
        ],
        "annotations": {"title": title},
    }
    return json.dumps(document).encode()


def _cut(chance: random.Random, replicas: int, at: float) -> Cut:
    one = chance.randrange(replicas)
    other = chance.choice((REDIS, (one + 1) % replicas))
    return Cut(at, chance.choice((0.2, 2.0, 8.0)), (one, other))


def _redis_fault(chance: random.Random, at: float) -> RedisFault:
    return RedisFault(
        chance.choice((0.0, at, at, at)),
        chance.choice((0.2, 2.0, 5.0)),
        chance.choice(("stops", "stops", "loses", "stalls", "fails over")),
        chance.choice((0.1, 2.0)),
    )
