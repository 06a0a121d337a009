"""What replicas tell each other of upstreams, by a real Redis."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from yarl import URL

from cacheproxy.cluster.notes import Notes
from cacheproxy.domain.errors import UpstreamLimited, UpstreamTimeout
from cacheproxy.domain.rate_limit import RateLimit
from cacheproxy.inprocess.clock import SystemClock
from cacheproxy.metadata.redis_connection import RedisConnection
from cacheproxy.ports import Clock
from cacheproxy.upstream.config import CredentialsConfig, UpstreamConfig
from cacheproxy.upstream.credentials.fixed import Fixed
from cacheproxy.upstream.credentials.login import Login, Source
from cacheproxy.upstream.health import Health
from cacheproxy.upstream.quotas import Quotas
from tests.support.hasty import Events, HastyClock
from tests.support.parts.redis import ENGINES, redis_server
from tests.support.replicas import connection


def _login(_: Clock) -> Source:
    return Fixed(Login("ada", "secret"))


CONFIG = UpstreamConfig(
    "docker.io",
    URL("https://registry.example"),
    (CredentialsConfig("the first", _login), CredentialsConfig("the second", _login)),
    ratelimit_reserve=10,
)


class Replica:
    """What one knows of an upstream, and how it tells it."""

    def __init__(self, redis: RedisConnection) -> None:
        self.clock = HastyClock()
        self.health = Health("docker.io", CONFIG, Events(), self.clock)
        self.quotas = Quotas(CONFIG, self.clock)
        self._notes = Notes(redis, "tests", self.clock)

    async def exchange(self) -> None:
        """Tell and hear, once."""
        await self._notes.exchange({"docker.io": self.health, "docker.io (pulls)": self.quotas})

    def fail(self, times: int) -> None:
        """Ask in vain so often."""
        for _ in range(times):
            with self.health.asking() as turn:
                self.health.fail(turn, UpstreamTimeout("nothing came"))

    def answer(self) -> None:
        """Ask, and get an answer."""
        with self.health.asking() as turn:
            self.health.succeed(turn)


@pytest.fixture(params=ENGINES)
async def redis(request: pytest.FixtureRequest) -> AsyncIterator[RedisConnection]:
    """A connection to a server of its own."""
    with redis_server(engine=request.param) as server:
        made = connection(server.port, SystemClock(), timeout=10.0)
        yield made
        await made.close()


@pytest.fixture
def pair(redis: RedisConnection) -> tuple[Replica, Replica]:
    """Two of them."""
    return Replica(redis), Replica(redis)


async def test_what_is_left_of_the_pulls_is_known_to_all(pair: tuple[Replica, Replica]) -> None:
    """A replica that has asked nothing yet keeps the reserve that another one has met."""
    one, other = pair
    one.quotas.report(0, RateLimit(5, 100, 21600.0))
    one.quotas.report(1, RateLimit(9, 100, 21600.0))
    assert other.quotas.grants("refresh")
    await one.exchange()
    await other.exchange()
    assert not other.quotas.grants("refresh")
    assert other.quotas.grants("fetch")


async def test_a_refusal_is_known_to_all(pair: tuple[Replica, Replica]) -> None:
    """What one account is refused is not asked for as the same by another replica."""
    one, other = pair
    one.quotas.refuse(0, 120.0)
    await one.exchange()
    await other.exchange()
    assert other.quotas.account("fetch") == 1
    other.quotas.refuse(1, 60.0)
    await other.exchange()
    await one.exchange()
    with pytest.raises(UpstreamLimited) as caught:
        one.quotas.account("fetch")
    assert caught.value.retry_after == pytest.approx(60, abs=5)


async def test_the_newest_word_counts(pair: tuple[Replica, Replica]) -> None:
    """Whoever heard of upstream last is right, in whatever order it is told."""
    one, other = pair
    one.quotas.report(0, RateLimit(5, 100, 21600.0))
    one.quotas.report(1, RateLimit(5, 100, 21600.0))
    other.clock.advance(10)
    one.clock.advance(10)
    other.quotas.report(0, RateLimit(90, 100, 21600.0))
    for replica in (other, one, other, one):
        await replica.exchange()
    assert one.quotas.grants("refresh")
    assert other.quotas.grants("refresh")


async def test_a_rest_spares_others_the_wait(pair: tuple[Replica, Replica]) -> None:
    """Elsewhere cached pulls do not wait for it either; others ask it all the same."""
    one, other = pair
    one.fail(5)
    await one.exchange()
    await other.exchange()
    assert other.health.is_silent
    other.answer()
    assert not other.health.is_silent


async def test_an_answer_ends_the_silence_of_all(pair: tuple[Replica, Replica]) -> None:
    """Once one has had an answer again, the others wait for theirs again."""
    one, other = pair
    one.fail(5)
    await one.exchange()
    await other.exchange()
    one.clock.advance(60)
    other.clock.advance(60)
    one.answer()
    await one.exchange()
    await other.exchange()
    assert not other.health.is_silent


async def test_an_old_note_stays_old_when_the_clock_is_measured_anew(
    pair: tuple[Replica, Replica], redis: RedisConnection
) -> None:
    """A note that was heard once is no newer after the offset of the clock was measured again."""
    one, other = pair
    one.fail(5)
    await one.exchange()
    await other.exchange()
    other.answer()
    other.health.hear = lambda *_: pytest.fail("it was heard again")  # type: ignore[method-assign]
    for _ in range(3):
        at = redis.clock.monotonic()
        redis.clock.measure(redis.clock.now() - 0.002, at, at)
        await one.exchange()
        await other.exchange()
    assert not other.health.is_silent


async def test_a_note_from_the_future_is_overwritten(
    pair: tuple[Replica, Replica], redis: RedisConnection
) -> None:
    """A note that a clock far ahead has stamped is not believed, and makes room for others."""
    one, other = pair
    one.clock.jump(86_400)
    one.fail(5)
    await one.exchange()
    one.clock.jump(-86_400)
    await other.exchange()
    assert not other.health.is_silent
    other.fail(5)
    await other.exchange()
    written: Any = await redis.call(lambda client: client.hgetall("tests:upstreams"))
    assert json.loads(written[b"docker.io|rest"])["at"] < other.clock.now() + 5


async def test_what_others_put_there_is_nothing(
    pair: tuple[Replica, Replica], redis: RedisConnection
) -> None:
    """Junk under the key harms nobody, and a key of another type no pull."""
    one, other = pair
    junk: dict[Any, Any] = {
        "docker.io (pulls)|account 0": "{",
        "docker.io (pulls)|account 7": '{"at": 9e9, "said": {}}',
        "x": "1",
    }
    await redis.call(lambda client: client.hset("tests:upstreams", mapping=junk))
    one.quotas.report(0, RateLimit(5))
    await one.exchange()
    await other.exchange()
    assert other.quotas.grants("fetch")
    await redis.call(lambda client: client.set("tests:upstreams", "x"))
    await one.exchange()
    assert one.quotas.grants("fetch")


async def test_notes_that_others_spoilt_are_made_anew(
    redis: RedisConnection, pair: tuple[Replica, Replica]
) -> None:
    """What is learnt is told although the key of notes was of another type."""
    one, other = pair
    await redis.call(lambda client: client.set("tests:upstreams", "spoilt"))
    one.fail(5)
    await one.exchange()
    await other.exchange()
    assert other.health.is_silent
