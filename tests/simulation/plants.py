"""Faults that are planted into the core, to show that a simulation finds them."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from cacheproxy.domain import fill_state
from cacheproxy.domain.freshness import TagRecord
from cacheproxy.metadata import shared
from cacheproxy.metadata.hearing import Hearing
from cacheproxy.pullthrough import follower
from cacheproxy.pullthrough.fill import Fills
from cacheproxy.storage import filesystem
from cacheproxy.storage.accounts import Accounts
from cacheproxy.storage.ingest import FileIngest


async def _agree(*_: Any) -> bool:
    return True


async def _do_nothing_later(*_: Any) -> None:
    return


def _do_nothing(*_: Any) -> None:
    return


def _return_last(records: Iterable[TagRecord | None], _: float) -> TagRecord | None:
    return next((record for record in reversed(list(records)) if record is not None), None)


PLANTS: dict[str, Callable[[], None]] = {
    "hold-nothing-back": partial(setattr, fill_state, "HOLD_BACK", 0),
    "compare-nothing": partial(setattr, follower, "_begin_alike", _agree),
    "verify-nothing": partial(setattr, FileIngest, "verify", _do_nothing),
    "keep-what-has-ended": partial(setattr, Fills, "_remove", _do_nothing),
    "lose-the-lock-of-the-cancelled": partial(setattr, filesystem, "_release_lock", _do_nothing),
    "keep-reservations": partial(setattr, Accounts, "settle_one", _do_nothing_later),
}
"""Each changes the core of this process, for good."""

CLUSTER_PLANTS: dict[str, Callable[[], None]] = {
    "believe-what-is-ours": partial(setattr, shared, "newest", _return_last),
    "purge-nothing": partial(setattr, Hearing, "_purge", _do_nothing_later),
}
"""Likewise, of how replicas agree: found by a simulation of several."""
