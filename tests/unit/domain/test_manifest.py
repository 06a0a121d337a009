import json
from collections.abc import Mapping

import pytest

from cacheproxy.domain import media_types
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import ManifestInvalid
from cacheproxy.domain.manifest import SIZE_LIMIT, Descriptor, parse

_CONFIG, _LAYER, _CHILD = Digest.of(b"config"), Digest.of(b"layer"), Digest.of(b"child")
_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
_IMAGE = {
    "schemaVersion": 2,
    "config": {
        "digest": _CONFIG,
        "size": 6,
        "mediaType": "application/vnd.oci.image.config.v1+json",
    },
    "layers": [{"digest": _LAYER, "size": 5, "mediaType": _GZIP}],
}
_INDEX = {
    "schemaVersion": 2,
    "manifests": [{"digest": _CHILD, "size": 5, "mediaType": media_types.OCI_MANIFEST}],
}


def _body(document: object) -> bytes:
    return json.dumps(document).encode()


def test_an_image_has_layers_and_a_config() -> None:
    """The children of an image are its layers, in order, and its config."""
    manifest = parse(_body(_IMAGE), media_types.OCI_MANIFEST)
    assert manifest.media_type == media_types.OCI_MANIFEST
    assert manifest.children == (
        Descriptor(_LAYER, 5, _GZIP),
        Descriptor(_CONFIG, 6, "application/vnd.oci.image.config.v1+json"),
    )


def test_an_index_has_manifests() -> None:
    """The children of an index are its manifests."""
    manifest = parse(_body(_INDEX), media_types.OCI_INDEX)
    assert manifest.media_type == media_types.OCI_INDEX
    assert manifest.children == (Descriptor(_CHILD, 5, media_types.OCI_MANIFEST),)


def test_an_artifact_manifest_has_blobs() -> None:
    """The children of the old artifact manifest are its blobs."""
    manifest = parse(_body({"blobs": [{"digest": _LAYER, "size": 5}]}), None)
    assert manifest.media_type == media_types.OCI_ARTIFACT_MANIFEST
    assert manifest.children == (Descriptor(_LAYER, 5, None),)


def test_the_bytes_are_kept_as_they_came() -> None:
    """Whatever is odd about a manifest's bytes, they and their digest stay as they are."""
    body = b' {\n"layers" : [ ] , "x":1.0, "layers":[]}\r\n'
    manifest = parse(body, None)
    assert (manifest.body, manifest.digest) == (body, Digest.of(body))
    asked = Digest.parse("sha512:" + "0" * 128)
    assert parse(body, None, asked).digest is asked


@pytest.mark.parametrize(
    ("stated", "sent", "expected"),
    [
        pytest.param(media_types.DOCKER_MANIFEST, media_types.DOCKER_MANIFEST, None, id="both"),
        pytest.param(media_types.DOCKER_MANIFEST, None, None, id="stated alone"),
        pytest.param(
            None, media_types.DOCKER_MANIFEST, media_types.DOCKER_MANIFEST, id="sent alone"
        ),
        pytest.param(
            None,
            media_types.DOCKER_MANIFEST.upper() + "; charset=utf-8",
            media_types.DOCKER_MANIFEST,
            id="sent with parameters",
        ),
        pytest.param(None, None, media_types.OCI_MANIFEST, id="neither"),
        pytest.param(None, "", media_types.OCI_MANIFEST, id="sent empty"),
        pytest.param(None, "text/plain; charset=utf-8", media_types.OCI_MANIFEST, id="text"),
        pytest.param(None, "application/octet-stream", media_types.OCI_MANIFEST, id="bytes"),
        pytest.param(
            media_types.OCI_MANIFEST, "application/json", None, id="stated wins over JSON"
        ),
        pytest.param("application/vnd.example+json", None, None, id="a type of somebody's own"),
    ],
)
def test_the_type_is_stated_or_sent_or_inferred(
    stated: str | None, sent: str | None, expected: str | None
) -> None:
    """The type is what the document says, else what the answer says, else what it looks like."""
    document = _IMAGE if stated is None else {**_IMAGE, "mediaType": stated}
    assert parse(_body(document), sent).media_type == (expected or stated)


