from collections.abc import Callable
from pathlib import Path

import pytest

from cacheproxy.domain.redis_url import parse_redis_url
from cacheproxy.settings import CredentialsSettings, Secret, Settings

Load = Callable[..., Settings]
Problems = Callable[..., list[str]]

_PASSWORD = "upstreams: {{quay.io: {{credentials: {{username: me, {}}}}}}}"


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        (b"hunter2", "hunter2"),
        (b"hunter2\n", "hunter2"),
        (b"hunter2\r\n", "hunter2"),
        (b"hunter2\n\n", "hunter2\n"),
        (b" two\nlines \n", " two\nlines "),
        (b"\xef\xbb\xbfhunter2", "hunter2"),
        (b"null\n", "null"),
    ],
)
def test_a_password_comes_from_a_file(load_text: Load, content: bytes, secret: str) -> None:
    """The file's text is the password, without the one line end at its end."""
    Path("secret").write_bytes(content)
    settings = load_text(_PASSWORD.format("password_file: secret"))
    assert settings.upstreams["quay.io"].credentials == CredentialsSettings("me", Secret(secret))


def test_a_proxy_url_comes_from_a_file(load_text: Load) -> None:
    """A proxy's URL may hold a password, so it too can be kept in a file."""
    Path("secret").write_text("http://me:hunter2@proxy:3128\n", encoding="utf-8")
    settings = load_text("upstreams: {quay.io: {proxy_url_file: secret}}")
    assert settings.upstreams["quay.io"].proxy_url == "http://me:hunter2@proxy:3128"


def test_a_redis_comes_from_files(load_text: Load) -> None:
    """The URL of a Redis can be kept in a file, and its password in another one."""
    Path("url").write_text("redis://me:hunter2@r/3\n", encoding="utf-8")
    Path("secret").write_text("hunter3\n", encoding="utf-8")
    settings = load_text("metadata: {url_file: url, password_file: secret}")
    assert settings.metadata.url == parse_redis_url("redis://me:hunter2@r/3")
    assert settings.metadata.password == Secret("hunter3")
    assert settings.metadata.password.file == Path("secret")


def test_what_sentinels_want_comes_from_a_file(load_text: Load) -> None:
    """The Sentinels' password can be kept in a file of its own."""
    Path("secret").write_text("hunter2\n", encoding="utf-8")
    settings = load_text("metadata: {url: redis+sentinel://r/s, sentinel_password_file: secret}")
    assert settings.metadata.sentinel_password == Secret("hunter2")
    assert settings.metadata.sentinel_password.file == Path("secret")
    assert settings.metadata.password is None


@pytest.mark.parametrize(
    ("keys", "lines"),
    [
        (
            "password_file: missing",
            [
                "1:66: {}.password_file: 'missing' does not exist; check the name and the current "
                "directory"
            ],
        ),
        ("password_file: .", ["1:66: {}.password_file: '.' is a directory; name a file in it"]),
        ("password_file: empty", ["1:66: {}.password_file: 'empty' is empty"]),
        (
            "password_file: binary",
            ["1:66: {}.password_file: 'binary' is not UTF-8 (byte 0xff); save it in UTF-8"],
        ),
        (
            "password_file: large",
            ["1:66: {}.password_file: 'large' is larger than 64 KiB; is it the right file?"],
        ),
        ("password_file: [a]", ["1:66: {}.password_file: must be one value, not a list"]),
        (
            "password_file: ",
            [
                "1:66: {}.password_file: has no value; write one, or remove the key to "
                "get the default"
            ],
        ),
        (
            "password: a, password_file: hidden",
            ["1:64: {}.password_file: is given beside password; write only one of them"],
        ),
        (
            "password_fil: hidden",
            [
                "1:23: {}.password: is missing; write password or password_file",
                "1:51: {}.password_fil: unknown key; did you mean password_file?",
            ],
        ),
        (
            "username_file: hidden",
            [
                "1:23: {}.password: is missing; write password or password_file",
                "1:51: {}.username_file: unknown key; did you mean username?",
            ],
        ),
    ],
)
def test_a_secret_that_cannot_be_read_is_a_problem(
    problems: Problems, keys: str, lines: list[str]
) -> None:
    """A secret's file that is missing, empty, no text, or not alone is reported in place."""
    problems("-")  # for the current directory
    Path("empty").write_bytes(b"\n")
    Path("binary").write_bytes(b"\xff")
    Path("large").write_bytes(b"x" * (64 * 1024 + 1))
    Path("hidden").write_bytes(b"hunter2")
    expected = [f"c.yaml:{line.format('upstreams.quay.io.credentials')}" for line in lines]
    assert problems(_PASSWORD.format(keys)) == expected


def test_a_wrong_value_in_a_file_is_reported_at_its_key(problems: Problems) -> None:
    """What is wrong with a secret that was read is reported where the file is named."""
    problems("-")
    Path("secret").write_text("socks5://me:hunter2@proxy", encoding="utf-8")
    assert problems("upstreams: {quay.io: {proxy_url_file: secret}}") == [
        "c.yaml:1:39: upstreams.quay.io.proxy_url: must begin with https:// or http://"
    ]
