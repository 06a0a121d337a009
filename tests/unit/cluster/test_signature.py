"""How replicas know each other."""

import pytest

from cacheproxy.cluster.signature import is_signed, sign
from cacheproxy.domain.digest import Digest

SECRET, OTHER = b"secret", b"another"
DIGEST = Digest.of(b"blob")
NOW = 1_700_000_000.0


def test_what_was_signed_is() -> None:
    """With the same secret, for the same blob, at about the same time."""
    field = sign(SECRET, DIGEST, NOW)
    assert is_signed(SECRET, field, DIGEST, NOW)
    assert is_signed(SECRET, field, DIGEST, NOW - 60)
    assert is_signed(SECRET, field, DIGEST, NOW + 60)


@pytest.mark.parametrize(
    ("secret", "digest", "later"),
    [(OTHER, DIGEST, 0.0), (SECRET, Digest.of(b"other"), 0.0), (SECRET, DIGEST, 302.0)],
    ids=["another secret", "another blob", "too late"],
)
def test_nothing_else_is(secret: bytes, digest: Digest, later: float) -> None:
    """A signature is good for one blob, for some minutes, by the secret."""
    assert not is_signed(secret, sign(SECRET, DIGEST, NOW), digest, NOW + later)


@pytest.mark.parametrize(
    "field",
    [
        "",
        "Basic YTpi",
        "Cacheproxy-HMAC-SHA256",
        "Cacheproxy-HMAC-SHA256 :",
        "Cacheproxy-HMAC-SHA256 x:y",
        "Cacheproxy-HMAC-SHA256 ²:y",
        "Cacheproxy-HMAC-SHA256 1700000000:ä",
        "Cacheproxy-HMAC-SHA256 1700000000:",
        "Cacheproxy-HMAC-SHA256 " + "9" * 10_000 + ":y",
        "cacheproxy-hmac-sha256 1700000000:" + "0" * 64,
    ],
)
def test_what_is_no_signature_is_refused(field: str) -> None:
    """Whatever somebody sends is an answer of no, and no error."""
    assert not is_signed(SECRET, field, DIGEST, NOW)
