"""When to try again, and when to give up."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff with jitter.

    Attributes:
        attempts: failures in a row after which to try again; the next one is final.
        base: seconds to wait after the first failure, at the most; doubled by each further.
        cap: seconds that no wait is longer than.
        progress: bytes after which a failure counts as the first again.
    """

    attempts: int = 5
    base: float = 0.2
    cap: float = 10.0
    progress: int = 1024 * 1024

    def delay(self, failures: int, jitter: float) -> float | None:
        """Seconds to wait after so many failures in a row; None to give up.

        Args:
            failures: at least 1.
            jitter: from 0 to 1; clients that failed together must not return together.
        """
        if failures > self.attempts:
            return None
        longest = min(self.cap, self.base * 2.0 ** min(failures - 1, 30))
        return longest * (0.5 + jitter / 2)

    def at_most(self, attempts: int) -> "RetryPolicy":
        """This policy, with fewer attempts if it has more."""
        return RetryPolicy(min(attempts, self.attempts), self.base, self.cap, self.progress)
