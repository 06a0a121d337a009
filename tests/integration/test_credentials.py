"""How the proxy proves who it is to upstream, and to nobody else."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cacheproxy.settings.secret import Secret
from cacheproxy.settings.upstream_model import CredentialsSettings, TagSettings
from tests.integration.fills import until
from tests.support import images
from tests.support.egress import Egress
from tests.support.hasty import HastyProxy, Wanted, hasty_proxy
from tests.support.scripted_registry import (
    Always,
    Auth,
    Basic,
    Bearer,
    BigErrorBody,
    Fault,
    Garbage,
    Gate,
    HangUp,
    Match,
    NoAnswer,
    Recorded,
    Redirect,
    ScriptedRegistry,
    StatusFault,
)
from tests.support.seen import see

_USER, _PASSWORD = "ada", "pass:wörd"
_USERS = {_USER: _PASSWORD}
_REPOSITORY = "team/app"
_IMAGE = images.simple(seed=61)
_BLOB = _IMAGE.layers[0]
_BY_TAG = f"/v2/{_REPOSITORY}/manifests/1"


def _login(username: str = _USER, password: str = _PASSWORD) -> CredentialsSettings:
    return CredentialsSettings(username, Secret(password))


@asynccontextmanager
async def _between(
    directory: Path, auth: Auth, **upstream: Any
) -> AsyncIterator[tuple[ScriptedRegistry, HastyProxy]]:
    """A registry with an image, and a proxy in front of it."""
    async with ScriptedRegistry(auth=auth) as registry:
        registry.add_image(_REPOSITORY, "1", _IMAGE)
        wanted = Wanted(upstream=upstream)
        async with hasty_proxy({"docker.io": registry}, directory, wanted) as proxy:
            yield registry, proxy


async def _pull(proxy: HastyProxy) -> None:
    assert (await see(proxy, _BY_TAG)).body == _IMAGE.manifest
    for blob in _IMAGE.blobs:
        assert (await see(proxy, f"/v2/{_REPOSITORY}/blobs/{blob.digest}")).body == blob.body


def _statuses(entries: tuple[Recorded, ...]) -> list[int | None]:
    return [entry.status for entry in entries]


def _schemes(entries: tuple[Recorded, ...]) -> list[str]:
    return [entry.headers.get("Authorization", "").partition(" ")[0] for entry in entries]


@pytest.mark.parametrize("own_port", [True, False], ids=["another port", "the same port"])
@pytest.mark.parametrize(
    "how",
    [
        pytest.param({}, id="both names"),
        pytest.param({"fields": ("token",)}, id="token"),
        pytest.param({"fields": ("access_token",)}, id="access_token"),
        pytest.param({"expires_in": None}, id="no lifetime"),
        pytest.param({"oauth2": False}, id="no POST"),
    ],
)
async def test_anonymous_token(tmp_path: Path, own_port: bool, how: Mapping[str, Any]) -> None:
    """An image of a registry with tokens costs one challenge and one anonymous token."""
    async with _between(tmp_path, Bearer(own_port=own_port, **how)) as (registry, proxy):
        await _pull(proxy)
        (token,) = registry.token_requests
        assert token.query.getall("scope") == [f"repository:{_REPOSITORY}:pull"]
        assert token.query["service"] == "registry.test"
        assert "Authorization" not in token.headers
        pulls = tuple(entry for entry in registry.requests() if entry.path != "/token")
        assert _statuses(pulls) == [401, 200, 200, 200, 200]
        assert _schemes(pulls) == ["", "Bearer", "Bearer", "Bearer", "Bearer"]


async def test_token_of_a_user(tmp_path: Path) -> None:
    """With credentials the token is fetched with them, and upstream sees the token alone."""
    auth = Bearer(users=_USERS, anonymous=False)
    async with _between(tmp_path, auth, credentials=_login()) as (registry, proxy):
        await _pull(proxy)
        assert _schemes(registry.token_requests) == ["Basic"]
        assert set(_schemes(registry.requests())) == {"", "Bearer"}


async def test_basic(tmp_path: Path) -> None:
    """A registry that wants a password gets it with each request, after its first challenge.

    It is asked once whether the password is right, however many requests there are.
    """
    auth = Basic(_USER, _PASSWORD)
    async with _between(tmp_path, auth, credentials=_login()) as (registry, proxy):
        await _pull(proxy)
        assert _statuses(registry.requests()) == [401, 200, 200, 200, 200, 200]
        assert _schemes(registry.requests()) == ["", *["Basic"] * 5]
        assert [entry.path for entry in registry.requests()].count("/v2/") == 1


async def test_a_token_for_each_repository(tmp_path: Path) -> None:
    """A token is used for the repository that it was asked for, and for no other."""
    async with _between(tmp_path, Bearer()) as (registry, proxy):
        registry.add_image("team/other", "1", _IMAGE)
        for repository in (_REPOSITORY, "team/other"):
            assert (await see(proxy, f"/v2/{repository}/manifests/1")).status == 200
        scopes = [entry.query["scope"] for entry in registry.token_requests]
        assert scopes == [f"repository:{_REPOSITORY}:pull", "repository:team/other:pull"]
        assert _statuses(registry.requests()) == [401, 200, 200]


@pytest.mark.parametrize("own_port", [True, False])
async def test_many_cold_requests(tmp_path: Path, own_port: bool) -> None:
    """However many requests are challenged at once, one token is fetched for them."""
    async with _between(tmp_path, Bearer(own_port=own_port)) as (registry, proxy):
        digests = [registry.add_blob(_REPOSITORY, b"blob %d" % number) for number in range(50)]
        paths = [f"/v2/{_REPOSITORY}/blobs/{digest}" for digest in digests]
        answers = await asyncio.gather(*(see(proxy, path) for path in paths))
        assert {answer.status for answer in answers} == {200}
        assert len(registry.token_requests) == 1
        assert len(registry.requests("GET")) <= 50 * 2 + (0 if own_port else 1)


async def test_expiry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token is renewed before it expires: upstream never sees an old one."""
    async with _between(tmp_path, Bearer(expires_in=300)) as (registry, proxy):
        await see(proxy, _BY_TAG)
        monkeypatch.setattr(proxy.clock, "monotonic", lambda: time.monotonic() + 230)
        await see(proxy, f"/v2/{_REPOSITORY}/blobs/{_BLOB.digest}")
        fetched = [len(registry.token_requests)]
        monkeypatch.setattr(proxy.clock, "monotonic", lambda: time.monotonic() + 250)
        digests = [registry.add_blob(_REPOSITORY, b"blob %d" % number) for number in range(20)]
        paths = [f"/v2/{_REPOSITORY}/blobs/{digest}" for digest in digests]
        await asyncio.gather(*(see(proxy, path) for path in paths))
        assert [*fetched, len(registry.token_requests)] == [1, 2]
        assert _statuses(registry.requests()) == [401, 200, 200, *[200] * 20]


