"""Passwords of Azure's registry: azure-identity itself, against servers of the tests."""

import base64
import json
import os
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
import trustme
from yarl import URL

from cacheproxy.bootstrap.upstreams import make_config
from cacheproxy.settings import CredentialsSettings, UpstreamSettings
from cacheproxy.upstream.credentials.acr import Acr, Exchange
from cacheproxy.upstream.credentials.login import Login, NoLoginError
from tests.clients import catalogue
from tests.support import images
from tests.support.clock import FakeClock
from tests.support.egress import Egress
from tests.support.parts import wire
from tests.support.parts.endpoint import Asked, Endpoint, Reply, endpoint
from tests.support.parts.proxy import proxy
from tests.support.parts.registry import docker_registry
from tests.support.parts.token_server import TokenServer

pytestmark = pytest.mark.clients

_USER = "00000000-0000-0000-0000-000000000000"
_CLIENT_ID = "01234567-89ab-cdef-0123-456789abcdef"
_ACCESS = "entra-s3cret"
_NAME = "acme.azurecr.io"
# When no source is patient any more, in seconds.
_LATER = 100
_JSON = {"Content-Type": "application/json"}
# What of this machine's own could be found in place of what a test gives.
_OURS = ("AZURE_", "IDENTITY_", "IMDS_", "MSI_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


def _jwt(claims: Mapping[str, Any]) -> str:
    parts = [b'{"alg":"RS256"}', json.dumps(claims).encode(), b"s3cret"]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


def _granted(token: str) -> Reply:
    return Reply(json.dumps({"refresh_token": token}).encode(), 200, _JSON)


class _Identity:
    """The endpoint of a managed identity, which is not ready at first, or refuses."""

    def __init__(self) -> None:
        self.not_ready = 0
        self.refuses = False

    def answer(self, asked: Asked) -> Reply:
        assert asked.headers["x-identity-header"] == "s3cret-header"
        assert asked.query["resource"] == ["https://containerregistry.azure.net"]
        if self.not_ready:
            self.not_ready -= 1
            return Reply(b"not yet", 503)
        if self.refuses:
            return Reply(b'{"statusCode":403,"message":"no s3cret for you"}', 403, _JSON)
        ends = str(int(time.time()) + 3600)
        document = {"access_token": _ACCESS, "expires_on": ends, "token_type": "Bearer"}
        return Reply(json.dumps(document).encode(), 200, _JSON)


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No credentials but those of the test, and no way to a metadata service."""
    for name in list(os.environ):
        if name.upper().startswith(_OURS):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    # A port that nobody listens at.
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://127.0.0.1:9")


@pytest.fixture
def identity() -> _Identity:
    """A managed identity that has a token for us."""
    return _Identity()


@pytest.fixture
def managed(identity: _Identity, monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    """Where it is, as on App Service."""
    with endpoint(identity.answer) as running:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{running.url}/msi/token")
        monkeypatch.setenv("IDENTITY_HEADER", "s3cret-header")
        yield running


def _source(url: str, client_id: str | None = None, clock: FakeClock | None = None) -> Acr:
    """Not patient any more, unless it comes with a clock."""
    own = clock or FakeClock()
    source = Acr(Exchange(URL(url), answer_timeout=1.0), client_id, own)
    if clock is None:
        own.advance(_LATER)
    return source


def _form(asked: Asked) -> dict[str, list[str]]:
    assert (asked.method, asked.path) == ("POST", "/oauth2/exchange")
    return parse_qs(asked.body.decode())


@pytest.mark.parametrize(
    ("claims", "seconds"),
    [
        pytest.param({"exp": FakeClock().now() + _LATER + 10_800}, 10_800, id="three hours"),
        pytest.param({"exp": 10_800, "iat": 0}, 10_800, id="three hours by its own clock"),
        pytest.param({}, 300, id="no end"),
    ],
)
async def test_an_access_token_becomes_a_login(
    managed: Endpoint, claims: Mapping[str, Any], seconds: float
) -> None:
    """The registry's refresh token is the password, for as long as it says."""
    token = _jwt(claims)
    with endpoint(lambda _: _granted(token)) as registry:
        login, lifetime = await _source(f"{registry.url}/a/path").fetch()
    assert (login.username, login.password) == (_USER, token)
    assert lifetime == pytest.approx(seconds)
    (asked,) = registry.asked
    expected = {"grant_type": "access_token", "service": "127.0.0.1", "access_token": _ACCESS}
    assert _form(asked) == {name: [value] for name, value in expected.items()}
    assert len(managed.asked) == 1


@pytest.mark.parametrize(
    ("written", "variable", "expected"),
    [
        pytest.param(None, None, None, id="the system's"),
        pytest.param(None, "of-the-environment", ["of-the-environment"], id="the environment's"),
        pytest.param(_CLIENT_ID, "of-the-environment", [_CLIENT_ID], id="the one that is written"),
    ],
)
async def test_which_identity_we_are(
    managed: Endpoint,
    monkeypatch: pytest.MonkeyPatch,
    written: str | None,
    variable: str | None,
    expected: list[str] | None,
) -> None:
    """Of several managed identities it is the one of `client_id`, else of the environment."""
    if variable is not None:
        monkeypatch.setenv("AZURE_CLIENT_ID", variable)
    with endpoint(lambda _: _granted("a")) as registry:
        await _source(registry.url, written).fetch()
    (asked,) = managed.asked
    assert asked.query.get("client_id") == expected


async def test_azures_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no managed identity, who is logged in on the command line is who we are."""
    program = tmp_path / "az"
    document = {"accessToken": _ACCESS, "expires_on": int(time.time()) + 3600}
    program.write_text(f"#!/bin/sh\necho '{json.dumps(document)}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with endpoint(lambda _: _granted("a")) as registry:
        assert (await _source(registry.url).fetch())[0] == Login(_USER, "a")
    assert _form(registry.asked[0])["access_token"] == [_ACCESS]


async def test_an_identity_that_is_not_ready(identity: _Identity, managed: Endpoint) -> None:
    """In the first seconds of a pod the identity is asked again, and only then."""
    with endpoint(lambda _: _granted("a")) as registry:
        identity.not_ready = 3
        assert (await _source(registry.url, clock=FakeClock()).fetch())[0] == Login(_USER, "a")
        identity.not_ready = 1
        with pytest.raises(NoLoginError, match="Azure gives no access token"):
            await _source(registry.url).fetch()
    assert len(managed.asked) == 3 + 1 + 1
    assert len(registry.asked) == 1


async def test_an_identity_that_refuses(
    identity: _Identity, managed: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    """A refusal is told by its kind; what was answered is in no error and no log."""
    identity.refuses = True
    with (
        endpoint(lambda _: _granted("a")) as registry,
        pytest.raises(NoLoginError) as caught,
    ):
        await _source(registry.url).fetch()
    assert str(caught.value) == (
        "Azure gives no access token: the identity is refused, or none is found on this machine"
    )
    assert "s3cret" not in caplog.text
    assert registry.asked == []


@pytest.mark.alone
async def test_an_identity_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """An identity's endpoint that says nothing is given up after some seconds."""
    over = threading.Event()

    def hang(_: Asked) -> Reply:
        over.wait()
        return Reply(b"")

    with endpoint(hang) as running:
        monkeypatch.setenv("IDENTITY_ENDPOINT", running.url)
        monkeypatch.setenv("IDENTITY_HEADER", "s3cret-header")
        begun = time.monotonic()
        with pytest.raises(NoLoginError, match="Azure gives no access token"):
            await _source("http://127.0.0.1:9").fetch()
        assert time.monotonic() - begun < 15
        assert len(running.asked) == 1
        over.set()


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        pytest.param(Reply(b'{"errors":["s3cret"]}', 401), "answers 401 to POST", id="401"),
        pytest.param(Reply(b"s3cret", 404), "answers 404 to POST", id="404"),
        pytest.param(Reply(b"s3cret", 429), "answers 429 to POST", id="429"),
        pytest.param(Reply(b"s3cret", 503), "answers 503 to POST", id="503"),
        pytest.param(Reply(b"<html>s3cret", 200), "holds no refresh token", id="a page"),
        pytest.param(Reply(b'["s3cret"]'), "holds no refresh token", id="a list"),
        pytest.param(Reply(b'{"access_token":"s3cret"}'), "holds no refresh token", id="another"),
        pytest.param(Reply(b'{"refresh_token":""}'), "holds no refresh token", id="empty"),
        pytest.param(Reply(b'{"refresh_token":{"s3cret":1}}'), "holds no refresh", id="no text"),
        pytest.param(Reply(b'{"refresh_token":"s3cret'), "holds no refresh token", id="cut"),
        pytest.param(
            Reply(b'{"refresh_token":"s3cret","x":"' + b"y" * 300_000 + b'"}'),
            "is too long",
            id="too much",
        ),
    ],
)
async def test_what_is_no_refresh_token(
    managed: Endpoint, caplog: pytest.LogCaptureFixture, reply: Reply, message: str
) -> None:
    """Whatever else the registry answers is said in a sentence, and repeated nowhere."""
    with endpoint(lambda _: reply) as registry, pytest.raises(NoLoginError) as caught:
        await _source(registry.url).fetch()
    assert message in str(caught.value)
    assert "s3cret" not in str(caught.value) + caplog.text
    assert len(registry.asked) == 1


