"""The model of the store against the ledger itself, and what must be true of any replay."""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from hypothesis import given, settings
from hypothesis import strategies as st

from cacheproxy.domain.accesses import child_keys, key_of, keys_of
from cacheproxy.domain.budget import Budget, Entry, Kind, PolicyName, is_idle
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.foresight import Foresight
from cacheproxy.domain.model_store import ModelStore
from cacheproxy.domain.replay import Answer, Tally, everything_kept, run
from cacheproxy.domain.trace import Content, Trace
from cacheproxy.storage.claims import Use
from tests.support.accesses import BLOCK, access, trace
from tests.support.ledgers import NOW, Books, books, digest_of

POLICIES: tuple[PolicyName, ...] = get_args(PolicyName)
# An index of two images, which share a layer.
CHILDREN = {"index": ("image1", "image2"), "image1": ("a", "b"), "image2": ("b", "c")}
PINNED = "docker.io/library/app:1"
NAMES = (*CHILDREN, *"abcdefgh")
DIGESTS = {digest_of(p): tuple(map(digest_of, parts)) for p, parts in CHILDREN.items()}

_policies = st.sampled_from(POLICIES)
_names = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=60)
_blocks = st.integers(1, 10)
_sizes = st.fixed_dictionaries({name: st.integers(1, 6) for name in NAMES})
_registries = st.fixed_dictionaries(
    {name: st.sampled_from(("docker.io", "quay.io")) for name in NAMES}
)
_steps = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from((1.0, 600.0, 86400.0))),
    min_size=20,
    max_size=50,
)
_budgets = st.builds(
    Budget,
    max_size=st.integers(6, 18).map(lambda blocks: blocks * BLOCK),
    policy=_policies,
    idle_for=st.sampled_from((None, 7200.0)),
    low_water=st.sampled_from((0.95, 0.5)),
    shares=st.sampled_from(((), (("quay.io", 5 * BLOCK),))),
    pins=st.sampled_from(((), (PINNED,))),
)


@dataclass(frozen=True, slots=True)
class Real:
    """The store's account, asked for things as the model is."""

    books: Books
    budget: Budget

    def ask(self, name: str, content: Content, at: float) -> Answer:
        """Use what is stored, reserve and commit what is not."""
        ledger, digest = self.books.ledger, digest_of(name)
        ledger.keep_within(self.budget, at)
        if ledger.entry(digest) is not None:
            ledger.use({digest: Use(at, 1)})
            return "hit"
        if not self.books.reserve(
            name, content.room, self.budget, registry=content.registry, now=at
        ):
            return "passed"
        entry = Entry(digest, content.room, content.kind, content.registry, at, at, 1.0)
        self.books.commit(entry, DIGESTS.get(digest, ()))
        return "kept"

    def entries(self, now: float) -> dict[Digest, Entry]:
        """What is stored, by the model's keys."""
        self.books.ledger.keep_within(self.budget, now)
        entries = self.books.ledger.entries()
        return {key_of(e.digest): replace(e, digest=key_of(e.digest)) for e in entries}


@settings(max_examples=150)
@given(_steps, _sizes, _registries, _budgets)
def test_the_model_holds_what_the_store_holds(
    steps: list[tuple[str, float]],
    sizes: dict[str, int],
    registries: dict[str, str],
    budget: Budget,
) -> None:
    """Whatever is asked for, in whatever budget: the same hits, entries, uses and heat."""
    with tempfile.TemporaryDirectory() as root, books(Path(root)) as made:
        real = Real(made, budget)
        made.ledger.name(PINNED, digest_of("d"))
        pinned = keys_of(made.ledger.pinned(budget.pins))
        assert len(pinned) == len(budget.pins)
        model = ModelStore(budget, pinned=pinned, children=child_keys(DIGESTS))
        at = NOW
        for name, seconds in steps:
            at += seconds
            kind: Kind = "manifest" if name in CHILDREN else "blob"
            room = sizes[name] * BLOCK
            content = Content(key_of(digest_of(name)), room, room, kind, registries[name])
            assert model.ask(content, at) == real.ask(name, content, at)
            stays = {
                key: entry
                for key, entry in model.entries.items()
                if key in pinned or not is_idle(entry, budget, at)
            }
            assert stays == real.entries(at)


@given(_names, _policies)
def test_with_room_for_all_each_blob_is_fetched_once(names: list[str], policy: PolicyName) -> None:
    """A cache that holds everything fetches each distinct blob once, as does one without end."""
    made = trace(names)
    tally = _with(made, policy, len(set(names)))
    assert tally.fetched == BLOCK * len(set(names))
    assert tally.hits == len(names) - len(set(names))
    assert tally == everything_kept(made)


@given(_names, _policies, _blocks)
def test_nothing_beats_foresight_nor_keeping_all(
    names: list[str], policy: PolicyName, blocks: int
) -> None:
    """With blobs of one size, no policy beats foresight, and that no endless disk."""
    made = trace(names)
    foreseen = run(made, Foresight(made, blocks * BLOCK).ask)
    assert everything_kept(made).fetched <= foreseen.fetched
    assert foreseen.fetched <= _with(made, policy, blocks).fetched


@settings(max_examples=60)
@given(st.lists(st.sampled_from("abcde"), min_size=1, max_size=9), st.integers(1, 4))
def test_foresight_is_the_optimum_for_one_size(names: list[str], blocks: int) -> None:
    """With blobs of one size it fetches as little as the best of all possible choices."""
    made = trace(names)
    assert run(made, Foresight(made, blocks * BLOCK).ask).fetched == BLOCK * _least(names, blocks)


@given(_names, _blocks)
def test_lru_never_loses_by_room(names: list[str], blocks: int) -> None:
    """With blobs of one size that go one by one, a larger LRU cache fetches no more."""
    made = trace(names)
    assert _with(made, "lru", blocks + 1).fetched <= _with(made, "lru", blocks).fetched


@given(_names, st.integers(1, 4), st.integers(1, 10))
def test_parts_cost_what_the_whole_costs(names: list[str], blocks: int, parts: int) -> None:
    """A blob in parts is as many uses, hits and fetched bytes as the same blob whole."""
    size = parts * BLOCK
    whole = Trace(access(name, 60.0 * number, size) for number, name in enumerate(names))
    pieces = Trace(
        access(name, 60.0 * number + part, size, served=BLOCK)
        for number, name in enumerate(names)
        for part in range(parts)
    )
    # By age alone: heat counts requests, as the store does.
    assert _with(pieces, "lru", blocks * parts) == _with(whole, "lru", blocks * parts)


def _with(made: Trace, policy: PolicyName, blocks: int) -> Tally:
    return run(made, ModelStore(Budget(blocks * BLOCK, policy=policy, low_water=1.0)).ask)


def _least(names: list[str], blocks: int) -> int:
    """The fewest fetches, by trying every choice of what to keep."""
    states = {frozenset[str](): 0}
    for name in names:
        after: dict[frozenset[str], int] = {}
        for held, fetched in states.items():
            cost = fetched + (name not in held)
            wanted = held | {name}
            fits = len(wanted) <= blocks
            for kept in [wanted] if fits else [held, *(wanted - {other} for other in held)]:
                after[kept] = min(cost, after.get(kept, cost))
        states = after
    return min(states.values())
