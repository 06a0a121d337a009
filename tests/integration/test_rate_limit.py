"""A registry that counts pulls: whose they are, what they are spent on, and what a 429 does."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cacheproxy.settings.secret import Secret
from cacheproxy.settings.upstream_model import CredentialsSettings
from tests.integration.tags import (
    BY_TAG,
    FRESH_FOR,
    NEW,
    OLD,
    REPOSITORY,
    asked_of,
    is_stale,
    pull_old,
)
from tests.support.hasty import HastyProxy, Wanted, hasty_proxy
from tests.support.scripted_registry import (
    Always,
    Anonymous,
    Auth,
    Bearer,
    Gate,
    Match,
    Redirect,
    ScriptedRegistry,
    StatusFault,
    Together,
    WithHeader,
    rate_limited,
)
from tests.support.seen import see

_USERS = {"ada": "first", "bob": "second"}
_OTHER = f"/v2/{REPOSITORY}/manifests/other"
_GET = Match.manifest(method="GET")


@asynccontextmanager
async def _between(
    directory: Path, auth: Auth | None = None, **upstream: Any
) -> AsyncIterator[tuple[ScriptedRegistry, HastyProxy]]:
    """A registry with two tags, and a proxy in front of it."""
    async with ScriptedRegistry(auth=auth or Anonymous()) as hub:
        hub.add_image(REPOSITORY, "1", OLD)
        hub.add_image(REPOSITORY, "other", NEW)
        wanted = Wanted(upstream=upstream, tags={"fresh_for": FRESH_FOR})
        async with hasty_proxy({"docker.io": hub}, directory, wanted) as proxy:
            yield hub, proxy


@asynccontextmanager
async def _two_accounts(directory: Path) -> AsyncIterator[tuple[ScriptedRegistry, HastyProxy]]:
    logins = tuple(CredentialsSettings(name, Secret(word)) for name, word in _USERS.items())
    async with _between(directory, Bearer(_USERS), credentials=logins) as both:
        yield both


def _users(hub: ScriptedRegistry) -> list[str]:
    """As whom tokens were asked for."""
    fields = [entry.headers["Authorization"] for entry in hub.token_requests]
    return [base64.b64decode(each.split()[1]).decode().partition(":")[0] for each in fields]


def _left(count: int) -> Always:
    return Always(WithHeader("ratelimit-remaining", f"{count};w=21600"))


async def test_the_next_account_is_used(tmp_path: Path) -> None:
    """What the first account is not granted, the second one pulls; the client knows nothing."""
    async with _two_accounts(tmp_path) as (hub, proxy):
        hub.script(_GET, rate_limited(100))
        assert (await see(proxy, BY_TAG)).body == OLD.manifest
        assert _users(hub) == ["ada", "bob"]
        assert (await see(proxy, _OTHER)).body == NEW.manifest
        assert [entry.status for entry in hub.requests("GET", "/other")] == [200]
        proxy.clock.advance(101)
        hub.add_image(REPOSITORY, "third", OLD)
        assert (await see(proxy, f"/v2/{REPOSITORY}/manifests/third")).status == 200
        # Its token is another by now, or is not: what counts is whose turn it was.
        assert "bob" not in _users(hub)[2:]


async def test_all_accounts_are_spent(tmp_path: Path) -> None:
    """Then what is here is served, what is not is a 429, and upstream is left alone till then."""
    async with _two_accounts(tmp_path) as (hub, proxy):
        await pull_old(proxy)
        proxy.clock.advance(FRESH_FOR + 1)
        hub.add_image(REPOSITORY, "1", NEW)
        hub.script(_GET, rate_limited(100), rate_limited(200))
        answer = await see(proxy, BY_TAG)
        assert answer.body == OLD.manifest
        assert is_stale(answer, "upstream-limited")
        spent = len([entry for entry in hub.requests("GET") if "/manifests/" in entry.path])
        for _ in range(3):
            answer = await see(proxy, _OTHER)
            assert (answer.status, answer.code) == (429, "TOOMANYREQUESTS")
            assert 90 <= int(answer.headers["Retry-After"]) <= 100
            assert (await see(proxy, BY_TAG)).body == OLD.manifest
        gets = [entry for entry in hub.requests("GET") if "/manifests/" in entry.path]
        assert len(gets) == spent
        proxy.clock.advance(101)
        assert (await see(proxy, _OTHER)).body == NEW.manifest


async def test_two_accounts_that_are_limited_are_asked_once_each(tmp_path: Path) -> None:
    """However short the waits that upstream asks for, a pull is tried once by each account."""
    async with _two_accounts(tmp_path) as (hub, proxy):
        gates = [Gate(at=None), Gate(at=None)]
        # A fault of its own for each, and one that nobody should meet.
        hub.script(_GET, *[Together(rate_limited(0), gate) for gate in gates])

        async def meanwhile() -> None:
            for gate in gates:
                await gate.reached()
                proxy.clock.advance(2)  # by now the first may be asked again
                gate.release()

        answer, _ = await asyncio.gather(see(proxy, BY_TAG), meanwhile())
        assert answer.status == 429
        assert [entry.status for entry in hub.requests("GET", "/1")].count(429) == 2


async def test_what_costs_nothing_is_asked_as_whose_turn_it_is(tmp_path: Path) -> None:
    """HEADs go by the account that pulls are spent of: its word on what is left is wanted."""
    async with _two_accounts(tmp_path) as (hub, proxy):
        hub.script(_GET, rate_limited(10_000))
        await pull_old(proxy)
        token = hub.requests("GET", "/1")[-1].headers["Authorization"]
        proxy.clock.advance(100)
        await see(proxy, f"/v2/{REPOSITORY}/manifests/other", method="HEAD")
        assert hub.requests("HEAD")[-1].headers["Authorization"] == token


async def test_what_is_here_by_another_tag_costs_nothing(tmp_path: Path) -> None:
    """At the reserve a tag that changes to a manifest that is here is served as it is now."""
    async with _between(tmp_path) as (hub, proxy):
        await pull_old(proxy)
        hub.script(Match.manifest(), _left(3))
        assert (await see(proxy, _OTHER)).body == NEW.manifest
        proxy.clock.advance(FRESH_FOR + 1)
        hub.add_image(REPOSITORY, "1", NEW)
        answer = await see(proxy, BY_TAG, method="HEAD")
        assert answer.headers["Docker-Content-Digest"] == NEW.digest
        assert asked_of(hub)[-1] == ("HEAD", "1")


_SOON = 100


@pytest.mark.parametrize(
    ("field", "low", "high"),
    [
        pytest.param(lambda: "100", 95, 100, id="seconds"),
        pytest.param(lambda: datetime.now(UTC) + timedelta(seconds=_SOON), 90, 100, id="date"),
        pytest.param(lambda: str(int(time.time()) + _SOON), 90, 101, id="epoch"),
        pytest.param(lambda: "86400", 295, 300, id="clamped"),
        pytest.param(lambda: str(int(time.time()) + 86400), 295, 300, id="epoch, clamped"),
        pytest.param(lambda: "-5", 1, 1, id="in the past"),
        pytest.param(lambda: "soon", 25, 30, id="nonsense"),
        pytest.param(lambda: None, 25, 30, id="left out"),
    ],
)
async def test_how_long_a_429_holds(tmp_path: Path, field: Any, low: int, high: int) -> None:
    """Seconds, a date, an epoch, nonsense: clients are told how long, and upstream has peace."""
    async with _between(tmp_path) as (hub, proxy):
        hub.script(_GET, rate_limited(field()))
        for _ in range(2):
            answer = await see(proxy, BY_TAG)
            assert answer.status == 429
            assert low <= int(answer.headers["Retry-After"]) <= high
        assert len(hub.requests("GET")) == 1
        proxy.clock.advance(high + 1)
        assert (await see(proxy, BY_TAG)).body == OLD.manifest


@pytest.mark.parametrize("status", [403, 429])
@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"Retry-After": "100"}, id="Retry-After"),
        pytest.param({"RateLimit-Remaining": "0", "RateLimit-Reset": "100"}, id="RateLimit"),
        pytest.param({"RateLimit": "limit=9, remaining=0, reset=100"}, id="one field"),
        pytest.param({"RateLimit": '"default";r=0;t=100'}, id="structured fields"),
        pytest.param({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "100s"}, id="X-RateLimit"),
    ],
)
async def test_a_limit_in_any_words(tmp_path: Path, status: int, fields: dict[str, str]) -> None:
    """A limit holds for as long as upstream says, by whatever status and field it says so."""
    async with _between(tmp_path) as (hub, proxy):
        hub.script(_GET, StatusFault(status, fields))
        for _ in range(2):
            answer = await see(proxy, BY_TAG)
            assert (answer.status, answer.code) == (429, "TOOMANYREQUESTS")
            assert 95 <= int(answer.headers["Retry-After"]) <= 100
        assert len(hub.requests("GET")) == 1
        proxy.clock.advance(101)
        assert (await see(proxy, BY_TAG)).body == OLD.manifest


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"ratelimit-remaining": "0"}, id="no time"),
        pytest.param({"ratelimit-remaining": "0", "ratelimit-reset": "5"}, id="five seconds"),
    ],
)
async def test_an_empty_quota_holds_for_no_longer_than_it_says(
    tmp_path: Path, fields: dict[str, str]
) -> None:
    """A quota of requests per second is no quota of pulls per six hours."""
    async with _between(tmp_path) as (hub, proxy):
        hub.script(_GET, Together(*[WithHeader(name, value) for name, value in fields.items()]))
        await pull_old(proxy)
        proxy.clock.advance(6)
        assert (await see(proxy, _OTHER)).body == NEW.manifest
        hub.add_image(REPOSITORY, "1", NEW)
        proxy.clock.advance(FRESH_FOR)
        assert (await see(proxy, BY_TAG)).body == NEW.manifest


async def test_the_quota_of_another_host_is_not_upstreams(tmp_path: Path) -> None:
    """The quota that a host reports to which upstream redirects holds no pull from upstream."""
    async with _between(tmp_path) as (hub, proxy):
        hub.script(_GET, Redirect())
        hub.cdn.script(Match(), WithHeader("ratelimit-remaining", "0;w=21600"))
        assert (await see(proxy, BY_TAG)).body == OLD.manifest
        assert (await see(proxy, _OTHER)).body == NEW.manifest


async def test_a_503_that_says_when_to_come_back(tmp_path: Path) -> None:
    """A 503's Retry-After is passed on to the client."""
    async with _between(tmp_path) as (hub, proxy):
        hub.script(Match(), Always(StatusFault(503, {"Retry-After": "20"})))
        answer = await see(proxy, BY_TAG)
        assert (answer.status, answer.headers["Retry-After"]) == (502, "20")


