"""The script of one simulation, drawn from its seed: blobs, clients, faults, crashes."""

import hashlib
import random
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING

from cacheproxy.domain.byte_range import RangeFrom, RequestedRange
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.reference import Name, Repository

if TYPE_CHECKING:
    from tests.simulation.cluster_script import ClusterScript

REPOSITORIES = (
    Repository("docker.io", Name("library/one")),
    Repository("docker.io", Name("library/two")),
)
AMPLE = 2**40

# Around the hold-back of 4,096 bytes, and a few steps of reading beyond it.
_CHORES = (
    *("settle", "sweep", "take_stock", "flush", "purge", "drop_partial", "drop_partial"),
    *("keep_manifest", "keep", "peer", "peer", "shrink", "lose_ledger"),
)
_OTHER_BYTES = bytes(byte ^ 0x55 for byte in range(256))
_SIZES = (0, 1, 700, 4096, 4097, 9_000, 30_000, 30_000, 90_000, 200_000)


class Mishap(Enum):
    """A way in which an upstream fails one request for a blob."""

    DROPS = auto()
    """It breaks off in the middle."""
    LIES = auto()
    """It sends bytes that are not the blob's, of the same length."""
    STALLS = auto()
    """It sends nothing any more, and the request times out."""
    REFUSES = auto()
    """It answers 403."""
    MISSES = auto()
    """It answers 404."""
    FAILS = auto()
    """It answers 503."""
    IGNORES_RANGE = auto()
    """It sends the whole blob where a part was asked for: permitted, and no failure."""


@dataclass(frozen=True, slots=True)
class Content:
    """A blob, and the bytes that a lying upstream sends in its place."""

    body: bytes = field(repr=False)
    lie: bytes = field(repr=False)
    digest: Digest
    tells_size: bool

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.body)


@dataclass(frozen=True, slots=True)
class Client:
    """One client.

    Attributes:
        at: virtual seconds after the start.
        worker: number of the process that it asks.
        repository: number of the repository.
        blob: number of the blob.
        range: of the request.
        reads: bytes it reads at a time.
        pause: virtual seconds between two reads.
        leaves_after: bytes after which it hangs up; None reads to the end.
        patience: virtual seconds after which it hangs up before a response; None waits.
        retries: how often it tries again at once after a failure, as clients do.
    """

    at: float
    worker: int
    repository: int
    blob: int
    range: RequestedRange | None
    reads: int
    pause: float
    leaves_after: int | None
    patience: float | None
    retries: int = 0


@dataclass(frozen=True, slots=True)
class Chore:
    """Something else that a worker does: `kind` names a function of `tests.simulation.actors`."""

    at: float
    worker: int
    kind: str
    blob: int


@dataclass(frozen=True, slots=True)
class Crash:
    """A `kill -9`: at a time, and then at the nth system call; the worker starts again later."""

    at: float
    worker: int
    system_calls: int
    down_for: float


@dataclass(frozen=True, slots=True)
class DiskTrouble:
    """A time in which calls fail now and then.

    Attributes:
        start: virtual seconds after the start.
        stop: likewise.
        kind: `write` (ENOSPC or EIO when files are written), `ledger` (its database).
        share: of calls that fail.
    """

    start: float
    stop: float
    kind: str
    share: float


@dataclass(frozen=True, slots=True)
class Script:
    """Everything that happens to a cache, but for the schedule."""

    seed: int
    workers: int
    contents: tuple[Content, ...]
    linked: tuple[tuple[int, int, bool], ...]
    max_size: int
    abandon_after: float | None
    relay_ahead: int
    step: int
    latency: float
    clients: tuple[Client, ...]
    chores: tuple[Chore, ...]
    crashes: tuple[Crash, ...]
    trouble: tuple[DiskTrouble, ...]
    mishaps: dict[tuple[int, int], tuple[Mishap, ...]] = field(default_factory=dict)
    cluster: "ClusterScript | None" = None

    @property
    def download_seconds(self) -> float:
        """Virtual seconds that the largest blob takes, with the pauses of a download."""
        largest = max(content.size for content in self.contents)
        return largest / self.step * (self.latency + 0.005)

    @property
    def removes(self) -> bool:
        """Whether something removes blobs or their records."""
        kinds = {"purge", "shrink", "sweep", "drop_partial", "lose_ledger"}
        return any(chore.kind in kinds for chore in self.chores)

    @property
    def replicas(self) -> int:
        """How many volumes there are."""
        return 1 if self.cluster is None else self.cluster.replicas

    def budget_of(self, replica: int) -> int:
        """Return the bytes that a replica may store."""
        return self.max_size if self.cluster is None else self.cluster.budgets[replica]

    def replica_of(self, worker: int) -> int:
        """Return the number of the replica that a worker belongs to."""
        return worker % self.replicas

    @property
    def is_orderly(self) -> bool:
        """Whether the ledger never lags behind the directory."""
        loses = any(chore.kind == "lose_ledger" for chore in self.chores)
        return not (self.crashes or self.trouble or loses)

    @property
    def is_quiet(self) -> bool:
        """Whether nothing fails, nobody crashes, and nothing has to be evicted."""
        is_disturbed = self.cluster is not None and self.cluster.is_disturbed
        has_room = all(self.budget_of(one) == AMPLE for one in range(self.replicas))
        return has_room and not (self.crashes or self.trouble or self.mishaps or is_disturbed)


