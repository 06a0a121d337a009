import json
import sys
from pathlib import Path

import pytest

from cacheproxy.upstream.credentials.helpers import Exec, ask_docker_helper, parse_answer
from cacheproxy.upstream.credentials.login import Login, NoLoginError


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ('{"username":"u","password":"p"}', (Login("u", "p"), None)),
        ('{"username":"u","password":"p","expires_in":60}', (Login("u", "p"), 60.0)),
        ('{"username":"u","password":"p","expires_in":-1}', (Login("u", "p"), 0.0)),
        ('{"Username":"u","Secret":"p"}\n', (Login("u", "p"), None)),
        ('{"ServerURL":"https://r","Username":"u","Secret":"p","x":[1]}', (Login("u", "p"), None)),
        ('{"Username":"u","Secret":"p","expires_in":7.5}', (Login("u", "p"), 7.5)),
    ],
)
def test_either_way_of_saying_it(printed: str, expected: tuple[Login, float | None]) -> None:
    """What our helpers print is understood, and what Docker's print."""
    assert parse_answer(printed.encode()) == expected


@pytest.mark.parametrize(
    "printed",
    [
        b"",
        b"s3cret",
        b"[]",
        b"null",
        b"{}",
        b'{"username":"s3cret"}',
        b'{"username":"","password":"s3cret"}',
        b'{"username":"a:b","password":"s3cret"}',
        b'{"username":"u","password":["s3cret"]}',
        b'{"username":"u","password":"s3cret","expires_in":"soon"}',
        b'{"username":"u","password":"s3cret"',
        b'{"username":"u","password":"s3cret"} and more',
        b"\xff\xfes3cret",
        b"[" * 60_000,
        b"\x00" * 100,
    ],
)
def test_garbage_is_no_login_and_is_not_repeated(printed: bytes) -> None:
    """What is not a login is said to be none, without a word of it."""
    with pytest.raises(NoLoginError) as caught:
        parse_answer(printed)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert len(str(caught.value)) < 100


def _script(directory: Path, name: str, body: str) -> Path:
    path = directory / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


async def test_a_command_prints_a_login() -> None:
    """A command is run without a shell, with its arguments as they are written."""
    program = "import json,sys; print(json.dumps({'username': 'u', 'password': sys.argv[1]}))"
    source = Exec([sys.executable, "-c", program, "$HOME; *"], 20)
    assert await source.fetch() == (Login("u", "$HOME; *"), None)
    assert source.changed() is False


@pytest.mark.parametrize(("code", "said"), [("exit 3", "exit code 3"), ("kill -9 $$", "signal 9")])
async def test_a_command_that_fails(code: str, said: str) -> None:
    """A command that fails gives no login, even if it has printed one."""
    script = f'echo \'{{"username":"u","password":"s3cret"}}\'; {code}'
    with pytest.raises(NoLoginError, match=said) as caught:
        await Exec(["sh", "-c", script], 5).fetch()
    assert "s3cret" not in str(caught.value)


async def test_a_docker_helper_is_asked_for_its_server(tmp_path: Path) -> None:
    """Docker's helpers are told `get`, and the server on standard input."""
    answer = json.dumps({"Username": "$(cat)", "Secret": "p"}).replace('"', '\\"')
    path = _script(tmp_path, "docker-credential-x", f'[ "$1" = get ] && echo "{answer}"')
    assert await ask_docker_helper(str(path), "r.example", 5) == (Login("r.example", "p"), None)


async def test_a_docker_helper_that_has_nothing(tmp_path: Path) -> None:
    """A helper that says that it has none is no failure; one that says anything else is."""
    nothing = _script(tmp_path, "a", "echo credentials not found in native keychain; exit 1")
    broken = _script(tmp_path, "b", "echo s3cret; exit 1")
    assert await ask_docker_helper(str(nothing), "r", 5) is None
    with pytest.raises(NoLoginError, match="exit code 1") as caught:
        await ask_docker_helper(str(broken), "r", 5)
    assert "s3cret" not in str(caught.value)
