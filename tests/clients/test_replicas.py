"""Replicas as processes of their own, each behind its own link: what they fetch, and survive."""

import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest

from cacheproxy.cluster.signature import sign
from cacheproxy.domain.digest import Digest
from tests.support.images import OCI_MANIFEST, Blob
from tests.support.parts import wire
from tests.support.parts.distant import DistantRegistry, bulk, distant_registry
from tests.support.parts.fleet import PEERS, SECRET, Fleet, Replica, fleet
from tests.support.parts.lan import Lan, lan, seat
from tests.support.parts.load import Load, Wish, load
from tests.support.parts.process import wait_until
from tests.support.parts.redis import RedisServer, redis_sentinel, redis_server
from tests.support.parts.swarm import Pull, pull_all

pytestmark = [pytest.mark.clients, pytest.mark.alone]

LARGE, MIDDLE, SMALL = 50_000_000, 5_000_000, 300_000
RATE = "800mbit"
SLOW = "200mbit"  # two seconds for a large blob: time to do something half-way
CLIENTS = {1: 32, 2: 8}  # of each replica, by its workers
# Headers of TCP, IP and Ethernet, and what the kernel sends a second time.
ON_THE_WIRE = 1.05
PROMPT = 60.0  # seconds in which everything here is over on a busy machine
STALLED = 12.0  # seconds until all have what the replica was fetching that says nothing any more
HEARD = 2  # seconds since a replica was heard of that is there
GONE = 5.0  # seconds after which nobody asks a replica any more that says nothing
UPSTREAM, BETWEEN = "cacheproxy_upstream_bytes_total", "cacheproxy_peer_bytes_total"
SERVED = "cacheproxy_served_bytes_total"


class Shelf:
    """Blobs that no test has asked for yet."""

    def __init__(self) -> None:
        self.images = {
            "team/large": bulk(7, LARGE, count=9),
            "team/middle": bulk(8, MIDDLE, count=42),
            "team/small": bulk(9, SMALL, count=60),
        }
        self._blobs = {name: iter(image.layers) for name, image in self.images.items()}

    def take(self, repository: str, count: int = 1) -> list["Cold"]:
        """So many of them."""
        blobs = self._blobs[repository]
        return [Cold(repository, next(blobs)) for _ in range(count)]


@dataclass(frozen=True, slots=True)
class Cold:
    """A blob, and where it is upstream."""

    repository: str
    blob: Blob

    @property
    def target(self) -> str:
        return f"/v2/docker.io/{self.repository}/blobs/{self.blob.digest}"

    def at(self, replica: Replica) -> Wish:
        return Wish(replica.address, self.target, self.blob.digest)

    def pulls(self, replicas: Sequence[Replica], clients: int = 1) -> list[Pull]:
        """Of so many clients of each replica."""
        return [Pull(self.target, at=each.address) for each in replicas for _ in range(clients)]


@dataclass(frozen=True, slots=True)
class World:
    """What all replicas share."""

    lan: Lan
    registry: DistantRegistry
    shelf: Shelf

    def settings(self, redis: str, **sections: Any) -> dict[str, Any]:
        return {
            "metadata": {"url": redis},
            "upstreams": {"docker.io": {"url": self.registry.url}},
            **sections,
        }