def write_script(seed: int) -> Script:
    """Draw a script."""
    chance = random.Random(f"script {seed}")
    workers = chance.choice((1, 1, 2, 2, 3))
    drawn = [_content(chance) for _ in range(chance.choice((1, 1, 1, 2, 3)))]
    contents = tuple({one.digest: one for one in drawn}.values())  # there is one empty blob
    step = chance.choice((512, 4096, 4096, 16_384, 65_536))
    latency = chance.choice((0.0, 0.002, 0.03, 0.03))
    lasts = max(one.size / step * latency for one in contents)
    span = chance.choice((0.05, 0.5, lasts * 1.2, lasts * 1.2))
    total = sum(-(-one.size // 4096) * 4096 for one in contents)
    return Script(
        seed=seed,
        workers=workers,
        contents=contents,
        linked=tuple(
            (repository, blob, chance.random() < 0.5)
            for repository in range(2)
            for blob in range(len(contents))
            if chance.random() < 0.6
        ),
        max_size=max(8192, int(total * 0.7)) if chance.random() < 0.15 else AMPLE,
        abandon_after=chance.choice((None, None, 0.0, 0.02, 1.0)),
        relay_ahead=chance.choice((64 * 2**20, 64 * 2**20, 20_000, 0)),
        step=step,
        latency=latency,
        clients=tuple(
            _client(chance, workers, contents, span) for _ in range(chance.randint(1, 9))
        ),
        chores=tuple(
            Chore(
                chance.uniform(0, span),
                chance.randrange(workers),
                chance.choice(_CHORES),
                chance.randrange(len(contents)),
            )
            for _ in range(chance.choice((0, 0, 1, 3)))
        ),
        crashes=tuple(
            Crash(
                chance.uniform(0, span),
                chance.randrange(workers),
                chance.choice((0, 1, 3, 8, 20)),
                chance.choice((0.01, 1.0)),
            )
            for _ in range(chance.choice((0, 0, 0, 1, 2)))
        ),
        trouble=tuple(_trouble(chance, span) for _ in range(chance.choice((0, 0, 0, 1, 1, 2)))),
        mishaps=_mishaps(chance, len(contents)),
    )


def _content(chance: random.Random) -> Content:
    size = chance.choice(_SIZES)
    body = chance.randbytes(size)
    lie = body.translate(_OTHER_BYTES)
    digest = Digest("sha256:" + hashlib.sha256(body).hexdigest())
    return Content(body, lie, digest, chance.random() < 0.8)


def _client(
    chance: random.Random, workers: int, contents: tuple[Content, ...], span: float
) -> Client:
    blob = chance.randrange(len(contents))
    size = contents[blob].size
    wanted: RequestedRange | None = None
    if size and chance.random() < 0.25:
        first = chance.randrange(size)
        last = chance.choice((None, min(size - 1, first + chance.randrange(20_000))))
        wanted = RangeFrom(first, last)
    return Client(
        at=chance.choice((0.0, chance.uniform(0, span))),
        worker=chance.randrange(workers),
        repository=chance.choice((0, 0, 0, 1)),
        blob=blob,
        range=wanted,
        reads=chance.choice((100_000, 100_000, 8192, 3000)),
        pause=chance.choice((0.0, 0.0, 0.001, 0.2)),
        leaves_after=chance.choice((None, None, None, 0, chance.randrange(size + 1))),
        patience=chance.choice((None, None, None, None, 0.0, 0.01, 0.1)),
        retries=chance.choice((0, 0, 2)),
    )


def _trouble(chance: random.Random, span: float) -> DiskTrouble:
    start = chance.uniform(0, span)
    return DiskTrouble(
        start,
        start + chance.choice((0.01, 0.1, span)),
        chance.choice(("write", "write", "ledger")),
        chance.choice((0.1, 0.5, 1.0)),
    )


def _mishaps(chance: random.Random, blobs: int) -> dict[tuple[int, int], tuple[Mishap, ...]]:
    """Draw what becomes of the first requests for some blobs, by blob and repository."""
    if chance.random() < 0.45:
        return {}
    kinds = tuple(Mishap)
    return {
        (blob, repository): tuple(chance.choice(kinds) for _ in range(chance.randint(1, 3)))
        for blob in range(blobs)
        for repository in range(2)
        if chance.random() < 0.5
    }
