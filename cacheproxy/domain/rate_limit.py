"""How many pulls an upstream still grants, and which of them are worth spending.

Docker Hub counts GETs of manifests, within a window of hours, for each account or address, and
says so in `ratelimit-limit`, `ratelimit-remaining` and `docker-ratelimit-source`. HEADs and
blobs are free. So a tag that is here can be served as it is, and what is left goes to what is
not here.
"""

from dataclasses import dataclass
from typing import Literal

Spend = Literal["refresh", "fetch"]
"""What a pull is spent on: what is here in an older state, or what is not here at all."""

# Seconds. Docker Hub's window; and how long it is believed that there is nothing left in it.
_WINDOW = 6 * 3600.0
_NOTHING_LEFT = 60.0


@dataclass(frozen=True, slots=True)
class RateLimit:
    """By upstream's last word.

    Attributes:
        remaining: pulls that are left.
        limit: of them in a window; None where upstream does not say.
        window: in seconds, likewise.
        source: whose they are: an account, or an address.
    """

    remaining: int
    limit: int | None = None
    window: float | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Quota:
    """What is known of one account's pulls.

    Attributes:
        seen: upstream's last word; None where it never said anything.
        seen_at: when, on the monotonic clock.
        refused_until: no pull is granted before that, on the same clock.
    """

    seen: RateLimit | None = None
    seen_at: float = 0.0
    refused_until: float = 0.0

    def wait(self, spend: Spend, reserve: int, now: float) -> float:
        """Seconds until a pull may be spent; 0 where one may be now.

        What is kept is kept until the window is over or upstream says something else, as it
        does with each HEAD. That nothing is left counts for a moment only: most windows move,
        and what a pull costs that is not granted is a 429.
        """
        if now < self.refused_until:
            return self.refused_until - now
        seen = self.seen
        if seen is None or seen.remaining > (reserve if spend == "refresh" else 0):
            return 0.0
        window = seen.window or _WINDOW
        believed = window if spend == "refresh" else min(window, _NOTHING_LEFT)
        return max(0.0, self.seen_at + believed - now)

    def told(self, seen: RateLimit, now: float) -> "Quota":
        """Upstream has said how many are left."""
        return Quota(seen, now, self.refused_until)

    def refused(self, seconds: float, now: float) -> "Quota":
        """Upstream has answered 429, and may be asked again after so long."""
        return Quota(self.seen, self.seen_at, now + seconds)

    def or_newer(self, other: "Quota") -> "Quota":
        """What is known of the same account here and elsewhere: upstream's last word of both."""
        newer = other if other.seen is not None and other.seen_at > self.seen_at else self
        return Quota(newer.seen, newer.seen_at, max(self.refused_until, other.refused_until))
