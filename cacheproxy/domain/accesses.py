"""What clients were served, one value for each response: what a replay begins with.

An access is a response with a body that is a blob's, a manifest's, or a part of one. HEADs,
304s, listings and errors are none.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cacheproxy.domain.budget import Kind
from cacheproxy.domain.digest import Digest

# Of a digest, in bytes. Among ten million blobs, the chance that any two have the same first 88
# bits is below 10^-12.
KEY_BYTES = 11
_HEX = 2 * KEY_BYTES
_REST = "0" * (64 - _HEX)


@dataclass(frozen=True, slots=True)
class Access:
    """A response that was sent.

    Attributes:
        at: when it was asked for, in seconds since the epoch.
        key: of the content, as `key_of` makes it.
        size: of the whole content, in bytes, as far as that is known.
        served: of those, bytes that went to the client.
        kind: manifest or blob.
        registry: the upstream's canonical name; empty for one that is not known any more.
    """

    at: float
    key: Digest
    size: int
    served: int
    kind: Kind
    registry: str


def prefix_of(digest: Digest) -> bytes:
    """The part of a digest by which a record names it."""
    begin = digest.index(":") + 1
    return bytes.fromhex(digest[begin : begin + _HEX])


def key_from(prefix: bytes) -> Digest:
    """What stands for all digests that begin so; in practice for one."""
    return Digest(f"sha256:{prefix.hex()}{_REST}")


def key_of(digest: Digest) -> Digest:
    """What stands for a digest among accesses."""
    return key_from(prefix_of(digest))


def keys_of(digests: Iterable[Digest]) -> frozenset[Digest]:
    """The same for many."""
    return frozenset(map(key_of, digests))


def child_keys(
    children: Mapping[Digest, Iterable[Digest]],
) -> dict[Digest, tuple[Digest, ...]]:
    """For each manifest's key, those of what it refers to itself."""
    return {key_of(parent): tuple(map(key_of, parts)) for parent, parts in children.items()}
