"""Values in Redis, and how they are read by those who cannot trust who wrote them.

Tags and pages are JSON; links, of which there are most, are `size,is_read,media_type`, which a
script can merge without a number becoming another one on the way.

Times are the cluster's. Earlier versions wrote those of their own clock, and beside it by how
much that was ahead of the server's; so we write 0 there, and subtract what they wrote.
"""

import re
from dataclasses import replace
from typing import Any, TypeVar

import msgspec

from cacheproxy.domain.digest import read_digest
from cacheproxy.domain.errors import DigestInvalid, StorageError
from cacheproxy.domain.freshness import TagRecord
from cacheproxy.domain.records import Link, Listing

R = TypeVar("R", TagRecord, Listing)

_LINK = re.compile(r"([0-9]{0,20}),([01]),(.*)", re.DOTALL)


class UnreadableError(Exception):
    """A value that we did not write, or not this way."""


def write_link(link: Link) -> bytes:
    """A link as it is kept.

    Raises:
        StorageError: it cannot be.
    """
    size = "" if link.size is None else str(link.size)
    return _utf8(f"{size},{int(link.is_read)},{link.media_type or ''}")


def read_link(value: bytes) -> Link:
    """A link from what is kept of it.

    Raises:
        UnreadableError: it is none.
    """
    try:
        match = _LINK.fullmatch(value.decode())
    except UnicodeDecodeError:
        match = None
    if match is None:
        raise UnreadableError
    return Link(int(match[1]) if match[1] else None, match[3] or None, match[2] == "1")


def write_record(record: TagRecord | Listing) -> bytes:
    """Return a record with a time as it is kept.

    Raises:
        StorageError: it cannot be.
    """
    try:
        return msgspec.json.encode({"record": record, "ahead": 0.0}, enc_hook=str)
    except UnicodeEncodeError as error:
        raise _unwritable(error) from error


def read_record(value: bytes, kind: type[R], epoch: int) -> R:
    """Return a record from what is kept of it.

    Args:
        value: what is kept.
        kind: of the record.
        epoch: of the cluster's clock, for a record of an earlier version, which names none.

    Raises:
        UnreadableError: it is none.
    """
    try:
        kept = msgspec.json.decode(value, type=_KEPT[kind], dec_hook=read_digest)
    except (msgspec.MsgspecError, DigestInvalid, ValueError, RecursionError):
        raise UnreadableError from None
    record: R = kept.record
    return replace(record, checked_at=record.checked_at - kept.ahead, epoch=record.epoch or epoch)


class _KeptTag(msgspec.Struct):
    record: TagRecord
    ahead: float


class _KeptListing(msgspec.Struct):
    record: Listing
    ahead: float


_KEPT: dict[type, Any] = {TagRecord: _KeptTag, Listing: _KeptListing}


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise _unwritable(error) from error


def _unwritable(error: UnicodeEncodeError) -> StorageError:
    return StorageError(f"a record cannot be written down: {error.reason}")
