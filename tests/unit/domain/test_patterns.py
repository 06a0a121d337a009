import time

import pytest

from cacheproxy.domain.patterns import Patterns


@pytest.mark.parametrize(
    ("pattern", "accepted", "refused"),
    [
        pytest.param("library/nginx", ["library/nginx"], ["library/nginx2", "nginx"], id="literal"),
        pytest.param("**", ["a", "a/b/c"], [], id="anything"),
        pytest.param("*", ["a", "a.b-c"], ["a/b"], id="one component"),
        pytest.param("team/*", ["team/a"], ["team", "team/a/b", "teams/a"], id="directly below"),
        pytest.param("team/**", ["team/a", "team/a/b"], ["team", "other/team/a"], id="below"),
        pytest.param("*/tools", ["a/tools"], ["tools", "a/b/tools"], id="at the end"),
        pytest.param("**/tools", ["a/tools", "a/b/tools"], ["tools"], id="at any depth"),
        pytest.param("app-?", ["app-1"], ["app-", "app-12", "app-/"], id="one character"),
        pytest.param("a.b", ["a.b"], ["axb"], id="a dot is a dot"),
        pytest.param("[ab]", [], ["a", "b"], id="no character classes"),
        pytest.param("a+", [], ["a", "aa"], id="no repetition"),
        pytest.param("", [], ["a"], id="empty"),
    ],
)
def test_a_pattern_matches_whole_names(
    pattern: str, accepted: list[str], refused: list[str]
) -> None:
    """A pattern matches from a name's beginning to its end, and `*` never crosses a slash."""
    patterns = Patterns((pattern,))
    assert [name for name in accepted + refused if patterns.accept(name)] == accepted


def test_many_stars_take_no_time() -> None:
    """A pattern that a regular expression tries for years over a name is refused at once."""
    begun = time.process_time()
    for pattern in ("*a*a*a*a*ab", "**a**a**a**a**ab", "*a**a*?a**a*ab"):
        assert not Patterns((pattern,)).accept("a" * 120)
        assert Patterns((pattern,)).accept("a" * 120 + "b")
    assert time.process_time() - begun < 1.0


@pytest.mark.parametrize(
    ("patterns", "accepted"),
    [
        pytest.param(Patterns(), ["team/a", "team/secret/b", "x"], id="everything by default"),
        pytest.param(Patterns(allow=()), [], id="nothing where nothing is allowed"),
        pytest.param(
            Patterns(("team/**", "x")), ["team/a", "team/secret/b", "x"], id="any that allows"
        ),
        pytest.param(
            Patterns(("team/**",), ("team/secret/**",)), ["team/a"], id="but what is denied"
        ),
        pytest.param(Patterns(deny=("**",)), [], id="all denied"),
        pytest.param(Patterns(("x",), ("x",)), [], id="denied although allowed by name"),
    ],
)
def test_deny_has_the_last_word(patterns: Patterns, accepted: list[str]) -> None:
    """A name is accepted where it is allowed and not denied."""
    names = ["team/a", "team/secret/b", "x"]
    assert [name for name in names if patterns.accept(name)] == accepted
