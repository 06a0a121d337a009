"""Pulls of a cluster over some weeks, made up in the shape that production registries have.

The shape is the one described by Anwar et al., "Improving Docker Registry Design based on
Production Workload Analysis" (FAST '18), of five production registries over 75 days: few layers
get most of the requests, many get one or two; requests come in bursts, such as those after a
release; and most layers are small, while most bytes are in few large ones. Parameters are chosen
for that shape and not fitted to their data, so what comes of it compares policies with one
another, and predicts nobody's hit ratio.
"""

import math
from dataclasses import dataclass
from random import Random

HOUR = 3600.0
DAY = 24 * HOUR

_BASES = 25
_REPOSITORIES = 300
_ONE_OFFS = 0.25  # of all pulls: images that are pulled once or twice, as continuous builds are
_OLD = 0.12  # of pulls of a repository: not the latest release
_IN_BURST = 0.5  # of pulls of a repository: soon after a release
_BURST = 8 * HOUR
_HAS_BASE = 0.75  # a node has the base already, by way of another image
_SMALLEST, _LARGEST = 200, 2 * 10**9


@dataclass(frozen=True, slots=True)
class Request:
    """One GET of a layer.

    Attributes:
        at: seconds since the beginning.
        layer: which one.
        size: of it, in bytes.
    """

    at: float
    layer: int
    size: int


@dataclass(frozen=True, slots=True)
class _Release:
    """A version of an image: when it appears, and its own layers, on top of a base."""

    at: float
    base: tuple[int, ...]
    layers: tuple[int, ...]


class _World:
    """Layers, images and their releases."""

    def __init__(self, random: Random, days: float) -> None:
        self._random = random
        self.sizes: list[int] = []
        bases = [self._layers(random.randint(1, 4), large=True) for _ in range(_BASES)]
        self.repositories = [
            self._releases(random.choices(bases, _zipf(_BASES, 1.0))[0], days)
            for _ in range(_REPOSITORIES)
        ]

    def one_off(self, at: float) -> _Release:
        """An image that nobody else knows, on a base that many have."""
        base = self._random.choice(self.repositories)[0].base
        return _Release(at, base, self._layers(self._random.randint(1, 5)))

    def _releases(self, base: tuple[int, ...], days: float) -> list[_Release]:
        """An image's life: some are released each day, others twice a year."""
        interval = math.exp(self._random.uniform(math.log(0.7), math.log(120))) * DAY
        lower = self._layers(self._random.randint(1, 4))
        releases, at = [], -self._random.uniform(0, interval)
        while at < days * DAY:
            if self._random.random() < 0.15:
                lower = self._layers(self._random.randint(1, 4))
            upper = self._layers(self._random.randint(1, 3))
            releases.append(_Release(at, base, (*lower, *upper)))
            at += self._random.expovariate(1 / interval)
        return releases

    def _layers(self, count: int, *, large: bool = False) -> tuple[int, ...]:
        first = len(self.sizes)
        self.sizes += [self._size(large=large) for _ in range(count)]
        return tuple(range(first, first + count))

    def _size(self, *, large: bool) -> int:
        """Half of all layers below some 300 kB, and a tail up to gigabytes."""
        middle, width = (math.log(20e6), 1.2) if large else (math.log(300e3), 3.0)
        size = math.exp(self._random.gauss(middle, width))
        return int(min(max(size, _SMALLEST), _LARGEST))


def trace(seed: int, *, days: float = 40.0, pulls: int = 16_000) -> list[Request]:
    """The requests for layers, in order; the same for the same seed."""
    random = Random(seed)  # noqa: S311  # the same each time is what it is for
    world = _World(random, days)
    popularity = _zipf(_REPOSITORIES, 0.9)
    requests: list[Request] = []
    for _ in range(pulls):
        if random.random() < _ONE_OFFS:
            release = world.one_off(_when(random, days))
            times = [
                release.at + random.expovariate(1 / HOUR) for _ in range(random.choice((1, 2)))
            ]
        else:
            release, at = _pulled(random, random.choices(world.repositories, popularity)[0], days)
            times = [at]
        for at in times:
            requests += _requests(random, world, release, at)
    return sorted(requests, key=lambda request: (request.at, request.layer))


def total(requests: list[Request]) -> int:
    """Bytes of the distinct layers: a cache of that size misses each layer once."""
    return sum({request.layer: request.size for request in requests}.values())


def _pulled(random: Random, releases: list[_Release], days: float) -> tuple[_Release, float]:
    """Which release is pulled, and when."""
    recent = [release for release in releases if release.at >= 0]
    if recent and random.random() < _IN_BURST:
        release = random.choice(recent)
        return release, release.at + random.expovariate(1 / _BURST)
    at = _when(random, days)
    there = [release for release in releases if release.at <= at]
    latest = len(there) - 1
    return there[random.randint(0, latest) if random.random() < _OLD else latest], at


def _when(random: Random, days: float) -> float:
    """Some time, by day rather than by night."""
    while True:
        at = random.uniform(0, days * DAY)
        if random.random() < 0.6 + 0.4 * math.sin(2 * math.pi * at / DAY):
            return at


def _requests(random: Random, world: _World, release: _Release, at: float) -> list[Request]:
    has_base = random.random() < _HAS_BASE
    layers = release.layers if has_base else (*release.base, *release.layers)
    return [Request(at, layer, world.sizes[layer]) for layer in layers]


def _zipf(count: int, exponent: float) -> list[float]:
    return [1 / rank**exponent for rank in range(1, count + 1)]
