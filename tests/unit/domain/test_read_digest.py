import pytest

from cacheproxy.domain.digest import Digest, read_digest
from cacheproxy.domain.errors import DigestInvalid

_TEXT = "sha256:" + "0" * 64


def test_a_text_becomes_a_digest() -> None:
    """Where a digest is wanted, a text that is one becomes one."""
    assert read_digest(Digest, _TEXT) == Digest.parse(_TEXT)


@pytest.mark.parametrize("value", [5, None, ["sha256:"], b"sha256:"])
def test_what_is_no_text_is_none(value: object) -> None:
    """A decoder turns this into its own error."""
    with pytest.raises(TypeError):
        read_digest(Digest, value)


def test_what_is_no_digest_is_none() -> None:
    """A text that is not one is refused, and so is a wish for something else."""
    with pytest.raises(DigestInvalid):
        read_digest(Digest, "sha256:12")
    with pytest.raises(NotImplementedError):
        read_digest(int, _TEXT)
