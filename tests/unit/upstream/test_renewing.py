import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from cacheproxy.domain.errors import Denied, UpstreamUnavailable
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.upstream.credentials.login import (
    CredentialsUnavailable,
    Login,
    NoLoginError,
)
from cacheproxy.upstream.credentials.renewing import Renewing
from tests.support.clock import FakeClock
from tests.support.leaks import settle

_A, _B, _C = (Login("u", password) for password in "abc")


class FakeSource:
    """A source (`Source`) that gives what it is told to, and counts how often it is asked."""

    def __init__(self) -> None:
        self.login = _A
        self.lifetime: float | None = None
        self.failure: str | None = None
        self.asked = 0
        self.is_changed = False
        self.open = asyncio.Event()
        self.open.set()

    def changed(self) -> bool:
        return self.is_changed

    async def fetch(self) -> tuple[Login, float | None]:
        self.asked += 1
        self.is_changed = False
        await self.open.wait()
        if self.failure:
            raise NoLoginError(self.failure)
        return self.login, self.lifetime

    def rotate(self, login: Login) -> None:
        """A file that is replaced."""
        self.login, self.is_changed = login, True


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def source() -> FakeSource:
    return FakeSource()


@pytest.fixture
async def credentials(source: FakeSource, clock: FakeClock) -> AsyncIterator[Renewing]:
    tasks = Tasks()
    yield Renewing(source, "r.example's credentials (exec)", tasks, clock)
    await tasks.close()


async def test_a_login_without_an_end_is_fetched_once(
    credentials: Renewing, source: FakeSource, clock: FakeClock
) -> None:
    """What has no end is asked for once."""
    for _ in range(3):
        assert await credentials.login() == _A
        clock.advance(1_000_000)
    assert source.asked == 1


async def test_fifty_who_wait_ask_once(credentials: Renewing, source: FakeSource) -> None:
    """However many want the first login, its source is asked once, and one who leaves is none."""
    source.open.clear()
    async with asyncio.TaskGroup() as group:
        waiters = [group.create_task(credentials.login()) for _ in range(50)]
        await settle()
        waiters[0].cancel()
        await settle()
        source.open.set()
    assert {waiter.result() for waiter in waiters[1:]} == {_A}
    assert source.asked == 1


async def test_a_login_is_renewed_behind_those_who_use_it(
    credentials: Renewing, source: FakeSource, clock: FakeClock
) -> None:
    """From four fifths of its life on a login is renewed, and used until there is a new one."""
    source.lifetime = 100
    begun = clock.monotonic()
    assert (await credentials.login()).expires_at == begun + 100
    clock.advance(79)
    await credentials.login()
    await settle()
    assert source.asked == 1
    source.open.clear()
    source.login = _B
    clock.advance(2)
    async with asyncio.timeout(60):
        assert {await credentials.login() for _ in range(50)} == {_A}
    await settle()
    assert source.asked == 2
    source.open.set()
    await settle()
    assert await credentials.login() == _B


async def test_who_needs_a_login_that_is_over_waits(
    credentials: Renewing, source: FakeSource, clock: FakeClock
) -> None:
    """A login is never used beyond its life."""
    source.lifetime = 100
    await credentials.login()
    source.login = _B
    clock.advance(100)
    assert await credentials.login() == _B
    assert source.asked == 2


async def test_a_login_that_is_over_at_once_is_not_fetched_all_the_time(
    credentials: Renewing, source: FakeSource, clock: FakeClock
) -> None:
    """Where the time of day is wrong, and each login seems over, they are used for a moment."""
    source.lifetime = 0
    for _ in range(10):
        assert await credentials.login() == _A
    assert source.asked == 1
    clock.advance(6)
    await credentials.login()
    assert source.asked == 2


async def test_a_source_that_fails_is_not_asked_all_the_time(
    credentials: Renewing, source: FakeSource, clock: FakeClock
) -> None:
    """A failure is everybody's for a second; what is said names the credentials, and why."""
    source.failure = "x did not end within 10 s"
    for _ in range(20):
        with pytest.raises(CredentialsUnavailable, match=r"r\.example's.*\(exec\).*within 10 s"):
            await credentials.login()
    assert source.asked == 1
    source.failure = None
    clock.advance(1.1)
    assert await credentials.login() == _A
    assert issubclass(CredentialsUnavailable, UpstreamUnavailable)


async def test_a_source_that_fails_takes_no_good_login_away(
    credentials: Renewing, source: FakeSource, clock: FakeClock
) -> None:
    """A login that is due is used on while its source fails, which is asked now and then."""
    source.lifetime = 100
    await credentials.login()
    source.failure = "broken"
    clock.advance(81)
    for _ in range(10):
        assert await credentials.login() == _A
        await settle()
    assert source.asked == 2
    clock.advance(5)
    assert await credentials.login() == _A
    await settle()
    assert source.asked == 3
    clock.advance(20)
    with pytest.raises(CredentialsUnavailable):
        await credentials.login()


async def test_a_refused_login_is_replaced(credentials: Renewing, source: FakeSource) -> None:
    """Of fifty whose login is refused at once the source is asked once, and all get the new one."""
    assert await credentials.login() == _A
    source.rotate(_B)
    source.open.clear()
    async with asyncio.TaskGroup() as group:
        for _ in range(50):
            group.create_task(credentials.refused(replace(_A)))
        await settle()
        source.open.set()
    assert await credentials.login() == _B
    assert source.asked == 2
    await credentials.refused(_A)
    assert await credentials.login() == _B
    assert source.asked == 2


