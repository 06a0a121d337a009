"""Ending under load: all that was begun ends whole, and restarts in turn fail nobody."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest

from tests.support.images import Blob, Image
from tests.support.parts import wire
from tests.support.parts.balancer import Backend, balancer
from tests.support.parts.distant import DistantRegistry, bulk, distant_registry
from tests.support.parts.fleet import Fleet, Replica, fleet
from tests.support.parts.lan import lan, seat
from tests.support.parts.load import Load, Wish, load
from tests.support.parts.process import wait_until
from tests.support.parts.proxy import proxy
from tests.support.parts.redis import redis_server
from tests.support.parts.swarm import Address, Pull, pull_all

pytestmark = [pytest.mark.clients, pytest.mark.alone]

_GRACE = 40.0
_PROMPT = 60.0
_STREAMS, _BLOBS, _SIZE = 50, 10, 5_000_000
_SLOW, _FAST = "20mbit", "400mbit"  # until it drains, which is long before the first has ended

_REPLICAS = 3
_CLIENTS, _RATE = 12, 5.0  # and how many pulls in a second each of them begins
_DELAY = 1.0  # seconds for which a replica that leaves goes on taking connections
_LOOKS = 0.1  # seconds after which the balancer looks again who is ready
_HALF_WAY = 1.0  # seconds of load before and after each restart


@pytest.mark.parametrize("workers", [1, 2])
def test_fifty_streams(workers: int) -> None:
    """All streams that are under way at SIGTERM end whole, within the grace, with exit code 0."""
    image = bulk(311, _SIZE, count=_BLOBS)
    server = {"workers": workers, "drain_timeout": f"{_GRACE:g}s"}
    with distant_registry(_SLOW) as registry:
        registry.hold("team/app", image)
        settings = {"server": server}
        with proxy({"docker.io": {"url": registry.url}}, settings=settings) as running:
            blobs = [image.layers[number % _BLOBS] for number in range(_STREAMS)]
            pulls = [Pull(_target(blob)) for blob in blobs]
            address = ("127.0.0.1", running.port)
            with ThreadPoolExecutor(1) as pool:
                pulling = pool.submit(pull_all, address, pulls, deadline=_GRACE + _PROMPT)
                wait_until(lambda: all(p.received for p in pulls), _PROMPT, "all have begun")
                running.terminate()
                at = time.monotonic()
                ready = f"{running.admin_url}/readyz"
                wait_until(lambda: not wire.answers(ready), _PROMPT, "it drains")
                assert not any(pull.whole for pull in pulls)
                registry.link.limit(_FAST)
                pulling.result()
            code, took = running.exit_code(), time.monotonic() - at

    assert [pull.error for pull in pulls if not pull.whole] == []
    assert [pull.digest for pull in pulls] == [blob.digest for blob in blobs]
    assert code == 0
    assert took < _GRACE
    print(f"workers {workers}: {_STREAMS} streams, ended {took:.1f} s after SIGTERM")  # noqa: T201


@dataclass(frozen=True, slots=True)
class Scene:
    """Replicas behind one address, and their upstream.

    Attributes:
        fleet: all of them.
        address: of the balancer.
        registry: behind them.
        image: what is pulled.
    """

    fleet: Fleet
    address: Address
    registry: DistantRegistry
    image: Image

    def wishes(self) -> list[list[Wish]]:
        """Of each client: the manifest and all blobs, beginning with another one."""
        all_ = [Wish(self.address, "/v2/docker.io/team/app/manifests/1", self.image.digest)]
        all_ += [Wish(self.address, _target(b), b.digest) for b in self.image.all_blobs.values()]
        return [all_[number:] + all_[:number] for number in range(_CLIENTS)]


@contextmanager
def staged(workers: int, delay: float) -> Iterator[Scene]:
    with ExitStack() as stack:
        network = stack.enter_context(lan())
        far = stack.enter_context(seat(network))
        far.limit("400mbit")
        registry = stack.enter_context(distant_registry(place=far))
        image = bulk(312, 2_000_000, count=40)
        registry.hold("team/app", image)
        redis = stack.enter_context(redis_server(host=network.address))
        settings = {
            "metadata": {"url": redis.url},
            "upstreams": {"docker.io": {"url": registry.url}},
            "server": {"workers": workers, "drain_delay": f"{delay:g}s"},
        }
        replicas = stack.enter_context(fleet(network, settings, _REPLICAS))
        address = stack.enter_context(balancer(lambda: _backends(replicas), _LOOKS))
        yield Scene(replicas, address, registry, image)


def _backends(replicas: Fleet) -> list[Backend]:
    return [Backend(each.address, f"{each.proxy.admin_url}/readyz") for each in replicas.replicas]


def _target(blob: Blob) -> str:
    return f"/v2/docker.io/team/app/blobs/{blob.digest}"


def _restarted(scene: Scene, replica: Replica) -> None:
    replica.proxy.terminate()
    assert replica.proxy.exit_code() == 0
    replica.start()


def _rolled(scene: Scene) -> Load:
    """The pulls during which all replicas were restarted, one after the other."""
    with load(scene.wishes(), _RATE) as pulls:
        time.sleep(_HALF_WAY)
        for replica in scene.fleet.replicas:
            _restarted(scene, replica)
            time.sleep(_HALF_WAY)
    return pulls


@pytest.mark.parametrize("workers", [1, 2])
def test_a_rolling_restart(workers: int) -> None:
    """Restarted one after the other behind a balancer, replicas fail no pull of anybody."""
    with staged(workers, _DELAY) as scene:
        begun = time.monotonic()
        pulls = _rolled(scene)
        took = time.monotonic() - begun
    print(  # noqa: T201  # what was measured is to be seen
        f"workers {workers}: {len(pulls.pulled)} pulls, {pulls.received / 1e6:.0f} MB in "
        f"{took:.1f} s, longest {pulls.quantile(1.0):.2f} s; failed: {len(pulls.problems)}"
    )
    assert len(pulls.pulled) > 200
    assert pulls.problems == []
