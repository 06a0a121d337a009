"""How the proxy finds out what an upstream wants to see, and what it forgets of that."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cacheproxy.settings.secret import Secret
from cacheproxy.settings.upstream_model import CredentialsSettings
from tests.support import images
from tests.support.egress import Egress
from tests.support.hasty import HastyProxy, Wanted, hasty_proxy
from tests.support.scripted_registry import (
    Always,
    Anonymous,
    Auth,
    Basic,
    Bearer,
    Match,
    Recorded,
    Redirect,
    ScriptedRegistry,
    StatusFault,
)
from tests.support.seen import see

_USERS = {"ada": "secret"}
_LOGIN = CredentialsSettings("ada", Secret("secret"))
_REPOSITORY = "team/app"
_IMAGE = images.simple(seed=97)
_BLOB = f"/v2/{_REPOSITORY}/blobs/{_IMAGE.layers[0].digest}"
_BY_TAG = f"/v2/{_REPOSITORY}/manifests/1"
_PING = Match(path_regex="^/v2/$")
_BASIC = {"WWW-Authenticate": 'Basic realm="r"'}


@asynccontextmanager
async def _between(
    directory: Path, auth: Auth | None = None, **upstream: Any
) -> AsyncIterator[tuple[ScriptedRegistry, HastyProxy]]:
    async with ScriptedRegistry(auth=auth or Anonymous()) as hub:
        hub.add_image(_REPOSITORY, "1", _IMAGE)
        async with hasty_proxy({"docker.io": hub}, directory, Wanted(upstream=upstream)) as proxy:
            yield hub, proxy


def _schemes(entries: tuple[Recorded, ...]) -> list[str]:
    return [entry.headers.get("Authorization", "").partition(" ")[0] for entry in entries]


def _pings(hub: ScriptedRegistry) -> int:
    return len(hub.requests(path_suffix="/v2/"))


@pytest.mark.parametrize("status", [401, 403, 404])
@pytest.mark.parametrize("ping", [401, 200])
async def test_a_hidden_repository_is_asked_for_with_the_login(
    tmp_path: Path, status: int, ping: int
) -> None:
    """A refusal without a challenge is not believed before `/v2/` was asked for its challenge."""
    async with _between(tmp_path, credentials=_LOGIN) as (hub, proxy):
        hub.script(_PING, StatusFault(ping, _BASIC))
        hub.script(Match.manifest(), StatusFault(status))
        assert (await see(proxy, _BY_TAG)).body == _IMAGE.manifest
        assert (await see(proxy, _BLOB)).status == 200
        assert _schemes(hub.requests("GET", "/1")) == ["", "Basic"]
        assert _schemes(hub.blob_gets(_IMAGE.layers[0].digest)) == ["Basic"]


@pytest.mark.parametrize("status", [401, 403])
async def test_an_anonymous_challenge_at_the_ping_alone(tmp_path: Path, status: int) -> None:
    """Without a login a bare 401 or 403 is followed by the anonymous token of `/v2/`."""
    async with _between(tmp_path) as (hub, proxy):
        bearer = f'Bearer realm="{hub.url}/v2/{_REPOSITORY}/tags/list",service="s"'
        hub.script(_PING, StatusFault(401, {"WWW-Authenticate": bearer}))
        hub.script(Match("GET", path_suffix="/tags/list"), StatusFault(200, body=b'{"token":"t"}'))
        hub.script(Match.manifest(), StatusFault(status))
        assert (await see(proxy, _BY_TAG)).body == _IMAGE.manifest
        assert _schemes(hub.requests("GET", "/1")) == ["", "Bearer"]


async def test_without_a_login_a_404_is_believed(tmp_path: Path) -> None:
    """An anonymous 404 costs no further request."""
    async with _between(tmp_path) as (hub, proxy):
        assert (await see(proxy, f"/v2/{_REPOSITORY}/manifests/none")).status == 404
        assert _pings(hub) == 0


async def test_the_ping_is_asked_once(tmp_path: Path) -> None:
    """A registry without challenges is asked for one once in five minutes, whoever asks."""
    async with _between(tmp_path, credentials=_LOGIN) as (hub, proxy):
        missing = [f"/v2/{_REPOSITORY}/manifests/none{number}" for number in range(20)]
        answers = await asyncio.gather(*(see(proxy, path) for path in missing[:10]))
        assert {answer.status for answer in answers} == {404}
        assert (await see(proxy, missing[10])).status == 404
        assert _pings(hub) == 1
        proxy.clock.advance(301)
        assert (await see(proxy, missing[11])).status == 404
        assert _pings(hub) == 2


async def test_a_ping_that_fails_changes_nothing(tmp_path: Path) -> None:
    """Where `/v2/` fails, the first response is believed."""
    async with _between(tmp_path, credentials=_LOGIN) as (hub, proxy):
        hub.script(_PING, Always(StatusFault(500)))
        assert (await see(proxy, f"/v2/{_REPOSITORY}/manifests/none")).status == 404
        assert (await see(proxy, _BY_TAG)).status == 200


@pytest.mark.parametrize(
    "challenge",
    [
        pytest.param('Bearer realm="https://169.254.169.254/token"', id="inside"),
        pytest.param('Bearer realm="nowhere"', id="no URL"),
        pytest.param('Bearer realm="http://127.0.0.1:1/token"', id="nobody listens"),
        pytest.param("Basic", id="a login"),
    ],
)
async def test_a_bad_challenge_is_forgotten(tmp_path: Path, challenge: str) -> None:
    """A challenge that cannot be answered fails its own request, and no later one."""
    async with _between(tmp_path) as (hub, proxy):
        hub.script(Match.manifest(), StatusFault(401, {"WWW-Authenticate": challenge}))
        assert (await see(proxy, _BY_TAG)).status in (403, 502)
        assert (await see(proxy, _BY_TAG)).body == _IMAGE.manifest


async def test_a_token_server_that_moves(tmp_path: Path) -> None:
    """An upstream that names another token server once the old one is gone is pulled from."""
    async with _between(tmp_path) as (hub, proxy):
        old, new = (f"{hub.url}/v2/{_REPOSITORY}/tags/list?at={at}" for at in ("old", "new"))
        challenges = [{"WWW-Authenticate": f'Bearer realm="{realm}"'} for realm in (old, new)]
        token = StatusFault(200, body=b'{"token":"t","expires_in":60}')
        tokens = Match("GET", path_suffix="/tags/list")
        hub.script(Match.manifest(), StatusFault(401, challenges[0]))
        hub.script(tokens, token, StatusFault(404), token)
        assert (await see(proxy, _BY_TAG)).status == 200
        proxy.clock.advance(61)
        hub.script(Match.blob(), StatusFault(401, challenges[1]))
        assert (await see(proxy, _BLOB)).body == _IMAGE.layers[0].body
        asked = [entry.query["at"] for entry in hub.requests(path_suffix="/tags/list")]
        assert asked == ["old", "old", "new"]


async def test_public_content_needs_no_token_server(tmp_path: Path) -> None:
    """What upstream gives to everybody is pulled while its token server is down."""
    async with _between(tmp_path) as (hub, proxy):
        gone = 'Bearer realm="http://127.0.0.1:1/token",service="s"'
        hub.script(Match("GET", path_suffix="/none"), StatusFault(401, {"WWW-Authenticate": gone}))
        assert (await see(proxy, f"/v2/{_REPOSITORY}/manifests/none")).status == 502
        assert (await see(proxy, _BY_TAG)).body == _IMAGE.manifest


async def test_an_old_token_may_lead_to_another_challenge(tmp_path: Path) -> None:
    """Where a refused token brings a challenge of no use, upstream is asked without it again."""
    async with _between(tmp_path, Bearer()) as (hub, proxy):
        assert (await see(proxy, _BY_TAG)).status == 200
        strange = 'Bearer realm="https://169.254.169.254/token",error="invalid_token"'
        hub.script(Match.blob(), StatusFault(401, {"WWW-Authenticate": strange}))
        assert (await see(proxy, _BLOB)).status == 200
        assert _schemes(hub.blob_gets(_IMAGE.layers[0].digest)) == ["Bearer", "", "Bearer"]


async def test_the_scope_of_the_challenge_is_asked_for_too(tmp_path: Path) -> None:
    """A token is fetched for our scope and for the one that upstream names, as clients do."""
    async with _between(tmp_path) as (hub, proxy):
        realm = f"{hub.url}/v2/{_REPOSITORY}/tags/list"
        named = f'Bearer realm="{realm}",service="s",scope="aws registry:catalog:*"'
        hub.script(Match.manifest(), StatusFault(401, {"WWW-Authenticate": named}))
        hub.script(Match("GET", path_suffix="/tags/list"), StatusFault(200, body=b'{"token":"t"}'))
        assert (await see(proxy, _BY_TAG)).status == 200
        (asked,) = hub.requests(path_suffix="/tags/list")
        expected = [f"repository:{_REPOSITORY}:pull", "aws", "registry:catalog:*"]
        assert asked.query.getall("scope") == expected


_TOKEN_QUERY = f"service=registry.test&scope=repository%3A{_REPOSITORY}%3Apull"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("login", [None, _LOGIN], ids=["anonymous", "with a login"])
async def test_a_token_server_that_redirects(
    tmp_path: Path, status: int, login: CredentialsSettings | None
) -> None:
    """A token server's redirect within its origin is followed, with the login."""
    auth = Bearer(_USERS, anonymous=login is None)
    async with _between(tmp_path, auth, credentials=login) as (hub, proxy):
        there = StatusFault(status, {"Location": f"/token?{_TOKEN_QUERY}"})
        hub.tokens.script(Match(), there)
        assert (await see(proxy, _BY_TAG)).body == _IMAGE.manifest
        assert _schemes(hub.token_requests) == ["Basic" if login else ""] * 2


