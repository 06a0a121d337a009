import inspect
import re

import pytest

from cacheproxy.domain import errors
from cacheproxy.domain.errors import CacheproxyError, RangeNotSatisfiable, UpstreamLimited


def _classes() -> dict[str, type[CacheproxyError]]:
    return {
        name: member
        for name, member in inspect.getmembers(errors)
        if inspect.isclass(member) and issubclass(member, CacheproxyError)
    }


def _drawn() -> dict[str, str]:
    """Each name of the docstring's tree, and the name above it."""
    above: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"((?:[│ ] {3}|[├└]── )*)([A-Z][A-Za-z]+)(?= {2,}|$)", line)
        if match is None:
            continue
        depth, name = len(match[1]) // 4, match[2]
        del path[depth:]
        above[name] = path[-1] if path else "Exception"
        path.append(name)
    return above


def test_the_drawing_is_the_tree() -> None:
    """The docstring draws exactly the classes that there are, each below its parent."""
    coded = {name: kind.__base__.__name__ for name, kind in _classes().items() if kind.__base__}
    assert _drawn() == coded
    assert len(coded) > 20


@pytest.mark.parametrize("kind", _classes().values())
def test_an_error_is_a_sentence(kind: type[CacheproxyError]) -> None:
    """Whatever the error, `str()` is the sentence that it was made of."""
    error = RangeNotSatisfiable(7) if kind is RangeNotSatisfiable else kind("it broke")
    expected = "the range lies outside of the blob's 7 bytes"
    assert str(error) == (expected if kind is RangeNotSatisfiable else "it broke")
    assert isinstance(error, CacheproxyError)


def test_what_errors_carry() -> None:
    """A range's error has the blob's size, and a limit's the seconds to wait where known."""
    assert RangeNotSatisfiable(7).size == 7
    assert UpstreamLimited("slow down").retry_after is None
    assert UpstreamLimited("slow down", 2.5).retry_after == 2.5
