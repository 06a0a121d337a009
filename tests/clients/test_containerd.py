"""containerd pulls through `_default/hosts.toml`: the proxy learns the registry from `ns`."""

import pytest

from tests.clients import catalogue
from tests.clients.stage import Stage
from tests.support.parts.containerd import containerd

pytestmark = pytest.mark.clients

IMAGES = {
    "docker.io/library/app:1": catalogue.APP,
    "registry.example.com/team/app:1": catalogue.TEAM_APP,
    "docker.io/library/zstd:1": catalogue.ZSTD,
}


def test_pulls_and_unpacks_from_two_registries_also_without_upstream(stage: Stage) -> None:
    """Images of both upstreams arrive unchanged, and again when both upstreams are gone."""
    expected = {
        digest: body for entry in IMAGES.values() for digest, body in entry.contents.items()
    }

    assert _pulled(stage, *IMAGES) == expected
    stage.cut()
    assert _pulled(stage, *IMAGES) == expected


def test_fetches_all_platforms_also_without_upstream(stage: Stage) -> None:
    """An index arrives with all its platforms and the attestation, and again without upstream."""
    assert _fetched(stage, "docker.io/library/multi:1") == catalogue.INDEX.contents
    stage.cut()
    assert _fetched(stage, "docker.io/library/multi:1") == catalogue.INDEX.contents


def test_pulls_by_digest(stage: Stage) -> None:
    """A reference with a digest needs no tag."""
    reference = f"docker.io/library/app@{catalogue.APP.image.digest}"

    assert _pulled(stage, reference) == catalogue.APP.contents


def test_an_unknown_registry_is_not_found(stage: Stage) -> None:
    """A registry that is not configured is not dialled, and its image not found."""
    with pytest.raises(AssertionError, match="not found"):
        _pulled(stage, "unknown.example.com/team/app:1")

    assert stage.hub.crossings + stage.example.crossings == []


def _pulled(stage: Stage, *references: str) -> dict[str, bytes]:
    with containerd(stage.proxy.url) as client:
        for reference in references:
            client.pull(reference)
        return client.content()


def _fetched(stage: Stage, reference: str) -> dict[str, bytes]:
    with containerd(stage.proxy.url) as client:
        client.fetch(reference)
        return client.content()
