"""Conditional requests (RFC 9110 §13) where the validator is the digest."""

from cacheproxy.domain.byte_range import RequestedRange
from cacheproxy.domain.byte_range import parse as parse_range
from cacheproxy.domain.digest import Digest


def etag(digest: Digest) -> str:
    """The strong entity tag of whatever has this digest."""
    return f'"{digest}"'


def matches(if_none_match: str | None, digest: Digest) -> bool:
    """Whether an If-None-Match field names the digest.

    Compared weakly, as §13.1.2 asks; unquoted too, as some registries taught clients. A
    digest holds neither a comma nor a quote, so splitting is enough.
    """
    if if_none_match is None:
        return False
    if if_none_match.strip() == "*":
        return True
    tags = (tag.strip().removeprefix("W/").strip('"') for tag in if_none_match.split(","))
    return digest in tags


def wanted_range(
    range_field: str | None, if_range: str | None, digest: Digest
) -> RequestedRange | None:
    """The range to send; None for the whole.

    With an If-Range of anything but this very digest the range is of something else
    (§13.1.5): a weak tag or a date never matches.
    """
    if if_range is not None and if_range.strip() != etag(digest):
        return None
    return parse_range(range_field)
