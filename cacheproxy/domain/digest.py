"""Digests by the OCI image spec (descriptor.md, "Digests")."""

import hashlib
import re
from typing import Protocol, Self

from cacheproxy.domain.errors import DigestInvalid

# digest    ::= algorithm ":" encoded
# The two algorithms are those that the image spec registers and hashlib computes. A digest
# of another one is grammatical, but a cache that cannot verify it must not keep it.
_GRAMMAR = re.compile(r"(?P<algorithm>sha256):[a-f0-9]{64}|(?P<other>sha512):[a-f0-9]{128}")


class Hasher(Protocol):
    """A hash under way, as hashlib has them."""

    def update(self, chunk: bytes, /) -> None:
        """Add bytes."""
        ...

    def hexdigest(self) -> str:
        """The digest of all bytes so far, in lower-case hex."""
        ...


class Digest(str):
    """A verified-to-be-well-formed digest, such as `sha256:6c3c…` (64 hex digits).

    It is safe to build a path from: only lower-case hex and the algorithm's name.
    """

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the digest that `text` spells.

        Raises:
            DigestInvalid: it is malformed, or its algorithm is not sha256 or sha512.
        """
        if _GRAMMAR.fullmatch(text) is None:
            raise DigestInvalid(f"{text[:140]!a} is not a sha256 or sha512 digest")
        return cls(text)

    @classmethod
    def of(cls, content: bytes) -> Self:
        """Return the sha256 digest of `content`."""
        return cls("sha256:" + hashlib.sha256(content).hexdigest())

    @property
    def algorithm(self) -> str:
        """`sha256` or `sha512`."""
        return self.partition(":")[0]

    @property
    def encoded(self) -> str:
        """The lower-case hex digits."""
        return self.partition(":")[2]

    def hasher(self) -> Hasher:
        """A new hash of this digest's algorithm."""
        return hashlib.new(self.algorithm)

    def names(self, content: bytes) -> bool:
        """Whether these are the bytes that the digest names."""
        hasher = self.hasher()
        hasher.update(content)
        return hasher.hexdigest() == self.encoded


def read_digest(kind: type, value: object) -> Digest:
    """A digest, for a decoder of JSON that comes to a type which is not JSON's own.

    Args:
        kind: the type that is wanted.
        value: what stands there.

    Raises:
        NotImplementedError: another type is wanted.
        TypeError: it is no text.
        DigestInvalid: nor a digest.
    """
    if kind is not Digest:
        raise NotImplementedError(kind)
    if not isinstance(value, str):
        raise TypeError("a digest is a text")
    return Digest.parse(value)
