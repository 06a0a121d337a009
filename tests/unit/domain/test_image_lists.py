import json

import pytest

from cacheproxy.domain.image_lists import read_images


def _pod(*images: str, **others: list[dict[str, str]]) -> dict[str, object]:
    return {
        "kind": "Pod",
        "spec": {"containers": [{"name": "c", "image": image} for image in images], **others},
        "status": {"containerStatuses": [{"image": "docker.io/library/of-the-status:1"}]},
    }


_PODS = {
    "apiVersion": "v1",
    "kind": "List",
    "items": [
        _pod("nginx:1.27", "quay.io/team/app@sha256:" + 64 * "a"),
        _pod(
            "nginx:1.27",
            initContainers=[{"image": "busybox"}],
            ephemeralContainers=[{"image": "registry.example.com:5000/team/debug:2"}],
        ),
    ],
}


def test_lines() -> None:
    """Names come from lines and from spaces between, without comments, each once, in order."""
    text = "# all of them\nnginx:1.27\n\n  quay.io/a/b:2 redis # twice\r\nnginx:1.27\n#x\n"
    assert read_images(text) == ["nginx:1.27", "quay.io/a/b:2", "redis"]


@pytest.mark.parametrize("text", ["", "\n \n", "# nothing\n", "[]", '{"images": []}'])
def test_nothing(text: str) -> None:
    """A list without images is empty, and no error."""
    assert read_images(text) == []


def test_pods() -> None:
    """All containers of all pods count, and what the kubelet says of them does not."""
    assert read_images(json.dumps(_PODS, indent=2)) == [
        "nginx:1.27",
        "quay.io/team/app@sha256:" + 64 * "a",
        "busybox",
        "registry.example.com:5000/team/debug:2",
    ]


def test_what_makes_pods() -> None:
    """Templates of pods count too: deployments, and cron jobs with their jobs' templates."""
    template = {"template": {"spec": {"containers": [{"image": "a:1"}]}}}
    cron = {"jobTemplate": {"spec": {"template": {"spec": {"containers": [{"image": "b:1"}]}}}}}
    document = {"apiVersion": "v1", "items": [{"spec": template}, {"spec": cron}]}
    assert read_images(json.dumps(document)) == ["a:1", "b:1"]


def test_one_pod() -> None:
    """What kubectl prints of one thing is read as well."""
    assert read_images(json.dumps({"apiVersion": "v1", **_pod("a:1")})) == ["a:1"]


def test_crictl() -> None:
    """Images of a node go by their tags; those without, by their digest; others not at all."""
    digest = "quay.io/team/app@sha256:" + 64 * "b"
    document = {
        "images": [
            {"id": "sha256:1", "repoTags": ["docker.io/library/nginx:1.27"], "repoDigests": ["x"]},
            {"id": "sha256:2", "repoTags": [], "repoDigests": [digest]},
            {"id": "sha256:3", "repoTags": ["<none>:<none>"], "repoDigests": []},
            {"id": "sha256:4"},
        ]
    }
    assert read_images(json.dumps(document)) == ["docker.io/library/nginx:1.27", digest]


@pytest.mark.parametrize("text", ['["a:1", "b:1", "a:1"]', '{"images": ["a:1", "b:1"]}'])
def test_names_as_json(text: str) -> None:
    """A plain list of names may be JSON."""
    assert read_images(text) == ["a:1", "b:1"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nginx\nimage: nginx\n", "line 2: 'image:' is no image's name"),
        ("<html>", "line 1: '<html>' is no image's name"),
        ('{"a": 1', "begins as JSON, and is none"),
        ('{"a": 1}', "neither a list of names nor"),
        ("[1]", "'1' is no image's name"),
        ("[" * 100_000, "begins as JSON, and is none"),
    ],
)
def test_what_is_no_list(text: str, said: str) -> None:
    """What is no list is refused, with the place."""
    with pytest.raises(ValueError, match=" ") as raised:
        read_images(text)
    assert said in str(raised.value)
