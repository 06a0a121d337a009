"""A circuit breaker: when to stop asking a server that fails, and when to try again.

A request to a server that is down costs its caller a deadline. So after some failures in a row
the breaker opens, and requests fail at once. After the cool-down one request, the probe, finds
out whether the server is back (Nygard, "Release It!", circuit breaker).

The breaker is a state machine over values: each state is a function of the state before, of
what happened, and of the time. A request must be admitted before it can succeed or fail.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When to open, and for how long. All in seconds but the first.

    Attributes:
        failures: failures in a row after which the breaker opens.
        pause: the first cool-down; each probe that fails doubles it.
        longest_pause: the longest cool-down.
    """

    failures: int = 5
    pause: float = 1.0
    longest_pause: float = 30.0


@dataclass(frozen=True, slots=True)
class Failure:
    """The failure of a request.

    Attributes:
        error: the error, in a sentence.
        retry_after: seconds after which the server wants the next request, where it said so.
    """

    error: str
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Permit:
    """The admission of one request.

    Attributes:
        generation: the breaker's generation when it admitted the request.
    """

    generation: int


@dataclass(frozen=True, slots=True)
class Breaker:
    """The state of a circuit breaker.

    Attributes:
        failures: failures in a row.
        opens_at: on the monotonic clock, the time of the next probe; None while it is closed.
        is_probing: whether the probe is in flight (half-open).
        error: the last failure, in a sentence.
        generation: increases when the breaker opens, admits a probe, or closes. The failure of a
            request from an earlier generation is not news, and changes nothing.
    """

    failures: int = 0
    opens_at: float | None = None
    is_probing: bool = False
    error: str = ""
    generation: int = 0

    @property
    def is_open(self) -> bool:
        """Whether requests fail at once, but for the probe."""
        return self.opens_at is not None

    def wait(self, now: float) -> float | None:
        """Return the seconds until a request may help; None if one may be admitted now."""
        if self.opens_at is None:
            return None
        if now < self.opens_at:
            return self.opens_at - now
        return 1.0 if self.is_probing else None

    def admit(self) -> "tuple[Breaker, Permit]":
        """Admit a request; while the breaker is open, as the probe."""
        after = self
        if self.is_open:
            after = replace(self, is_probing=True, generation=self.generation + 1)
        return after, Permit(after.generation)

    def close(self) -> "Breaker":
        """Close after any response: the server is up, whenever the request was admitted."""
        return Breaker(generation=self.generation + self.is_open)

    def give_up(self, permit: Permit) -> "Breaker":
        """Admit another probe, if this request was the probe and ended without an outcome."""
        return replace(self, is_probing=False) if permit.generation == self.generation else self

    def fail(
        self, permit: Permit, failure: Failure, now: float, policy: BreakerPolicy, jitter: float
    ) -> "Breaker":
        """Count a failure, unless its request is from an earlier generation.

        Args:
            permit: the request's admission.
            failure: its failure.
            now: on the monotonic clock.
            policy: the operator's.
            jitter: from 0 to 1; spreads the probes of many processes.
        """
        if permit.generation != self.generation:
            return self
        failures = self.failures + 1
        if failures < policy.failures:
            return Breaker(failures, error=failure.error, generation=self.generation)
        doubled = policy.pause * 2.0 ** min(failures - policy.failures, 32)
        pause = min(max(doubled, failure.retry_after or 0.0), policy.longest_pause)
        opens_at = now + pause * (0.75 + 0.5 * jitter)
        return Breaker(failures, opens_at, error=failure.error, generation=self.generation + 1)
