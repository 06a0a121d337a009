"""Ledgers on one store directory, as the workers of a volume have them, and real files for it."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from cacheproxy.domain.budget import Budget, Entry, Kind
from cacheproxy.domain.digest import Digest
from cacheproxy.storage.claims import Claim, Left
from cacheproxy.storage.layout import Layout
from cacheproxy.storage.ledger import Ledger
from cacheproxy.storage.removal import remove

NOW = 1_700_000_000.0
DAY = 86400.0
AMPLE = Budget(max_size=2**50)


def left(kept: int) -> Callable[[Digest], Left]:
    """Return a look at a download that nobody writes any more, with so many bytes left."""
    return lambda _: ("partial", kept) if kept else ("none", 0)


def digest_of(name: object) -> Digest:
    """A digest that stands for a name."""
    return Digest("sha256:" + hashlib.sha256(str(name).encode()).hexdigest())


def entry(name: object, size: int = 10, **fields: Any) -> Entry:
    """A blob that was stored at `NOW`, and asked for once, then."""
    defaults = {
        "kind": "blob",
        "registry": "docker.io",
        "since": NOW,
        "last_used": NOW,
        "heat": 1.0,
    }
    return Entry(digest_of(name), size, **{**defaults, **fields})


class Books:
    """A store directory with its ledgers; `free` is what the volume is said to have left."""

    def __init__(self, root: Path, stack: ExitStack) -> None:
        self.layout = Layout(root)
        self.layout.prepare()
        self.free = 2**50
        self.executor = stack.enter_context(ThreadPoolExecutor(1))
        self._stack = stack
        self.ledger = self.another()

    def another(self) -> Ledger:
        """One more ledger on the same database, as another worker has it."""
        remover = partial(remove, self.layout)
        made = Ledger(self.layout.ledger, remover, lambda: self.free)
        return self._stack.enter_context(closing(made))

    def path(self, digest: Digest) -> Path:
        """Where a blob is, or would be."""
        return Path(self.layout.blob(digest))

    def put(self, digest: Digest) -> None:
        """A blob's file, whatever is in it."""
        path = self.path(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")

    def commit(self, stored: Entry, children: Iterable[Digest] = ()) -> Digest:
        """Store a blob, file and all."""
        self.put(stored.digest)
        self.ledger.commit(stored, children)
        return stored.digest

    def blob(self, name: object, size: int = 10, kind: Kind = "blob", **fields: Any) -> Digest:
        """Store a blob of that name."""
        return self.commit(entry(name, size, kind=kind, **fields))

    def reserve(self, name: object, size: int, budget: Budget, **fields: Any) -> bool:
        """Reserve room for a blob of that name; whether it is reserved."""
        claim = Claim(digest_of(name), fields.get("registry", "docker.io"), size)
        fits, _ = self.ledger.reserve(claim, budget, fields.get("now", NOW))
        return fits

    def stored(self) -> set[Digest]:
        """What is there: the files and the ledger agree about it.

        Raises:
            AssertionError: they do not.
        """
        known = {stored.digest for stored in self.ledger.entries()}
        assert {digest for digest in known if self.path(digest).exists()} == known
        return known


@contextmanager
def books(root: Path) -> Iterator[Books]:
    """Ledgers of an empty store, closed at the end."""
    with ExitStack() as stack:
        yield Books(root, stack)
