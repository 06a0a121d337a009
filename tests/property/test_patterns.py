"""Patterns match what a matcher matches that is too simple to be wrong."""

from hypothesis import example, given
from hypothesis import strategies as st

from cacheproxy.domain.patterns import Patterns

_patterns = st.lists(
    st.sampled_from(("**", "*", "?", "a", "b", "/", ".", "-", "[", "\\")), max_size=6
).map("".join)
_names = st.text("ab/.-[\\", max_size=10)


def _naive(pattern: str, name: str) -> bool:
    if not pattern:
        return not name
    if pattern.startswith("**"):
        return any(_naive(pattern[2:], name[skipped:]) for skipped in range(len(name) + 1))
    if pattern.startswith("*"):
        segment = name.partition("/")[0]
        return any(_naive(pattern[1:], name[skipped:]) for skipped in range(len(segment) + 1))
    if not name:
        return False
    fits = name[0] != "/" if pattern[0] == "?" else name[0] == pattern[0]
    return fits and _naive(pattern[1:], name[1:])


@given(_patterns, _names)
@example("team/**", "team/")
@example("**/nginx", "nginx")
@example("***", "a/b")
def test_a_pattern_matches_as_the_naive_matcher_does(pattern: str, name: str) -> None:
    """A pattern accepts a name exactly when trying every split of the name does."""
    assert Patterns((pattern,)).accept(name) == _naive(pattern, name)


@given(st.lists(_patterns, max_size=3), st.lists(_patterns, max_size=3), _names)
def test_what_is_denied_stays_denied(allow: list[str], deny: list[str], name: str) -> None:
    """A name is accepted if some pattern allows it and none denies it, in whatever order."""
    allowed = any(_naive(pattern, name) for pattern in allow)
    denied = any(_naive(pattern, name) for pattern in deny)
    assert Patterns(tuple(allow), tuple(deny)).accept(name) == (allowed and not denied)
    assert Patterns(tuple(allow[::-1]), tuple(deny[::-1])).accept(name) == (allowed and not denied)