@dataclass(frozen=True, slots=True)
class Scene:
    """Replicas that know each other, and all that manifests say."""

    world: World
    redis: RedisServer
    fleet: Fleet

    @property
    def replicas(self) -> Sequence[Replica]:
        return self.fleet.replicas

    def keys(self, pattern: str) -> list[str]:
        with self.redis.client() as client:
            return [key.decode() for key in client.scan_iter(f"*:{pattern}")]

    def filler(self, cold: Cold) -> Replica:
        """Who has the lease of a blob."""
        with self.redis.client() as client:
            address = client.get(self.keys(f"lease:*{cold.blob.digest}*")[0]).decode()
        (found,) = [each for each in self.replicas if each.peer_address == address]
        return found

    def holders(self, cold: Cold) -> set[str]:
        """Who is said to have a blob."""
        with self.redis.client() as client:
            keys = self.keys(f"at:*{cold.blob.digest}*")
            return {each.decode() for key in keys for each in client.smembers(key)}

    def is_said(self, cold: Cold, replicas: Sequence[Replica]) -> Callable[[], bool]:
        """Whether all of these are said to have it."""
        return lambda: self.holders(cold) >= {each.peer_address for each in replicas}

    def acquainted(self) -> bool:
        """Whether Redis has heard of all of them just now."""
        with self.redis.client() as client:
            now, keys = client.time()[0], self.keys("members")
            heard = [client.zrange(key, now - HEARD, "+inf", byscore=True) for key in keys]
        return sum(map(len, heard)) == len(self.replicas)

    def introduce(self) -> None:
        """Waits until they all know each other."""
        wait_until(self.acquainted, PROMPT, "Redis has heard of all")
        time.sleep(1.2)  # and each of them of that, at its next heartbeat
        self.await_company()

    def await_company(self) -> None:
        """Waits until none is by itself any more.

        What Redis has heard does not say that: of one that was cut off it may be a packet that
        was still under way, while the replica itself rests before it asks again.
        """
        wait_until(
            lambda: set(self.fleet.counts("cacheproxy_replicas")) == {len(self.replicas)},
            PROMPT,
            "each knows of all",
        )

    def crossed(self) -> int:
        """Bytes that came down the upstream link."""
        return self.world.registry.link.received()


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with ExitStack() as stack:
        network = stack.enter_context(lan())
        far = stack.enter_context(seat(network))
        far.limit(RATE)
        registry = stack.enter_context(distant_registry(place=far))
        shelf = Shelf()
        for name, image in shelf.images.items():
            registry.hold(name, image)
        yield World(network, registry, shelf)


@contextmanager
def staged(
    world: World, redis: RedisServer, url: str = "", replicas: int = 4, **sections: Any
) -> Iterator[Scene]:
    with fleet(world.lan, world.settings(url or redis.url, **sections), replicas) as made:
        scene = Scene(world, redis, made)
        for name in world.shelf.images:
            url = f"{made.replicas[0].proxy.url}/v2/docker.io/{name}/manifests/1"
            assert wire.get(url, headers={"Accept": OCI_MANIFEST}).status == 200
        scene.introduce()
        yield scene


@pytest.fixture(scope="module")
def lasting(world: World) -> Iterator[Scene]:
    with redis_server(host=world.lan.address) as redis, staged(world, redis) as scene:
        yield scene


@pytest.fixture
def scene(lasting: Scene) -> Iterator[Scene]:
    """Four replicas, all well at the beginning; a test may do to them what it likes."""
    yield lasting
    lasting.world.registry.link.limit(RATE)
    ended = [
        each for each in lasting.replicas if not wire.answers(f"{each.proxy.admin_url}/readyz")
    ]
    for each in ended:
        each.abandon()
        each.start()
    if ended:
        lasting.introduce()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_cold_blob_crosses_once_for_all_replicas(
    world: World, request: pytest.FixtureRequest, workers: int
) -> None:
    """However many clients of however many replicas want a cold blob, upstream sends it once."""
    with ExitStack() as stack:
        if workers == 1:
            scene: Scene = request.getfixturevalue("scene")
        else:
            redis = stack.enter_context(redis_server(host=world.lan.address))
            server = {"workers": workers}
            scene = stack.enter_context(staged(world, redis, server=server))
        clients = CLIENTS[workers]
        cold, alone = world.shelf.take("team/large", 2)
        (direct,) = pull_all(world.registry.address, [Pull(cold.target.replace("/docker.io", ""))])
        one = _last(pull_all(scene.replicas[0].address, alone.pulls(scene.replicas[:1], clients)))
        with _exact(scene) as counted:
            pulls = pull_all(scene.replicas[0].address, cold.pulls(scene.replicas, clients))
            counted.clients(pulls)

    _assert_whole(pulls, cold)
    assert counted.upstream == LARGE
    assert counted.crossed <= LARGE * 1.01
    assert counted.between == (len(scene.replicas) - 1) * LARGE
    four = _last(pulls)
    _say(
        f"workers {workers}: one download {direct.seconds:.2f} s; last of 1 x {clients} after "
        f"{one:.2f} s (x {one / direct.seconds:.1f}), of 4 x {clients} after {four:.2f} s "
        f"(x {four / direct.seconds:.1f}; x {four / one:.1f} for four times the clients)"
    )