async def test_a_token_server_that_limits(tmp_path: Path) -> None:
    """A token server's 429 is told with its own date, and gives the registry no rest."""
    async with _two_accounts(tmp_path) as (hub, proxy):
        hub.tokens.script(Match(), rate_limited(datetime.now(UTC) + timedelta(seconds=_SOON)))
        answer = await see(proxy, BY_TAG)
        assert answer.status == 429
        assert 90 <= int(answer.headers["Retry-After"]) <= 100
        assert (await see(proxy, BY_TAG)).body == OLD.manifest


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_at_the_reserve_a_changed_tag_is_served_as_it_was(
    tmp_path: Path, method: str
) -> None:
    """No pull is spent on what is here; those that ask HEAD first are not led to spend one."""
    async with _between(tmp_path) as (hub, proxy):
        await pull_old(proxy)
        hub.script(Match.manifest(), _left(10))
        proxy.clock.advance(FRESH_FOR + 1)
        hub.add_image(REPOSITORY, "1", NEW)
        await see(proxy, f"/v2/{REPOSITORY}/manifests/none")  # which upstream answers, and counts
        before = len(hub.requests())
        for _ in range(3):
            answer = await see(proxy, BY_TAG, method=method)
            assert answer.headers["Docker-Content-Digest"] == OLD.digest
            assert is_stale(answer, "upstream-limited")
        assert asked_of(hub, since=before) == [("HEAD", "1")] * 3
        assert (await see(proxy, _OTHER)).body == NEW.manifest