async def test_revoked(tmp_path: Path) -> None:
    """A token that upstream no longer takes is replaced once, for all who had used it."""
    async with _between(tmp_path, Bearer()) as (registry, proxy):
        await see(proxy, _BY_TAG)
        registry.revoke_tokens()
        digests = [registry.add_blob(_REPOSITORY, b"blob %d" % number) for number in range(20)]
        paths = [f"/v2/{_REPOSITORY}/blobs/{digest}" for digest in digests]
        answers = await asyncio.gather(*(see(proxy, path) for path in paths))
        assert {answer.status for answer in answers} == {200}
        assert len(registry.token_requests) == 2


async def test_a_token_that_upstream_never_takes(tmp_path: Path) -> None:
    """Where a new token does not help either, that is that: no third try."""
    async with _between(tmp_path, Bearer(expires_in=0)) as (registry, proxy):
        answer = await see(proxy, _BY_TAG)
        assert (answer.status, answer.code) == (403, "DENIED")
        assert _statuses(registry.requests()) == [401, 401]
        assert len(registry.token_requests) == 1


@pytest.mark.parametrize(
    ("auth", "login"),
    [
        pytest.param(Basic(_USER, _PASSWORD), _login(password="wrong"), id="Basic"),
        pytest.param(Basic(_USER, _PASSWORD), None, id="Basic without credentials"),
        pytest.param(Bearer(_USERS, anonymous=False), _login(password="wrong"), id="token"),
        pytest.param(Bearer(_USERS, anonymous=False), None, id="token without credentials"),
        pytest.param(Bearer(_USERS), _login("eve"), id="token for an unknown user"),
    ],
)
async def test_wrong_credentials(
    tmp_path: Path, auth: Auth, login: CredentialsSettings | None
) -> None:
    """Credentials that are refused are a 403, and are shown twice, whoever asks for what."""
    async with _between(tmp_path, auth, credentials=login) as (registry, proxy):
        blob = f"/v2/{_REPOSITORY}/blobs/{_BLOB.digest}"
        for path in (_BY_TAG, blob, f"/v2/{_REPOSITORY}/tags/list"):
            answer = await see(proxy, path)
            assert (answer.status, answer.code) == (403, "DENIED")
        assert _schemes(registry.journal).count("Basic") == (2 if login else 0)
        assert len(registry.journal) <= 6


