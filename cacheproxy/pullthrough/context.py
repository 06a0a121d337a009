"""The surroundings that all downloads of a process share."""

from dataclasses import dataclass

from cacheproxy.ports import BlobStore, Clock, Observer


@dataclass(frozen=True, slots=True)
class FillContext:
    """The surroundings of fills.

    Attributes:
        store: where the bytes go.
        observer: is told of each beginning and end.
        clock: for durations and pauses.
        abandon_after: seconds without anybody who follows or waits after which a fill is
            given up; None lets it go on to its end.
        relay_ahead: bytes ahead of the download from which a range is fetched beside it.
        patience: seconds that upstream is waited for where something stale can stand in.
        longest_pause: seconds that a broken download waits at most before it goes on. Clients
            that wait for longer without a byte are cut.
    """

    store: BlobStore
    observer: Observer
    clock: Clock
    abandon_after: float | None = None
    relay_ahead: int = 64 * 1024 * 1024
    patience: float = 15.0
    longest_pause: float = 60.0
