"""Accesses by short names, as tests want them."""

from collections.abc import Iterable
from typing import Any

from cacheproxy.domain.accesses import Access, key_of
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.trace import Trace
from tests.support.ledgers import NOW, digest_of

BLOCK = 4096


def key(name: object) -> Digest:
    """What stands for a name among accesses."""
    return key_of(digest_of(name))


def access(name: object, at: float = 0.0, size: int = BLOCK, **fields: Any) -> Access:
    """The whole of a blob, served so many seconds after `NOW`."""
    known = {"served": size, "kind": "blob", "registry": "docker.io", **fields}
    return Access(NOW + at, key(name), size, **known)


def trace(names: Iterable[object], size: int = BLOCK) -> Trace:
    """Blobs of one size that are asked for one after the other, a minute apart."""
    return Trace(access(name, 60.0 * number, size) for number, name in enumerate(names))
