"""Faults that are planted into the core, to show that a simulation finds them."""

from collections.abc import Callable
from typing import Any

from cacheproxy.domain import fill_state
from cacheproxy.pullthrough import fill, follower
from cacheproxy.storage import filesystem, ingest
from cacheproxy.storage.accounts import Accounts


def _hold_nothing_back() -> None:
    fill_state.HOLD_BACK = 0


def _compare_nothing() -> None:
    async def begin_alike(*_: Any) -> bool:
        return True

    follower._begin_alike = begin_alike


def _verify_nothing() -> None:
    ingest.FileIngest.verify = lambda _: None  # type: ignore[method-assign]


def _keep_what_has_ended() -> None:
    fill.Fills._remove = lambda *_: None  # type: ignore[method-assign]


def _lose_the_lock_of_the_cancelled() -> None:
    filesystem._release_lock = lambda _: None


def _keep_reservations() -> None:
    async def settle_one(*_: Any) -> None:
        return

    Accounts.settle_one = settle_one  # type: ignore[method-assign]


PLANTS: dict[str, Callable[[], None]] = {
    "hold-nothing-back": _hold_nothing_back,
    "compare-nothing": _compare_nothing,
    "verify-nothing": _verify_nothing,
    "keep-what-has-ended": _keep_what_has_ended,
    "lose-the-lock-of-the-cancelled": _lose_the_lock_of_the_cancelled,
    "keep-reservations": _keep_reservations,
}
"""Each changes the core of this process, for good."""