async def test_wrong_credentials_of_many(tmp_path: Path) -> None:
    """Clients that wait for the same refusal wait for one request."""
    auth, login = Bearer(_USERS, anonymous=False), _login(password="wrong")
    async with _between(tmp_path, auth, credentials=login) as (registry, proxy):
        gate = Gate(at=None)
        registry.tokens.script(Match(), gate)
        asking = asyncio.gather(*(see(proxy, _BY_TAG) for _ in range(50)))
        await gate.reached()
        await asyncio.sleep(0.05)  # for most of them to have asked
        assert (len(registry.requests()), len(registry.token_requests)) == (1, 1)
        gate.release()
        assert {answer.status for answer in await asking} == {403}


async def test_one_refusal_is_not_the_others(tmp_path: Path) -> None:
    """A repository that we may not read says nothing of another."""
    async with _between(tmp_path, Bearer()) as (registry, proxy):
        registry.script(Match(path_regex="/team/private/"), Always(StatusFault(403)))
        assert (await see(proxy, "/v2/team/private/manifests/1")).status == 403
        assert (await see(proxy, _BY_TAG)).status == 200


@pytest.mark.parametrize("refusal", [401, 403])
async def test_what_the_token_server_does_not_know(tmp_path: Path, refusal: int) -> None:
    """Whoever asks for what does not exist, however often, locks nobody else out."""
    auth = Bearer(users=_USERS, anonymous=False)
    async with _between(tmp_path, auth, credentials=_login()) as (registry, proxy):
        for number in range(5):
            registry.tokens.script(Match(), StatusFault(refusal))
            assert (await see(proxy, f"/v2/team/none{number}/manifests/1")).status == 403
        await _pull(proxy)
        asked = [entry.query.get("scope") for entry in registry.token_requests]
        assert asked.count(None) == 5


async def test_credentials_that_cannot_be_had(tmp_path: Path) -> None:
    """Where a helper is broken, what is cached stands in, and the error of the rest says so."""
    tags = TagSettings(fresh_for=10.0)
    auth = Basic(_USER, _PASSWORD)
    cache = tmp_path / "cache"
    async with _between(cache, auth, credentials=_login(), tags=tags) as (registry, proxy):
        await _pull(proxy)
        broken = CredentialsSettings(provider="exec", command=(str(tmp_path / "absent"),))
        wanted = Wanted(upstream={"credentials": broken, "tags": tags})
        async with hasty_proxy({"docker.io": registry}, cache, wanted) as second:
            second.clock.advance(20)
            assert (await see(second, _BY_TAG)).body == _IMAGE.manifest
            answer = await see(second, f"/v2/{_REPOSITORY}/manifests/2")
            assert (answer.status, answer.code) == (502, "UNAVAILABLE")
            assert b"docker.io's credentials (exec) cannot be had: absent" in answer.body
            assert str(tmp_path).encode() not in answer.body


async def test_a_password_that_is_mended(tmp_path: Path) -> None:
    """A wrong password that was refused twice rests, and the right one in its file is used."""
    file = tmp_path / "password"
    file.write_text("wrong")
    login = CredentialsSettings(_USER, Secret("wrong", file))
    auth = Basic(_USER, _PASSWORD)
    async with _between(tmp_path / "cache", auth, credentials=login) as (registry, proxy):
        for _ in range(5):
            assert (await see(proxy, _BY_TAG)).status == 403
        assert _schemes(registry.journal).count("Basic") == 2
        file.write_text(f"{_PASSWORD}\n", encoding="utf-8")
        await _pull(proxy)