async def test_a_token_server_that_redirects_elsewhere(tmp_path: Path) -> None:
    """A token server's redirect to another origin is followed without the login."""
    async with ScriptedRegistry() as elsewhere:
        elsewhere.script(Match(), Always(StatusFault(200, body=b'{"token":"x"}')))
        auth = Bearer(_USERS, anonymous=False)
        async with _between(tmp_path, auth, credentials=_LOGIN) as (hub, proxy):
            there = StatusFault(307, {"Location": f"{elsewhere.url}/token"})
            hub.tokens.script(Match(), Always(there))
            assert (await see(proxy, _BY_TAG)).status == 403
            assert set(_schemes(elsewhere.requests())) == {""}


async def test_a_token_server_that_redirects_inside(tmp_path: Path) -> None:
    """A token server's redirect leads nowhere that a redirect of a blob may not lead."""
    async with ScriptedRegistry(auth=Bearer(realm="http://auth.example.com/token")) as hub:
        there = StatusFault(307, {"Location": "http://169.254.169.254/token"})
        hub.tokens.script(Match(), Always(there))
        hosts = {"registry.example.com": hub.port, "auth.example.com": hub.tokens.port}
        async with Egress({**hosts, "169.254.169.254": hub.cdn.port}) as egress:
            upstream = {"url": "http://registry.example.com", "proxy_url": egress.url}
            wanted = Wanted(upstream=upstream)
            async with hasty_proxy({"docker.io": hub}, tmp_path, wanted) as proxy:
                answer = await see(proxy, _BY_TAG)
                assert answer.status == 502
                assert b"169.254.169.254, where we do not go" in answer.body
        assert {entry.host for entry in egress.requests} == set(hosts)


