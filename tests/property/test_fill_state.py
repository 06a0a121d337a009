"""The life of a download against a simpler model of it."""

from typing import Literal

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cacheproxy.domain.errors import DigestMismatch
from cacheproxy.domain.fill_state import HOLD_BACK, FillState, Phase

_LIMIT = 4 * HOLD_BACK
_counts = st.integers(0, _LIMIT) | st.sampled_from(
    (0, 1, HOLD_BACK - 1, HOLD_BACK, HOLD_BACK + 1, 2 * HOLD_BACK)
)

Name = Literal["OPENING", "STREAMING", "VERIFIED", "COMMITTED", "FAILED"]


class Download(RuleBasedStateMachine):
    """A download that upstream, the disk and a shutdown act upon in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.state = FillState()
        self.phase: Name = "OPENING"
        self.size: int | None = None
        self.received = 0
        self.is_verified = False
        self.seen = 0

    @precondition(lambda self: self.phase == "OPENING")
    @rule(size=st.none() | _counts, received=_counts)
    def upstream_answers(self, size: int | None, received: int) -> None:
        if size is not None and received > size:
            with pytest.raises(DigestMismatch):
                self.state.opened(size, received)
            return
        self.state = self.state.opened(size, received)
        self.phase, self.size, self.received = "STREAMING", size, received

    @precondition(lambda self: self.phase == "STREAMING")
    @rule(count=_counts)
    def bytes_come(self, count: int) -> None:
        received = self.received + count
        if self.size is not None and received > self.size:
            with pytest.raises(DigestMismatch):
                self.state.grown(received)
            return
        self.state = self.state.grown(received)
        self.received = received

    @precondition(lambda self: self.phase == "STREAMING" and self.received > 0)
    @rule()
    def bytes_do_not_vanish(self) -> None:
        with pytest.raises(AssertionError):
            self.state.grown(self.received - 1)

    @precondition(lambda self: self.phase != "STREAMING")
    @rule(count=_counts)
    def bytes_come_at_the_wrong_time(self, count: int) -> None:
        with pytest.raises(AssertionError):
            self.state.grown(self.received + count)

    @rule()
    def the_digest_is_right(self) -> None:
        if self.phase != "STREAMING":
            with pytest.raises(AssertionError):
                self.state.verified()
            return
        self.state = self.state.verified()
        self.phase, self.size, self.is_verified = "VERIFIED", self.received, True

    @rule()
    def the_disk_commits(self) -> None:
        if self.phase != "VERIFIED":
            with pytest.raises(AssertionError):
                self.state.committed()
            return
        self.state = self.state.committed()
        self.phase = "COMMITTED"

    @rule()
    def it_fails(self) -> None:
        if self.phase in ("COMMITTED", "FAILED"):
            with pytest.raises(AssertionError):
                self.state.failed()
            return
        self.state = self.state.failed()
        self.phase = "FAILED"

    @invariant()
    def it_is_as_modelled(self) -> None:
        model = FillState(Phase[self.phase], self.size, self.received, self.is_verified)
        assert self.state == model
        assert self.state.over == (self.phase in ("VERIFIED", "COMMITTED", "FAILED"))

    @invariant()
    def what_is_readable_is_there(self) -> None:
        assert 0 <= self.state.readable <= self.state.received

    @invariant()
    def nobody_can_have_read_all_of_an_unverified_blob(self) -> None:
        if not self.is_verified and self.received > 0:
            assert self.state.readable < (self.received if self.size is None else self.size)

    @invariant()
    def the_end_is_held_back_and_no_more(self) -> None:
        whole = self.received if self.size is None else self.size
        if self.phase == "STREAMING":
            assert self.state.readable == min(self.received, max(0, whole - HOLD_BACK))

    @invariant()
    def a_verified_blob_is_readable_to_its_end(self) -> None:
        if self.is_verified:
            assert self.state.readable == self.state.received == self.state.size

    @invariant()
    def what_was_readable_stays_so(self) -> None:
        assert self.state.readable >= self.seen
        self.seen = self.state.readable


TestDownload = Download.TestCase