async def test_what_time_mends(managed: Endpoint) -> None:
    """A registry that fails is asked again in the first seconds; one that refuses is not."""
    replies = [Reply(b"", 503), Reply(b"", 503), _granted("a")]
    with endpoint(lambda _: replies.pop(0)) as registry:
        assert (await _source(registry.url, clock=FakeClock()).fetch())[0] == Login(_USER, "a")
        replies = [Reply(b"", 401), _granted("a")]
        with pytest.raises(NoLoginError, match="401"):
            await _source(registry.url, clock=FakeClock()).fetch()


async def test_a_redirect_is_not_followed(managed: Endpoint) -> None:
    """The access token goes where the upstream is, and nowhere that it sends to."""
    with endpoint(lambda _: _granted("a")) as elsewhere:
        away = Reply(b"", 307, {"Location": f"{elsewhere.url}/oauth2/exchange"})
        with endpoint(lambda _: away) as registry, pytest.raises(NoLoginError, match="answers 307"):
            await _source(registry.url).fetch()
    assert elsewhere.asked == []


async def test_a_registry_that_hangs_or_is_not_there(managed: Endpoint) -> None:
    """A registry that does not answer in time, or at all, is told in words."""
    over = threading.Event()

    def hang(_: Asked) -> Reply:
        over.wait()
        return Reply(b"")

    with endpoint(hang) as registry:
        with pytest.raises(NoLoginError, match="cannot be asked: no answer in time"):
            await _source(registry.url).fetch()
        over.set()
    with pytest.raises(NoLoginError, match="cannot be asked: connection refused"):
        await _source(registry.url).fetch()


