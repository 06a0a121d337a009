"""Room to start in: neither the ledger nor the metadata can be opened on a full volume.

What the cache itself holds there is worth less than a proxy that serves. This is before there
is an account that could be written, so what goes is struck out of it afterwards, when the
directory is looked through.
"""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

from cacheproxy.domain.budget import Budget, Entry, evictable, on_disk
from cacheproxy.domain.digest import Digest
from cacheproxy.inprocess.databases import Access, open_database
from cacheproxy.storage.inventory import look_through
from cacheproxy.storage.layout import Layout
from cacheproxy.storage.ledger_rows import Rows
from cacheproxy.storage.leftovers import drop, older
from cacheproxy.storage.removal import remove

# Opening both takes some 200 KiB. No more than is needed goes here: what the budget asks for
# goes a moment later, when all that it goes by is known.
_ROOM = 1024 * 1024


def make_room_to_start(
    layout: Layout, budget: Budget, now: float, free: Callable[[], int]
) -> list[Entry]:
    """Let go of what is worth least, until there is room to start in; what is gone.

    Args:
        layout: of a store that is prepared.
        budget: says what is pinned, and what is worth least.
        now: seconds since the epoch.
        free: tells the bytes of the volume that are free.
    """
    gone: list[Entry] = []
    if free() >= _ROOM:
        return gone
    freed = 0
    for entry, let_go in _expendable(layout, budget, now):
        if let_go(layout, entry.digest):
            gone.append(entry)
            freed += entry.size
        # Some file systems tell only later that a file has given its room back.
        if freed >= _ROOM or free() >= _ROOM:
            break
    return gone


def _expendable(
    layout: Layout, budget: Budget, now: float
) -> Iterator[tuple[Entry, Callable[[Layout, Digest], bool]]]:
    """What may go and is there, the first first, and how: partial downloads before blobs."""
    for digest in older(layout.root / "ingest", 0.0):
        path = layout.ingest(digest)
        if path.is_file() and not path.is_symlink():
            yield Entry(digest, on_disk(path.stat().st_size), "blob", "", now, now, 0.0), drop
    entries, pinned = _accounted(layout, budget)
    if not entries:
        entries = [entry for entry, _ in look_through(layout, {}).unknown]
    for entry in evictable(entries, budget.policy, pinned, now):
        if Path(layout.blob(entry.digest)).is_file():
            yield entry, remove


def _accounted(layout: Layout, budget: Budget) -> tuple[list[Entry], frozenset[Digest]]:
    """What the ledger knows of, and what of that is pinned; nothing where it cannot be read."""
    # As it is, if that takes no room; else without its log, which has at most the latest.
    ways: tuple[Access, ...] = "ro", "ro&immutable=1"
    for access in ways:
        with (
            contextlib.suppress(sqlite3.Error),
            contextlib.closing(open_database(layout.ledger, 1.0, access)) as ledger,
        ):
            rows = Rows(ledger)
            return rows.entries(), rows.pinned(budget.pins)
    return [], frozenset()
