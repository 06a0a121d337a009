"""The time of the cluster: the Redis server's, carried on by this process's monotonic clock.

The wall clock of a machine steps; the monotonic clock does not. So the time of day is taken once
from the server, and counted on from there. All records of tags and pages are stamped with it.
"""

import secrets
from dataclasses import replace
from typing import TypeVar

from cacheproxy.domain.freshness import CLOCK_TOLERANCE, TagRecord
from cacheproxy.domain.records import Listing
from cacheproxy.ports import Clock

R = TypeVar("R", TagRecord, Listing)


class ClusterClock:
    """A `Clock` that agrees with those of other replicas once it was measured.

    Until then it is the wall clock, in the latest epoch that records name. An epoch begins when
    the server's clock goes back, since times of two epochs cannot be compared.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # Seconds of the wall clock at the start of the monotonic one.
        self._wall_lead = _wall_lead(clock)
        # Likewise of the server's clock, and by how much that may be wrong.
        self._server_lead: float | None = None
        self._uncertainty = 0.0
        # Seconds to add to what was stamped before the first measurement.
        self._shift = 0.0
        self._epoch = 0
        self._writer = secrets.token_hex(4)
        self._unmeasured_writer = secrets.token_hex(4)

    def now(self) -> float:
        """Return the seconds since the epoch by the server's clock, or by ours if unmeasured."""
        if self._server_lead is None:
            return self._clock.now()
        return self._clock.monotonic() + self._server_lead

    def monotonic(self) -> float:
        """Return the seconds since some moment."""
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await self._clock.sleep(seconds)

    @property
    def epoch(self) -> int:
        """Number of the epoch; 0 if none is known."""
        return self._epoch

    @property
    def ahead(self) -> float:
        """Seconds by which the wall clock is ahead of the cluster's."""
        return self._clock.now() - self.now()

    @property
    def uncertainty(self) -> float:
        """Seconds by which the time may differ from the server's, when it was last measured."""
        return self._uncertainty

    @property
    def must_be_measured(self) -> bool:
        """Whether it never was, or the wall clock has stepped, or the machine slept since."""
        return self._server_lead is None or self._has_stepped

    def measure(self, server: float, before: float, after: float) -> None:
        """Take over the server's time.

        Args:
            server: seconds since the epoch by its clock.
            before: the monotonic time when it was asked.
            after: the monotonic time when it had answered.
        """
        lead, uncertainty = server - (before + after) / 2, (after - before) / 2
        if self._server_lead is None:
            self._note_step()
            shift = lead - self._wall_lead
            self._shift = shift if abs(shift) > CLOCK_TOLERANCE else 0.0
        elif 2 * uncertainty > CLOCK_TOLERANCE and not self._has_stepped:
            return  # the last measurement is better than this one
        elif lead < self._server_lead - CLOCK_TOLERANCE:
            self._epoch += 1
        self._server_lead, self._uncertainty = lead, uncertainty
        self._wall_lead = _wall_lead(self._clock)

    def join_epoch(self, epoch: int) -> None:
        """Go on in a later epoch that another replica has begun."""
        self._epoch = max(self._epoch, epoch)

    def sign(self, record: R) -> R:
        """Return a record of ours with the epoch and the writer's name."""
        if record.writer:
            return record
        if self._server_lead is not None:
            return replace(record, epoch=self._epoch, writer=self._writer)
        self._note_step()
        return replace(record, epoch=self._epoch, writer=self._unmeasured_writer)

    def settle(self, record: R) -> R:
        """Return a record that was read; one that this process stamped unmeasured, corrected."""
        self.join_epoch(record.epoch)
        if self._server_lead is None or record.writer != self._unmeasured_writer:
            return record
        at = record.checked_at + self._shift
        return replace(record, checked_at=at, epoch=self._epoch, writer=self._writer)

    @property
    def _has_stepped(self) -> bool:
        return abs(_wall_lead(self._clock) - self._wall_lead) > CLOCK_TOLERANCE

    def _note_step(self) -> None:
        """Correct nothing by the first measurement that was stamped before a step."""
        if self._has_stepped:
            self._wall_lead = _wall_lead(self._clock)
            self._unmeasured_writer = secrets.token_hex(4)


def _wall_lead(clock: Clock) -> float:
    return clock.now() - clock.monotonic()
