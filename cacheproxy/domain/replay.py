"""What a store of another size, or with another policy, would have had to fetch.

Recorded accesses are put to a model of the store, which decides by the functions of
`cacheproxy.domain.budget`, as the store does. What is counted:

- *Upstream bytes*: a blob that is not here is fetched whole, even where only a part of it was
  asked for, since that is what a download does. Where there can be no room for it, just what
  was served crosses the link, each time.
- *Byte hit ratio*: of the bytes that clients got, the share that did not have to be fetched.
  Ten clients that pull a cold blob in parts have it fetched once: nine tenths, however many
  parts there were. Below 0 where more was fetched than clients took.
- *Hit ratio*, of uses. Parts of a blob are one use until together they are as long as the blob,
  if they come within an hour; a use is a hit if the blob is here as it begins.
- *Heat*: the store counts a use for each request that it serves from disk, parts too, and for
  all that a manifest refers to when that is asked for. So does the model.

What it does not have: how long a download takes (who joins one counts as a use of what is
here), HEADs (which heat, and are no accesses), and a volume that others fill.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.trace import Content, Trace

_BLOCK = 10_000

Answer = Literal["hit", "kept", "passed"]
"""It was here; it was fetched, whole; there is no room for it, and it went past the disk."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What came of it.

    Attributes:
        uses: of whole contents, in one or many parts.
        hits: of those, of what was here.
        served: bytes that clients got.
        fetched: bytes that crossed the upstream link.
    """

    uses: int
    hits: int
    served: int
    fetched: int

    @property
    def hit_ratio(self) -> float:
        """Of uses."""
        return self.hits / self.uses if self.uses else 0.0

    @property
    def byte_hit_ratio(self) -> float:
        """Of bytes."""
        return 1 - self.fetched / self.served if self.served else 0.0


def run(
    trace: Trace,
    ask: Callable[[Content, float], Answer],
    *,
    counted_from: int = 0,
    advance: Callable[[int], None] | None = None,
) -> Tally:
    """Put a trace to a store.

    Args:
        trace: all of it is asked for.
        ask: the store's answer.
        counted_from: the number of the first access that counts; those before fill the store.
        advance: is told now and then how many accesses more are done.
    """
    contents = trace.contents
    uses = hits = served = fetched = 0
    for number, (at, which, count, begins) in enumerate(trace.steps()):
        content = contents[which]
        answer = ask(content, at)
        if number >= counted_from:
            uses += begins
            served += count
            if answer == "hit":
                hits += begins
            else:
                fetched += content.size if answer == "kept" else count
        if advance is not None and number % _BLOCK == _BLOCK - 1:
            advance(_BLOCK)
    if advance is not None:
        advance(len(trace) % _BLOCK)
    return Tally(uses, hits, served, fetched)


def everything_kept(trace: Trace, *, counted_from: int = 0) -> Tally:
    """What a store that never lets anything go would have fetched: the bound of all sizes."""
    seen: set[Digest] = set()

    def ask(content: Content, _: float) -> Answer:
        if content.key in seen:
            return "hit"
        seen.add(content.key)
        return "kept"

    return run(trace, ask, counted_from=counted_from)
