"""Strategies for the words of the distribution spec, and for what is close to them."""

import string

from hypothesis import strategies as st

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.reference import Name, Tag

_ALNUM = string.ascii_lowercase + string.digits
# Words of the API, which are good names too; and one that only looks like a host.
_WORDS = ("blobs", "manifests", "tags", "list", "referrers", "v2", "latest", "a.b", "x" * 60)


def _component() -> st.SearchStrategy[str]:
    word = st.text(_ALNUM, min_size=1, max_size=6)
    separator = st.sampled_from((".", "_", "__", "-", "--", "---"))
    joined = st.lists(st.tuples(separator, word), max_size=2)
    built = st.builds(lambda head, rest: head + "".join(map("".join, rest)), word, joined)
    return built | st.sampled_from(_WORDS)


names = (
    st.lists(_component(), min_size=1, max_size=4)
    .map("/".join)
    .filter(lambda text: len(text) <= 200)
    .map(Name.parse)
)

tags = st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", fullmatch=True).map(Tag.parse)

digests = st.one_of(
    st.text("0123456789abcdef", min_size=64, max_size=64).map("sha256:".__add__),
    st.text("0123456789abcdef", min_size=128, max_size=128).map("sha512:".__add__),
).map(Digest.parse)

# Every character there is, lone surrogates too: aiohttp makes them of bytes that are no UTF-8.
any_text = st.text(st.characters(exclude_categories=()))
