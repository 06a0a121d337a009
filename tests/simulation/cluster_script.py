"""The part of a script that is about several replicas: tags, purges, Redis, clocks, the network."""

import hashlib
import json
import random
from dataclasses import dataclass, field, replace
from typing import Literal

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.freshness import TagPolicy
from cacheproxy.domain.media_types import OCI_MANIFEST
from cacheproxy.domain.reference import Tag
from tests.simulation.script import AMPLE, Content, Script, write_script

REDIS = -1
"""The number of Redis, where replicas have numbers."""

BEGINS = 3.0
"""Virtual seconds until the first thing happens: by then the replicas know each other."""

_LASTS = (1.0, 4.0, 4.0, 10.0, 30.0)
_LONG_STEPS = (3600.0, -3600.0, 40 * 86_400.0, -40 * 86_400.0)


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

    @property
    def is_disturbed(self) -> bool:
        """Whether anything fails but upstream."""
        return bool(self.steps or self.cuts or self.standstills or self.redis_faults)


def write_cluster_script(seed: int) -> Script:
    """Draw a script of several replicas, each with a directory and one or two workers."""
    script = write_script(seed)
    chance = random.Random(f"cluster {seed}")
    replicas = chance.choice((2, 2, 2, 3, 3, 4))
    workers = replicas * chance.choice((1, 1, 2))
    lasts = chance.choice(_LASTS)
    ends = BEGINS + max([lasts, *(client.at for client in script.clients)])

    def at() -> float:
        return chance.uniform(BEGINS, ends)

    def some(*counts: int) -> range:
        return range(chance.choice(counts))

    # Half of the clients come later than in a cache alone, when others have the blob by then.
    late = {number: chance.choice((0.0, at() - BEGINS)) for number in range(len(script.clients))}
    tags = tuple(_tag(chance, number, script.contents, ends) for number in some(0, 1, 1, 2))
    cluster = ClusterScript(
        replicas=replicas,
        readers=chance.choice((2, 16, 16)),
        budgets=tuple(chance.choice((AMPLE, AMPLE, AMPLE, 8192)) for _ in range(replicas)),
        policy=TagPolicy(
            fresh_for=chance.choice((0.5, 5.0, 60.0)),
            stale_while_revalidate=chance.choice((0.0, 0.0, 2.0)),
            stale_if_error=chance.choice((0.0, 7 * 86_400.0)),
        ),
        tags=tags,
        tag_pulls=tuple(
            TagPull(at(), chance.randrange(workers), number, chance.random() < 0.4)
            for number in range(len(tags))
            for _ in some(2, 6, 15)
        ),
        purges=tuple(
            TagPurge(at(), chance.randrange(replicas), chance.choice((None, *range(len(tags)))))
            for _ in (some(0, 0, 1, 2) if tags else ())
        ),
        steps=tuple(
            ClockStep(
                chance.uniform(0.0, ends),
                chance.randrange(-1, replicas),
                chance.choice((0.3, *_LONG_STEPS)),
            )
            for _ in some(0, 0, 1, 2)
        ),
        cuts=tuple(_cut(chance, replicas, ends) for _ in some(0, 0, 1, 2)),
        standstills=tuple(
            Standstill(at(), chance.choice((1.0, 8.0, 60.0)), chance.randrange(workers))
            for _ in some(0, 0, 0, 1)
        ),
        redis_faults=tuple(_redis_fault(chance, ends) for _ in some(0, 0, 1, 2)),
        outages=tuple(Outage(at(), chance.choice((0.5, 10.0))) for _ in some(0, 0, 0, 1)),
    )
    return replace(
        script,
        workers=workers,
        cluster=cluster,
        clients=tuple(
            replace(one, at=one.at + BEGINS + late[number], worker=chance.randrange(workers))
            for number, one in enumerate(script.clients)
        ),
        chores=tuple(
            replace(one, at=one.at + BEGINS, worker=chance.randrange(workers))
            for one in script.chores
        ),
        crashes=tuple(
            replace(one, at=at(), worker=chance.randrange(workers)) for one in script.crashes
        ),
        trouble=tuple(
            replace(one, start=one.start + BEGINS, stop=one.stop + BEGINS) for one in script.trouble
        ),
    )


def _tag(
    chance: random.Random, number: int, contents: tuple[Content, ...], ends: float
) -> TagHistory:
    begins = chance.choice((0.0, 0.0, 0.0, BEGINS + 1.0))
    moves = sorted(chance.uniform(BEGINS, ends) for _ in range(chance.choice((0, 1, 2, 4))))
    layers = chance.choice(((), (chance.choice(contents),)))
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


def _cut(chance: random.Random, replicas: int, ends: float) -> Cut:
    one = chance.randrange(replicas)
    other = chance.choice((REDIS, (one + 1) % replicas))
    return Cut(chance.uniform(0.0, ends), chance.choice((0.2, 2.0, 8.0)), (one, other))


def _redis_fault(chance: random.Random, ends: float) -> RedisFault:
    return RedisFault(
        chance.choice((0.0, chance.uniform(0.0, ends))),
        chance.choice((0.2, 2.0, 8.0)),
        chance.choice(("stops", "stops", "loses", "stalls", "fails over")),
        chance.choice((0.1, 2.0)),
    )
