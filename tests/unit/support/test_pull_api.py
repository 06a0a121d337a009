"""What the scripted registry does beyond what it has in common with distribution 2.8."""

import json
from typing import Any
from urllib.parse import parse_qsl

import pytest
from multidict import CIMultiDict, CIMultiDictProxy, MultiDict, MultiDictProxy

from tests.support import images
from tests.support.scripted_registry import Behaviour, ScriptedRegistry
from tests.support.scripted_registry.answer import Answer, Asked

_NAME = "team/app"


def _get(registry: ScriptedRegistry, path: str, **headers: str) -> Answer:
    where, _, query_string = path.partition("?")
    query = MultiDictProxy(MultiDict(parse_qsl(query_string)))
    kept = CIMultiDictProxy(CIMultiDict({k.replace("_", "-"): v for k, v in headers.items()}))
    return registry.respond(Asked("GET", where, query_string, query, kept))


def _tagged(*tags: str, behaviour: Behaviour | None = None) -> ScriptedRegistry:
    registry = ScriptedRegistry(behaviour=behaviour)
    for tag in tags:
        registry.add_manifest(_NAME, tag, b"{}", images.DOCKER_MANIFEST)
    return registry


def _json(answer: Answer) -> dict[str, Any]:
    document = json.loads(answer.body)
    assert isinstance(document, dict)
    return document


@pytest.mark.parametrize(
    ("query", "tags", "link"),
    [
        ("", ["a", "b", "c", "d"], None),
        ("n=2", ["a", "b"], f'</v2/{_NAME}/tags/list?last=b&n=2>; rel="next"'),
        ("n=2&last=b", ["c", "d"], None),
        ("n=1&last=aa", ["b"], f'</v2/{_NAME}/tags/list?last=b&n=1>; rel="next"'),
        ("last=c", ["d"], None),
        ("n=0", [], None),
        ("n=9", ["a", "b", "c", "d"], None),
    ],
)
def test_pages_of_tags(query: str, tags: list[str], link: str | None) -> None:
    """A page of tags begins behind `last`, holds at most `n`, and links to the next if any."""
    answer = _get(_tagged("d", "b", "a", "c"), f"/v2/{_NAME}/tags/list?{query}")
    assert _json(answer) == {"name": _NAME, "tags": tags}
    assert answer.header("Link") == link


def test_pages_of_no_number() -> None:
    """A page size that is no number is refused."""
    answer = _get(_tagged("a"), f"/v2/{_NAME}/tags/list?n=many")
    assert (answer.status, _json(answer)["errors"][0]["code"]) == (400, "PAGINATION_NUMBER_INVALID")


def test_no_pages() -> None:
    """A registry that does not paginate gives all tags, as distribution 2.8 does."""
    registry = _tagged("a", "b", behaviour=Behaviour(paginates=False))
    assert _json(_get(registry, f"/v2/{_NAME}/tags/list?n=1"))["tags"] == ["a", "b"]


def test_referrers() -> None:
    """Referrers are an index of what names the manifest as its subject, filtered if asked for."""
    registry = ScriptedRegistry()
    subject = images.simple(1)
    for kind in ("application/vnd.a", "application/vnd.b"):
        registry.add_image(_NAME, None, images.referrer(subject, kind))
    path = f"/v2/{_NAME}/referrers/{subject.digest}"
    everything = _get(registry, path)
    assert everything.header("Content-Type") == images.OCI_INDEX
    assert everything.header("OCI-Filters-Applied") is None
    assert len(_json(everything)["manifests"]) == 2
    chosen = _get(registry, path + "?artifactType=application/vnd.b")
    assert [each["artifactType"] for each in _json(chosen)["manifests"]] == ["application/vnd.b"]
    assert chosen.header("OCI-Filters-Applied") == "artifactType"


def test_no_referrers() -> None:
    """What nothing refers to has an empty index, in a repository that does not exist, too."""
    path = f"/v2/none/referrers/{images.sha256(b'')}"
    assert _json(_get(ScriptedRegistry(), path))["manifests"] == []


