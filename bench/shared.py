"""What Redis sees of two replicas: `python -m bench.shared`, and a part of `make bench`.

Two replicas as one cache, each a process of its own, in front of docker-registry, on one Redis;
all on loopback. A pull is what containerd asks for: HEAD of the tag, then the manifest, the
config and two layers by digest. The images are tiny, since Redis does not see how large a blob
is. One client, one request after the other.

Then 50 replicas of which only the part that speaks to Redis is there, all in this process: what
they say while nobody pulls, and when each has got the same 1,000 blobs.

How to read it: commands are those that Redis counts, a script's and those that it calls alike.
What the replicas say while nobody pulls is measured first, and subtracted from the rest. How
many commands a pull costs is the same on every machine; their processor time is not.
"""

import asyncio
import http.client
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, closing, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar

import click
from redis.asyncio import Redis

from bench.cases import BenchError
from cacheproxy.cluster.index import Index
from cacheproxy.cluster.shared import Keys
from cacheproxy.domain.digest import Digest
from cacheproxy.inprocess.clock import SystemClock
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.metadata.redis_keys import RedisKeys
from cacheproxy.ops.observers import Observers
from tests.support import images
from tests.support.parts.process import find, free_port, wait_until
from tests.support.parts.proxy import Proxy, proxy
from tests.support.parts.redis import RedisServer, redis_server
from tests.support.parts.registry import docker_registry
from tests.support.parts.scratch import scratch

T = TypeVar("T")

_NAMESPACE = RedisKeys.of("cacheproxy").namespace  # which is every cache's that says no other
_PULLS = 1000
_PULLS_QUICK = 100
_REPOSITORY = "bench/small"
_BLOBS = 4  # of an image: manifest, config, two layers
_REPLICAS = 2
_CROWD = 50
_LAYER = 1024
_IDLE = 20.0  # seconds
_SETTLE = 2.0  # what is told behind a pull is told by then
_TOLD = 20.0
_ANNOUNCED = 5.0  # a replica announces its blobs two seconds after it has joined
_START = 90.0
_NOTABLE = 0.1  # calls; of the rest, nobody wants a row
_FIRST = 20
_WIDTH = 20


@dataclass(frozen=True, slots=True)
class Seen:
    """What Redis has counted: so far, or between two looks.

    Attributes:
        commands: by name.
        received: bytes that came to it.
        sent: bytes that went from it.
        processor: seconds, of user and system.
        memory: bytes in use.
        seconds: that passed.
    """

    commands: Counter[str]
    received: float
    sent: float
    processor: float
    memory: float
    seconds: float

    def less(self, other: "Seen", times: float = 1.0) -> "Seen":
        """The difference; of names that only the other has, too."""
        names = self.commands.keys() | other.commands.keys()
        calls = {name: self.commands[name] - other.commands[name] * times for name in names}
        return Seen(
            Counter(calls),
            self.received - other.received * times,
            self.sent - other.sent * times,
            self.processor - other.processor * times,
            self.memory - other.memory * times,
            self.seconds - other.seconds * times,
        )

    def per(self, count: float) -> "Seen":
        """What falls to one of so many."""
        return self.less(self, 1 - 1 / count)


class Watch:
    """What happens between two looks, without the looks and without what happens anyway."""

    def __init__(self, server: RedisServer) -> None:
        # For as long as the server runs: to connect is a command too.
        self._client: Any = server.client()
        self._look()
        first = self._look()
        self._looking = self._look().less(first)
        self._idle = self._looking.less(self._looking)

    def idle(self, seconds: float) -> Seen:
        """What happens anyway in one second, looked at for so many."""
        found = self._between(lambda: time.sleep(seconds))
        self._idle = found.per(found.seconds)
        return self._idle

    def of(self, work: Callable[[], None]) -> Seen:
        """What some work has added, and what came behind it."""

        def settled() -> None:
            work()
            time.sleep(_SETTLE)

        found = self._between(settled)
        return found.less(self._idle, found.seconds)

    def members(self) -> int:
        """Replicas that have been heard of."""
        return int(self._client.zcard(Keys(_NAMESPACE).members))

    def close(self) -> None:
        """No more looks."""
        self._client.close()

    def _between(self, work: Callable[[], None]) -> Seen:
        before = self._look()
        work()
        return self._look().less(before).less(self._looking)

    def _look(self) -> Seen:
        told: dict[str, Any] = self._client.info("all")
        calls = Counter[str]()
        for name, each in told.items():
            if name.startswith("cmdstat_"):
                calls[name.removeprefix("cmdstat_")] = each["calls"]
        return Seen(
            calls,
            told["total_net_input_bytes"],
            told["total_net_output_bytes"],
            told["used_cpu_user"] + told["used_cpu_sys"],
            told["used_memory"],
            time.monotonic(),
        )


