import pytest

from cacheproxy.domain.errors import (
    CacheproxyError,
    Denied,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from cacheproxy.domain.resumption import Resumption

_ERROR = UpstreamUnavailable("upstream answered 500", is_response=True)


@pytest.mark.parametrize("error", [UpstreamRefused("416"), Denied("403")])
@pytest.mark.parametrize("is_last", [False, True])
def test_a_refused_range_is_not_asked_for_again(error: CacheproxyError, is_last: bool) -> None:
    """The whole is asked for at once if upstream refuses a part."""
    after = Resumption().refused(error, is_last=is_last)
    assert (after.start(500), Resumption().start(500)) == (0, 500)


@pytest.mark.parametrize("error", [_ERROR, UpstreamTimeout("504", is_response=True)])
def test_two_server_errors_are_about_the_range(error: CacheproxyError) -> None:
    """The second server error in a row, or the last one, counts as a refusal of the range."""
    once = Resumption().refused(error, is_last=False)
    assert once.is_partial
    assert not once.refused(error, is_last=False).is_partial
    assert not Resumption().refused(error, is_last=True).is_partial


@pytest.mark.parametrize("error", [UpstreamUnavailable("reset"), UpstreamTimeout("silence")])
@pytest.mark.parametrize("is_last", [False, True])
def test_a_broken_connection_says_nothing_of_ranges(error: CacheproxyError, is_last: bool) -> None:
    """A failure without a response changes nothing."""
    assert Resumption().refused(error, is_last=is_last) == Resumption()


def test_a_refused_whole_clears_the_range() -> None:
    """The rest is asked for again if the whole fails too."""
    assert Resumption(is_partial=False, doubts=2).refused(_ERROR, is_last=False) == Resumption()