@pytest.mark.parametrize(
    ("document", "sent", "expected"),
    [
        pytest.param(_IMAGE, media_types.OCI_INDEX, media_types.OCI_MANIFEST, id="as an index"),
        pytest.param(_IMAGE, media_types.DOCKER_LIST, media_types.OCI_MANIFEST, id="as a list"),
        pytest.param(_INDEX, media_types.OCI_MANIFEST, media_types.OCI_INDEX, id="as an image"),
        pytest.param(_INDEX, media_types.DOCKER_MANIFEST, media_types.OCI_INDEX, id="as Docker's"),
        pytest.param(
            {**_IMAGE, "mediaType": media_types.OCI_MANIFEST},
            media_types.DOCKER_MANIFEST,
            media_types.OCI_MANIFEST,
            id="as another image",
        ),
    ],
)
def test_the_document_decides(document: Mapping[str, object], sent: str, expected: str) -> None:
    """A Content-Type that disagrees with the document is ignored."""
    assert parse(_body(document), sent).media_type == expected


@pytest.mark.parametrize(
    ("document", "sent"),
    [
        pytest.param({**_IMAGE, **_INDEX}, media_types.OCI_MANIFEST, id="image and index"),
        pytest.param({"manifests": [], "layers": []}, None, id="manifests and layers"),
        pytest.param({"manifests": [], "config": None}, None, id="manifests and config"),
        pytest.param(
            {**_IMAGE, "mediaType": media_types.DOCKER_LIST}, None, id="calls itself a list"
        ),
        pytest.param(
            {**_INDEX, "mediaType": media_types.OCI_MANIFEST}, None, id="calls itself image"
        ),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(
    document: Mapping[str, object], sent: str | None
) -> None:
    """A manifest that is another thing to another reader is refused (CVE-2021-41190)."""
    with pytest.raises(ManifestInvalid):
        parse(_body(document), sent)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"<html>", id="no JSON"),
        pytest.param(b"{", id="cut"),
        pytest.param(b'{"layers":[]}x', id="something behind it"),
        pytest.param(b'{"layers":["\xff"]}', id="no UTF-8"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"null", id="null"),
        pytest.param(b"7", id="a number"),
        pytest.param(b'"layers"', id="a string"),
        pytest.param(b"{}", id="nothing in it"),
        pytest.param(b'{"schemaVersion":1,"fsLayers":[]}', id="schema 1"),
        pytest.param(b'{"errors":[{"code":"UNKNOWN"}]}', id="an error"),
        pytest.param(b"[" * 100_000, id="deep lists"),
        pytest.param(b'{"layers":' + b"[" * 100_000 + b"]" * 100_000 + b"}", id="deep layers"),
        pytest.param(b'{"a":' * 100_000, id="deep objects"),
        pytest.param(b'{"layers":[],"x":' + b"9" * 5000 + b"}", id="a number too long to convert"),
    ],
)
def test_what_is_no_manifest_is_refused(body: bytes) -> None:
    """Whatever else upstream sends in a manifest's place is refused, not believed."""
    with pytest.raises(ManifestInvalid):
        parse(body, None)


