"""The pulls that an upstream grants, and which of them to spend.

Docker Hub counts GETs of manifests within a window of hours, for each account or source
address, and reports it in `ratelimit-limit`, `ratelimit-remaining` and
`docker-ratelimit-source`. HEADs and blobs are free. So a cached tag can be served as it is, and
the remaining pulls go to what is not cached.
"""

import ipaddress
from dataclasses import dataclass, replace
from typing import Literal

Spend = Literal["refresh", "fetch"]
"""The reason for a pull: to renew what is cached, or to fetch what is not."""

# Seconds: an empty quota is believed to be empty for no longer.
_NOTHING_LEFT = 60.0


@dataclass(frozen=True, slots=True)
class RateLimit:
    """The quota that a response reports.

    Attributes:
        remaining: pulls that are left.
        limit: pulls in a window; None if unknown.
        window: seconds until they are granted anew, at most; likewise.
        source: the account or the address that upstream counts; None if unknown.
    """

    remaining: int
    limit: int | None = None
    window: float | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Quota:
    """The pulls of one account.

    Attributes:
        seen: upstream's last report; None if it never reported any.
        seen_at: its time, on the monotonic clock.
        refused_until: no pull is granted before that, on the same clock.
        source: the account or the address that upstream counts, as it last said; None if it
            never did.
    """

    seen: RateLimit | None = None
    seen_at: float = 0.0
    refused_until: float = 0.0
    source: str | None = None

    def wait(self, spend: Spend, reserve: int, now: float) -> float:
        """Return the seconds until a pull may be spent; 0 if one may be now.

        The reserve is kept until the window is over or upstream says something else, as it
        does with each HEAD. An empty quota counts for a moment only: most windows move, and a
        pull that is not granted costs no more than a 429. Without a window it does not count
        at all: what it limits, and for how long, is unknown.
        """
        if now < self.refused_until:
            return self.refused_until - now
        seen = self.seen
        if seen is None or seen.remaining > (reserve if spend == "refresh" else 0):
            return 0.0
        window = seen.window or 0.0
        believed = window if spend == "refresh" else min(window, _NOTHING_LEFT)
        return max(0.0, self.seen_at + believed - now)

    def report(self, seen: RateLimit, now: float) -> "Quota":
        """Take over what a response reports."""
        source = seen.source or self.source
        return replace(self, seen=seen, seen_at=now, source=source)

    def refuse(self, seconds: float, now: float, source: str | None = None) -> "Quota":
        """Grant no pull for so long after a 429."""
        return replace(self, refused_until=now + seconds, source=source or self.source)

    def merge(self, other: "Quota") -> "Quota":
        """Combine two states of one quota: the newer report, and the longer refusal."""
        newer = other if other.seen is not None and other.seen_at > self.seen_at else self
        refused_until = max(self.refused_until, other.refused_until)
        return Quota(newer.seen, newer.seen_at, refused_until, self.source)


def counted_by(source: str | None, login: int | None) -> str | None:
    """Return the name of the quota that upstream counts; None if replicas may not share one.

    All replicas that use a login share its quota. Replicas that use none, or whose login
    upstream does not count by, share one only if upstream reports the same source for both.

    Args:
        source: the account or the address that upstream reports; None if unknown.
        login: the login's number; None without one.
    """
    if login is not None and (source is None or not _is_address(source)):
        return f"account {login}"
    return None if source is None else f"source {source}"


def _is_address(source: str) -> bool:
    try:
        ipaddress.ip_address(source)
    except ValueError:
        return False
    return True
