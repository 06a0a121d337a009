"""What the core and its adapters need of other replicas, and tell them.

Beside `cacheproxy.ports`, which is all that one replica needs by itself.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import UpstreamLimited
from cacheproxy.ports import BlobStream


@dataclass(frozen=True, slots=True)
class Note:
    """Something that one replica has learnt, and others need not learn anew.

    Attributes:
        at: when, in seconds since the epoch.
        said: numbers and words; what is a time is in seconds from `at`.
    """

    at: float
    said: Mapping[str, float | str]

    def number(self, name: str) -> float:
        """Return a number that was said; 0 if it was not, or is none."""
        value = self.said.get(name)
        return float(value) if isinstance(value, int | float) else 0.0


class Notable(Protocol):
    """Who learns things that other replicas of one cache should know."""

    def notes(self) -> Mapping[str, Note]:
        """What was learnt, by name; what was learnt last of each."""
        ...

    def hear(self, name: str, note: Note) -> None:
        """Take note of what another replica has learnt; what is older than ours is nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes that are wanted of a blob.

    Attributes:
        digest: of the blob.
        start: the first of them.
        stop: behind the last; None: all there are.
        is_ahead: only of one that has more of it by now than what is before `start`.
    """

    digest: Digest
    start: int = 0
    stop: int | None = None
    is_ahead: bool = False


class ReplicaBusy(UpstreamLimited):
    """A replica serves as many as it may, or has no more than we have.

    Attributes:
        readers: addresses of those who read the blob from it.
        is_waiting: it has no byte that we lack, and waits for upstream itself.
    """

    def __init__(
        self, message: str, readers: Sequence[str] = (), *, is_waiting: bool = False
    ) -> None:
        super().__init__(message)
        self.readers = readers
        self.is_waiting = is_waiting


class Replicas(Protocol):
    """What the replicas of one cache know of each other. Nothing of it ever fails a pull."""

    async def holders(self, digest: Digest) -> Sequence[str]:
        """Addresses of others that have a blob whole, in the order in which to ask them."""
        ...

    def claim(self, what: str) -> AbstractAsyncContextManager[str | None]:
        """Be the one who fetches something, within this context: None; or who is, its address.

        Args:
            what: a digest, or a tag with its repository.
        """
        ...

    def knows(self, address: str) -> bool:
        """Whether it is another replica, which may be asked."""
        ...

    async def release(self, what: str, address: str) -> None:
        """Say that a replica does not fetch what it was said to, or cannot be reached."""
        ...


class Peers(Protocol):
    """The other replicas."""

    def get_blob(self, address: str, part: Part) -> AbstractAsyncContextManager[BlobStream]:
        """Begin to fetch a blob's bytes from one of them.

        Raises:
            ReplicaBusy: others may give them, or it may itself in a moment.
            BlobUnknown: it does not have it.
            Denied: it does not know us.
            UpstreamLimited: it has failed to get it itself.
            UpstreamError: it cannot be reached, or does not answer in time.
        """
        ...
