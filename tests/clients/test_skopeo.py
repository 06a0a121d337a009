"""skopeo pulls through the proxy by prefix: every kind of content, bit for bit."""

import pytest

from tests.clients import catalogue
from tests.clients.catalogue import Entry
from tests.clients.stage import Stage
from tests.support.parts.skopeo import Skopeo

pytestmark = pytest.mark.clients

KINDS = {
    "image": catalogue.APP,
    "index": catalogue.INDEX,
    "zstd": catalogue.ZSTD,
    "docker": catalogue.DOCKER,
    "docker-list": catalogue.DOCKER_LIST,
    "helm-chart": catalogue.CHART,
    "signature": catalogue.SIGNATURE,
}


@pytest.mark.parametrize("entry", KINDS.values(), ids=KINDS)
def test_pulls_any_content_bit_for_bit_also_without_upstream(stage: Stage, entry: Entry) -> None:
    """Every kind of image and artifact arrives unchanged, and again when upstream is gone."""
    reference = f"{stage.proxy.host}/docker.io/{entry.repository}:{entry.tag}"

    assert Skopeo().pull(reference) == entry.contents
    stage.cut()
    assert Skopeo().pull(reference) == entry.contents


def test_pulls_from_the_other_upstream_also_when_it_is_gone(stage: Stage) -> None:
    """A prefix names the upstream, whichever it is, and also when that upstream is gone."""
    reference = f"{stage.proxy.host}/registry.example.com/team/app:1"

    assert Skopeo().pull(reference) == catalogue.TEAM_APP.contents
    stage.cut()
    assert Skopeo().pull(reference) == catalogue.TEAM_APP.contents


def test_lists_the_tags_of_a_repository(stage: Stage) -> None:
    """The tag list is upstream's, with the tags of signatures and referrers."""
    tags = Skopeo().tags(f"{stage.proxy.host}/docker.io/library/app")

    expected = [entry.tag for entry in catalogue.HUB if entry.repository == "library/app"]
    assert sorted(tags) == sorted(expected)


def test_an_unknown_tag_fails_the_pull(stage: Stage) -> None:
    """A tag that upstream does not have is an error of the client, not an empty image."""
    with pytest.raises(AssertionError, match="manifest unknown"):
        Skopeo().pull(f"{stage.proxy.host}/docker.io/library/app:absent")