class Client:
    """Pulls from one replica over one connection, as a node does."""

    def __init__(self, replica: Proxy) -> None:
        self._connection = http.client.HTTPConnection(replica.host, timeout=30)

    def pull(self, image: images.Image, tag: str) -> None:
        """All of an image.

        Raises:
            BenchError: it is not what was pushed.
        """
        self._ask("HEAD", f"manifests/{tag}", b"")
        self._ask("GET", f"manifests/{image.digest}", image.manifest)
        for blob in image.blobs:
            self._ask("GET", f"blobs/{blob.digest}", blob.body)

    def _ask(self, method: str, target: str, expected: bytes) -> None:
        accept = {"Accept": images.OCI_MANIFEST}
        self._connection.request(method, f"/v2/{_REPOSITORY}/{target}", headers=accept)
        answer = self._connection.getresponse()
        body = answer.read()
        if answer.status != HTTPStatus.OK or body != expected:
            raise BenchError(f"{method} {target}: {answer.status} {body!r}")


@contextmanager
def _replicas(url: str, redis: str, directory: Path) -> Iterator[list[Client]]:
    """All of them, on what is in the directory."""
    with ExitStack() as stack:
        clients = []
        for number in range(_REPLICAS):
            address = f"127.0.0.1:{free_port()}"
            settings = {
                "cache": {"directory": str(directory / f"cache-{number}"), "min_free": "1B"},
                "metadata": {"url": redis},
                "cluster": {"advertise": address, "listen": address, "secret": "of the bench"},
            }
            running = stack.enter_context(proxy({"docker.io": url}, settings=settings))
            clients.append(Client(running))
        yield clients


def measure(*, quick: bool = False) -> dict[str, Seen]:
    """What Redis saw, by case."""
    count = _PULLS_QUICK if quick else _PULLS
    with ExitStack() as stack:
        directory = stack.enter_context(scratch())
        registry = stack.enter_context(docker_registry())
        small = _pushed(registry.push_url, count)
        server = stack.enter_context(redis_server())
        watch = Watch(server)
        stack.callback(watch.close)
        thousands, cases = count / 1000, dict[str, Seen]()
        with _replicas(registry.url, server.url, directory) as clients:
            wait_until(lambda: watch.members() == _REPLICAS, _START, "replicas meet")
            time.sleep(_SETTLE)
            idle = watch.idle(_IDLE)
            cases["idle, 1 s"] = idle.per(_REPLICAS)
            cases["cold"] = watch.of(lambda: _pull(clients, small)).per(thousands)
            # Each image by the replica that has not pulled it.
            other = watch.of(lambda: _pull(clients[::-1], small))
            cases["from another"] = other.per(thousands)
            warm = watch.of(lambda: _pull(clients, [small[0]] * count))
            cases["warm"] = warm.per(thousands)
        with ExitStack() as again:
            started: list[Client] = []

            def begin() -> None:
                started.extend(again.enter_context(_replicas(registry.url, server.url, directory)))
                time.sleep(_ANNOUNCED)

            start = watch.of(begin)
            cases["start, 1,000 blobs"] = start.per(thousands * _BLOBS * _REPLICAS)
            cases["not in memory"] = watch.of(lambda: _pull(started, small)).per(thousands)
        return cases


