"""A model of the store: which blobs it would hold, by the same functions."""

from collections.abc import Callable, Iterable, Mapping

from cacheproxy.domain.budget import Budget, Entry, evictable, excess, heated, is_idle
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.replay import Answer
from cacheproxy.domain.trace import Content

Order = Callable[[list[Entry], float], list[Entry]]
"""What goes first, of these, at that time."""


class ModelStore:
    """Which blobs a store would hold, within a budget.

    It begins empty. Of the budget, `min_free` says nothing here: there is no volume.
    """

    def __init__(
        self,
        budget: Budget,
        *,
        pinned: frozenset[Digest] = frozenset(),
        children: Mapping[Digest, Iterable[Digest]] | None = None,
        order: Order | None = None,
    ) -> None:
        """Begin.

        Args:
            budget: as the store has it.
            pinned: what never goes.
            children: of manifests: what they refer to, which is used with them.
            order: another than the budget's policy has.
        """
        self.entries: dict[Digest, Entry] = {}
        self._budget = budget
        self._pinned = pinned
        self._children = children or {}
        self._order = order or self._by_policy
        self._used: dict[str | None, int] = {None: 0}

    def ask(self, content: Content, at: float) -> Answer:
        """Ask for something, which is fetched if it is not here."""
        if self.use(content.key, at):
            return "hit"
        return "kept" if self.put(content, at) else "passed"

    def use(self, key: Digest, at: float) -> bool:
        """Heat what is asked for, and its parts; whether it is here."""
        if not self._heat(key, at):
            return False
        if key in self._children:
            for part in self._below(key, at):
                self._heat(part, at)
        return True

    def put(self, content: Content, at: float) -> bool:
        """Keep something, if there can be room for it."""
        if not self._make_room(content.room, content.registry, at):
            return False
        self.entries[content.key] = Entry(
            content.key, content.room, content.kind, content.registry, at, at, 1.0
        )
        for of in (None, content.registry):
            self._used[of] = self._used.get(of, 0) + content.room
        return True

    def drop(self, key: Digest) -> None:
        """Let something go."""
        gone = self.entries.pop(key)
        for of in (None, gone.registry):
            self._used[of] -= gone.size

    def _below(self, key: Digest, at: float) -> set[Digest]:
        """What it refers to, and what that refers to; a manifest that is gone refers to nothing."""
        found, waiting = {key}, [key]
        while waiting:
            parent = waiting.pop()
            here = self._found(parent, at) is not None
            new = set(self._children.get(parent, ())) - found if here else ()
            found.update(new)
            waiting.extend(new)
        return found - {key}

    def _heat(self, key: Digest, at: float) -> bool:
        found = self._found(key, at)
        if found is None:
            return False
        heat = heated(found.heat, found.last_used, at, 1)
        self.entries[key] = Entry(
            key, found.size, found.kind, found.registry, found.since, at, heat
        )
        return True

    def _found(self, key: Digest, at: float) -> Entry | None:
        found = self.entries.get(key)
        if found is not None and self._is_gone(found, at):
            self.drop(key)
            return None
        return found

    def _is_gone(self, entry: Entry, at: float) -> bool:
        """Whether it is idle: the store looks each minute, the model when it matters."""
        return is_idle(entry, self._budget, at) and entry.digest not in self._pinned

    def _make_room(self, wanted: int, registry: str, now: float) -> bool:
        """As the ledger does: first of the upstream's share, then of the whole."""
        share = self._budget.share_of(registry)
        bounds: list[tuple[str | None, int]] = [(None, self._budget.max_size)]
        if share is not None:
            bounds.insert(0, (registry, share))
        if self._fits(wanted, bounds):
            return True
        for entry in [e for e in self.entries.values() if self._is_gone(e, now)]:
            self.drop(entry.digest)
        if not all(self._may_fit(wanted, of, allowed) for of, allowed in bounds):
            return False
        for of, allowed in bounds:
            self._evict(of, excess(self._of(of), wanted, allowed, self._budget.low_water), now)
        return self._fits(wanted, bounds)

    def _fits(self, wanted: int, bounds: Iterable[tuple[str | None, int]]) -> bool:
        return all(self._of(of) + wanted <= allowed for of, allowed in bounds)

    def _may_fit(self, wanted: int, of: str | None, allowed: int) -> bool:
        """Whether it would fit if all had gone that may."""
        stays = sum(
            entry.size
            for entry in map(self.entries.get, self._pinned)
            if entry is not None and of in (None, entry.registry)
        )
        return stays + wanted <= allowed

    def _evict(self, of: str | None, needed: int, now: float) -> None:
        if needed <= 0:
            return
        # By digest, as the ledger lists them, so that of what is worth the same the same one
        # goes. Kept so: the next time, most of it is sorted already.
        self.entries = {key: self.entries[key] for key in sorted(self.entries)}
        entries = [e for e in self.entries.values() if of is None or e.registry == of]
        for entry in self._order(entries, now):
            if needed <= 0:
                return
            needed -= entry.size
            self.drop(entry.digest)

    def _of(self, of: str | None) -> int:
        return self._used.get(of, 0)

    def _by_policy(self, entries: list[Entry], now: float) -> list[Entry]:
        return evictable(entries, self._budget.policy, self._pinned, now)