def test_referrers_unfiltered() -> None:
    """A registry that does not filter gives all referrers, and does not say that it filtered."""
    registry = ScriptedRegistry(behaviour=Behaviour(filters=False))
    subject = images.simple(1)
    registry.add_image(_NAME, None, images.referrer(subject))
    answer = _get(registry, f"/v2/{_NAME}/referrers/{subject.digest}?artifactType=x/y")
    assert len(_json(answer)["manifests"]) == 1
    assert answer.header("OCI-Filters-Applied") is None


def test_without_referrers_api() -> None:
    """A registry without a referrers API answers 404."""
    registry = ScriptedRegistry(behaviour=Behaviour(referrers=False))
    assert _get(registry, f"/v2/{_NAME}/referrers/{images.sha256(b'')}").status == 404


def test_lenient_accept() -> None:
    """A registry that does not look at Accept gives what it has."""
    image = images.multi_arch(1)
    path = f"/v2/{_NAME}/manifests/v1"
    strict, lenient = ScriptedRegistry(), ScriptedRegistry(behaviour=Behaviour(strict_accept=False))
    for registry in (strict, lenient):
        registry.add_image(_NAME, "v1", image)
    assert _get(strict, path).status == 404
    assert _get(lenient, path).body == image.manifest


def test_sha512() -> None:
    """A blob can go by its SHA-512."""
    registry = ScriptedRegistry()
    digest = registry.add_blob(_NAME, b"content", algorithm="sha512")
    assert digest.startswith("sha512:")
    assert _get(registry, f"/v2/{_NAME}/blobs/{digest}").body == b"content"


def test_removed() -> None:
    """What is removed is gone, and only that."""
    registry = ScriptedRegistry()
    image = images.simple(1)
    registry.add_image(_NAME, "v1", image)
    by_tag, by_digest = (f"/v2/{_NAME}/manifests/{each}" for each in ("v1", image.digest))
    registry.remove_tag(_NAME, "v1")
    statuses = [
        _get(registry, path, Accept=images.OCI_MANIFEST).status for path in (by_tag, by_digest)
    ]
    assert statuses == [404, 200]
    registry.remove_manifest(_NAME, image.digest)
    assert _get(registry, by_digest, Accept=images.OCI_MANIFEST).status == 404
    blob = image.blobs[0].digest
    assert _get(registry, f"/v2/{_NAME}/blobs/{blob}").status == 200
    registry.remove_blob(_NAME, blob)
    assert _get(registry, f"/v2/{_NAME}/blobs/{blob}").status == 404


@pytest.mark.parametrize(("condition", "status"), [('"{}"', 206), ('"other"', 200)])
def test_if_range(condition: str, status: int) -> None:
    """A range of something that has changed since is answered with the whole."""
    registry = ScriptedRegistry()
    digest = registry.add_blob(_NAME, b"content")
    headers = {"Range": "bytes=0-1", "If_Range": condition.format(digest)}
    assert _get(registry, f"/v2/{_NAME}/blobs/{digest}", **headers).status == status


def test_several_ranges() -> None:
    """Several ranges at once are not granted."""
    registry = ScriptedRegistry()
    digest = registry.add_blob(_NAME, b"content")
    answer = _get(registry, f"/v2/{_NAME}/blobs/{digest}", Range="bytes=0-1,3-4")
    assert (answer.status, answer.body) == (200, b"content")


def test_writing() -> None:
    """Nothing can be written over HTTP."""
    asked = Asked(
        "DELETE",
        f"/v2/{_NAME}/manifests/v1",
        "",
        MultiDictProxy(MultiDict()),
        CIMultiDictProxy(CIMultiDict()),
    )
    answer = ScriptedRegistry().respond(asked)
    assert (answer.status, answer.header("Allow")) == (405, "GET, HEAD")
    assert _json(answer)["errors"][0]["code"] == "UNSUPPORTED"
