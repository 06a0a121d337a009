import hashlib

from cacheproxy.domain.accesses import KEY_BYTES, child_keys, key_from, key_of, prefix_of
from cacheproxy.domain.digest import Digest


def test_a_key_is_a_digest_of_the_same_beginning() -> None:
    """It is well-formed, and who knows nothing but the beginning makes the same one."""
    digest = Digest.of(b"layer")
    assert Digest.parse(key_of(digest)) == key_from(prefix_of(digest))
    assert key_of(digest)[: len("sha256:") + 2 * KEY_BYTES] == digest[: 7 + 2 * KEY_BYTES]
    assert len(prefix_of(digest)) == KEY_BYTES


def test_any_algorithm_has_a_key() -> None:
    """A SHA-512 digest is named by its own first bytes."""
    encoded = hashlib.sha512(b"layer").hexdigest()
    assert prefix_of(Digest.parse(f"sha512:{encoded}")).hex() == encoded[: 2 * KEY_BYTES]


def test_children_by_their_keys() -> None:
    """What refers to what is known by keys, as accesses are."""
    image, layer = Digest.of(b"image"), Digest.of(b"layer")
    assert child_keys({image: [layer]}) == {key_of(image): (key_of(layer),)}
