"""Passwords from clouds: AWS's own client against moto, Google's against a server of the tests."""

import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from moto.server import ThreadedMotoServer

from cacheproxy.domain.ecr_host import EcrHost
from cacheproxy.inprocess.clock import SystemClock
from cacheproxy.upstream.credentials.ecr import Ecr
from cacheproxy.upstream.credentials.login import Login, NoLoginError
from tests.clients import catalogue
from tests.support import images
from tests.support.clock import FakeClock
from tests.support.parts import wire
from tests.support.parts.endpoint import Asked, Reply, endpoint
from tests.support.parts.proxy import Proxy, proxy
from tests.support.parts.registry import AWS_PASSWORD, GOOGLE_PASSWORD, docker_registry

pytestmark = [
    pytest.mark.clients,
    # moto's and botocore's own, on a Python that is newer than they expect.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

_NAME = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
_KEYS = {"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "s3cret-key"}
# What of this machine's own could be found in place of what a test gives.
_OURS = ("AWS_", "GOOGLE_", "GCE_", "CLOUDSDK_", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy")


class _Asked(logging.Handler):
    """Counts what moto was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += "POST" in record.getMessage()


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No credentials but those of the test."""
    for name in list(os.environ):
        if name.startswith(_OURS):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def moto(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Asked]:
    """AWS, as botocore sees it."""
    asked, logger = _Asked(), logging.getLogger("werkzeug")
    logger.addHandler(asked)
    logger.setLevel(logging.INFO)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    yield asked
    server.stop()
    logger.removeHandler(asked)


@contextmanager
def _proxied(user: str, password: str, name: str, **credentials: Any) -> Iterator[Proxy]:
    """A proxy before a registry that lets in this user alone."""
    with docker_registry(password=True) as registry:
        images.push(registry.push_url, "team/app", catalogue.TEAM_APP.image, "1")
        registry.let_in(user, password)
        upstream = {
            "url": registry.url,
            "credentials": credentials,
            "tags": {"fresh_for": "0s"},
        }
        settings = {"default_upstream": None}
        with proxy({name: upstream}, settings=settings) as running:
            yield running


def _pull(running: Proxy, name: str) -> wire.Answer:
    return wire.get(f"{running.url}/v2/{name}/team/app/manifests/1")


def _from_environment(directory: Path, patch: pytest.MonkeyPatch) -> None:
    for name, value in _KEYS.items():
        patch.setenv(name, value)


def _from_shared_file(directory: Path, patch: pytest.MonkeyPatch) -> None:
    keys = "\n".join(f"{name.lower()} = {value}" for name, value in _KEYS.items())
    (directory / "credentials").write_text(f"[default]\n{keys}\n")
    patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(directory / "credentials"))


def _from_web_identity(directory: Path, patch: pytest.MonkeyPatch) -> None:
    (directory / "token").write_text("a.service.account")
    patch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(directory / "token"))
    patch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/puller")
    patch.setenv("AWS_DEFAULT_REGION", "eu-west-1")


@pytest.mark.parametrize("give", [_from_environment, _from_shared_file, _from_web_identity])
async def test_ecr_by_the_default_chain(
    moto: _Asked,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    give: Callable[[Path, pytest.MonkeyPatch], None],
) -> None:
    """Whoever AWS's default chain finds is who asks for ECR's password."""
    give(tmp_path, monkeypatch)
    source = Ecr(EcrHost("eu-west-1"), SystemClock())
    login, seconds = await source.fetch()
    assert login == Login("AWS", AWS_PASSWORD)
    assert seconds == 0  # moto's passwords are over since 2015
    assert moto.count >= 1


async def test_ecr_says_when_it_ends(moto: _Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """A password's life is counted from now, by the time of day."""
    _from_environment(Path(), monkeypatch)
    clock = FakeClock()
    clock.set_back(clock.now() - 1_420_070_400 + 12 * 3600)  # 12 h before moto's end, 2015-01-01
    _, seconds = await Ecr(EcrHost("eu-west-1"), clock).fetch()
    assert seconds == 12 * 3600


async def test_aws_without_anyone(moto: _Asked) -> None:
    """Where the chain finds nobody, that is said."""
    clock = FakeClock()
    begun = clock.monotonic()
    with pytest.raises(NoLoginError, match="no credentials are found"):
        await Ecr(EcrHost("eu-west-1"), clock).fetch()
    assert 3 < clock.monotonic() - begun < 20  # it might have been there a moment later


async def test_ecr_public_has_an_api_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """ECR Public is asked in its own words, in us-east-1; a refusal is told by its code."""
    _from_environment(Path(), monkeypatch)
    refuses = [False]

    def api(asked: Asked) -> Reply:
        assert asked.headers["x-amz-target"] == "SpencerFrontendService.GetAuthorizationToken"
        assert "/us-east-1/ecr-public/" in asked.headers["authorization"]
        if refuses[0]:
            return Reply(b'{"__type":"AccessDeniedException","message":"arn s3cret"}', 400)
        grant = {"authorizationToken": "QVdTOnB1YmxpYw==", "expiresAt": 1_672_531_200 + 43_200}
        return Reply(json.dumps({"authorizationData": grant}).encode())

    with endpoint(api) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
        clock = FakeClock()
        source = Ecr(EcrHost("us-east-1", is_public=True), clock)
        assert await source.fetch() == (Login("AWS", "public"), 43_200)
        refuses[0] = True
        clock.advance(100)  # nobody is patient any more
        with pytest.raises(NoLoginError, match="AccessDeniedException to ecr-public") as caught:
            await source.fetch()
        assert "s3cret" not in str(caught.value)


def test_a_pull_from_ecr(moto: _Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy pulls with ECR's password, and renews it when it is over, behind no pull's back."""
    _from_environment(Path(), monkeypatch)
    with _proxied("AWS", AWS_PASSWORD, _NAME, provider="ecr") as running:
        for _ in range(20):
            assert _pull(running, _NAME).status == 200
        assert moto.count == 1
        time.sleep(5.5)  # what is over at once is used for 5 s
        assert _pull(running, _NAME).status == 200
        assert moto.count == 2
        assert AWS_PASSWORD not in running.log()


class _Metadata:
    """A metadata server that is not ready at first."""

    def __init__(self, ready_after: int) -> None:
        self.left = ready_after
        self.tokens = 0

    def answer(self, asked: Asked) -> Reply:
        if asked.headers.get("metadata-flavor") != "Google":
            return Reply(b"", 403)
        if self.left > 0:
            self.left -= 1
            return Reply(b"not yet", 503)
        flavor = {"Metadata-Flavor": "Google", "Content-Type": "application/text"}
        if asked.path.endswith("/token"):
            self.tokens += 1
            document: dict[str, Any] = {"access_token": GOOGLE_PASSWORD, "expires_in": 3599}
            document["token_type"] = "Bearer"
            kind = {"Content-Type": "application/json"}
            return Reply(json.dumps(document).encode(), 200, flavor | kind)
        if asked.path.endswith("/service-accounts/default/"):
            document = {"email": "puller@tests.iam", "scopes": [], "aliases": ["default"]}
            kind = {"Content-Type": "application/json"}
            return Reply(json.dumps(document).encode(), 200, flavor | kind)
        if asked.path.endswith("project-id"):
            return Reply(b"tests", 200, flavor)
        return Reply(b"", 200 if asked.path == "/" else 404, flavor)


@pytest.mark.parametrize("ready_after", [0, 4], ids=["ready", "not ready in the first seconds"])
def test_a_pull_with_the_metadata_server(monkeypatch: pytest.MonkeyPatch, ready_after: int) -> None:
    """On Google's machines the metadata server says who we are, be it a little late."""
    metadata = _Metadata(ready_after)
    with endpoint(metadata.answer) as running_metadata:
        monkeypatch.setenv("GCE_METADATA_HOST", running_metadata.host)
        monkeypatch.setenv("GCE_METADATA_IP", running_metadata.host)
        user = "oauth2accesstoken"
        with _proxied(user, GOOGLE_PASSWORD, "eu.gcr.io", provider="google") as running:
            for _ in range(5):
                answer = _pull(running, "eu.gcr.io")
                assert answer.status == 200, answer.body
            assert metadata.left == 0
            assert metadata.tokens == 1
            assert GOOGLE_PASSWORD not in running.log()


def _key_file(directory: Path, token_uri: str) -> Path:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    document = {
        "type": "service_account",
        "project_id": "tests",
        "private_key_id": "1",
        "private_key": pem.decode(),
        "client_email": "puller@tests.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": token_uri,
    }
    path = directory / "key.json"
    path.write_text(json.dumps(document))
    return path


def _oauth(asked: Asked) -> Reply:
    assert b"grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer" in asked.body
    document = {"access_token": GOOGLE_PASSWORD, "expires_in": 3599, "token_type": "Bearer"}
    return Reply(json.dumps(document).encode(), 200, {"Content-Type": "application/json"})


def test_a_pull_with_a_service_accounts_key(tmp_path: Path) -> None:
    """A key file is exchanged for an access token, which is the password."""
    with endpoint(_oauth) as google:
        path = _key_file(tmp_path, f"{google.url}/token")
        how = {"provider": "google", "key_file": str(path)}
        with _proxied("oauth2accesstoken", GOOGLE_PASSWORD, "gcr.io", **how) as running:
            for _ in range(5):
                assert _pull(running, "gcr.io").status == 200
            assert [asked.path for asked in google.asked] == ["/token"]
            assert GOOGLE_PASSWORD not in running.log()


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"private_key": "s3cret"}'])
def test_a_key_file_that_is_broken(tmp_path: Path, content: str) -> None:
    """A key that is none, or half written, is a 502 that says so and repeats nothing of it."""
    path = tmp_path / "key.json"
    path.write_text(content)
    how = {"provider": "google", "key_file": str(path)}
    with _proxied("oauth2accesstoken", GOOGLE_PASSWORD, "gcr.io", **how) as running:
        answer = _pull(running, "gcr.io")
        assert answer.status == 502
        assert b"gcr.io's credentials (google) cannot be had" in answer.body
        assert "s3cret" not in answer.body.decode() + running.log()