def _tls(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    return context


@pytest.mark.parametrize("known", [True, False])
async def test_the_upstreams_own_way(managed: Endpoint, tmp_path: Path, known: bool) -> None:
    """The registry is asked through `proxy_url`, and believed only by `ca_file`."""
    authority, other = trustme.CA(), trustme.CA()
    path = tmp_path / "ca.pem"
    (authority if known else other).cert_pem.write_to_path(str(path))
    with endpoint(lambda _: _granted("a"), _tls(authority, _NAME)) as registry:
        async with Egress({f"{_NAME}:443": registry.port}) as egress:
            settings = UpstreamSettings(
                _NAME,
                f"https://{_NAME}",
                credentials=CredentialsSettings(provider="acr"),
                ca_file=path,
                proxy_url=egress.url,
            )
            clock = FakeClock()
            source = make_config(settings).credentials[0].make(clock)
            clock.advance(_LATER)
            if known:
                assert (await source.fetch())[0] == Login(_USER, "a")
                assert _form(registry.asked[0])["service"] == [_NAME]
            else:
                with pytest.raises(NoLoginError, match="no known authority has signed"):
                    await source.fetch()
                assert registry.asked == []
            assert [asked.method for asked in egress.requests] == ["CONNECT"]


class _Front:
    """Azure's registry: a real one, behind an endpoint that exchanges and hands out tokens."""

    def __init__(self) -> None:
        self.refresh_token = _jwt({"exp": time.time() + 10_800})
        self.tokens = TokenServer({_USER: self.refresh_token}, 300)
        self.registry = ""
        self.exchanged: Callable[[], Reply] = lambda: _granted(self.refresh_token)

    def answer(self, asked: Asked) -> Reply:
        match asked.path:
            case "/oauth2/exchange":
                assert _form(asked)["access_token"] == [_ACCESS]
                return self.exchanged()
            case "/oauth2/token":
                return self.tokens.answer(asked)
        sent = {
            name: asked.headers[name]
            for name in ("authorization", "accept")
            if name in asked.headers
        }
        answer = wire.get(f"{self.registry}{asked.path}", headers=sent)
        kept = ("WWW-Authenticate", "Content-Type", "Docker-Content-Digest")
        headers = {name: answer.headers[name] for name in kept if name in answer.headers}
        return Reply(answer.body, answer.status, headers)


@contextmanager
def _azure() -> Iterator[tuple[_Front, Endpoint]]:
    front, repository = _Front(), "team/app"
    with endpoint(front.answer) as running:
        front.tokens.url = f"{running.url}/oauth2/token"
        with docker_registry(tokens=front.tokens) as registry:
            front.registry = registry.url
            token = front.tokens.token("pusher", [f"repository:{repository}:pull,push"])
            images.push(registry.url, repository, catalogue.TEAM_APP.image, "1", token=token)
            yield front, running


def test_a_pull_from_azure(identity: _Identity, managed: Endpoint) -> None:
    """Whole images are pulled with one login, also where the identity is a little late."""
    identity.not_ready = 2
    with _azure() as (front, registry):
        upstream = {"url": registry.url, "credentials": {"provider": "acr"}}
        settings = {"default_upstream": None}
        with proxy({_NAME: upstream}, settings=settings) as running:
            url = f"{running.url}/v2/{_NAME}/team/app"
            answer = wire.get(f"{url}/manifests/1")
            assert (answer.status, answer.body) == (200, catalogue.TEAM_APP.image.manifest)
            for blob in catalogue.TEAM_APP.image.blobs:
                assert wire.get(f"{url}/blobs/{blob.digest}").body == blob.body
            log = running.log()
        paths = [asked.path for asked in registry.asked]
    assert paths.count("/oauth2/exchange") == 1
    assert len(managed.asked) == 3
    assert set(front.tokens.logins) == {(front.refresh_token, True)}
    assert _ACCESS not in log
    assert front.refresh_token not in log


def test_a_pull_that_azure_refuses(managed: Endpoint) -> None:
    """Without *AcrPull* a pull is a 502 that says so, and nothing secret is told or logged."""
    with _azure() as (front, registry):
        front.exchanged = lambda: Reply(b'{"errors":[{"message":"s3cret"}]}', 401, _JSON)
        upstream = {"url": registry.url, "credentials": {"provider": "acr"}}
        settings = {"default_upstream": None}
        with proxy({_NAME: upstream}, settings=settings) as running:
            answer = wire.get(f"{running.url}/v2/{_NAME}/team/app/manifests/1")
            log = running.log()
    assert answer.status == 502
    said = "acme.azurecr.io's credentials (acr) cannot be had: 127.0.0.1 answers 401"
    assert said in answer.body.decode()
    assert "s3cret" not in answer.body.decode() + log
