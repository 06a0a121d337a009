"""From an upstream's answer, or the lack of one, to our errors: the one table of this side."""

import email.utils
import errno
import os
import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import aiohttp

from cacheproxy.domain.errors import (
    CacheproxyError,
    Denied,
    NotFound,
    UpstreamLimited,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from cacheproxy.domain.rate_limit import RateLimit


class RefusedElsewhere(UpstreamUnavailable):
    """The place that upstream redirects to refused us.

    Not the registry's word on us or on the blob, but a signed URL that has expired, or was
    signed for another method. The registry hands out a new one.
    """


class MayBeLacking(UpstreamRefused):
    """A server error of an optional API: upstream lacks it, or has failed."""


_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)")
_GRANTED = re.compile(r"([0-9]{1,9})(?:\s*;\s*w=([0-9]{1,9}))?")
# An address, or an account's identifier; it becomes part of a key.
_SOURCE = re.compile(r"[0-9A-Za-z._:%-]{1,100}")
# What no wait is longer than; and what is no number of seconds, but a time (seen at Docker Hub).
LONGEST_WAIT = 300.0
_EPOCH = 1e9


def error_of(
    status: int, request: str, headers: Mapping[str, str], missing: type[NotFound], now: float
) -> CacheproxyError:
    """The error that an answer of this status is."""
    sentence = f"upstream answered {status} to {request}"
    match status:
        case 404:
            return missing(sentence)
        case 401 | 403:
            return Denied(sentence)
        case 429:
            return UpstreamLimited(sentence, retry_after(headers.get("Retry-After"), now))
        case 408 | 504:
            return UpstreamTimeout(sentence)
        case _ if 400 <= status < 500:
            return UpstreamRefused(sentence)
        case _:
            return UpstreamUnavailable(sentence)


@contextmanager
def translated(registry: str) -> Iterator[None]:
    """Turn whatever goes wrong between us and an upstream into our errors."""
    try:
        yield
    except TimeoutError as error:
        raise UpstreamTimeout(f"{registry} did not answer in time") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        if getattr(error, "errno", None) == errno.ETIMEDOUT:
            raise UpstreamTimeout(f"{registry} did not answer in time") from error
        # ValueError: an answer that aiohttp or yarl cannot read, such as a broken Location.
        raise UpstreamUnavailable(f"{registry} cannot be read from: {_named(error)}") from error


def _named(error: BaseException) -> str:
    """What happened, without an address: a redirect's URL may be a signed one, a secret."""
    cause = getattr(error, "os_error", error)
    if isinstance(cause, ssl.SSLError):
        reason = getattr(cause, "reason", None) or type(cause).__name__
        return f"TLS: {reason.lower().replace('_', ' ')}"
    if isinstance(cause, OSError) and cause.errno is not None and cause.errno > 0:
        return os.strerror(cause.errno)
    return type(error).__name__


def retry_after(field: str | None, now: float) -> float | None:
    """Seconds to wait by a Retry-After field (RFC 9110 §10.2.3), at most five minutes."""
    if not field:
        return None
    try:
        number = float(field)
        seconds = number - now if number > _EPOCH else number
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(field).timestamp() - now
        except (ValueError, OverflowError):
            return None
    # Written so that NaN ends as 0 too.
    return min(seconds, LONGEST_WAIT) if seconds > 0 else 0.0


def content_range(field: str | None) -> tuple[int, int, int | None] | None:
    """First, last and total of a Content-Range field (RFC 9110 §14.4); None where it is none."""
    match = _CONTENT_RANGE.fullmatch(field or "")
    if match is None:
        return None
    total = None if match[3] == "*" else int(match[3])
    return int(match[1]), int(match[2]), total


def rate_limit(headers: Mapping[str, str]) -> RateLimit | None:
    """What Docker Hub grants and what is left of it, from `ratelimit-remaining: 76;w=21600`."""
    remaining = _GRANTED.match(headers.get("ratelimit-remaining", ""))
    if remaining is None:
        return None
    limit = _GRANTED.match(headers.get("ratelimit-limit", ""))
    window = remaining[2] or (limit[2] if limit else None)
    return RateLimit(
        int(remaining[1]),
        int(limit[1]) if limit else None,
        float(window) if window else None,
        rate_limit_source(headers),
    )


def rate_limit_source(headers: Mapping[str, str]) -> str | None:
    """Return the account or the address that upstream counts; None if it does not say."""
    source = headers.get("docker-ratelimit-source", "").strip()
    return source if _SOURCE.fullmatch(source) else None
