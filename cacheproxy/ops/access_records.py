"""Accesses as bytes: a header, then records that all have one size.

| header, 16 bytes | | record, 40 bytes | |
|---|---|---|---|
| 8 | `cpaccess` | 8 | when it was asked for, in milliseconds since the epoch |
| 2 | version | 8 | size of the whole content |
| 2 | bytes of a record | 8 | bytes that were served |
| 4 | zero | 11 | the digest's first bytes |
| | | 4 | CRC-32 of the upstream's name |
| | | 1 | 0: a blob, 1: a manifest |

All little-endian. Upstreams are named by a checksum, since a table of names would have to be
found again by whoever reads a segment of which only a part is there; and whoever reads wants
to know no more than whether it is one of those that are configured today.
"""

import zlib
from collections.abc import Iterable, Iterator
from struct import Struct

from cacheproxy.domain.accesses import KEY_BYTES, Access, key_from
from cacheproxy.domain.budget import Kind
from cacheproxy.domain.digest import Digest

_HEADER = Struct("<8sHH4x")
_RECORD = Struct(f"<QQQ{KEY_BYTES}sIB")
_KINDS: tuple[Kind, ...] = ("blob", "manifest")

MAGIC = b"cpaccess"
VERSION = 1
RECORD_BYTES = _RECORD.size
HEADER_BYTES = _HEADER.size
HEADER = _HEADER.pack(MAGIC, VERSION, RECORD_BYTES)


def checksum(registry: str) -> int:
    """What stands for an upstream in a record."""
    return zlib.crc32(registry.encode())


def encoded(access: Access, prefix: bytes) -> bytes:
    """One record, of the content whose digest begins with `prefix`."""
    return _RECORD.pack(
        max(0, int(access.at * 1000)),
        access.size,
        access.served,
        prefix,
        checksum(access.registry),
        _KINDS.index(access.kind),
    )


class Decoder:
    """Reads records; knows the upstreams by their names of today."""

    def __init__(self, registries: Iterable[str]) -> None:
        self._registries = {checksum(name): name for name in registries}
        self._keys: dict[bytes, Digest] = {}

    def accesses(self, records: bytes) -> Iterator[Access]:
        """Those of whole records. What cannot be one, as zeros after a power cut, is left out."""
        for at, size, served, prefix, registry, kind in _RECORD.iter_unpack(records):
            if kind < len(_KINDS) and at and 0 < served <= size:
                yield Access(
                    at / 1000,
                    self._key(prefix),
                    size,
                    served,
                    _KINDS[kind],
                    self._registries.get(registry, ""),
                )

    def _key(self, prefix: bytes) -> Digest:
        """The same value each time, so that a million accesses share it."""
        key = self._keys.get(prefix)
        if key is None:
            key = self._keys[prefix] = key_from(prefix)
        return key
