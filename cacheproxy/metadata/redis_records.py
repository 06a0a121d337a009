"""Values in Redis, and how they are read by those who cannot trust who wrote them.

Tags and pages are JSON; links, of which there are most, are `size,is_read,media_type`, which a
script can merge without a number becoming another one on the way.

Clocks of replicas differ. So each record that has a time also has by how much its writer's
clock was ahead of the server's; a reader who knows the same of its own can tell its age.
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

# What cannot be measured well is left as it is.
_SAME_CLOCK = 1.0
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


def write_record(record: TagRecord | Listing, ahead: float) -> bytes:
    """A record with a time, as it is kept.

    Args:
        record: of a tag, or a page.
        ahead: seconds by which our clock is ahead of the server's.

    Raises:
        StorageError: it cannot be.
    """
    try:
        return msgspec.json.encode({"record": record, "ahead": round(ahead, 3)}, enc_hook=str)
    except UnicodeEncodeError as error:
        raise _unwritable(error) from error


def read_record(value: bytes, kind: type[R], ahead: float, now: float) -> R:
    """A record from what is kept of it, with its time by our clock, and never in the future.

    Args:
        value: what is kept.
        kind: of the record.
        ahead: seconds by which our clock is ahead of the server's.
        now: by our clock.

    Raises:
        UnreadableError: it is none.
    """
    try:
        kept = msgspec.json.decode(value, type=_KEPT[kind], dec_hook=read_digest)
    except (msgspec.MsgspecError, DigestInvalid, ValueError, RecursionError):
        raise UnreadableError from None
    record: R = kept.record
    apart = ahead - kept.ahead
    checked_at = record.checked_at + (apart if abs(apart) > _SAME_CLOCK else 0.0)
    return replace(record, checked_at=min(checked_at, now))


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
