import pytest

from cacheproxy.upstream.challenge import (
    Basic,
    Bearer,
    Challenge,
    may_hide_challenge,
    parse,
)

_HUB = Bearer("https://auth.docker.io/token", "registry.docker.io", "repository:a/b:pull")


@pytest.mark.parametrize(
    ("fields", "challenges"),
    [
        pytest.param(
            [
                'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",'
                'scope="repository:a/b:pull"'
            ],
            [_HUB],
            id="as Docker Hub writes it",
        ),
        pytest.param(
            [
                "bearer REALM=https://auth.docker.io/token , Service=registry.docker.io,"
                "  scope = repository:a/b:pull"
            ],
            [_HUB],
            id="unquoted, in other case, with spaces",
        ),
        pytest.param(
            ['Bearer scope="x",error="invalid_token",realm="https://r/t",realm="https://evil/t"'],
            [Bearer("https://r/t", "", "x")],
            id="unknown and repeated parameters",
        ),
        pytest.param(
            ['Bearer realm="https://r/t"'], [Bearer("https://r/t", "", "")], id="realm alone"
        ),
        pytest.param(
            ['Bearer realm="https://r/t",service="",scope=""'],
            [Bearer("https://r/t", "", "")],
            id="empty parameters",
        ),
        pytest.param(
            [r'Bearer realm="https://r/t",service="a\"b\\c, realm=d"'],
            [Bearer("https://r/t", r'a"b\c, realm=d', "")],
            id="escapes and commas within quotes",
        ),
        pytest.param(['Basic realm="Registry Realm"'], [Basic()], id="basic"),
        pytest.param(["BASIC"], [Basic()], id="basic alone"),
        pytest.param(
            ['Basic realm="x", Bearer realm="https://r/t"'],
            [Basic(), Bearer("https://r/t", "", "")],
            id="two in one field",
        ),
        pytest.param(
            ['Bearer realm="https://r/t",service="s", Basic realm="x"'],
            [Bearer("https://r/t", "s", ""), Basic()],
            id="two in one field, the other way round",
        ),
        pytest.param(
            ['Basic realm="x"', 'Bearer realm="https://r/t"', "Basic"],
            [Basic(), Bearer("https://r/t", "", ""), Basic()],
            id="several fields",
        ),
        pytest.param(
            ['Negotiate YII==, Digest realm="x", nonce="y", Bearer realm="https://r/t"'],
            [Bearer("https://r/t", "", "")],
            id="schemes that we do not know",
        ),
        pytest.param(
            ["Basic, Bearer realm=https://r/t"],
            [Basic(), Bearer("https://r/t", "", "")],
            id="a scheme without parameters",
        ),
        pytest.param([',, Basic realm="x",,'], [Basic()], id="empty elements"),
        pytest.param(['Bearer service="s"'], [], id="bearer without a realm"),
        pytest.param([""], [], id="empty"),
        pytest.param([], [], id="none"),
        pytest.param(["\x00 \u00e9"], [], id="garbage"),
    ],
)
def test_challenges_are_read(fields: list[str], challenges: list[Challenge]) -> None:
    """Challenges of the two schemes that we know are read, however registries write them."""
    assert list(parse(fields)) == challenges


@pytest.mark.parametrize(
    ("status", "anonymous", "with_login", "when_shown"),
    [
        (401, True, True, True),
        (403, True, True, False),
        (404, False, True, False),
        (400, False, False, False),
        (500, False, False, False),
        (200, False, False, False),
    ],
)
def test_a_response_may_hide_a_challenge(
    status: int, anonymous: bool, with_login: bool, when_shown: bool
) -> None:
    """A refusal is doubted where credentials that were not shown might help."""
    doubted = [
        may_hide_challenge(status, was_shown=was_shown, has_login=has_login)
        for was_shown, has_login in ((False, False), (False, True), (True, True))
    ]
    assert doubted == [anonymous, with_login, when_shown]
