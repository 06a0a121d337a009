"""What the cache did for a response, as RFC 9211 words it."""

from dataclasses import dataclass
from typing import Literal, assert_never

Outcome = Literal["hit", "miss", "joined", "stale", "bypass", "error"]


@dataclass(frozen=True, slots=True)
class CacheStatus:
    """How a response came about.

    Attributes:
        outcome: in one word, for metrics and logs.
        ttl: seconds that the answer stays fresh; negative when it is stale already.
        forward_status: what upstream answered, where it was asked.
        stored: the answer was added to the cache.
        detail: one token that says more, such as `upstream-timeout`.
        is_revalidated: upstream was asked whether what is here is still so, and it is.
    """

    outcome: Outcome
    ttl: float | None = None
    forward_status: int | None = None
    stored: bool = False
    detail: str | None = None
    is_revalidated: bool = False

    def field(self, cache: str) -> str:
        """The Cache-Status field's value, for a cache of that name."""
        parts = [cache, *self._forwarding()]
        if self.ttl is not None:
            parts.append(f"ttl={round(self.ttl)}")
        if self.detail is not None:
            parts.append(f"detail={self.detail}")
        return "; ".join(parts)

    def _forwarding(self) -> list[str]:
        if self.outcome in ("hit", "stale") and not self.is_revalidated:
            # What is served although stale is a hit too (RFC 9211 §2.1); its ttl says so.
            return ["hit"]
        forwarding = self._reason()
        if self.forward_status is not None:
            forwarding.append(f"fwd-status={self.forward_status}")
        return [*forwarding, "stored"] if self.stored else forwarding

    def _reason(self) -> list[str]:
        """Why upstream was asked (RFC 9211 §2.2)."""
        match self.outcome:
            case "hit" | "stale":
                return ["fwd=stale"]
            case "miss":
                return ["fwd=miss"]
            case "joined":
                # Another request was already fetching it (RFC 9211 §2.6).
                return ["fwd=miss", "collapsed"]
            case "bypass":
                return ["fwd=bypass"]
            case "error":
                return [] if self.forward_status is None else ["fwd=miss"]
            case never:
                assert_never(never)


HIT = CacheStatus("hit")
