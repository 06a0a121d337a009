"""From an upstream's answer, or the lack of one, to our errors: the one table of this side."""

import email.utils
import errno
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime

import aiohttp
from yarl import URL

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
from cacheproxy.inprocess.failures import explain_failure


class RefusedElsewhere(UpstreamUnavailable):
    """The place that upstream redirects to refused us.

    Not the registry's word on us or on the blob, but a signed URL that has expired, or was
    signed for another method. The registry hands out a new one.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message, is_response=True)


class MayBeLacking(UpstreamRefused):
    """A server error of an optional API: upstream lacks it, or has failed."""


_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)")
# An address, or an account's identifier; it becomes part of a key.
_SOURCE = re.compile(r"[0-9A-Za-z._:%-]{1,100}")
# Each quota field has been seen under these names.
_NAMES = ("ratelimit-{}", "x-ratelimit-{}", "x-rate-limit-{}")
_GRANTED = re.compile(r"([0-9]{1,9})(?:\s*;\s*w=([0-9]{1,9}))?")
# The single field of the IETF's later drafts: `limit=100, remaining=0, reset=30`, then
# `"default";r=0;t=30` beside a policy of `"default";q=100;w=60`.
_IN_ONE_FIELD = {
    "remaining": re.compile(r"\b(?:remaining|r)=([0-9]{1,9})\b"),
    "limit": re.compile(r"\b(?:limit|q)=([0-9]{1,9})\b"),
    "reset": re.compile(r"\b(?:reset|t)=([0-9]{1,9})\b"),
    "window": re.compile(r"\bw=([0-9]{1,9})\b"),
}
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s?(ms|s|m|h)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
# The longest wait; and the numbers that are no seconds to wait but a time, in seconds (seen at
# Docker Hub) or in milliseconds.
LONGEST_WAIT = 300.0
_EPOCH = 1e9
_EPOCH_MILLISECONDS = 1e12
# The longest time in seconds for which a report of a quota counts.
_LONGEST_WINDOW = 86_400.0


def error_of(
    status: int, request: str, headers: Mapping[str, str], missing: type[NotFound], now: float
) -> CacheproxyError:
    """Return the error that a response of this status is."""
    sentence = f"upstream answered {status} to {request}"
    if is_limit(status, headers, now):
        return UpstreamLimited(sentence, wait_of(headers, now))
    match status:
        case 404:
            return missing(sentence)
        case 401 | 403:
            return Denied(sentence)
        case 408 | 504:
            return UpstreamTimeout(sentence, is_response=True)
        case _ if 400 <= status < 500 or status == 501:
            return UpstreamRefused(sentence, is_response=True)
        case 503:
            wait = retry_after(headers.get("Retry-After"), now)
            return UpstreamUnavailable(sentence, wait, is_response=True)
        case _:
            return UpstreamUnavailable(sentence, is_response=True)


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Turn a failure between us and an upstream into an error of ours, within this context."""
    try:
        yield
    except TimeoutError as error:
        raise UpstreamTimeout(f"{place} did not answer in time") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        if getattr(error, "errno", None) == errno.ETIMEDOUT:
            raise UpstreamTimeout(f"{place} did not answer in time") from error
        # ValueError: an answer that aiohttp or yarl cannot read, such as a broken Location.
        raise UpstreamUnavailable(f"{place}: {explain_failure(error)}") from error


def is_limit(status: int, headers: Mapping[str, str], now: float) -> bool:
    """Return whether a response refuses a request for a while, whoever may read what.

    Some registries limit by 403. Such a response says when to come back, and challenges nobody.
    """
    if status != 403 or "WWW-Authenticate" in headers:
        return status == 429
    if retry_after(headers.get("Retry-After"), now) is not None:
        return True
    limit = rate_limit(headers, now)
    return limit is not None and limit.remaining == 0 and limit.window is not None


