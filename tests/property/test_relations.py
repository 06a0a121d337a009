"""What may go with something, for any tags and manifests, shared and nested at will."""

from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.relations import Relations

_DIGESTS = [Digest.of(bytes([n])) for n in range(8)]
_SOME = st.sets(st.sampled_from(_DIGESTS), max_size=4)
_NAMES = st.dictionaries(st.sampled_from("abcd"), st.sampled_from(_DIGESTS))


@st.composite
def _relations(draw: st.DrawFn) -> Relations:
    """A manifest can only refer to what was there before it: no cycles."""
    children = {
        digest: draw(st.sets(st.sampled_from(_DIGESTS[:n]), max_size=4)) if n else set()
        for n, digest in enumerate(_DIGESTS)
    }
    return Relations(draw(_NAMES), {parent: parts for parent, parts in children.items() if parts})


@given(_relations(), _SOME, st.sets(st.sampled_from("abcd")))
def test_nothing_goes_that_something_else_refers_to(
    relations: Relations, roots: set[Digest], without: set[str]
) -> None:
    """After it, every tag that stays and every manifest that stays is as whole as before."""
    going = relations.only_of(roots, without)
    assert going <= relations.with_parts(roots)
    for name, digest in relations.names.items():
        assert name in without or not relations.with_parts([digest]) & going
    for parent, parts in relations.children.items():
        assert parent in going or not going & set(parts)


@given(_relations(), _SOME, st.sets(st.sampled_from("abcd")))
def test_everything_goes_that_nothing_else_refers_to(
    relations: Relations, roots: set[Digest], without: set[str]
) -> None:
    """What stays of it is named, or part of something that stays."""
    going = relations.only_of(roots, without)
    for digest in relations.with_parts(roots) - going:
        named = any(relations.names[n] == digest for n in relations.names if n not in without)
        assert named or any(parent not in going for parent in relations.parents_of(digest))


@given(_relations(), _SOME)
def test_what_is_forced_goes(relations: Relations, forced: set[Digest]) -> None:
    """What is named by its digest goes, whoever refers to it."""
    assert forced <= relations.only_of((), forced=forced)