async def test_the_reserve_is_learned_from_the_head_itself(tmp_path: Path) -> None:
    """The HEAD that finds a tag changed may be what says that there are no pulls to spare."""
    async with _between(tmp_path) as (hub, proxy):
        await pull_old(proxy)
        hub.script(Match.manifest(), _left(3))
        proxy.clock.advance(FRESH_FOR + 1)
        hub.add_image(REPOSITORY, "1", NEW)
        assert (await see(proxy, BY_TAG)).body == OLD.manifest
        assert asked_of(hub)[-1] == ("HEAD", "1")


async def test_above_the_reserve_it_is_renewed(tmp_path: Path) -> None:
    """With pulls to spare a changed tag is fetched."""
    async with _between(tmp_path, ratelimit_reserve=2) as (hub, proxy):
        await pull_old(proxy)
        hub.script(Match.manifest(), _left(3))
        proxy.clock.advance(FRESH_FOR + 1)
        hub.add_image(REPOSITORY, "1", NEW)
        assert (await see(proxy, BY_TAG)).body == NEW.manifest


async def test_what_is_not_here_any_more_is_no_refresh(tmp_path: Path) -> None:
    """A tag whose manifest was evicted, or is too old to be served, has a claim on the reserve."""
    async with _between(tmp_path) as (hub, proxy):
        await pull_old(proxy)
        hub.script(Match.manifest(), _left(3))
        for file in proxy.files("blobs"):
            file.unlink()
        proxy.clock.advance(FRESH_FOR + 1)
        hub.add_image(REPOSITORY, "1", NEW)
        assert (await see(proxy, BY_TAG)).body == NEW.manifest
        proxy.clock.advance(30 * 86400)
        hub.add_image(REPOSITORY, "1", OLD)
        assert (await see(proxy, BY_TAG)).body == OLD.manifest


