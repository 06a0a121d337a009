"""A stream from upstream to one client, past the disk."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from typing import Any

import pytest

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import (
    CacheproxyError,
    Denied,
    DigestMismatch,
    UpstreamRefused,
    UpstreamUnavailable,
)
from cacheproxy.domain.events import Unexpected
from cacheproxy.domain.reference import Name, Repository
from cacheproxy.domain.retry import RetryPolicy
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.pullthrough.context import FillContext
from cacheproxy.pullthrough.origin import Origin
from cacheproxy.pullthrough.relay import Relay
from tests.support.hasty import Events, HastyClock

_BODY = bytes(range(256)) * 100
_SIZE = len(_BODY)
_DIGEST = Digest.of(_BODY)


class _Upstream:
    """Sends a body, and raises what it is told to after so many bytes of each request."""

    source = "fill"
    size = _SIZE

    def __init__(self, *breaks: tuple[int, Exception], body: bytes = _BODY) -> None:
        self._breaks = list(breaks)
        self._body = body
        self.refusal: CacheproxyError | None = None
        self.start = 0
        self.starts: list[int] = []
        self.distrusted: list[Digest] = []

    def distrust(self, digest: Digest) -> None:
        """Remember what was wrong."""
        self.distrusted.append(digest)

    @asynccontextmanager
    async def get_blob(
        self, _: Repository, __: Digest, start: int = 0, stop: int | None = None
    ) -> AsyncIterator["_Upstream"]:
        """Begin to send."""
        self.start = start
        self.starts.append(start)
        if start and self.refusal is not None:
            raise self.refusal
        yield self

    async def chunks(self) -> AsyncIterator[bytes]:
        """Send, a little at a time."""
        after, error = self._breaks.pop(0) if self._breaks else (_SIZE, None)
        for at in range(self.start, _SIZE, 1000):
            if error is not None and at >= self.start + after:
                raise error
            yield self._body[at : at + 1000]


@pytest.fixture
def relay() -> Callable[..., tuple[Relay, Events]]:
    """Makes a relay of the whole blob from an upstream."""

    def make(upstream: Any, *, is_whole: bool = True) -> tuple[Relay, Events]:
        events, repository = Events(), Repository("docker.io", Name("library/app"))
        origin = Origin(upstream, repository, _DIGEST, _SIZE, linked=True, retry=RetryPolicy(2))
        context = FillContext(None, events, HastyClock())  # type: ignore[arg-type]  # past it
        hasher = _DIGEST.hasher() if is_whole else None
        return Relay(origin, (0, _SIZE), hasher, context, Tasks()), events

    return make


async def _read(relay: Relay) -> bytes:
    got = bytearray()
    with closing(relay):
        while chunk := await relay.read(len(got), 4096):
            got += chunk
    return bytes(got)


async def test_a_relay_that_breaks_goes_on_where_it_was(relay: Any) -> None:
    """A break in the middle costs the client nothing, and upstream no byte twice."""
    upstream = _Upstream((5000, UpstreamUnavailable("it broke")))
    made, _ = relay(upstream)
    assert await _read(made) == _BODY
    assert upstream.starts == [0, 5000]


@pytest.mark.parametrize(
    ("refusal", "starts"),
    [
        pytest.param(UpstreamRefused("416"), [0, 5000, 0], id="refused"),
        pytest.param(Denied("403"), [0, 5000, 0], id="denied"),
        pytest.param(
            UpstreamUnavailable("500", is_response=True), [0, 5000, 5000, 0], id="server error"
        ),
    ],
)
async def test_a_relay_whose_range_is_refused_takes_the_whole(
    relay: Any, refusal: CacheproxyError, starts: list[int]
) -> None:
    """A relay whose rest is refused asks for the whole, and skips what its reader has."""
    upstream = _Upstream((5000, UpstreamUnavailable("it broke")))
    upstream.refusal = refusal
    made, _ = relay(upstream)
    assert await _read(made) == _BODY
    assert upstream.starts == starts


async def test_a_relay_gives_up(relay: Any) -> None:
    """After some breaks in a row without a byte its reader gets the error."""
    breaks = [(0, UpstreamUnavailable("it broke"))] * 3
    made, _ = relay(_Upstream(*breaks))
    with pytest.raises(UpstreamUnavailable, match="it broke"):
        await _read(made)


async def test_a_mistake_of_ours_leaves_no_reader_waiting(relay: Any) -> None:
    """Whatever ends a relay, its reader hears of it, and the mistake is stated."""
    made, events = relay(_Upstream((3000, ZeroDivisionError("a mistake"))), is_whole=False)
    with pytest.raises(CacheproxyError, match="the relay broke"):
        await _read(made)
    assert [type(event.error) for event in events.of(Unexpected)] == [ZeroDivisionError]


async def test_the_end_of_wrong_bytes_is_held_back(relay: Any) -> None:
    """Nobody gets all of a body that is not the blob's."""
    upstream = _Upstream(body=bytes(_SIZE))
    made, _ = relay(upstream)
    with pytest.raises(DigestMismatch):
        await _read(made)
    assert upstream.distrusted == [_DIGEST]
