"""A password that is replaced while pulls go on: nobody notices."""

import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.clients import catalogue
from tests.support import images
from tests.support.parts import wire
from tests.support.parts.link import CountedLink, counted_link
from tests.support.parts.proxy import Proxy, proxy
from tests.support.parts.registry import (
    NEW_PASSWORD,
    PASSWORD,
    USER,
    DockerRegistry,
    docker_registry,
)
from tests.support.parts.token_server import TokenServer, token_server

pytestmark = [pytest.mark.clients, pytest.mark.alone]

RATE = 50  # requests a second
SECONDS = 4.0  # before the rotation, and as long after it
REPOSITORIES = ("team/app", "team/other")


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    """The proxy's password, below links as Kubernetes makes them."""
    for name, password in (("1", PASSWORD), ("2", NEW_PASSWORD)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "password").write_text(password + "\n")
    (tmp_path / "..data").symlink_to("1")
    path = tmp_path / "password"
    path.symlink_to("..data/password")
    return path


def _rotate(path: Path) -> None:
    new = path.parent / "..new"
    new.symlink_to("2")
    new.replace(path.parent / "..data")


@contextmanager
def _proxied(registry: DockerRegistry, password: Path) -> Iterator[tuple[Proxy, CountedLink]]:
    credentials = {"username": USER, "password_file": os.fspath(password)}
    with counted_link(registry.port) as link:
        upstream: Mapping[str, Any] = {
            "url": link.url,
            "credentials": credentials,
            "tags": {"fresh_for": "0s"},  # each pull of a tag asks upstream
        }
        with proxy({"docker.io": upstream}) as running:
            yield running, link


class _Load:
    """Pulls of tags, so many a second, whoever waits for which."""

    def __init__(self, running: Proxy, pool: ThreadPoolExecutor) -> None:
        self._url = f"{running.url}/v2/docker.io"
        self._pool = pool
        self.answers: list[Future[wire.Answer]] = []

    def run(self, seconds: float) -> None:
        """Keep the rate up for so long."""
        begun = time.monotonic()
        for number in range(int(seconds * RATE)):
            time.sleep(max(0.0, begun + number / RATE - time.monotonic()))
            repository = REPOSITORIES[number % len(REPOSITORIES)]
            url = f"{self._url}/{repository}/manifests/1"
            self.answers.append(self._pool.submit(wire.get, url))

    def outcomes(self) -> Counter[tuple[int, bool]]:
        """How many answers there were of each status, and whether they were fresh."""
        found = [answer.result() for answer in self.answers]
        return Counter(
            (answer.status, "detail=" not in answer.headers["Cache-Status"]) for answer in found
        )


def test_a_password_is_rotated_under_load(password_file: Path) -> None:
    """At 50 requests a second a rotation of a Basic registry's password fails no pull."""
    with docker_registry(password=True) as registry, ThreadPoolExecutor(32) as pool:
        for repository in REPOSITORIES:
            images.push(registry.push_url, repository, catalogue.TEAM_APP.image, "1")
        with _proxied(registry, password_file) as (running, link):
            load = _Load(running, pool)
            load.run(SECONDS)
            link.forget()
            _rotate(password_file)
            registry.let_in(USER, NEW_PASSWORD)
            load.run(SECONDS)
            outcomes = load.outcomes()
            refused = [crossing for crossing in link.crossings if crossing.status == 401]

    assert outcomes == {(200, True): len(load.answers)}
    assert len(load.answers) == 2 * RATE * SECONDS
    # Those that were on their way when the password changed.
    assert 1 <= len(refused) <= 10


def test_a_token_servers_password_is_rotated_under_load(password_file: Path) -> None:
    """At 50 requests a second a rotation costs a token server one refused login, or a few."""
    seconds = 3
    with (
        token_server({USER: PASSWORD}, seconds) as tokens,
        docker_registry(tokens=tokens) as registry,
        ThreadPoolExecutor(32) as pool,
    ):
        _push_with_tokens(registry, tokens)
        before = len(tokens.logins)
        with _proxied(registry, password_file) as (running, link):
            load = _Load(running, pool)
            load.run(SECONDS)
            known = tokens.logins[before:]
            _rotate(password_file)
            tokens.users[USER] = NEW_PASSWORD
            load.run(SECONDS)
            outcomes = load.outcomes()
            shown = tokens.logins[before + len(known) :]
            challenged = [crossing for crossing in link.crossings if crossing.status == 401]

    assert outcomes == {(200, True): len(load.answers)}
    assert known == [(PASSWORD, True)] * len(known)
    # At most one for each repository whose token was due at that moment.
    refused = [password for password, right in shown if not right]
    assert refused in ([PASSWORD], [PASSWORD] * len(REPOSITORIES))
    assert {password for password, right in shown if right} == {NEW_PASSWORD}
    # Tokens are renewed before they end, behind the pulls: after the first none is refused.
    assert len(challenged) <= len(REPOSITORIES)


def test_a_wrong_password_is_shown_twice(password_file: Path) -> None:
    """However many pull meanwhile, a wrong password goes out twice, and its file mends it."""
    with (
        token_server({USER: NEW_PASSWORD}, 60) as tokens,
        docker_registry(tokens=tokens) as registry,
        ThreadPoolExecutor(32) as pool,
    ):
        _push_with_tokens(registry, tokens)
        before = len(tokens.logins)
        with _proxied(registry, password_file) as (running, _):
            load = _Load(running, pool)
            load.run(2.0)
            assert {answer.result().status for answer in load.answers} == {403}
            assert tokens.logins[before:] == [(PASSWORD, False)] * 2
            refusal = wire.get(f"{running.url}/v2/docker.io/team/app/manifests/1").body.decode()
            assert "docker.io's credentials (password_file) 2 times in a row" in refusal
            assert PASSWORD not in refusal + running.log()
            _rotate(password_file)
            mended = wire.get(f"{running.url}/v2/docker.io/team/app/manifests/1")
            assert mended.status == 200


def _push_with_tokens(registry: DockerRegistry, tokens: TokenServer) -> None:
    for repository in REPOSITORIES:
        token = tokens.token(USER, [f"repository:{repository}:pull,push"])
        images.push(registry.url, repository, catalogue.TEAM_APP.image, "1", token=token)
