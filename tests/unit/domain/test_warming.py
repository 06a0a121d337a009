import json

import pytest

from cacheproxy.domain import manifest as manifests
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import ManifestInvalid, ManifestUnknown
from cacheproxy.domain.manifest import Manifest
from cacheproxy.domain.platforms import Platforms
from cacheproxy.domain.warming import (
    WarmStep,
    WarmSummary,
    WarmTerms,
    deeper,
    line,
    read_line,
    read_request,
    summed,
    wanted_of,
)
from tests.support import images

INDEX = images.multi_arch(5)
AMD64, ARM64, PROOF = INDEX.children


def _parsed(image: images.Image) -> Manifest:
    return manifests.parse(image.manifest, image.media_type)


@pytest.mark.parametrize(
    ("platforms", "chosen"),
    [
        (["linux/amd64"], [AMD64]),
        (["linux/arm64/v8"], [ARM64]),
        (["linux/arm64", "linux/amd64"], [AMD64, ARM64]),
        (["all"], [AMD64, ARM64, PROOF]),
    ],
)
def test_an_index_is_chosen_from(platforms: list[str], chosen: list[images.Image]) -> None:
    """Of an index those images are wanted that are for a wanted platform, and no attestation."""
    wanted = wanted_of(_parsed(INDEX), Platforms.parse(platforms))
    assert [child.digest for child in wanted.manifests] == [image.digest for image in chosen]
    assert not wanted.blobs


def test_a_platform_that_is_not_there_is_named() -> None:
    """An index without any wanted platform is an error that says which there are."""
    with pytest.raises(ManifestUnknown, match="not for linux/s390x, but for linux/amd64, linux/ar"):
        wanted_of(_parsed(INDEX), Platforms.parse(["linux/s390x"]))


def test_an_image_is_taken_as_it_is() -> None:
    """Of an image config and layers are wanted, whatever it is for."""
    wanted = wanted_of(_parsed(ARM64), Platforms.parse(["linux/amd64"]))
    assert {blob.digest for blob in wanted.blobs} == {blob.digest for blob in ARM64.blobs}


def test_what_is_had_elsewhere_is_left_out() -> None:
    """Foreign layers are not wanted, and what is referred to twice is wanted once."""
    layer, foreign = images.layer(1, 10).descriptor(), images.layer(2, 10).descriptor()
    document = {
        "schemaVersion": 2,
        "mediaType": images.DOCKER_MANIFEST,
        "config": images.layer(3, 10).descriptor(),
        "layers": [layer, foreign | {"urls": ["https://example.com/layer"]}, layer],
    }
    manifest = manifests.parse(json.dumps(document).encode(), None)
    wanted = wanted_of(manifest, Platforms.parse(["all"]))
    assert [blob.digest for blob in wanted.blobs] == [
        layer["digest"],
        images.layer(3, 10).digest,
    ]


def test_indexes_have_an_end() -> None:
    """Indexes within indexes are followed a few levels down."""
    depth = 0
    for _ in range(4):
        depth = deeper(depth)
    with pytest.raises(ManifestInvalid, match="nested more than 4 deep"):
        deeper(depth)


_STEP = WarmStep("docker.io/library/a:1", "done", Digest.of(b""), 2, 2, 30, 30, 10, 5, 15, 0.5)


@pytest.mark.parametrize("told", [_STEP, summed([_STEP], 2.0), WarmStep("a", "failed", error="x")])
def test_lines_are_read_as_they_were_written(told: WarmStep | WarmSummary) -> None:
    """What a line says comes out again, also with what a later version adds to it."""
    document = json.loads(json.dumps(line(told)))
    assert read_line(document) == told
    (inner,) = document.values()
    inner["later"] = 1
    assert read_line(document) == told


@pytest.mark.parametrize("document", [None, [], {}, {"step": 1}, {"step": {}}, {"later": {}}])
def test_other_lines_are_nothing(document: object) -> None:
    """What is not understood is nothing, and no error."""
    assert read_line(document) is None


def test_sums() -> None:
    """The end has how many images are warm, and all bytes by where they came from."""
    failed = WarmStep("b", "failed", fetched_bytes=7, error="no")
    assert summed([_STEP, failed], 3.0) == WarmSummary(2, 1, 1, 17, 5, 15, 3.0)


_DEFAULT = WarmTerms(Platforms.parse(["linux/amd64"]), 3)


def test_a_request_is_read() -> None:
    """What a request leaves out is as the settings have it."""
    assert read_request({"images": ["a", "b"]}, _DEFAULT) == (["a", "b"], _DEFAULT)
    asked = {"images": [], "platforms": ["all"], "parallel": 64, "later": 1}
    assert read_request(asked, _DEFAULT) == ([], WarmTerms(Platforms(), 64))


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (None, "a request is"),
        ([], "a request is"),
        ({}, "a request is"),
        ({"images": "a"}, "a request is"),
        ({"images": [1]}, "a request is"),
        ({"images": ["a"] * 10_001}, "at most 10000 images"),
        ({"images": ["a" * 1025]}, "1024 characters"),
        ({"images": [], "platforms": "all"}, "must be a list"),
        ({"images": [], "platforms": []}, "no platform is named"),
        ({"images": [], "platforms": ["x"]}, "is not a platform"),
        ({"images": [], "parallel": 0}, "from 1 to 64"),
        ({"images": [], "parallel": 65}, "from 1 to 64"),
        ({"images": [], "parallel": True}, "from 1 to 64"),
        ({"images": [], "parallel": "2"}, "from 1 to 64"),
    ],
)
def test_a_bad_request_is_refused(request_: object, said: str) -> None:
    """What is no request, or asks for too much, is refused with a sentence."""
    with pytest.raises(ValueError, match=said):
        read_request(request_, _DEFAULT)
