import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from cacheproxy.upstream.credentials.docker_config import DockerConfig
from cacheproxy.upstream.credentials.login import Login, NoLoginError

_HUB = ("docker.io", "registry-1.docker.io", "index.docker.io")


def _auth(pair: str = "u:p") -> dict[str, str]:
    return {"auth": base64.b64encode(pair.encode()).decode()}


async def _fetch(directory: Path, config: Any, *hosts: str) -> Login:
    path = directory / "config.json"
    content = config if isinstance(config, str) else json.dumps(config)
    path.write_text(content)
    return (await DockerConfig(path, hosts or ("r.example",)).fetch())[0]


@pytest.fixture
def helpers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where helpers are found; each says what it was asked for as the user's name."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory) + os.pathsep + os.environ["PATH"])
    for name in ("store", "one"):
        path = directory / f"docker-credential-{name}"
        said = r"{\"Username\":\"$(tr : _)\",\"Secret\":\"" + name + r"\"}"
        path.write_text(f'#!/bin/sh\necho "{said}"\n')
        path.chmod(0o755)
    none = directory / "docker-credential-none"
    none.write_text("#!/bin/sh\necho credentials not found in native keychain\nexit 1\n")
    none.chmod(0o755)
    token = directory / "docker-credential-token"
    token.write_text('#!/bin/sh\necho \'{"Username":"<token>","Secret":"id"}\'\n')
    token.chmod(0o755)
    return directory


@pytest.mark.parametrize(
    ("key", "hosts"),
    [
        ("https://index.docker.io/v1/", _HUB),
        ("index.docker.io", _HUB),
        ("docker.io", ("docker.io",)),
        ("https://index.docker.io/v1/", ("docker.io",)),
        ("registry-1.docker.io", ("docker.io",)),
        ("r.example", ("r.example",)),
        ("R.Example", ("r.example",)),
        ("https://r.example", ("r.example",)),
        ("http://r.example/", ("r.example",)),
        ("https://r.example/v2/", ("r.example",)),
        ("r.example:5000", ("r.example:5000",)),
        ("r.internal:8443", ("r.example", "r.internal:8443")),
    ],
)
async def test_a_registry_is_found_by_its_key(
    tmp_path: Path, key: str, hosts: tuple[str, ...]
) -> None:
    """Docker's keys are found in whichever way they were written."""
    assert await _fetch(tmp_path, {"auths": {"other": {}, key: _auth()}}, *hosts) == Login("u", "p")


@pytest.mark.parametrize("key", ["r.example/team", "example", "r.example.evil", "evil/r.example"])
async def test_no_other_registrys_login_is_taken(tmp_path: Path, key: str) -> None:
    """A key of another registry, or of a part of one, is not this one's."""
    with pytest.raises(NoLoginError, match=r"nothing for r\.example; run docker login"):
        await _fetch(tmp_path, {"auths": {key: _auth()}})


@pytest.mark.parametrize(
    ("entry", "login"),
    [
        (_auth("u:p:q"), Login("u", "p:q")),
        (_auth("u:p\0\0"), Login("u", "p")),
        ({"username": "u", "password": "p"}, Login("u", "p")),
        ({**_auth("x:y"), "username": "u", "password": "p"}, Login("x", "y")),
    ],
)
async def test_a_login_is_written_in_several_ways(
    tmp_path: Path, entry: dict[str, str], login: Login
) -> None:
    """A login is base64 of both, or both in the clear."""
    assert await _fetch(tmp_path, {"auths": {"r.example": entry}}) == login


@pytest.mark.parametrize(
    "config",
    [
        "",
        "{",
        '{"auths": {"r.example": {"auth": "czNjcmV0',
        "[]",
        "null",
        '{"auths": []}',
        '{"auths": {"r.example": "s3cret"}}',
        '{"auths": {"r.example": {}}}',
        '{"auths": {"r.example": {"auth": "s3cret!"}}}',
        '{"auths": {"r.example": {"auth": "/w=="}}}',
        '{"auths": {"r.example": {"username": "s3cret"}}}',
        '{"credsStore": "../../s3cret"}',
        '{"credHelpers": {"r.example": "a b"}}',
        '{"credHelpers": ["s3cret"]}',
        "[" * 100_000,
    ],
)
async def test_a_broken_file_is_no_login_and_is_not_repeated(tmp_path: Path, config: str) -> None:
    """A file that is broken or half written says so, without a word of it."""
    with pytest.raises(NoLoginError) as caught:
        await _fetch(tmp_path, config)
    assert "s3cret" not in str(caught.value)


async def test_a_file_that_is_written_to_its_end_is_read_again(tmp_path: Path) -> None:
    """A half-written file has changed once it is whole."""
    path = tmp_path / "config.json"
    path.write_text('{"auths": {"r.example"')
    source = DockerConfig(path, ("r.example",))
    with pytest.raises(NoLoginError):
        await source.fetch()
    assert not source.changed()
    path.write_text(json.dumps({"auths": {"r.example": _auth()}}))
    assert source.changed()
    assert await source.fetch() == (Login("u", "p"), None)


async def test_helpers_are_asked(tmp_path: Path, helpers: Path) -> None:
    """A registry's own helper comes first, then the store; Docker Hub is asked for by its URL."""
    config = {"credsStore": "store", "credHelpers": {"r.example": "one"}, "auths": {}}
    assert await _fetch(tmp_path, config) == Login("r.example", "one")
    assert await _fetch(tmp_path, config, "q.example") == Login("q.example", "store")
    hub = await _fetch(tmp_path, config, *_HUB)
    assert hub == Login("https_//index.docker.io/v1/", "store")


async def test_a_helper_that_has_nothing_leaves_it_to_the_file(
    tmp_path: Path, helpers: Path
) -> None:
    """What a helper does not know may stand in the file; a helper that is missing is an error."""
    config = {"credsStore": "none", "auths": {"r.example": _auth()}}
    assert await _fetch(tmp_path, config) == Login("u", "p")
    with pytest.raises(NoLoginError, match=r"nothing for r\.example"):
        await _fetch(tmp_path, {"credsStore": "none"})
    with pytest.raises(NoLoginError, match="docker-credential-absent cannot be run"):
        await _fetch(tmp_path, {"credsStore": "absent", "auths": {"r.example": _auth()}})


@pytest.mark.parametrize(
    "config", [{"auths": {"HOST": {**_auth(":"), "identitytoken": "id"}}}, {"credsStore": "token"}]
)
async def test_an_identity_token_is_of_use_at_azure(
    tmp_path: Path, helpers: Path, config: dict[str, Any]
) -> None:
    """Azure takes an identity token as a password; elsewhere the error says what to do."""
    azure, other = "acme.azurecr.io", "r.example"
    text = json.dumps(config)
    login = await _fetch(tmp_path, text.replace("HOST", azure), azure)
    assert login == Login("00000000-0000-0000-0000-000000000000", "id")
    with pytest.raises(NoLoginError, match="Azure only"):
        await _fetch(tmp_path, text.replace("HOST", other), other)