class _Direct:
    """Redis without a deadline (`cacheproxy.cluster.index.Shared`)."""

    ahead = 0.0  # on one machine there is one clock

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def call(self, work: Callable[[Any], Awaitable[T]]) -> T:
        """Do something with it."""
        return await work(self._redis)


def crowd() -> dict[str, Seen]:
    """What Redis sees of many replicas, by case."""
    with redis_server() as server, closing(Watch(server)) as watch:
        return asyncio.run(_crowd(watch, server.url))


async def _crowd(watch: Watch, url: str) -> dict[str, Seen]:
    blobs = [Digest.of(b"%d" % number) for number in range(1000)]
    clock, tasks = SystemClock(), Tasks()
    async with Redis.from_url(url) as redis, AsyncExitStack() as stack:
        stack.push_async_callback(tasks.close)
        crowd = [
            Index(_Direct(redis), _NAMESPACE, f"10.0.0.{number}:5002", tasks, clock)
            for number in range(_CROWD)
        ]
        for one in crowd:
            one.start(_nothing, Observers([]))
        await asyncio.sleep(_SETTLE)
        idle = await asyncio.to_thread(watch.idle, _IDLE)
        for one in crowd:
            for digest in blobs:
                one.has(digest)
        has = await asyncio.to_thread(watch.of, lambda: time.sleep(_TOLD))
    return {"idle, 1 s, each": idle.per(_CROWD), "1,000 blobs, all": has}


async def _nothing() -> Sequence[Digest]:
    return ()


def _pushed(url: str, count: int) -> Sequence[tuple[images.Image, str]]:
    """So many images, each with its tag, that have nothing in common."""
    small = [(images.simple(7000 + n, _LAYER), f"v{n}") for n in range(count)]
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(images.push, url, _REPOSITORY, *one) for one in small]:
            done.result()
    return small


def _pull(clients: Sequence[Client], wanted: Sequence[tuple[images.Image, str]]) -> None:
    """Each image once, the replicas taking turns."""
    for number, (image, tag) in enumerate(wanted):
        clients[number % len(clients)].pull(image, tag)


def printed(*, quick: bool = False) -> str:
    """Everything that is measured here."""
    two, many = table(measure(quick=quick)), table(crowd())
    return (
        f"What Redis sees of two replicas, per 1,000 pulls\n{two}\n\n"
        f"What it sees of {_CROWD} replicas\n{many}"
    )


def table(cases: dict[str, Seen]) -> str:
    """A column for each case: of 1,000 pulls, unless it says otherwise."""
    lines = ["".ljust(_FIRST) + "".join(name.rjust(_WIDTH) for name in cases)]
    sums: dict[str, Callable[[Seen], float]] = {
        "commands": lambda seen: sum(seen.commands.values()),
        "bytes in": lambda seen: seen.received,
        "bytes out": lambda seen: seen.sent,
        "processor, ms": lambda seen: seen.processor * 1000,
        "memory, bytes": lambda seen: seen.memory,
    }
    for name, of in sums.items():
        lines.append(_row(name, [of(seen) for seen in cases.values()]))
    names = sorted({name for seen in cases.values() for name in seen.commands})
    for name in names:
        calls = [seen.commands[name] for seen in cases.values()]
        if max(calls) >= _NOTABLE:
            lines.append(_row(f"  {name}", calls))
    return "\n".join(lines)


def _row(name: str, values: Sequence[float]) -> str:
    shown = (f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}" for value in values)
    return name.ljust(_FIRST) + "".join(value.rjust(_WIDTH) for value in shown)


@click.command(help=sys.modules[__name__].__doc__)
@click.option("--quick", is_flag=True, help="Fewer pulls.")
def main(*, quick: bool) -> None:
    """Measures, and prints what came of it."""
    for program in ("redis-server", "docker-registry"):
        if find(program) is None:
            raise click.ClickException(f"{program} is not installed")
    click.echo(printed(quick=quick))


if __name__ == "__main__":
    main()
