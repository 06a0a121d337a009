"""The memory of whether an upstream answers HEAD requests of manifests."""

from collections import OrderedDict

from cacheproxy.ports import Clock

# Seconds for which no HEAD is sent to an upstream that does not answer them.
_WITHOUT_HEAD = 600.0
# A refused HEAD and a GET that succeeds contradict each other if they are no further apart, in
# seconds: later, the manifest may have been pushed in between.
_TOGETHER = 30.0
_REMEMBERED = 1000


class HeadSupport:
    """Evidence of one upstream.

    A refused HEAD may be about HEAD or about the manifest. A GET of the same manifest that
    succeeds shows that it is about HEAD.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._refused_at: OrderedDict[str, float] = OrderedDict()
        self._missing_until = 0.0

    @property
    def is_missing(self) -> bool:
        """Whether to send no HEAD now."""
        return self._clock.monotonic() < self._missing_until

    def on_refusal(self, manifest: str) -> None:
        """Remember that a HEAD of a manifest was refused."""
        self._refused_at[manifest] = self._clock.monotonic()
        if len(self._refused_at) > _REMEMBERED:
            self._refused_at.popitem(last=False)

    def on_success(self, manifest: str) -> None:
        """Compare the success of a GET with the HEAD of the same manifest."""
        refused_at = self._refused_at.pop(manifest, None)
        now = self._clock.monotonic()
        if refused_at is not None and now - refused_at <= _TOGETHER:
            self._missing_until = now + _WITHOUT_HEAD