async def test_nothing_left_is_asked_about_again(tmp_path: Path) -> None:
    """With none left uncached pulls are a 429 for a minute; then one finds out, window or not."""
    async with _between(tmp_path) as (hub, proxy):
        hub.script(_GET, Together(WithHeader("ratelimit-remaining", "0;w=21600")))
        assert (await see(proxy, BY_TAG)).status == 200
        answer = await see(proxy, _OTHER)
        assert answer.status == 429
        assert 50 <= int(answer.headers["Retry-After"]) <= 60
        assert len(hub.requests("GET")) == 1
        proxy.clock.advance(61)
        assert (await see(proxy, _OTHER)).body == NEW.manifest


async def test_what_is_left_is_shown(tmp_path: Path) -> None:
    """Operators see what upstream last said: what is left, and of how many."""
    async with _between(tmp_path) as (hub, proxy):
        limit = WithHeader("ratelimit-limit", "100;w=21600")
        hub.script(_GET, Together(limit, WithHeader("ratelimit-remaining", "76;w=21600")))
        await see(proxy, BY_TAG)
        async with proxy.client.get(proxy.admin_url + "/metrics") as response:
            lines = (await response.text()).splitlines()
        assert 'cacheproxy_upstream_ratelimit_remaining{upstream="docker.io"} 76.0' in lines
        assert 'cacheproxy_upstream_ratelimit_limit{upstream="docker.io"} 100.0' in lines
