"""The store's numbers, for whoever shows them: also a process that does not serve."""

import contextlib
import sqlite3
from collections.abc import Callable

from cacheproxy.domain.budget import Budget
from cacheproxy.inprocess.databases import open_database
from cacheproxy.storage.layout import Layout


def usage_reader(
    layout: Layout, budget: Callable[[], Budget]
) -> Callable[[], tuple[int, int, int]]:
    """A way to read the bytes stored, reserved, and allowed by today's budget.

    It opens the ledger anew each time, read-only: that is cheap beside the page it is for,
    and no process has to keep it open for it.
    """

    def read() -> tuple[int, int, int]:
        try:
            with contextlib.closing(open_database(layout.ledger, 1.0, "ro")) as ledger:
                row = ledger.execute(
                    "SELECT COALESCE(SUM(stored), 0), COALESCE(SUM(reserved), 0) FROM used"
                ).fetchone()
        except sqlite3.Error:
            row = (0, 0)  # not made yet
        return int(row[0]), int(row[1]), budget().max_size

    return read
