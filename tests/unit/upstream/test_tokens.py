import base64
import json

import pytest

from cacheproxy.domain.errors import UpstreamUnavailable
from cacheproxy.upstream.tokens import Token, lifetime_of, parse_token


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(b'{"token":"abc","expires_in":300}', ("abc", 300.0), id="token"),
        pytest.param(b'{"access_token":"abc"}', ("abc", None), id="access_token, no lifetime"),
        pytest.param(b'{"token":"a","access_token":"b"}', ("a", None), id="both"),
        pytest.param(b'{"token":"","access_token":"b"}', ("b", None), id="an empty token"),
        pytest.param(b'{"token":null,"access_token":"b"}', ("b", None), id="a null token"),
        pytest.param(b'{"token":"a","expires_in":null}', ("a", None), id="lifetime null"),
        pytest.param(b'{"token":"a","expires_in":0}', ("a", None), id="lifetime zero"),
        pytest.param(b'{"token":"a","expires_in":-5}', ("a", None), id="lifetime negative"),
        pytest.param(b'{"token":"a","expires_in":1.5}', ("a", 1.5), id="lifetime a fraction"),
        pytest.param(b'{"token":"a","expires_in":99999999}', ("a", 86_400.0), id="more than a day"),
        pytest.param(b'{"token":"a","expires_in":"300"}', ("a", 300.0), id="lifetime a string"),
        pytest.param(b'{"token":"a","expires_in":"1e9"}', ("a", 86_400.0), id="a huge string"),
        pytest.param(b'{"token":"a","expires_in":1e300}', ("a", 86_400.0), id="a huge number"),
        pytest.param(b'{"token":"a","expires_in":"soon"}', ("a", None), id="lifetime a word"),
        pytest.param(b'{"token":"a","expires_in":"nan"}', ("a", None), id="lifetime no number"),
        pytest.param(b'{"token":"a","expires_in":true}', ("a", None), id="lifetime a boolean"),
        pytest.param(b'{"token":"a","expires_in":[1]}', ("a", None), id="lifetime a list"),
        pytest.param(b'{"token":7,"access_token":"b"}', ("b", None), id="a token of no use"),
        pytest.param(
            b'{"token":"a-b._~+/c==","issued_at":"x"}', ("a-b._~+/c==", None), id="token68"
        ),
    ],
)
def test_an_answer_holds_a_token(body: bytes, expected: tuple[str, float | None]) -> None:
    """Either name of the token counts, and a lifetime is kept within a day."""
    assert parse_token(body) == expected


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"<html>", id="a page"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"null", id="null"),
        pytest.param(b"{}", id="no token"),
        pytest.param(b'{"token":""}', id="an empty token"),
        pytest.param(b'{"token":7}', id="a number"),
        pytest.param(b'{"token":["a"]}', id="a list of tokens"),
        pytest.param(b'{"token":"a b"}', id="a space"),
        pytest.param(b'{"token":"a\\r\\nX-Evil: 1"}', id="a header line"),
        pytest.param(b'{"token":"a\\u0000"}', id="NUL"),
        pytest.param(b'{"token":"\\u00e9"}', id="an accent"),
        pytest.param(b'{"token":"="}', id="padding alone"),
        pytest.param(b'{"token":"\xff"}', id="no UTF-8"),
        pytest.param(b'{"token":"a","access_token":"\xc3"}', id="no UTF-8 elsewhere"),
        pytest.param(b'{"token":"\\udcff"}', id="a lone surrogate"),
        pytest.param(b"\xff\xfe{\x00", id="UTF-16"),
        pytest.param(b'{"token":"a"', id="cut"),
        pytest.param(b'{"x":' * 100_000, id="deep"),
    ],
)
def test_an_answer_without_a_token_is_a_failure(body: bytes) -> None:
    """What is no token answer is upstream's failure, and is not repeated in the error."""
    with pytest.raises(UpstreamUnavailable) as caught:
        parse_token(body)
    assert len(str(caught.value)) < 100


def test_a_token_is_not_shown() -> None:
    """A token's representation does not have it."""
    assert "secret" not in repr(Token("Bearer secret", 4.0, 5.0))
    assert "secret" not in f"{Token('Bearer secret', 4.0, 5.0)}"


def _jwt(payload: bytes) -> str:
    parts = [b'{"alg":"RS256"}', payload, b"signature"]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        pytest.param(_jwt(b'{"exp":5500}'), 4500, id="by our clock"),
        pytest.param(_jwt(b'{"exp":5500,"iat":5000}'), 500, id="by its own"),
        pytest.param(_jwt(b'{"exp":999999999}'), 86_400, id="for ever: a day"),
        pytest.param(_jwt(b'{"exp":900}'), 60, id="over already"),
        pytest.param(_jwt(b'{"exp":"soon"}'), 60, id="a word"),
        pytest.param(_jwt(b'{"exp":null}'), 60, id="null"),
        pytest.param(_jwt(b"{}"), 60, id="no end"),
        pytest.param(_jwt(b"[]"), 60, id="a list"),
        pytest.param(_jwt(b'{"a":' * 50_000), 60, id="deep"),
        pytest.param(_jwt(b"\xff"), 60, id="no JSON"),
        pytest.param("a.b", 60, id="two parts"),
        pytest.param("a.!.c", 60, id="no base64"),
        pytest.param("a.b.c", 60, id="a letter"),
        pytest.param("..", 60, id="empty"),
        pytest.param("opaque", 60, id="opaque"),
    ],
)
def test_a_token_says_when_it_ends(value: str, seconds: float) -> None:
    """A JWT lasts until its `exp`; anything else a minute, or what it is said to."""
    assert lifetime_of(value, 1000.0) == seconds
    assert lifetime_of(value, 1000.0, 300.0) == (300 if seconds == 60 else seconds)


def test_a_long_token_is_read_at_once() -> None:
    """A token as long as an answer may be takes no time to look into."""
    assert lifetime_of("a." * 100_000, 0.0) == 60
    assert lifetime_of(_jwt(json.dumps({"x": "y" * 150_000}).encode()), 0.0) == 60