async def test_a_login_goes_nowhere_with_a_check(tmp_path: Path) -> None:
    """What a refused login is checked with follows no redirect, and goes to upstream alone."""
    async with ScriptedRegistry() as evil:
        auth = Basic(_USER, "other")
        async with _between(tmp_path, auth, credentials=_login()) as (registry, proxy):
            there = StatusFault(307, {"Location": f"{evil.url}/v2/"})
            registry.script(Match(path_regex="^/v2/$"), there)
            assert (await see(proxy, _BY_TAG)).status == 403
            assert [entry.path for entry in registry.requests()][-1] == "/v2/"
            assert evil.requests() == ()


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        pytest.param(StatusFault(400), 403, id="400"),
        pytest.param(StatusFault(401), 403, id="401"),
        pytest.param(StatusFault(404), 403, id="404"),
        pytest.param(StatusFault(429), 429, id="429"),
        pytest.param(StatusFault(500), 502, id="500"),
        pytest.param(StatusFault(503), 502, id="503"),
        pytest.param(StatusFault(302), 502, id="a redirect to nowhere"),
        pytest.param(StatusFault(302, {"Location": "http://["}), 502, id="a redirect to no URL"),
        pytest.param(HangUp(), 502, id="hangs up"),
        pytest.param(Garbage(), 502, id="garbage"),
        pytest.param(BigErrorBody(10_000_000, 200), 502, id="10 MB"),
        pytest.param(StatusFault(200, body=b"<html>"), 502, id="HTML"),
        pytest.param(StatusFault(200, body=b"{}"), 502, id="no token"),
        pytest.param(StatusFault(200, body=b'{"token": ""}'), 502, id="empty token"),
        pytest.param(StatusFault(200, body=b'{"token": 5}'), 502, id="number"),
        pytest.param(StatusFault(200, body=b'{"token": "a\\r\\nX: y"}'), 502, id="line break"),
        pytest.param(StatusFault(200, body=b"[" * 100_000), 502, id="nested"),
    ],
)
async def test_faults_of_the_token_server(tmp_path: Path, fault: Fault, status: int) -> None:
    """A token server that fails is upstream failing; and once it is well, so is the pull."""
    async with _between(tmp_path, Bearer()) as (registry, proxy):
        # aiohttp asks a server that hung up once more.
        registry.tokens.script(Match(), *[fault] * (2 if isinstance(fault, HangUp) else 1))
        assert (await see(proxy, _BY_TAG)).status == status
        await _pull(proxy)


async def test_a_silent_token_server(tmp_path: Path) -> None:
    """A token server that says nothing is upstream saying nothing."""
    async with _between(tmp_path, Bearer(), idle_timeout=0.5) as (registry, proxy):
        registry.tokens.script(Match(), NoAnswer())
        assert (await see(proxy, _BY_TAG)).status == 504


async def test_the_token_server_is_down(tmp_path: Path) -> None:
    """What is cached is served without it; and what is stale is served as stale."""
    tags = TagSettings(fresh_for=10.0)
    async with _between(tmp_path, Bearer(), tags=tags) as (registry, proxy):
        await _pull(proxy)
        # A client has the last byte before the blob has its name.
        await until(lambda: len(proxy.files("blobs")) == len(_IMAGE.blobs) + 1)
        await registry.tokens.stop()
        registry.revoke_tokens()
        proxy.clock.advance(20)
        await _pull(proxy)
        assert (await see(proxy, f"/v2/{_REPOSITORY}/tags/list")).status == 502


@pytest.mark.parametrize(
    "realm",
    [
        pytest.param("http://localhost:{port}/token", id="another name"),
        pytest.param("http://ada@127.0.0.1:{port}/token", id="user info"),
        pytest.param("http://127.0.0.1.nip.example:{port}/token", id="suffix"),
        pytest.param("http://127.1:{port}/token", id="another spelling"),
        pytest.param("https://localhost:{port}/token", id="https"),
        pytest.param("ftp://127.0.0.1:{port}/token", id="scheme"),
        pytest.param("//127.0.0.1:{port}/token", id="no scheme"),
        pytest.param("/token", id="no host"),
        pytest.param("", id="empty"),
    ],
)
async def test_a_foreign_realm(tmp_path: Path, realm: str) -> None:
    """Credentials are not sent where a challenge says, unless that is upstream's own domain."""
    async with ScriptedRegistry() as evil:
        auth = Bearer(users=_USERS, realm=realm.format(port=evil.port) or " ")
        async with _between(tmp_path, auth, credentials=_login()) as (registry, proxy):
            answer = await see(proxy, _BY_TAG)
            assert (answer.status, answer.code) == (502, "UNAVAILABLE")
            assert evil.requests() == ()
            assert _schemes(registry.journal) == [""]


async def test_a_realm_that_is_allowed(tmp_path: Path) -> None:
    """An operator may allow a realm elsewhere by its host."""
    async with ScriptedRegistry() as elsewhere:
        auth = Bearer(users=_USERS, realm=f"http://localhost:{elsewhere.port}/token")
        how = {"credentials": _login(), "token_realms": ("localhost",)}
        async with _between(tmp_path, auth, **how) as (_, proxy):
            assert (await see(proxy, _BY_TAG)).status == 403
            assert _schemes(elsewhere.requests()) == ["Basic"]