@pytest.mark.parametrize("key", ["manifests", "layers", "blobs"])
@pytest.mark.parametrize(
    "value",
    [
        pytest.param({}, id="an object"),
        pytest.param("x", id="a string"),
        pytest.param(1, id="a number"),
        pytest.param(False, id="false"),
        pytest.param([1], id="numbers"),
        pytest.param([None], id="nulls"),
        pytest.param([[]], id="lists"),
        pytest.param([{}], id="no digest"),
        pytest.param([{"digest": None}], id="digest null"),
        pytest.param([{"digest": 7}], id="digest a number"),
        pytest.param([{"digest": [_LAYER]}], id="digest a list"),
        pytest.param([{"digest": _LAYER, "size": "5"}], id="size a string"),
        pytest.param([{"digest": _LAYER, "size": -1}], id="size negative"),
        pytest.param([{"digest": _LAYER, "size": 1.5}], id="size a fraction"),
        pytest.param([{"digest": _LAYER, "size": True}], id="size a boolean"),
        pytest.param([{"digest": _LAYER, "size": [5]}], id="size a list"),
    ],
)
def test_json_of_the_wrong_type_is_refused(key: str, value: object) -> None:
    """A member of the wrong JSON type makes the manifest invalid, wherever it stands."""
    with pytest.raises(ManifestInvalid):
        parse(_body({key: value}), None)


@pytest.mark.parametrize(
    "document",
    [
        pytest.param({"layers": [], "config": []}, id="config a list"),
        pytest.param({"layers": [], "config": "x"}, id="config a string"),
        pytest.param({"layers": [], "config": {}}, id="config without digest"),
        pytest.param({"layers": [], "mediaType": 7}, id="mediaType a number"),
        pytest.param({"layers": [], "mediaType": False}, id="mediaType false"),
        pytest.param(
            {"layers": [], "mediaType": [media_types.OCI_MANIFEST]}, id="mediaType a list"
        ),
    ],
)
def test_wrong_types_elsewhere_are_refused_too(document: Mapping[str, object]) -> None:
    """A config or a mediaType of the wrong JSON type makes the manifest invalid."""
    with pytest.raises(ManifestInvalid):
        parse(_body(document), None)


_NO_MEDIA_TYPES = [
    pytest.param("application/x\r\nX-Evil: 1", id="a header line"),
    pytest.param("application/x\n", id="a line end"),
    pytest.param("\r\n", id="a line end alone"),
    pytest.param("application/x\x00", id="NUL"),
    pytest.param("", id="empty"),
    pytest.param("application", id="no subtype"),
    pytest.param("application/", id="an empty subtype"),
    pytest.param("/json", id="an empty type"),
    pytest.param("application/json/x", id="two slashes"),
    pytest.param("application/x; charset=utf-8", id="a parameter"),
    pytest.param(" application/json", id="a space"),
    pytest.param("application/j\u00e9", id="an accent"),
    pytest.param("application/\udcff", id="a lone surrogate"),
    pytest.param("*/*", id="a wildcard"),
    pytest.param("a/" + "x" * 128, id="too long"),
]


@pytest.mark.parametrize("stated", _NO_MEDIA_TYPES)
@pytest.mark.parametrize("document", [_IMAGE, _INDEX], ids=["image", "index"])
def test_a_media_type_that_cannot_be_sent_is_refused(
    document: Mapping[str, object], stated: str
) -> None:
    """What becomes a Content-Type is one by RFC 6838, and above all no header line of its own."""
    assert not media_types.is_valid(stated)
    with pytest.raises(ManifestInvalid, match="no media type") as caught:
        parse(_body({**document, "mediaType": stated}), None)
    assert "Evil" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        *sorted(media_types.INDEXES | media_types.MANIFESTS),
        "a/b",
        "x/a!#$&-^_.+1",
        "A1/" + "x" * 127,
    ],
)
def test_a_media_type_that_can_be_sent_is_valid(text: str) -> None:
    """The types of manifests, and whatever else RFC 6838 has names for, are media types."""
    assert media_types.is_valid(text)


@pytest.mark.parametrize(
    "document",
    [
        pytest.param({"manifests": []}, id="no manifests"),
        pytest.param({"manifests": None}, id="manifests null"),
        pytest.param({"layers": None}, id="layers null"),
        pytest.param({"config": {"digest": _CONFIG}}, id="config alone, without size"),
    ],
)
def test_what_is_empty_is_valid(document: Mapping[str, object]) -> None:
    """An empty index is one, and Go's encoder writes null for an empty list."""
    config = document.get("config")
    expected = () if config is None else (Descriptor(_CONFIG, None, None),)
    assert parse(_body(document), None).children == expected


