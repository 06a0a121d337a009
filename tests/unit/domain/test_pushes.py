import json
from typing import Any

import pytest

from cacheproxy.domain.patterns import Patterns
from cacheproxy.domain.pushes import LONGEST, MOST_IMAGES, parse_push
from cacheproxy.domain.routing import Route, Routes

HUB = Route("docker.io", "library")
TEAM = Route("registry.example.com", None, Patterns(("team/**",)))
BY_HOST = {"docker.io": HUB, "index.docker.io": HUB, "registry.example.com": TEAM}
ROUTES = Routes(BY_HOST, TEAM)
DIGEST = "sha256:" + 64 * "a"


def _push(tag: str | None = "1.2", name: str = "team/app", action: str = "push") -> dict[str, Any]:
    """An event as distribution sends it."""
    target: dict[str, Any] = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": DIGEST,
        "size": 708,
        "repository": name,
        "url": f"http://10.0.0.7:5000/v2/{name}/manifests/{DIGEST}",
    }
    if tag is not None:
        target["tag"] = tag
    return {
        "id": "asdf",
        "timestamp": "2026-11-24T08:00:00Z",
        "action": action,
        "target": target,
        "request": {"host": "registry.example.com", "method": "PUT"},
    }


_DOCKER_HUB = {
    "callback_url": "https://registry.hub.docker.com/u/svendowideit/testhook/hook/x/",
    "push_data": {"pushed_at": 1417566161, "pusher": "trustedbuilder", "tag": "latest"},
    "repository": {"name": "app", "namespace": "team", "repo_name": "team/app"},
}
_HARBOR = {
    "type": "PUSH_ARTIFACT",
    "occur_at": 1586922308,
    "operator": "admin",
    "event_data": {
        "resources": [
            {"digest": DIGEST, "tag": "v1", "resource_url": "harbor.example.com/team/app:v1"},
            {"digest": DIGEST, "tag": "v1.0", "resource_url": "harbor.example.com/team/app:v1.0"},
            {"digest": DIGEST, "resource_url": f"harbor.example.com/team/app@{DIGEST}"},
        ],
        "repository": {"name": "app", "namespace": "team", "repo_full_name": "team/app"},
    },
}
_QUAY = {
    "repository": "team/app",
    "namespace": "team",
    "name": "app",
    "docker_url": "quay.io/team/app",
    "homepage": "https://quay.io/repository/team/app",
    "updated_tags": ["latest", "v2"],
}


def _images(document: Any, upstream: str | None = None) -> list[str]:
    return [
        str(image) for image in parse_push(json.dumps(document).encode(), ROUTES, upstream).images
    ]


@pytest.mark.parametrize(
    ("document", "images"),
    [
        ({"events": [_push()]}, ["registry.example.com/team/app:1.2"]),
        (
            {"events": [_push(), _push("1.3"), _push()]},
            ["registry.example.com/team/app:1.2", "registry.example.com/team/app:1.3"],
        ),
        ({"events": [_push(action="pull"), _push(action="delete"), _push(None)]}, []),
        ({"events": []}, []),
        (_DOCKER_HUB, ["registry.example.com/team/app:latest"]),
        (_HARBOR, ["registry.example.com/team/app:v1", "registry.example.com/team/app:v1.0"]),
        (_HARBOR | {"type": "DELETE_ARTIFACT"}, []),
        (_QUAY, ["registry.example.com/team/app:latest", "registry.example.com/team/app:v2"]),
        (_QUAY | {"updated_tags": {"v3": DIGEST}}, ["registry.example.com/team/app:v3"]),
        (_QUAY | {"updated_tags": None}, []),
        (
            {"images": ["team/app", "docker.io/nginx:1", f"team/app:2@{DIGEST}"]},
            [
                "registry.example.com/team/app:latest",
                "docker.io/library/nginx:1",
                f"registry.example.com/team/app:2@{DIGEST}",
            ],
        ),
    ],
)
def test_shapes(document: object, images: list[str]) -> None:
    """Each known shape comes to the images that were pushed, under their upstream's name here."""
    assert _images(document) == images


@pytest.mark.parametrize("upstream", ["docker.io", "index.docker.io", "Docker.IO"])
def test_the_url_says_which_upstream(upstream: str) -> None:
    """A notification is of the upstream that its URL names, by any of its names."""
    assert _images(_DOCKER_HUB, upstream) == ["docker.io/team/app:latest"]
    assert _images({"images": ["nginx"]}, upstream) == ["docker.io/library/nginx:latest"]


def test_what_may_not_be_pulled_is_ignored() -> None:
    """Pushes that the rules exclude are told of, and stop no others."""
    document = {"events": [_push(name="private/app"), _push()]}
    pushed = parse_push(json.dumps(document).encode(), ROUTES)
    assert [str(image) for image in pushed.images] == ["registry.example.com/team/app:1.2"]
    assert pushed.ignored == (
        "registry.example.com/private/app is not allowed by this proxy's rules",
    )
    other = parse_push(b'{"images": ["quay.io/a/b:1"]}', ROUTES)
    assert not other.images
    assert other.ignored == ("'quay.io' is not a configured upstream",)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "is not JSON"),
        (b"\xff", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "none of the shapes that are known"),
        (b"{}", "none of the shapes that are known"),
        (b'{"images": "a"}', "none of the shapes that are known"),
        (b'{"images": [1]}', "must be lists of texts"),
        (b'{"images": ["A B"]}', "'A B' is no image"),
        (b'{"images": ["team/b:c:d"]}', "is no image"),
        (b'{"events": [1]}', "has no action"),
        (b'{"events": [{"target": {}}]}', "has no action"),
        (json.dumps({"events": [_push("../../x")]}).encode(), "is no image"),
        (b" " * (LONGEST + 1), f"at most {LONGEST} bytes"),
        (
            json.dumps({"images": [f"team/a:{n}" for n in range(MOST_IMAGES + 1)]}).encode(),
            f"at most {MOST_IMAGES} images",
        ),
    ],
)
def test_bad_input(body: bytes, said: str) -> None:
    """What is no notification is refused with a sentence."""
    with pytest.raises(ValueError, match=" ") as raised:
        parse_push(body, ROUTES)
    assert said in str(raised.value)


def test_an_unknown_upstream() -> None:
    """A URL that names no upstream is refused, and so is one that names none without a default."""
    with pytest.raises(ValueError, match=r"'quay\.io' is not a configured upstream"):
        parse_push(b'{"images": []}', ROUTES, "quay.io")
    with pytest.raises(ValueError, match="no upstream is the default"):
        parse_push(b'{"images": []}', Routes(BY_HOST, None))
