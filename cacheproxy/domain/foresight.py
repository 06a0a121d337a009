"""A store that knows the future: by how much any policy could be better."""

from heapq import heappop, heappush

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.replay import Answer
from cacheproxy.domain.trace import Content, Trace


class Foresight:
    """A store that knows what will be asked for: what is needed last goes first, or never comes.

    If all is of one size, no policy can do better. Else it is near to that: to find the best
    of all would take too long.
    """

    def __init__(self, trace: Trace, size: int) -> None:
        self._next = iter(trace.next_uses())
        self._never = len(trace)
        self._size = size
        self._used = 0
        self._after: dict[Digest, int] = {}
        self._farthest: list[tuple[int, int, Digest]] = []

    def ask(self, content: Content, at: float) -> Answer:  # noqa: ARG002  # as `ModelStore.ask`
        """Ask for what the trace has next."""
        after = next(self._next)
        if content.key in self._after:
            self._used -= content.room
            del self._after[content.key]
            self._keep(content, after)
            return "hit"
        if content.room > self._size:
            return "passed"
        self._keep(content, after)
        return "kept"

    def _keep(self, content: Content, after: int) -> None:
        if after == self._never:
            return
        going, free = [], self._size - self._used
        while free < content.room:
            farthest = heappop(self._farthest)
            if self._after.get(farthest[2]) != -farthest[0]:
                continue  # asked for since, or gone
            going.append(farthest)
            if -farthest[0] < after:
                # All that is here is needed sooner.
                for each in going:
                    heappush(self._farthest, each)
                return
            free += farthest[1]
        for _, room, key in going:
            del self._after[key]
            self._used -= room
        self._after[content.key] = after
        self._used += content.room
        heappush(self._farthest, (-after, content.room, content.key))
