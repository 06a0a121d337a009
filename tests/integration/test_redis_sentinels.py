"""Sentinels that let in only those who know their password, which is not their server's."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from cacheproxy.doctor.shared_metadata import check_redis
from cacheproxy.domain.redis_url import parse_redis_url
from cacheproxy.metadata.redis_clients import RedisLogin, SentinelLogin
from cacheproxy.settings.model import MetadataSettings
from cacheproxy.settings.secret import Secret
from tests.integration.fills import until
from tests.integration.watched import Watched, get, soon, watched
from tests.support.parts.redis import (
    Engine,
    RedisServer,
    on_each_engine,
    redis_sentinel,
    redis_sentinel_over_tls,
)

_PASSWORD = "of the Sentinels"
_RULE = re.search(
    r"^(ACL SETUSER .*sentinel.*)$",
    (Path(__file__).parents[2] / "docs/redis.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)


class Guarded:
    """A server whose two Sentinels want a password."""

    def __init__(self, server: RedisServer, sentinels: list[RedisServer], service: str) -> None:
        self.server = server
        self.sentinels = sentinels
        self._hosts = ",".join(each.address for each in sentinels)
        self._service = service

    def url(self, login: str = "", service: str = "") -> str:
        """Where it is; a login is the server's."""
        return f"redis+sentinel://{login}{self._hosts}/{service or self._service}"

    def at_sentinels(self, *words: str) -> None:
        """Send a command to each of the Sentinels."""
        for sentinel in self.sentinels:
            with sentinel.client() as client:
                client.execute_command(*words)

    def change(self, password: str) -> None:
        """Have the Sentinels want another one, of those who are there already, too."""
        self.at_sentinels("ACL", "SETUSER", "default", "resetpass", f">{password}")
        for each in self.sentinels:
            with each.client(password=password) as client:
                client.client_kill_filter(_type="normal", skipme=True)


@pytest.fixture
def guarded(engine: Engine) -> Iterator[Guarded]:
    """They are there, and know their server."""
    with redis_sentinel(engine=engine, count=2, password=_PASSWORD) as (servers, sentinels, name):
        yield Guarded(servers[0], sentinels, name)


@pytest.fixture(scope="module")
def unspoilt() -> Iterator[Guarded]:
    """One for all tests that leave it as it is."""
    with redis_sentinel(count=2, password=_PASSWORD) as (servers, sentinels, name):
        yield Guarded(servers[0], sentinels, name)


def _login(password: str, username: str | None = None, file: Path | None = None) -> RedisLogin:
    return RedisLogin(sentinels=SentinelLogin(password, file, username))


@on_each_engine
async def test_each_is_shown_its_own_password(guarded: Guarded) -> None:
    """The Sentinels are shown their password, and the server the one that the URL has."""
    guarded.at_sentinels("SENTINEL", "SET", "cache", "auth-pass", "of the server")
    with guarded.server.client() as client:
        client.config_set("requirepass", "of the server")
    async with watched(guarded.url(":of%20the%20server@"), _login(_PASSWORD)) as it:
        await it.found()
        assert await it.connection.call(get) is None
        assert it.lost() == []


@on_each_engine
async def test_the_documented_user_may_ask_sentinels(guarded: Guarded) -> None:
    """A user of the Sentinels as docs/redis.md has it can ask for the server, and no more."""
    assert _RULE is not None
    guarded.at_sentinels(*_RULE[1].split())
    async with watched(guarded.url(), _login("PASSWORD", "puller")) as it:
        await it.found()
        assert it.lost() == []
    with (
        guarded.sentinels[0].client(username="puller", password="PASSWORD") as client,
        pytest.raises(Exception, match="permission"),
    ):
        client.execute_command("SENTINEL", "REMOVE", "cache")


