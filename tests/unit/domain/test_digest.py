import hashlib

import pytest

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import DigestInvalid

_HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "algorithm", "encoded"),
    [
        pytest.param(f"sha256:{_HEX}", "sha256", _HEX, id="sha256"),
        pytest.param(f"sha512:{_HEX}{_HEX}", "sha512", _HEX + _HEX, id="sha512"),
    ],
)
def test_a_digest_has_two_parts(text: str, algorithm: str, encoded: str) -> None:
    """A digest is its text, and gives its algorithm and its hex digits."""
    digest = Digest.parse(text)
    assert digest == text
    assert (digest.algorithm, digest.encoded) == (algorithm, encoded)
    assert hash(digest) == hash(text)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param(_HEX, id="no algorithm"),
        pytest.param("sha256:", id="no digits"),
        pytest.param(f"sha256:{_HEX[:-1]}", id="a digit short"),
        pytest.param(f"sha256:{_HEX}0", id="a digit long"),
        pytest.param(f"sha256:{_HEX}{_HEX}", id="sha256 with the digits of sha512"),
        pytest.param(f"sha512:{_HEX}", id="sha512 with the digits of sha256"),
        pytest.param(f"sha256:{_HEX.upper()}", id="upper case digits"),
        pytest.param(f"SHA256:{_HEX}", id="upper case algorithm"),
        pytest.param(f"sha256:{_HEX[:-1]}g", id="no hex"),
        pytest.param(f"sha256:{_HEX}\n", id="trailing newline"),
        pytest.param(f" sha256:{_HEX}", id="leading space"),
        pytest.param(f"sha256:{_HEX[:-1]}\u0661", id="a digit of another script"),
        pytest.param("sha256:../../../etc/passwd", id="a path"),
        pytest.param(f"sha256:{_HEX[:-4]}/../", id="a path of the right length"),
        pytest.param(f"md5:{_HEX[:32]}", id="md5"),
        pytest.param(f"sha384:{_HEX}{_HEX[:32]}", id="sha384"),
        pytest.param(f"blake3:{_HEX}", id="blake3"),
        pytest.param(f"sha256+b64u:{_HEX}", id="a compound algorithm"),
        pytest.param("a" * 100_000, id="very long"),
    ],
)
def test_what_cannot_be_verified_is_no_digest(text: str) -> None:
    """Malformed digests are refused, and so are those of algorithms that we cannot compute."""
    with pytest.raises(DigestInvalid) as caught:
        Digest.parse(text)
    assert len(str(caught.value)) < 1000


def test_the_digest_of_content_is_its_sha256() -> None:
    """The digest of bytes is the one that everybody else computes."""
    empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert Digest.of(b"") == empty
    assert Digest.of(b"a") == "sha256:" + hashlib.sha256(b"a").hexdigest()


@pytest.mark.parametrize(
    "digest",
    [
        pytest.param(Digest.of(b"content"), id="sha256"),
        pytest.param(Digest.parse("sha512:" + hashlib.sha512(b"content").hexdigest()), id="sha512"),
    ],
)
def test_a_digest_names_its_content_only(digest: Digest) -> None:
    """A digest names the bytes that it is of, by its own algorithm, and no others."""
    assert digest.names(b"content")
    assert not digest.names(b"content\n")
    assert not digest.names(b"")


def test_a_hasher_is_new() -> None:
    """Each hasher begins anew and is of the digest's algorithm."""
    digest = Digest.parse("sha512:" + hashlib.sha512(b"ab").hexdigest())
    spoilt, hasher = digest.hasher(), digest.hasher()
    spoilt.update(b"x")
    hasher.update(b"a")
    hasher.update(b"b")
    assert hasher.hexdigest() == digest.encoded
