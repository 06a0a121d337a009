import json

import pytest

from cacheproxy.domain import media_types
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.list_pages import DEPTH_LIMIT, is_referrers_page, is_tag_page

_SUBJECT = Digest.of(b"subject")
_ENTRY = {"digest": _SUBJECT, "annotations": {"a": "[" * 2 * DEPTH_LIMIT}}


@pytest.mark.parametrize(
    ("body", "is_page"),
    [
        (b'{"name":"a","tags":["1","2"]}', True),
        (b'{"tags":[]}', True),
        (b'{"tags":null}', True),
        (b'{"name":"a","tags":["1"],"manifest":{"x":{"tag":["1"]}}}', True),
        (b'{"tags":["\\"[[[{{{"]}', True),
        (b'{"name":"a"}', False),
        (b'{"tags":"1"}', False),
        (b'{"tags":[1]}', False),
        (b'{"tags":["1",null]}', False),
        (b'["1"]', False),
        (b"<html></html>", False),
        (b"\xff", False),
        (b"", False),
        (b'{"tags":[],"x":' + b"[" * DEPTH_LIMIT + b"]" * DEPTH_LIMIT + b"}", False),
        (b"[" * 1_000_000, False),
    ],
)
def test_a_page_of_tags_is_known_by_its_shape(body: bytes, is_page: bool) -> None:
    """Tags are a list of texts, or null, in an object that is not too deep."""
    assert is_tag_page(body, "application/json") is is_page


@pytest.mark.parametrize(
    ("content_type", "fits"),
    [
        ("application/json; charset=utf-8", True),
        ("application/vnd.registry.tags.v1+json", True),
        ("text/plain", True),
        (None, True),
        ("text/html", False),
        ("text/html; charset=utf-8", False),
        ("application/xml", False),
    ],
)
def test_a_page_of_tags_has_a_fitting_type(content_type: str | None, fits: bool) -> None:
    """JSON comes under several types, but never under that of a web page."""
    assert is_tag_page(b'{"tags":[]}', content_type) is fits


@pytest.mark.parametrize(
    ("document", "is_page"),
    [
        ({"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": [_ENTRY]}, True),
        ({"manifests": []}, True),
        ({"manifests": None}, True),
        ({"mediaType": media_types.OCI_MANIFEST, "manifests": []}, False),
        ({"mediaType": media_types.OCI_INDEX}, False),
        ({"manifests": "x"}, False),
        ({"manifests": [5]}, False),
        ({"manifests": [{"digest": 5}]}, False),
        ([], False),
    ],
)
def test_a_page_of_referrers_is_an_index(document: object, is_page: bool) -> None:
    """Referrers are descriptors in an image index."""
    body = json.dumps(document).encode()
    assert is_referrers_page(body, media_types.OCI_INDEX, _SUBJECT) is is_page


def test_an_image_does_not_list_its_own_referrers() -> None:
    """An answer that is the subject itself is no page of its referrers."""
    body = json.dumps({"manifests": [_ENTRY]}).encode()
    assert is_referrers_page(body, media_types.OCI_INDEX, _SUBJECT)
    assert not is_referrers_page(body, media_types.OCI_INDEX, Digest.of(body))


@pytest.mark.parametrize(
    ("content_type", "fits"),
    [
        (media_types.OCI_INDEX, True),
        ("application/json", True),
        ("text/plain; charset=utf-8", True),
        ("text/html", False),
        (media_types.DOCKER_LIST, False),
    ],
)
def test_a_page_of_referrers_has_a_fitting_type(content_type: str, fits: bool) -> None:
    """An index comes under its own type, or under those by which registries send any JSON."""
    assert is_referrers_page(b'{"manifests":[]}', content_type, _SUBJECT) is fits