@pytest.mark.parametrize("end", ["kill", "terminate", "cut", "pause"])
def test_who_fetches_may_end_half_way(scene: Scene, end: str) -> None:
    """When the replica that fetches is gone, clients of the others notice little, and all go on."""
    (cold,) = scene.world.shelf.take("team/large")
    scene.world.registry.link.limit(SLOW)
    before = scene.crossed()
    ended: list[Pull] = []
    with ThreadPoolExecutor(1) as pool:
        pulling = pool.submit(
            pull_all,
            scene.replicas[0].address,
            cold.pulls(scene.replicas, 8),
            then=ended.append,
        )
        wait_until(lambda: scene.crossed() - before > LARGE // 2, PROMPT, "it is half-way")
        gone = scene.filler(cold)
        with _gone(scene, gone, end):
            at = time.monotonic()
            wait_until(lambda: sum(e.at != gone.address for e in ended) == 24, PROMPT, "all end")
            took, times = time.monotonic() - at, (scene.crossed() - before) / LARGE
        pulls = pulling.result()

    _say(f"{end}: the others' last after {took:.1f} s; upstream x {times:.3f}")
    cut = [pull for pull in pulls if pull.error]
    _assert_whole([pull for pull in pulls if not pull.error], cold)
    # Clients of one that was killed go on at another, from where they are.
    left = [each for each in scene.replicas if each is not gone]
    asked = [Pull(cold.target, start=p.received, at=left[n % 3].address) for n, p in enumerate(cut)]
    for pull, rest in zip(cut, pull_all(gone.address, asked), strict=True):
        assert rest.digest == Blob.of(cold.blob.body[pull.received :], "").digest
    assert {pull.at for pull in cut} == ({gone.address} if end == "kill" else set())
    # What upstream sends to one that is paused waits in its kernel.
    assert times <= (1.6 if end == "pause" else 1.5)
    assert took < STALLED


@pytest.mark.parametrize("streams", [16, 2])
def test_a_rollout_crosses_once(world: World, request: pytest.FixtureRequest, streams: int) -> None:
    """Many blobs for many clients of all replicas cross once each, also where replicas are busy."""
    with ExitStack() as stack:
        if streams == 16:
            scene: Scene = request.getfixturevalue("scene")
        else:
            redis = stack.enter_context(redis_server(host=world.lan.address))
            scene = stack.enter_context(staged(world, redis, cluster={"max_streams": streams}))
        colds = world.shelf.take("team/middle", 20)
        begun = time.monotonic()
        with _exact(scene) as counted, ThreadPoolExecutor(len(colds)) as pool:

            def pull(cold: Cold) -> list[Pull]:
                return pull_all(scene.replicas[0].address, cold.pulls(scene.replicas, streams // 2))

            pulling = []
            for cold in colds:
                pulling.append(pool.submit(pull, cold))
                time.sleep(0.05 if streams == 16 else 0.0)  # a cluster's machines are staggered
            for cold, each in zip(colds, pulling, strict=True):
                _assert_whole(each.result(), cold)
                counted.clients(each.result())
        took = time.monotonic() - begun

    sent = [n / MIDDLE for n in counted.sent]
    _say(
        f"max_streams {streams}: {took:.1f} s; upstream x {counted.upstream / 20 / MIDDLE:.2f}; "
        f"blobs sent by each to others {sent}"
    )
    assert counted.upstream == 20 * MIDDLE
    assert counted.between == 3 * 20 * MIDDLE


def test_no_more_streams_than_allowed(world: World) -> None:
    """A replica sends no more blobs to others at once than it may; then again one more."""
    (cold,) = world.shelf.take("team/large")
    with redis_server(host=world.lan.address) as redis, ExitStack() as stack:
        scene = stack.enter_context(
            staged(world, redis, replicas=1, cluster={"max_streams": 2}, server={"workers": 1})
        )
        (replica,) = scene.replicas
        _assert_whole(pull_all(replica.address, cold.pulls([replica])), cold)
        answers = [_asked(replica, cold) for _ in range(3)]
        assert [status for status, _ in answers] == [200, 200, 503]
        answers[0][1].close()

        def is_free() -> bool:
            status, connection = _asked(replica, cold)
            connection.close()
            return status == 200

        wait_until(is_free, PROMPT, "a stream is free again")
        for _, connection in answers:
            connection.close()


def test_who_is_gone_is_not_asked_and_who_is_back_is(scene: Scene) -> None:
    """A dead replica is soon asked no more; back with its directory it serves what it has."""
    dead, other, third, _ = scene.replicas
    first, second, deleted, kept = colds = scene.world.shelf.take("team/small", 4)
    for cold in colds:
        _assert_whole(pull_all(dead.address, cold.pulls([dead])), cold)
        wait_until(scene.is_said(cold, [dead]), PROMPT, "that it is there is said")
    dead.proxy.kill()
    dead.seat.watch(PEERS)
    died = time.monotonic()
    _assert_whole(pull_all(other.address, first.pulls([other])), first)
    assert dead.seat.knocks() > 0  # nobody can know yet
    time.sleep(max(0.0, died + GONE - time.monotonic()))
    knocks = dead.seat.knocks()
    _assert_whole(pull_all(other.address, second.pulls([other])), second)
    assert dead.seat.knocks() == knocks

    (path,) = [
        path for path in dead.cache.rglob(deleted.blob.digest.partition(":")[2]) if path.is_file()
    ]
    path.unlink()
    with scene.redis.client() as client:  # as if it had been away for longer than entries last
        client.delete(*scene.keys(f"at:*{kept.blob.digest}*"))
    back = time.monotonic()
    dead.start()
    wait_until(scene.is_said(kept, [dead]), PROMPT, "it says anew what it has")
    _say(f"back and announced {time.monotonic() - back:.1f} s after its start")
    scene.introduce()
    fetched = scene.fleet.total(UPSTREAM)
    _assert_whole(pull_all(other.address, kept.pulls([other, third])), kept)
    assert scene.fleet.total(UPSTREAM) == fetched

    _assert_whole(pull_all(other.address, deleted.pulls([other])), deleted)
    assert scene.fleet.total(UPSTREAM) == fetched + SMALL
    wait_until(lambda: scene.holders(deleted) == {other.peer_address}, PROMPT, "it is healed")
    _assert_whole(pull_all(third.address, deleted.pulls([third])), deleted)
    assert scene.fleet.total(UPSTREAM) == fetched + SMALL


@pytest.mark.parametrize("harm", ["kill", "sleep", "flush", "pause", "types"])
def test_redis_may_fail_under_load(scene: Scene, harm: str) -> None:
    """Whatever becomes of Redis: no cached pull fails, cold ones succeed, and counts are exact."""
    _survives(
        scene,
        harm,
        {"kill": _killed, "sleep": _asleep, "flush": _flushed, "pause": _paused, "types": _spoilt}[
            harm
        ],
    )


def test_redis_may_fail_over_under_load(world: World) -> None:
    """When Sentinels make another Redis the first, no cached pull fails, and all goes on."""
    with redis_sentinel(host=world.lan.address) as (servers, sentinels, service):
        hosts = ",".join(each.address for each in sentinels)
        with staged(world, servers[0], f"redis+sentinel://{hosts}/{service}/0") as scene:
            second = Scene(world, servers[1], scene.fleet)
            _survives(second, "failover", _failed_over(servers[0]))


def _survives(scene: Scene, name: str, harm: Callable[[Scene], None]) -> None:
    take, replicas = scene.world.shelf.take, scene.replicas
    warm = take("team/small", 4)
    for cold in warm:
        _assert_whole(pull_all(replicas[0].address, cold.pulls(replicas)), cold)
    (held,) = take("team/small")
    _assert_whole(pull_all(replicas[0].address, held.pulls(replicas[:1])), held)
    clients = [[cold.at(replica) for cold in warm] for replica in replicas for _ in range(2)]
    files = [_files(each) for each in replicas]
    with _exact(scene) as counted, load(clients, rate=25) as steady, ThreadPoolExecutor(1) as pool:
        time.sleep(0.5)
        began = time.monotonic()
        during = pool.submit(_pull_slowly, scene, take("team/small", 3))
        harm(scene)
        harmed = time.monotonic()
        for pulls in during.result():
            counted.clients(pulls)
        p99 = steady.quantile(0.99, began)
        wait_until(scene.acquainted, PROMPT, "all have found Redis again")
        recovered = time.monotonic() - harmed
        # Until each has looked for Redis again itself, which rests for up to 1.25 s, and its next
        # heartbeat has told it of the others.
        time.sleep(3.5)
        scene.await_company()
        fetched = scene.fleet.total(UPSTREAM)
        (cold,) = take("team/small")
        pulls = pull_all(replicas[0].address, cold.pulls(replicas, 4))
        _assert_whole(pulls, cold)
        counted.clients(pulls)
        wait_until(scene.is_said(held, replicas[:1]), PROMPT, "it is said anew who has what")
        pulls = pull_all(replicas[0].address, held.pulls(replicas))
        _assert_whole(pulls, held)
        counted.clients(pulls)
        again = scene.fleet.total(UPSTREAM) - fetched
        slowest, count = steady.quantile(1.0, began), len(steady.pulled)
    # The load has ended by now, and with it its last pulls.
    assert steady.problems == []
    _say(
        f"{name}: {count} cached pulls, p99 {1000 * p99:.0f} ms, slowest {1000 * slowest:.0f} "
        f"ms; {(counted.upstream - again) / SMALL:.0f} of 3 to 12 cold fetches meanwhile; "
        f"found again after {max(0.0, recovered):.1f} s, then {again / SMALL:.0f} fetch for all"
    )
    assert again == SMALL
    assert 3 * SMALL <= counted.upstream - again <= 3 * len(replicas) * SMALL
    counted.check_served(steady)
    wait_until(lambda: scene.fleet.total("cacheproxy_fills_in_flight") == 0, PROMPT, "all ended")
    # Keep-alive connections come and go; leaks would grow with the hundreds of pulls.
    wait_until(lambda: _are_closed(replicas, files), PROMPT, "connections are closed")


def _are_closed(replicas: Sequence[Replica], before: Sequence[int]) -> bool:
    pairs = zip(replicas, before, strict=True)
    return all(_files(replica) <= many + 24 for replica, many in pairs)


def _pull_slowly(scene: Scene, colds: Sequence[Cold]) -> list[list[Pull]]:
    done = []
    for cold in colds:
        done.append(pull_all(scene.replicas[0].address, cold.pulls(scene.replicas)))
        _assert_whole(done[-1], cold)
        time.sleep(0.4)  # so that some are of each moment of the outage
    return done


def _killed(scene: Scene) -> None:
    scene.redis.kill()
    time.sleep(1.0)
    scene.redis.start()


def _asleep(scene: Scene) -> None:
    with scene.redis.client() as client:
        client.execute_command("DEBUG", "SLEEP", 5)


def _flushed(scene: Scene) -> None:
    with scene.redis.client() as client:
        client.flushall()


def _paused(scene: Scene) -> None:
    with scene.redis.client() as client:
        client.client_pause(1500)
        time.sleep(1.5)


def _failed_over(first: RedisServer) -> Callable[[Scene], None]:
    def harm(scene: Scene) -> None:
        def is_first() -> bool:
            # Anew each time: whoever is connected when it becomes the first is cut.
            with scene.redis.client() as client:
                return client.role()[0] in (b"master", "master")

        first.kill()
        wait_until(is_first, PROMPT, "another is the first")
        time.sleep(HEARD)  # what it was told of before is no news any more

    return harm


def _spoilt(scene: Scene) -> None:
    """Other things where replicas keep what they know."""
    with scene.redis.client() as client:
        for key in [*scene.keys("members"), *scene.keys("at:*")]:
            client.set(key, "spoilt")
        for key in scene.keys("lease:*"):
            client.delete(key)
            client.sadd(key, "spoilt")


def test_another_secret_opens_nothing(scene: Scene) -> None:
    """A replica with another secret gets nothing from the others, and fetches by itself."""
    stranger, other, *_ = scene.replicas
    stranger.proxy.stop()
    stranger.start(secret="another")
    scene.introduce()
    cold, both = scene.world.shelf.take("team/small", 2)
    _assert_whole(pull_all(other.address, cold.pulls([other])), cold)
    wait_until(scene.is_said(cold, [other]), PROMPT, "that it is there is said")
    _assert_whole(pull_all(stranger.address, cold.pulls([stranger])), cold)
    assert stranger.counted(UPSTREAM) == SMALL
    assert other.peer_address in scene.holders(cold)
    with _exact(scene) as counted:
        pulls = pull_all(other.address, both.pulls(scene.replicas, 2))
        counted.clients(pulls)
    _assert_whole(pulls, both)
    assert counted.upstream <= 4 * SMALL

    url = f"http://{other.peer_address}"
    for path in ("/", "/metrics", "/v2/", cold.target, "/readyz", "/peer/v1/blobs/", "/peer"):
        answer = wire.get(f"{url}{path}")
        assert (answer.status, answer.body) == (404, b"")
    answer = wire.get(f"{url}/peer/v1/blobs/{cold.blob.digest}")
    assert (answer.status, answer.body) == (401, b"")
    stranger.proxy.stop()  # it is started again as it was


class _exact:  # noqa: N801 -- reads as what it asserts
    """Counts what is done within it by all counts there are, which must agree.

    Attributes:
        upstream: bytes of bodies that came from upstream, by the replicas' word.
        crossed: bytes that came down the upstream link, by the kernel's.
        between: bytes from replica to replica.
        sent: of those, by each.
    """

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._received = 0
        self.upstream = self.between = 0.0
        self.crossed = 0
        self.sent: list[float] = []
        self.served = 0.0

    def clients(self, pulls: Sequence[Pull]) -> None:
        """Tells what clients have received."""
        self._received += sum(pull.received for pull in pulls)

    def check_served(self, steady: Load) -> None:
        """All that clients have received was counted, and nothing else."""
        assert self.served == self._received + steady.received

    def __enter__(self) -> Self:
        self._before, self._counts = self._scene.crossed(), self._look()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            return
        time.sleep(0.2)  # the last of a stream is counted after it has arrived
        upstream, sent, received, served = (
            [now - then for now, then in zip(counts, before, strict=True)]
            for counts, before in zip(self._look(), self._counts, strict=True)
        )
        self.crossed = self._scene.crossed() - self._before
        self.upstream, self.between, self.served = sum(upstream), sum(received), sum(served)
        self.sent = sent
        assert sum(sent) == self.between
        assert self.upstream <= self.crossed <= self.upstream * ON_THE_WIRE + 50_000

    def _look(self) -> list[list[float]]:
        fleet = self._scene.fleet
        return [
            fleet.counts(UPSTREAM),
            fleet.counts(BETWEEN, direction="sent"),
            fleet.counts(BETWEEN, direction="received"),
            fleet.counts(SERVED),
        ]


@contextmanager
def _gone(scene: Scene, replica: Replica, how: str) -> Iterator[None]:
    """Within it a replica is gone, in a way; some come back."""
    match how:
        case "kill":
            replica.proxy.kill()
            yield
        case "terminate":
            replica.proxy.terminate()
            yield
            assert replica.proxy.exit_code() == 0
        case "cut":
            replica.seat.cut()
            yield
            replica.seat.mend()
            scene.introduce()
        case _:
            replica.proxy.pause()
            yield
            replica.proxy.go_on()
            scene.introduce()


def _asked(replica: Replica, cold: Cold) -> tuple[int, socket.socket]:
    """Ask as another replica does, and take no more than the head of the answer."""
    field = sign(SECRET.encode(), Digest(cold.blob.digest), time.time())
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    connection.settimeout(PROMPT)
    host, _, port = replica.peer_address.partition(":")
    connection.connect((host, int(port)))
    head = f"GET /peer/v1/blobs/{cold.blob.digest} HTTP/1.1\r\nHost: test\r\n"
    connection.sendall(f"{head}Authorization: {field}\r\n\r\n".encode())
    return int(connection.recv(1024).split()[1]), connection


def _say(measured: str) -> None:
    """Shown by `pytest -s`, and beside a failure."""
    sys.stdout.write(f"\n{measured}\n")


def _files(replica: Replica) -> int:
    return len(list(Path(f"/proc/{replica.proxy.pid}/fd").iterdir()))


def _last(pulls: Sequence[Pull]) -> float:
    return max(p.begun + p.seconds for p in pulls) - min(p.begun for p in pulls)


def _assert_whole(pulls: Sequence[Pull], cold: Cold) -> None:
    assert pulls
    assert [(p.error, p.status, p.digest) for p in pulls] == [(None, 200, cold.blob.digest)] * len(
        pulls
    )
