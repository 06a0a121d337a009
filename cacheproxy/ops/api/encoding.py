"""The API's values as JSON."""

from typing import TypeVar

import msgspec

from cacheproxy.domain.digest import read_digest

T = TypeVar("T")


def _plain(value: object) -> str:
    """Digests and tags are texts; msgspec knows no kinds of text but `str`."""
    if isinstance(value, str):
        return str.__str__(value)
    raise NotImplementedError


encode = msgspec.json.Encoder(enc_hook=_plain).encode
"""Write one of the API's values."""


def decode(raw: bytes, kind: type[T]) -> T:
    """Read one of the API's values.

    Raises:
        msgspec.DecodeError: it is none.
        DigestInvalid: nor is a digest in it.
    """
    return msgspec.json.decode(raw, type=kind, dec_hook=read_digest)
