"""When to stop asking an upstream that does not answer, and when to try again.

A request to a registry that is down costs whoever waits for it a deadline, and one that is
limited only becomes more so. So after some failures in a row nobody asks for a while; then one
request, the probe, finds out whether that is over (Nygard, "Release It!", circuit breaker).

Everything here is a function of what happened and of the time.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When to break, and for how long. All in seconds but the first.

    Attributes:
        failures: in a row after which it opens.
        pause: until the first probe; after each that fails, twice as long.
        longest_pause: but no longer.
    """

    failures: int = 5
    pause: float = 1.0
    longest_pause: float = 30.0


@dataclass(frozen=True, slots=True)
class Failure:
    """How upstream has not answered.

    Attributes:
        error: in a sentence.
        retry_after: seconds that it asked to be left alone for, where it did.
    """

    error: str
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Breaker:
    """What happened lately, and what follows from it.

    Attributes:
        failures: in a row.
        opens_at: on the monotonic clock, from when on one request may probe; None while it is
            closed, and all may pass.
        is_probing: the probe is under way.
        error: why it is open, in a sentence.
        era: begins anew when it opens, probes, or closes. A failure of a request that was let
            pass in an earlier one says nothing that is not known.
    """

    failures: int = 0
    opens_at: float | None = None
    is_probing: bool = False
    error: str = ""
    era: int = 0

    @property
    def is_open(self) -> bool:
        """Whether upstream is given a rest."""
        return self.opens_at is not None

    def wait(self, now: float) -> float | None:
        """Seconds until asking may help; None where a request may pass now."""
        if self.opens_at is None:
            return None
        if now < self.opens_at:
            return self.opens_at - now
        return 1.0 if self.is_probing else None

    def asking(self) -> "Breaker":
        """A request passes, in the era of what this returns; where it is open, as the probe."""
        return replace(self, is_probing=True, era=self.era + 1) if self.is_open else self

    def answered(self) -> "Breaker":
        """Upstream has answered, whenever it was asked: all is well."""
        return Breaker(era=self.era + self.is_open)

    def gave_up(self, era: int) -> "Breaker":
        """Whoever asked in that era did not wait for the answer: nothing is known."""
        return replace(self, is_probing=False) if era == self.era else self

    def failed(
        self, era: int, failure: Failure, now: float, policy: BreakerPolicy, jitter: float
    ) -> "Breaker":
        """Upstream has not answered.

        Args:
            era: in which it was asked.
            failure: how.
            now: on the monotonic clock.
            policy: of the operator.
            jitter: from 0 to 1; so many processes do not all come back at once.
        """
        if era != self.era:
            return self
        failures = self.failures + 1
        if failures < policy.failures:
            return Breaker(failures, error=failure.error, era=era)
        doubled = policy.pause * 2.0 ** min(failures - policy.failures, 32)
        pause = min(max(doubled, failure.retry_after or 0.0), policy.longest_pause)
        opens_at = now + pause * (0.75 + 0.5 * jitter)
        return Breaker(failures, opens_at, error=failure.error, era=era + 1)
