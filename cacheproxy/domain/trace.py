"""Accesses in the order of time, as compact as a million of them need be."""

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from cacheproxy.domain.accesses import Access
from cacheproxy.domain.budget import Kind, on_disk
from cacheproxy.domain.digest import Digest

_LONGEST_USE = 3600.0


@dataclass(frozen=True, slots=True)
class Content:
    """A blob or manifest that is asked for.

    Attributes:
        key: that stands for its digest.
        size: in bytes.
        room: that it takes on disk.
        kind: as the store has it.
        registry: the upstream by which it was asked for first.
    """

    key: Digest
    size: int
    room: int
    kind: Kind
    registry: str


class Trace:
    """Accesses in the order of time; some 21 bytes for each."""

    def __init__(self, accesses: Iterable[Access]) -> None:
        self.contents: list[Content] = []
        self.times = array("d")
        self.which = array("I")
        self.served = array("Q")
        self._take(accesses)
        self._sort()
        self.begins = self._uses()

    def __len__(self) -> int:
        return len(self.times)

    def since(self, at: float) -> int:
        """The number of the first access at that time or later."""
        return next((number for number, time in enumerate(self.times) if time >= at), len(self))

    def steps(self) -> Iterator[tuple[float, int, int, int]]:
        """Time, number of the content, bytes served, and whether a use begins."""
        return zip(self.times, self.which, self.served, self.begins, strict=True)

    def next_uses(self) -> "array[int]":
        """For each access, the number of the next one of the same content, or else of the end."""
        count = len(self)
        ahead = array("Q", [count]) * len(self.contents)
        uses = array("Q", bytes(8 * count))
        for number in range(count - 1, -1, -1):
            which = self.which[number]
            uses[number], ahead[which] = ahead[which], number
        return uses

    def _take(self, accesses: Iterable[Access]) -> None:
        numbers: dict[Digest, int] = {}
        sizes: list[int] = []
        first: list[Access] = []
        for access in accesses:
            number = numbers.get(access.key)
            if number is None:
                number = numbers[access.key] = len(first)
                first.append(access)
                sizes.append(access.size)
            elif access.size > sizes[number]:
                sizes[number] = access.size  # only now somebody knew it
            self.times.append(access.at)
            self.which.append(number)
            self.served.append(access.served)
        self.contents = [
            Content(access.key, size, on_disk(size), access.kind, access.registry)
            for access, size in zip(first, sizes, strict=True)
        ]

    def _sort(self) -> None:
        """Responses are recorded as they end, and by several processes."""
        times = self.times
        order = sorted(range(len(times)), key=times.__getitem__)
        self.times = array("d", (times[number] for number in order))
        self.which = array("I", (self.which[number] for number in order))
        self.served = array("Q", (self.served[number] for number in order))

    def _uses(self) -> bytearray:
        begins = bytearray(len(self))
        sizes = [content.size for content in self.contents]
        got = [0] * len(sizes)
        until = [0.0] * len(sizes)
        for number, (at, which, served) in enumerate(
            zip(self.times, self.which, self.served, strict=True)
        ):
            if served >= sizes[which]:
                begins[number] = 1
                continue
            if not got[which] or at > until[which]:
                begins[number] = 1
                got[which], until[which] = 0, at + _LONGEST_USE
            got[which] += served
            if got[which] >= sizes[which]:
                got[which] = 0
        return begins