async def test_a_token_server_that_redirects_in_a_circle(tmp_path: Path) -> None:
    """A token server that redirects for ever is given up after five redirects."""
    async with _between(tmp_path, Bearer()) as (hub, proxy):
        hub.tokens.script(Match(), Always(StatusFault(307, {"Location": "/token"})))
        assert (await see(proxy, _BY_TAG)).status == 502
        assert len(hub.token_requests) == 6


@pytest.mark.parametrize("own_port", [True, False])
async def test_a_facade(tmp_path: Path, own_port: bool) -> None:
    """A registry that is redirected to gets an anonymous token of its own, and no login of ours."""
    async with ScriptedRegistry(auth=Bearer(own_port=own_port)) as behind:
        behind.add_image(_REPOSITORY, "1", _IMAGE)
        async with _between(tmp_path, Basic("ada", "secret"), credentials=_LOGIN) as (hub, proxy):
            for path in (_BY_TAG, _BLOB):
                to = Redirect(location=behind.url + path)
                hub.script(Match(path_suffix=path), Always(to))
            assert (await see(proxy, _BY_TAG)).body == _IMAGE.manifest
            assert (await see(proxy, _BLOB)).body == _IMAGE.layers[0].body
            assert set(_schemes(behind.journal)) == {"", "Bearer"}
            assert set(_schemes(hub.journal)) == {"", "Basic"}
            assert len(behind.token_requests) == 1


async def test_a_facades_token_is_renewed(tmp_path: Path) -> None:
    """A token that the registry behind a facade refuses is fetched anew, once."""
    async with ScriptedRegistry(auth=Bearer()) as behind:
        behind.add_image(_REPOSITORY, "1", _IMAGE)
        behind.add_image(_REPOSITORY, "2", _IMAGE)
        async with _between(tmp_path) as (hub, proxy):
            hub.add_image(_REPOSITORY, "2", _IMAGE)
            for tag in "12":
                to = Redirect(location=f"{behind.url}/v2/{_REPOSITORY}/manifests/{tag}")
                hub.script(Match.manifest(tag), Always(to))
            assert (await see(proxy, _BY_TAG)).status == 200
            behind.revoke_tokens()
            assert (await see(proxy, f"/v2/{_REPOSITORY}/manifests/2")).status == 200
            assert len(behind.token_requests) == 2


async def test_a_facade_cannot_send_inside(tmp_path: Path) -> None:
    """A registry that is redirected to names no token server at an address that only we reach."""
    async with ScriptedRegistry() as hub, ScriptedRegistry() as behind:
        hub.script(Match(), Always(Redirect(location=f"http://behind.example{_BY_TAG}")))
        hub.add_image(_REPOSITORY, "1", _IMAGE)
        inside = 'Bearer realm="http://10.0.0.1/token"'
        behind.script(Match(), Always(StatusFault(401, {"WWW-Authenticate": inside})))
        hosts = {"registry.example": hub.port, "behind.example": behind.port}
        async with Egress({**hosts, "10.0.0.1": behind.port}) as egress:
            # The upstream itself is local: it may redirect inside, whom it sends us to may not.
            upstream = {"url": "http://registry.example", "proxy_url": egress.url}
            wanted = Wanted(upstream=upstream)
            async with hasty_proxy({"docker.io": hub}, tmp_path, wanted) as proxy:
                assert (await see(proxy, _BY_TAG)).status == 502
        assert {entry.host for entry in egress.requests} == set(hosts)