@on_each_engine
async def test_passwords_go_over_tls(engine: Engine, tmp_path: Path) -> None:
    """Sentinels and server may want TLS and passwords both; the authority counts for both."""
    authority, stranger = trustme.CA(), trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    certificate, key, known, other = (tmp_path / name for name in ("cert", "key", "ca", "other"))
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(key)
    authority.cert_pem.write_to_path(known)
    stranger.cert_pem.write_to_path(other)
    with redis_sentinel_over_tls(certificate, key, known, "both", engine) as (_, port, service):
        url = f"rediss+sentinel://:both@127.0.0.1:{port}/{service}?certificate={certificate}"
        async with watched(f"{url}&key={key}&ca_file={known}", _login("both")) as it:
            await it.found()
            assert await it.connection.call(get) is None
            assert it.lost() == []
        async with watched(f"{url}&key={key}&ca_file={other}", _login("both")) as it:
            await until(it.lost)
            assert "certificate verify failed" in it.lost()[0]


async def test_a_changed_password_is_read_again(guarded: Guarded, tmp_path: Path) -> None:
    """A password that is changed at the Sentinels and in its file is used without a restart."""
    file = tmp_path / "password"
    file.write_text(f"{_PASSWORD}\n")
    async with watched(guarded.url(), _login(_PASSWORD, file=file)) as it:
        await it.found()
        file.write_text("new\n")
        guarded.change("new")
        # More than there are connections: for a new one the Sentinels are asked.
        await soon(lambda: asyncio.gather(*(it.connection.call(get) for _ in range(5))))


async def _refusal(it: Watched, unspoilt: Guarded) -> str:
    """What is said, in one line for all of them."""
    await until(it.lost)
    (said,) = it.lost()
    assert said.startswith("the Sentinels do not let us in, metadata.sentinel_password is for them")
    assert all(each.address in said for each in unspoilt.sentinels)
    return said


@pytest.mark.parametrize(
    ("login", "why"),
    [
        pytest.param(RedisLogin(), "Authentication required", id="none"),
        pytest.param(_login("hunter2"), "invalid username-password pair", id="wrong"),
        pytest.param(_login(_PASSWORD, "nobody"), "invalid username-password pair", id="nobody"),
        pytest.param(_login("hunter2", "idle"), "no permissions", id="may not"),
    ],
)
async def test_a_refusal_is_said_and_no_password_shown(
    unspoilt: Guarded, login: RedisLogin, why: str
) -> None:
    """What Sentinels refuse, and why, is said, by `doctor` too, and no password is."""
    unspoilt.at_sentinels("ACL", "SETUSER", "idle", "on", ">hunter2", "+ping")
    async with watched(unspoilt.url(":hunter3@"), login) as it:
        said = await _refusal(it, unspoilt)
        assert why in said
        assert not re.search(f"hunter|{_PASSWORD}", f"{it.events.all} {login}")
    url, theirs = parse_redis_url(unspoilt.url(":hunter3@")), login.sentinels
    settings = MetadataSettings(
        url,
        sentinel_username=theirs.username if theirs else None,
        sentinel_password=Secret(theirs.password) if theirs else None,
    )
    (finding,) = await check_redis(settings)
    assert finding.state == "failed"
    assert why in finding.said
    assert finding.advice is not None
    assert "set metadata.sentinel_password" in finding.advice
    assert "hunter" not in f"{finding}"


async def test_who_does_not_refuse_is_asked(guarded: Guarded) -> None:
    """Where one Sentinel refuses, or is gone, the next one is asked."""
    with guarded.sentinels[0].client() as client:
        client.execute_command("ACL", "SETUSER", "default", "resetpass", ">another")
    async with watched(guarded.url(), _login(_PASSWORD)) as it:
        await it.found()
        assert it.lost() == []


async def test_a_service_that_none_knows(unspoilt: Guarded) -> None:
    """A name that means nothing to the Sentinels is said, and is no refusal."""
    async with watched(unspoilt.url(service="other"), _login(_PASSWORD)) as it:
        await until(it.lost)
        (said,) = it.lost()
        assert said.startswith("no Sentinel names a server for 'other'")
        assert "knows none that is up" in said
