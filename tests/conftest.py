"""For every test: it fails if it leaves a task running or a file open."""

import signal
from collections.abc import AsyncIterator, Iterator

import hypothesis
import pytest
from pytest_asyncio import is_async_test

from tests.support.leaks import open_files, opened_since, other_tasks, settle

# A busy machine is slow now and then, which says nothing of the code.
hypothesis.settings.register_profile("cacheproxy", deadline=None, print_blob=True)
hypothesis.settings.load_profile("cacheproxy")


# Shells have what they start in the background ignore Ctrl-C, and so does all that this starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def nothing_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Watch a test. Set up first, and so taken down after its other fixtures."""
    if is_async_test(request.node):
        request.getfixturevalue("_nothing_is_left_on_the_loop")
        yield
        return
    before = open_files()
    yield
    if _is_watched(request):
        left = opened_since(before)
        assert not left, f"left open: {sorted(left)}"


@pytest.fixture
async def _nothing_is_left_on_the_loop(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    before = open_files()
    yield
    if other_tasks() or opened_since(before):
        await settle()
    running = other_tasks()
    assert not running, f"left running: {running}"
    if _is_watched(request):
        left = opened_since(before)
        assert not left, f"left open: {sorted(left)}"


def _is_watched(request: pytest.FixtureRequest) -> bool:
    """Tests that share a real registry begin to hold its pipes whenever they first need it."""
    return request.node.get_closest_marker("clients") is None