@pytest.mark.parametrize(
    "digest",
    [
        pytest.param("blake3:" + "0" * 64, id="blake3"),
        pytest.param("sha256:../../etc/passwd", id="a path"),
        pytest.param("sha256:" + "A" * 64, id="upper case"),
        pytest.param("", id="empty"),
        pytest.param("\ud800", id="a lone surrogate"),
    ],
)
def test_a_digest_that_cannot_be_verified_is_no_child(digest: str) -> None:
    """A descriptor whose digest we could not verify is passed over; the manifest stays good."""
    layers = [{"digest": digest, "size": 1}, {"digest": _LAYER, "size": 5}]
    assert parse(_body({"layers": layers}), None).children == (Descriptor(_LAYER, 5, None),)


def test_a_size_of_zero_is_that_of_the_empty_blob() -> None:
    """A descriptor's size of 0 is dropped unless its digest is that of no bytes."""
    empty = Digest.of(b"")
    layers = [{"digest": _LAYER, "size": 0}, {"digest": empty, "size": 0}]
    children = parse(_body({"layers": layers}), None).children
    assert children == (Descriptor(_LAYER, None, None), Descriptor(empty, 0, None))


def test_a_media_type_of_a_descriptor_is_opaque() -> None:
    """An unknown or senseless media type of a descriptor is no error."""
    layers = [
        {"digest": _LAYER, "mediaType": "application/vnd.example.new"},
        {"digest": _LAYER, "mediaType": 7},
    ]
    children = parse(_body({"layers": layers}), None).children
    assert [child.media_type for child in children] == ["application/vnd.example.new", None]


def test_the_limit_is_four_mebibytes() -> None:
    """A manifest of 4 MiB is read, and one of a byte more is refused before it is read."""
    head, tail = b'{"layers":[],"x":"', b'"}'
    body = head + b"x" * (SIZE_LIMIT - len(head) - len(tail)) + tail
    assert len(body) == 4 * 1024 * 1024
    assert parse(body, None).media_type == media_types.OCI_MANIFEST
    with pytest.raises(ManifestInvalid, match="larger than 4194304 bytes"):
        parse(body + b" ", None)


@pytest.mark.parametrize(
    ("field", "essence"),
    [
        (None, None),
        ("", None),
        (" ", None),
        (";charset=utf-8", None),
        ("text/html", "text/html"),
        (" Text/HTML ; charset=utf-8", "text/html"),
    ],
)
def test_the_essence_of_a_media_type(field: str | None, essence: str | None) -> None:
    """Parameters, case and spaces are no part of a media type."""
    assert media_types.essence(field) == essence


def test_upstream_is_asked_for_every_type() -> None:
    """What we accept is one field with every type of manifest and index in it."""
    accepted = {part.partition(";")[0].strip() for part in media_types.ACCEPT.split(",")}
    assert accepted == media_types.INDEXES | media_types.MANIFESTS | {"*/*"}
    assert not media_types.INDEXES & media_types.MANIFESTS


@pytest.mark.parametrize(
    ("stated", "platform"),
    [
        ({"os": "linux", "architecture": "arm64", "variant": "v8"}, "linux/arm64/v8"),
        ({"os": "linux", "architecture": "amd64"}, "linux/amd64"),
        ({"os": "linux", "architecture": "amd64", "variant": 8}, "linux/amd64"),
        ({"os": "linux"}, None),
        ({"os": 1, "architecture": "amd64"}, None),
        ("linux/amd64", None),
        (None, None),
    ],
)
def test_what_an_index_says_of_platforms(stated: object, platform: str | None) -> None:
    """A platform is read where it is said; nonsense in its place is no platform, and no error."""
    manifest = parse(_body({"manifests": [{"digest": _CHILD, "platform": stated}]}), None)
    (child,) = manifest.children
    assert (str(child.platform) if child.platform else None) == platform
