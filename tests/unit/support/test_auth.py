"""Credentials: who gets in, who is challenged, and how tokens end."""

import base64
import json

import pytest

from tests.support.scripted_registry import (
    Basic,
    Bearer,
    Match,
    Redirect,
    ScriptedRegistry,
    StatusFault,
)
from tests.unit.support.raw_client import Heard, fetched

_SCOPE = "repository:team/app:pull"
_USERS = {"ada": "s3cret"}


class Clock:
    """A clock that stands still unless it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def _basic(user: str, password: str) -> str:
    return "Authorization: Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


async def _tags(registry: ScriptedRegistry, *headers: str) -> Heard:
    return await fetched(registry.url + "/v2/team/app/tags/list", *headers)


async def _token(registry: ScriptedRegistry, *headers: str, scope: str = _SCOPE) -> str:
    url = f"{registry.tokens.url}/token?service=registry.test&scope={scope}"
    heard = await fetched(url, *headers)
    assert heard.status == 200
    return f"Authorization: Bearer {json.loads(heard.body)['token']}"


async def test_basic() -> None:
    """With a password, only those who send it get in, and the others are told how to."""
    async with ScriptedRegistry(auth=Basic("ada", "s3cret")) as registry:
        registry.add_blob("team/app", b"")
        refused = await _tags(registry)
        assert refused.status == 401
        assert refused.header("WWW-Authenticate") == 'Basic realm="scripted registry"'
        assert json.loads(refused.body)["errors"][0]["code"] == "UNAUTHORIZED"
        assert (await _tags(registry, _basic("ada", "wrong"))).status == 401
        assert (await _tags(registry, "Authorization: Basic !")).status == 401
        assert (await _tags(registry, _basic("ada", "s3cret"))).status == 200


async def test_challenge() -> None:
    """A Bearer challenge names realm, service and the scope that the request needs."""
    async with ScriptedRegistry(auth=Bearer()) as registry:
        said = (await _tags(registry)).header("WWW-Authenticate")
        realm = f'realm="{registry.tokens.url}/token"'
        assert said == f'Bearer {realm},service="registry.test",scope="{_SCOPE}"'
        ping = (await fetched(registry.url + "/v2/")).header("WWW-Authenticate")
        assert ping == f'Bearer {realm},service="registry.test"'
        assert registry.tokens.port != registry.port


async def test_token() -> None:
    """A token is good for the scope that it was asked for, and requests for tokens are counted."""
    async with ScriptedRegistry(auth=Bearer()) as registry:
        registry.add_blob("team/app", b"")
        assert (await _tags(registry, await _token(registry))).status == 200
        other = await _token(registry, scope="repository:other:pull")
        refused = await _tags(registry, other)
        assert refused.status == 401
        assert 'error="insufficient_scope"' in (refused.header("WWW-Authenticate") or "")
        both = await _token(registry, scope=f"repository:x:pull,push%20{_SCOPE}")
        assert (await _tags(registry, both)).status == 200
        assert len(registry.token_requests) == 3


async def test_credentials_that_are_none() -> None:
    """Credentials that cannot be read are wrong ones: no token, even where none are needed."""
    async with ScriptedRegistry(auth=Bearer()) as registry:
        url = registry.tokens.url + "/token"
        assert (await fetched(url, "Authorization: Basic !")).status == 401
        assert (await fetched(url)).status == 200


async def test_signed_url_of_the_registry_itself() -> None:
    """A signed URL needs no password, on the registry's own host either."""
    async with ScriptedRegistry(auth=Basic("ada", "s3cret")) as registry:
        digest = registry.add_blob("team/app", b"content")
        registry.script(Match.blob(), Redirect(relative=True))
        blob = f"{registry.url}/v2/team/app/blobs/{digest}"
        location = (await fetched(blob, _basic("ada", "s3cret"))).header("Location") or ""
        assert (await fetched(registry.url + location)).body == b"content"


async def test_token_for_users_only() -> None:
    """A token server that knows its users gives tokens to nobody else."""
    async with ScriptedRegistry(auth=Bearer(_USERS, anonymous=False)) as registry:
        registry.add_blob("team/app", b"")
        url = registry.tokens.url + "/token"
        assert (await fetched(url)).status == 401
        assert (await fetched(url, _basic("ada", "wrong"))).status == 401
        token = await _token(registry, _basic("ada", "s3cret"))
        assert (await _tags(registry, token)).status == 200


@pytest.mark.parametrize(("expires_in", "good_for"), [(300, 300), (None, 60)])
async def test_token_expires(expires_in: int | None, good_for: int) -> None:
    """A token ends when it said it would, or after 60 seconds if it said nothing."""
    clock = Clock()
    async with ScriptedRegistry(auth=Bearer(expires_in=expires_in), clock=clock) as registry:
        registry.add_blob("team/app", b"")
        token = await _token(registry)
        clock.now = good_for - 1
        assert (await _tags(registry, token)).status == 200
        clock.now = good_for
        refused = await _tags(registry, token)
        assert 'error="invalid_token"' in (refused.header("WWW-Authenticate") or "")
        heard = await fetched(registry.tokens.url + "/token")
        assert json.loads(heard.body).get("expires_in") == expires_in


async def test_revoked_tokens() -> None:
    """Tokens that are revoked are invalid at once."""
    async with ScriptedRegistry(auth=Bearer()) as registry:
        registry.add_blob("team/app", b"")
        token = await _token(registry)
        registry.revoke_tokens()
        assert (await _tags(registry, token)).status == 401


async def test_token_of_the_registry_itself() -> None:
    """A registry can be its own token server, and call the token by one name only."""
    auth = Bearer(own_port=False, fields=("access_token",))
    async with ScriptedRegistry(auth=auth) as registry:
        registry.add_blob("team/app", b"")
        challenged = (await _tags(registry)).header("WWW-Authenticate") or ""
        assert f'realm="{registry.url}/token"' in challenged
        document = json.loads((await fetched(f"{registry.url}/token?scope={_SCOPE}")).body)
        assert set(document) == {"access_token", "expires_in"}
        token = f"Authorization: Bearer {document['access_token']}"
        assert (await _tags(registry, token)).status == 200
        assert len(registry.token_requests) == 1


async def test_realm_elsewhere() -> None:
    """A registry can name any realm, a hostile one too."""
    async with ScriptedRegistry(auth=Bearer(realm="https://evil.example/t")) as registry:
        said = (await _tags(registry)).header("WWW-Authenticate") or ""
        assert said.startswith('Bearer realm="https://evil.example/t",')


async def test_faults_of_the_token_server() -> None:
    """The token server has a script of its own."""
    async with ScriptedRegistry(auth=Bearer()) as registry:
        registry.tokens.script(Match(), StatusFault(503))
        assert (await fetched(registry.tokens.url + "/token")).status == 503
        assert (await fetched(registry.tokens.url + "/token")).status == 200


async def test_challenges_consume_no_faults() -> None:
    """A request that is challenged leaves the fault to the one that comes with a token."""
    async with ScriptedRegistry(auth=Bearer()) as registry:
        registry.script(Match(), StatusFault(500))
        assert (await _tags(registry)).status == 401
        assert (await _tags(registry, await _token(registry))).status == 500


async def test_no_scope_needed() -> None:
    """Where scopes do not matter, any token is good for everything."""
    async with ScriptedRegistry(auth=Bearer(needs_scope=False)) as registry:
        registry.add_blob("team/app", b"")
        token = await _token(registry, scope="")
        assert (await _tags(registry, token)).status == 200