@pytest.mark.parametrize(
    ("realm", "allowed"),
    [
        pytest.param("http://auth.docker.io/token", True, id="the same domain"),
        pytest.param("http://registry-1.docker.io/token", True, id="the same host"),
        pytest.param("http://auth.docker.io.evil.example/token", False, id="suffix"),
        pytest.param("http://evildocker.io/token", False, id="lookalike"),
        pytest.param("http://io/token", False, id="public suffix"),
        pytest.param("http://127.0.0.1/token", False, id="loopback"),
        pytest.param("http://[::1]/token", False, id="IPv6 loopback"),
        pytest.param("http://169.254.169.254/token", False, id="metadata service"),
    ],
)
async def test_a_realm_of_the_same_domain(tmp_path: Path, realm: str, allowed: bool) -> None:
    """A token server of upstream's registrable domain gets credentials, and no other one does."""
    async with ScriptedRegistry(auth=Bearer(users=_USERS, realm=realm)) as registry:
        hosts = {realm.split("/")[2]: registry.tokens.port, "registry-1.docker.io": registry.port}
        async with Egress(hosts) as egress:
            upstream = {
                "url": "http://registry-1.docker.io",
                "proxy_url": egress.url,
                "credentials": _login(),
            }
            async with hasty_proxy(
                {"docker.io": registry}, tmp_path, Wanted(upstream=upstream)
            ) as proxy:
                await see(proxy, _BY_TAG)
            asked = [entry for entry in egress.requests if "/token" in entry.target]
            sent = [entry for entry in asked if "authorization" in entry.fields]
            assert bool(sent) is allowed
            assert len(asked) == len(sent)


@pytest.mark.parametrize("host", ["169.254.169.254", "127.0.0.1", "[::1]", "localhost", "127.1"])
async def test_a_realm_inside(tmp_path: Path, host: str) -> None:
    """A public registry cannot send us to addresses that only we can reach, for a token either."""
    async with ScriptedRegistry(auth=Bearer(realm=f"http://{host}/token")) as registry:
        hosts = {"registry.example": registry.port, host: registry.tokens.port}
        async with Egress(hosts) as egress:
            upstream = {"url": "http://registry.example", "proxy_url": egress.url}
            wanted = Wanted(upstream=upstream)
            async with hasty_proxy({"docker.io": registry}, tmp_path, wanted) as proxy:
                assert (await see(proxy, _BY_TAG)).status in (403, 502)
        assert {entry.host for entry in egress.requests} == {"registry.example"}


async def test_clients_credentials_go_nowhere(tmp_path: Path) -> None:
    """What a client sends to the proxy, which may be a secret for upstream, stays here."""
    secrets = {
        "Authorization": "Basic YWRhOnNlY3JldA==",
        "Cookie": "session=secret",
        "Proxy-Authorization": "Basic YWRhOnNlY3JldA==",
        "X-Registry-Auth": "secret",
        "X-Forwarded-For": "10.1.2.3",
    }
    async with _between(tmp_path, Bearer()) as (registry, proxy):
        registry.script(Match.blob(), Redirect())
        for path in (
            _BY_TAG,
            f"/v2/{_REPOSITORY}/blobs/{_BLOB.digest}",
            f"/v2/{_REPOSITORY}/tags/list",
            f"/v2/{_REPOSITORY}/referrers/{_IMAGE.digest}",
        ):
            answer = await see(proxy, path, headers=secrets)
            assert answer.status == 200
        for entry in registry.journal:
            assert not entry.headers.get("Authorization", "").startswith("Basic")
            assert not (set(secrets) - {"Authorization"}) & set(entry.headers)


async def test_credentials_of_one_upstream_are_not_anothers(tmp_path: Path) -> None:
    """Each upstream gets its own credentials, although all else is the same."""
    async with (
        ScriptedRegistry(auth=Basic(_USER, _PASSWORD)) as first,
        ScriptedRegistry(auth=Basic("bob", "other")) as second,
    ):
        for registry in (first, second):
            registry.add_image(_REPOSITORY, "1", _IMAGE)
        upstreams = {"docker.io": first, "quay.io": second}
        wanted = Wanted(upstream={"credentials": _login()})
        async with hasty_proxy(upstreams, tmp_path, wanted) as proxy:
            assert (await see(proxy, _BY_TAG)).status == 200
            assert (await see(proxy, f"{_BY_TAG}?ns=quay.io")).status == 403
