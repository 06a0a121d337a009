"""A cache directory as commands use it: opened beside a running server, or without one.

Nothing is made here that is not there yet: a directory that was named by mistake stays as it
is, and no file appears that the server could not write to later.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from cacheproxy.bootstrap.budget import budget_on
from cacheproxy.bootstrap.metadata import make_redis_records
from cacheproxy.bootstrap.upstreams import make_routes
from cacheproxy.domain.budget import Budget
from cacheproxy.domain.errors import StartError, StorageError
from cacheproxy.domain.routing import Routes
from cacheproxy.metadata.embedded_records import EmbeddedRecords
from cacheproxy.metadata.redis_purge import RedisRecords
from cacheproxy.settings.model import Settings
from cacheproxy.storage.filesystem import open_ledger
from cacheproxy.storage.layout import Layout
from cacheproxy.storage.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Cache:
    """What is in one cache directory.

    Attributes:
        layout: where things are.
        ledger: the account, shared with running servers.
        records: the metadata; None where it is not kept in the directory.
        shared: what replicas share of the metadata; None where they share nothing.
        routes: every upstream's names.
        budget: today's.
    """

    layout: Layout
    ledger: Ledger
    records: EmbeddedRecords | None
    shared: RedisRecords | None
    routes: Routes
    budget: Budget


def is_made(settings: Settings) -> bool:
    """Whether there is a cache yet, which this user may look into."""
    try:
        return Layout(settings.cache.directory).ledger.is_file()
    except OSError:
        return False


@contextmanager
def open_cache(settings: Settings, *, with_metadata: bool = True) -> Iterator[Cache]:
    """The cache that these settings name, within this context.

    Raises:
        StartError: there is none here.
        StorageError: it cannot be opened, or failed while it was used.
    """
    layout = Layout(settings.cache.directory)
    _look(layout)
    with ExitStack() as stack:
        with _told(f"the ledger {layout.ledger}"):
            ledger = open_ledger(layout)
        stack.callback(ledger.close)
        records = None
        if with_metadata and _is_embedded(settings, layout):
            with _told(f"the metadata in {layout.metadata}"):
                records = EmbeddedRecords(layout.metadata)
            stack.callback(records.close)
        with _told(f"the cache in {layout.root}"):
            budget = budget_on(settings, layout.volume_bytes())
            shared = make_redis_records(settings.metadata)
            yield Cache(layout, ledger, records, shared, make_routes(settings), budget)


def _is_embedded(settings: Settings, layout: Layout) -> bool:
    # Who shares metadata has all that it has seen in the directory too.
    return settings.metadata.url != "memory:" and (layout.metadata / "cache.db").is_file()


def _look(layout: Layout) -> None:
    try:
        layout.check_version()
        if layout.ledger.is_file():
            return
    except OSError as error:
        raise StartError(
            f"the cache directory {layout.root} cannot be read: {error.strerror}; "
            "run this as the user that the server runs as"
        ) from error
    raise StartError(
        f"there is no cache in {layout.root.absolute()}: it has no ledger.db, which the server "
        "makes when it starts; is that the right cache.directory, seen from here?"
    )


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise  # of whoever reads what the command prints
    except (sqlite3.OperationalError, OSError) as error:
        # Locked, or not ours to write.
        raise StorageError(
            f"{what} cannot be used: {error}; run this as the user that the server runs as, or "
            "once more if it was only busy"
        ) from error
    except sqlite3.Error as error:
        raise StorageError(
            f"{what} cannot be used: {error}; start the server, which says what to do"
        ) from error
