"""Programs that know a login, run by the proxy as its users run it."""

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.clients import catalogue
from tests.support import images
from tests.support.parts import wire
from tests.support.parts.process import wait_until
from tests.support.parts.proxy import Proxy, proxy
from tests.support.parts.registry import (
    NEW_PASSWORD,
    PASSWORD,
    USER,
    DockerRegistry,
    docker_registry,
)

pytestmark = pytest.mark.clients

_NAME = "registry.example.com"


@pytest.fixture(scope="module")
def stocked() -> Iterator[DockerRegistry]:
    """A registry with a password, and an image."""
    with docker_registry(password=True) as registry:
        images.push(registry.push_url, "team/app", catalogue.TEAM_APP.image, "1")
        yield registry


@pytest.fixture
def registry(stocked: DockerRegistry) -> DockerRegistry:
    """The same, with the password that each test begins with."""
    stocked.let_in(USER, PASSWORD)
    return stocked


@contextmanager
def _proxied(registry: DockerRegistry, credentials: Mapping[str, Any]) -> Iterator[Proxy]:
    upstream = {
        "url": registry.url,
        "credentials": credentials,
        "tags": {"fresh_for": "0s"},
    }
    with proxy({_NAME: upstream}, settings={"default_upstream": None}) as running:
        yield running


def _pull(running: Proxy) -> wire.Answer:
    return wire.get(f"{running.url}/v2/{_NAME}/team/app/manifests/1")


def _program(path: Path, body: str) -> str:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


def _children(pid: int) -> set[int]:
    return {int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def _open_files(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("kind", ["auths", "credsStore", "credHelpers"])
def test_dockers_own_configuration(
    registry: DockerRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """What Docker would use for a registry, the proxy uses, and what replaces it, too."""
    asked = tmp_path / "asked"
    secret = tmp_path / "secret"
    secret.write_text(PASSWORD)
    said = f'{{\\"Username\\":\\"{USER}\\",\\"Secret\\":\\"$(cat {secret})\\"}}'
    _program(
        tmp_path / "docker-credential-tests",
        f'[ "$1" = get ] || exit 9\ncat >> {asked}; echo >> {asked}\necho "{said}"',
    )
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    config = tmp_path / "config.json"

    def written(password: str) -> str:
        by_kind: dict[str, Any] = {
            "auths": {"auths": {_NAME: {"username": USER, "password": password}}},
            "credsStore": {"credsStore": "tests"},
            "credHelpers": {"credHelpers": {_NAME: "tests"}, "credsStore": "absent"},
        }
        return json.dumps(by_kind[kind])

    config.write_text(written(PASSWORD))
    with _proxied(registry, {"provider": "docker-config", "path": str(config)}) as running:
        for _ in range(10):
            assert _pull(running).status == 200
        secret.write_text(NEW_PASSWORD)
        config.write_text(written(NEW_PASSWORD))
        registry.let_in(USER, NEW_PASSWORD)
        for _ in range(10):
            assert _pull(running).status == 200
        assert not {PASSWORD, NEW_PASSWORD} & set(running.log().split('"'))
    if kind != "auths":
        assert asked.read_text().splitlines() == [_NAME, _NAME]


def test_a_command_is_run_again_when_its_login_is_refused(
    registry: DockerRegistry, tmp_path: Path
) -> None:
    """What a command gave is used until it is refused; then the command is run again."""
    runs, secret = tmp_path / "runs", tmp_path / "secret"
    secret.write_text(PASSWORD)
    said = f'{{\\"username\\":\\"$1\\",\\"password\\":\\"$(cat {secret})\\"}}'
    command = _program(tmp_path / "login", f'echo x >> {runs}; echo "{said}"')
    with _proxied(registry, {"provider": "exec", "command": [command, USER]}) as running:
        for _ in range(10):
            assert _pull(running).status == 200
        secret.write_text(NEW_PASSWORD)
        registry.let_in(USER, NEW_PASSWORD)
        for _ in range(10):
            assert _pull(running).status == 200
    assert len(runs.read_text().splitlines()) == 2


@pytest.mark.alone
def test_a_command_that_hangs_leaves_nothing(registry: DockerRegistry, tmp_path: Path) -> None:
    """A command that hangs is a 502 in time; of it and its children no process or file is left."""
    pids = tmp_path / "pids"
    command = _program(
        tmp_path / "login",
        f"trap '' TERM HUP\necho $$ >> {pids}\nsleep 300 & echo $! >> {pids}\nwait",
    )
    credentials = {"provider": "exec", "command": [command], "timeout": "500ms"}
    with _proxied(registry, credentials) as running:
        _pull(running)  # opens what stays open, such as the connections to upstream
        before = _open_files(running.pid)
        for _ in range(3):
            begun = time.monotonic()
            answer = _pull(running)
            assert answer.status == 502
            assert b"(exec) cannot be had: login did not end within 0.5 s" in answer.body
            assert time.monotonic() - begun < 5
            time.sleep(1.1)  # what failed is remembered for a second
        spawned = [int(pid) for pid in pids.read_text().split()]
        assert len(spawned) >= 6
        wait_until(lambda: not any(map(_alive, spawned)), 5.0, "all are gone")
        assert not _children(running.pid)
        assert _open_files(running.pid) <= before


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("yes s3cret", "prints more than 64 KiB"),
        ("echo s3cret", "does not print JSON"),
        ("echo s3cret >&2; exit 3", "the command failed (exit code 3)"),
        (None, "cannot be run: No such file or directory"),
    ],
    ids=["megabytes", "garbage", "fails", "missing"],
)
def test_a_command_that_is_broken(
    registry: DockerRegistry, tmp_path: Path, body: str | None, said: str
) -> None:
    """A command that is of no use is a 502 that says how, and nothing of what it printed."""
    path = tmp_path / "login"
    command = _program(path, body) if body is not None else str(path)
    with _proxied(registry, {"provider": "exec", "command": [command]}) as running:
        answer = _pull(running)
        assert answer.status == 502
        assert said in answer.body.decode()
        assert "s3cret" not in answer.body.decode() + running.log()
        assert not _children(running.pid)


def test_a_proxy_that_stops_takes_its_helpers_along(
    registry: DockerRegistry, tmp_path: Path
) -> None:
    """A helper that is still at work when the proxy ends is killed."""
    pids = tmp_path / "pids"
    command = _program(
        tmp_path / "login", f"trap '' TERM HUP\necho $$ > {pids}\nwhile :; do sleep 1; done"
    )
    credentials = {"provider": "exec", "command": [command], "timeout": "60s"}
    settings = {
        "default_upstream": None,
        "server": {"response_timeout": "1s", "drain_timeout": "1s"},
    }
    upstream = {"url": registry.url, "credentials": credentials}
    with proxy({_NAME: upstream}, settings=settings) as running:
        assert _pull(running).status == 504
        pid = int(pids.read_text())
        assert _alive(pid)
    wait_until(lambda: not _alive(pid), 5.0, "the helper is gone")
