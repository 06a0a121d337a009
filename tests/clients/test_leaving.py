"""A replica of several processes leaves the others when it ends, and not when one of them does."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.support.parts.crew import Crew, gone, kill
from tests.support.parts.process import free_port, wait_until
from tests.support.parts.proxy import Proxy, proxy
from tests.support.parts.redis import RedisServer, redis_server

pytestmark = pytest.mark.clients

WORKERS = 2
PROMPT = 60.0  # seconds in which everything here is over on a busy machine
SOON = 2.0  # seconds until others would ask somebody else, which they look at each second
NOBODY = "http://127.0.0.1:1"  # an upstream that nobody asks here


@dataclass(frozen=True, slots=True)
class Scene:
    """A replica, and what Redis knows of it."""

    redis: RedisServer
    running: Proxy
    crew: Crew
    address: str

    def names(self) -> set[str]:
        """Under which names it is there."""
        with self.redis.client() as client:
            found = client.zrange("cacheproxy:1:members", 0, -1)
        return {name.decode() for name in found}

    def stays(self, seconds: float) -> None:
        """Sees to it that it is there, and does not leave, for so long."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            assert self.names() == {self.address}
            time.sleep(0.02)


@contextmanager
def staged(delay: str = "0s") -> Iterator[Scene]:
    """A replica with workers, which may be killed."""
    address = f"127.0.0.1:{free_port()}"
    with redis_server() as redis:
        settings = {
            "server": {"workers": WORKERS, "drain_delay": delay},
            "metadata": {"url": redis.url},
            "cluster": {"advertise": address, "listen": address, "secret": "of the tests"},
        }
        with proxy({"docker.io": NOBODY}, settings=settings) as running:
            made = Scene(redis, running, Crew(running, running.directory / "cache"), address)
            wait_until(lambda: made.names() == {address}, PROMPT, "it is there")
            try:
                yield made
            finally:
                running.abandon()


def test_it_leaves_before_its_port_closes() -> None:
    """From SIGTERM on it is known to leave, while it still serves; then it is not there."""
    with staged("4s") as scene:
        scene.running.terminate()
        leaving = {f"{scene.address} leaving"}
        wait_until(lambda: scene.names() == leaving, SOON, "it leaves")
        assert scene.running.exit_code() == 0
        assert scene.names() == set()


def test_it_leaves_where_there_is_nothing_to_drain() -> None:
    """One that ends at once is not there any more either."""
    with staged() as scene:
        scene.running.terminate()
        assert scene.running.exit_code() == 0
        assert scene.names() == set()


def test_a_worker_that_ends_is_no_replica() -> None:
    """When one of its workers is told to end, or is killed, the replica stays."""
    with staged() as scene:
        ended, killed = sorted(scene.crew.workers())
        os.kill(ended, signal.SIGTERM)
        scene.stays(SOON)
        kill({killed})
        scene.stays(SOON)


def test_it_leaves_without_its_supervisor() -> None:
    """When the supervisor is killed, its workers leave as they end."""
    with staged() as scene:
        everyone = scene.crew.everyone()
        kill({scene.crew.supervisor})
        wait_until(lambda: gone(everyone), PROMPT, "all have ended")
        assert scene.names() == set()


@pytest.mark.alone
def test_it_ends_as_soon_where_redis_says_nothing() -> None:
    """A Redis that stands still changes neither its exit code nor when it comes."""
    with staged() as scene:
        scene.redis.pause()
        begun = time.monotonic()
        scene.running.terminate()
        assert scene.running.exit_code() == 0
        assert time.monotonic() - begun < 2 * SOON
        scene.redis.go_on()