async def test_a_fetch_under_way_may_have_come_too_early(
    credentials: Renewing, source: FakeSource, clock: FakeClock
) -> None:
    """What was asked for before the source changed is asked for again."""
    source.lifetime = 100
    await credentials.login()
    source.open.clear()
    clock.advance(81)
    await credentials.login()
    await settle()
    refusing = asyncio.gather(credentials.refused(_A))
    await settle()
    source.open.set()
    await refusing
    assert source.asked == 3


async def test_two_refusals_in_a_row_are_enough(
    credentials: Renewing, source: FakeSource, clock: FakeClock
) -> None:
    """After two the login rests, nobody is asked, and the error says which, until when, and how."""
    await credentials.login()
    await credentials.refused(_A)
    assert await credentials.login() == _A
    await credentials.refused(_A)
    asked = source.asked
    for _ in range(5):
        with pytest.raises(Denied, match=r"r\.example's credentials \(exec\).* 00:01:00 UTC"):
            await credentials.login()
        await credentials.refused(_A)
    assert source.asked == asked
    clock.advance(61)
    assert await credentials.login() == _A


async def test_each_rest_is_longer(
    credentials: Renewing, source: FakeSource, clock: FakeClock
) -> None:
    """After a rest one refusal is enough, and the next rest is twice as long, to 15 minutes."""
    await credentials.login()
    await credentials.refused(_A)
    for pause in (60, 120, 240, 480, 900, 900):
        await credentials.refused(_A)
        clock.advance(pause - 1)
        with pytest.raises(Denied):
            await credentials.login()
        clock.advance(2)
        assert await credentials.login() == _A
    credentials.accepted(_A)
    await credentials.refused(_A)
    assert await credentials.login() == _A


async def test_refusals_far_apart_are_no_row(
    credentials: Renewing, source: FakeSource, clock: FakeClock
) -> None:
    """One refusal now and then, or one after which all was well, leaves the login in use."""
    await credentials.login()
    for _ in range(5):
        await credentials.refused(_A)
        clock.advance(61)
        assert await credentials.login() == _A
    for _ in range(5):
        await credentials.refused(_A)
        credentials.accepted(_A)
    assert await credentials.login() == _A


async def test_a_source_that_gives_another_each_time_is_stopped_too(
    credentials: Renewing, source: FakeSource
) -> None:
    """New tokens of an account without rights are refused as old ones: two, and it rests."""
    await credentials.login()
    source.login = _B
    await credentials.refused(_A)
    assert await credentials.login() == _B
    source.login = _C
    await credentials.refused(_B)
    with pytest.raises(Denied):
        await credentials.login()


async def test_a_change_ends_the_rest(
    credentials: Renewing, source: FakeSource, clock: FakeClock
) -> None:
    """A source that gives something else is shown at once; one that gives the same is not."""
    await credentials.login()
    await credentials.refused(_A)
    await credentials.refused(_A)
    source.rotate(_A)
    with pytest.raises(Denied):
        await credentials.login()
    source.rotate(_B)
    assert await credentials.login() == _B
    await credentials.refused(_B)
    assert await credentials.login() == _B


async def test_all_who_come_while_a_change_is_read_get_it(
    credentials: Renewing, source: FakeSource
) -> None:
    """Of fifty who want a login that rests, and whose file has changed, none is turned away."""
    await credentials.login()
    await credentials.refused(_A)
    await credentials.refused(_A)
    source.rotate(_B)
    source.open.clear()
    async with asyncio.TaskGroup() as group:
        waiters = []
        for _ in range(50):
            waiters.append(group.create_task(credentials.login()))
            await settle(2)
        source.open.set()
    assert {waiter.result() for waiter in waiters} == {_B}
    assert source.asked == 4


async def test_a_change_alone_waits_for_a_refusal(
    credentials: Renewing, source: FakeSource, clock: FakeClock
) -> None:
    """A file may change before the registry: the old login is used on, but not for ever."""
    await credentials.login()
    source.rotate(_B)
    for _ in range(29):
        assert await credentials.login() == _A
        clock.advance(1)
        await settle()
    clock.advance(2)
    await credentials.login()
    await settle()
    assert await credentials.login() == _B
    assert source.asked == 2


async def test_a_file_that_breaks_takes_no_good_login_away(
    credentials: Renewing, source: FakeSource, clock: FakeClock
) -> None:
    """A refusal with a source that fails meanwhile counts, and takes the login from nobody."""
    await credentials.login()
    source.failure = "half written"
    await credentials.refused(_A)
    assert await credentials.login() == _A
    source.failure = None
    source.rotate(_B)
    await credentials.refused(_A)
    assert await credentials.login() == _B


@pytest.mark.parametrize("show", [str, repr, "{!s:>1}".format])
def test_a_login_is_not_shown(show: Callable[[object], str]) -> None:
    """A login's text has neither user nor password."""
    assert "s3cret" not in show(Login("ada", "s3cret"))
    assert "ada" not in show(Login("ada", "s3cret"))
