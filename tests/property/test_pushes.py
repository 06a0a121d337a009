"""What others write down of images is read, or refused with a sentence."""

import json

from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.domain.image_lists import read_images
from cacheproxy.domain.pushes import Pushed, parse_push
from cacheproxy.domain.routing import Route, Routes

_HUB = Route("docker.io", "library")
_ROUTES = Routes({"docker.io": _HUB}, _HUB)

# The keys of what is known, so that many a document nearly is one of those.
_KEYS = st.sampled_from(
    [
        *("events", "action", "target", "repository", "tag", "images", "push_data", "repo_name"),
        *("type", "event_data", "resources", "repo_full_name", "docker_url", "updated_tags"),
        *("items", "spec", "containers", "image", "apiVersion", "repoTags"),
    ]
)
_WORDS = st.sampled_from(
    ["push", "PUSH_ARTIFACT", "team/app", "1.2", "", "Docker.io/a:b", "a" * 300, "\ud800"]
) | st.text(st.characters(), max_size=5)
_LEAVES = st.none() | st.booleans() | st.integers() | _WORDS
_DOCUMENTS = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=25,
)


@given(document=_DOCUMENTS)
def test_any_notification_is_read_or_refused(document: object) -> None:
    """Any JSON gives images of configured upstreams or a ValueError, never anything else."""
    try:
        pushed = parse_push(json.dumps(document).encode(), _ROUTES)
    except ValueError as error:
        assert str(error).isprintable()  # noqa: PT017 - raising is one of two outcomes
    else:
        assert isinstance(pushed, Pushed)
        assert {image.repository.registry for image in pushed.images} <= {"docker.io"}
        assert all(image.tag or image.digest for image in pushed.images)


@given(body=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    """Bytes that are no JSON are refused with a sentence."""
    try:
        parse_push(body, _ROUTES)
    except ValueError as error:
        assert str(error).isprintable()  # noqa: PT017 - raising is one of two outcomes


@given(text=st.text(st.characters(), max_size=300) | _DOCUMENTS.map(json.dumps))
def test_any_list_is_read_or_refused(text: str) -> None:
    """Any text gives names, each once, or a ValueError."""
    try:
        found = read_images(text)
    except ValueError as error:
        assert str(error)  # noqa: PT017 - raising is one of two outcomes
    else:
        assert len(set(found)) == len(found)