def wait_of(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds after which a refused request may be sent again; None if unsaid."""
    said = retry_after(headers.get("Retry-After"), now)
    return retry_after(_quota_field(headers, "reset"), now) if said is None else said


def retry_after(field: str | None, now: float) -> float | None:
    """Return the seconds to wait by a Retry-After field (RFC 9110 §10.2.3), at most five minutes.

    Beside seconds and a date it may be a duration with a unit, or a time since the epoch.
    """
    seconds = _seconds_until(field, now) if field else None
    return None if seconds is None else _bound_seconds(seconds, LONGEST_WAIT)


def _bound_seconds(seconds: float, longest: float) -> float:
    # Written so that NaN ends as 0 too.
    return min(seconds, longest) if seconds > 0 else 0.0


def _seconds_until(field: str, now: float) -> float | None:
    duration = _DURATION.fullmatch(field.strip())
    if duration is not None:
        return float(duration[1]) * _UNITS[duration[2]]
    try:
        number = float(field)
    except ValueError:
        moment = _timestamp_of(field)
        return None if moment is None else moment - now
    if number > _EPOCH_MILLISECONDS:
        number /= 1000
    return number - now if number > _EPOCH else number


def _timestamp_of(field: str) -> float | None:
    """Return the time of an HTTP date or an ISO 8601 date, in seconds since the epoch."""
    for parse in (email.utils.parsedate_to_datetime, datetime.fromisoformat):
        try:
            moment = parse(field)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            continue
    return None


def redirect_target(status: int, headers: Mapping[str, str], base: URL) -> URL | None:
    """Return where a response redirects to (RFC 9110 §10.2.2), without a fragment; None if nowhere.

    Raises:
        ValueError: its Location is no URL.
    """
    location = headers.get("Location")
    if status not in _REDIRECTS or not location:
        return None
    # encoded=True: a signature is over the URL as it was written. A raw space cannot be sent.
    written = location.strip().partition("#")[0].replace(" ", "%20")
    return base.join(URL(written, encoded=True))


async def read_at_most(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """Return the whole body of a response.

    Raises:
        UpstreamUnavailable: it is longer than `limit` bytes.
    """
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > limit:
            raise UpstreamUnavailable(f"an upstream's answer is longer than {limit} bytes")
    return bytes(body)


def content_range(field: str | None) -> tuple[int, int, int | None] | None:
    """First, last and total of a Content-Range field (RFC 9110 §14.4); None where it is none."""
    match = _CONTENT_RANGE.fullmatch(field or "")
    if match is None:
        return None
    total = None if match[3] == "*" else int(match[3])
    return int(match[1]), int(match[2]), total


def rate_limit(headers: Mapping[str, str], now: float) -> RateLimit | None:
    """Return the quota that a response reports, in any of the fields that registries use."""
    remaining = _GRANTED.match(_quota_field(headers, "remaining"))
    if remaining is None:
        return None
    limit = _GRANTED.match(_quota_field(headers, "limit"))
    policy = _GRANTED.match(_quota_field(headers, "window"))
    window = remaining[2] or (limit[2] if limit else None) or (policy[1] if policy else None)
    reset = _seconds_until(_quota_field(headers, "reset"), now)
    seconds = reset if reset is not None else float(window) if window else None
    return RateLimit(
        int(remaining[1]),
        int(limit[1]) if limit else None,
        None if seconds is None else _bound_seconds(seconds, _LONGEST_WINDOW),
        rate_limit_source(headers),
    )


def _quota_field(headers: Mapping[str, str], word: str) -> str:
    """Return the value of a quota's field; empty if the response has none."""
    for name in _NAMES:
        if (written := headers.get(name.format(word))) is not None:
            return written
    together = f"{headers.get('RateLimit', '')}; {headers.get('RateLimit-Policy', '')}"
    found = _IN_ONE_FIELD[word].search(together)
    return found[1] if found else ""


def rate_limit_source(headers: Mapping[str, str]) -> str | None:
    """Return the account or the address that upstream counts; None if it does not say."""
    source = headers.get("docker-ratelimit-source", "").strip()
    return source if _SOURCE.fullmatch(source) else None
