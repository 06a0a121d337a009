"""What belongs to an image, from a real registry that has no referrers API."""

import json

import pytest

from tests.clients import catalogue
from tests.clients.stage import Stage
from tests.support import images
from tests.support.parts import wire

pytestmark = pytest.mark.clients

REPOSITORY = "/v2/docker.io/library/app"


def test_the_fallback_tag_is_served_bit_for_bit_also_without_upstream(stage: Stage) -> None:
    """A client that looks for referrers by tag finds them, and again when upstream is gone."""
    url = f"{stage.proxy.url}{REPOSITORY}/manifests/{catalogue.REFERRERS.tag}"
    accept = {"Accept": images.OCI_INDEX}

    assert wire.get(url, headers=accept).body == catalogue.REFERRERS.image.manifest
    stage.cut()
    assert wire.get(url, headers=accept).body == catalogue.REFERRERS.image.manifest


def test_the_referrers_api_answers_for_an_upstream_without_one(stage: Stage) -> None:
    """A client that asks by API gets what upstream keeps under the fallback tag."""
    url = f"{stage.proxy.url}{REPOSITORY}/referrers/{catalogue.APP.image.digest}"
    answer = wire.get(url)

    assert answer.status == 200
    assert answer.headers["Content-Type"] == images.OCI_INDEX
    listed = [entry["digest"] for entry in json.loads(answer.body)["manifests"]]
    assert listed == [catalogue.SBOM.digest]


def test_an_image_without_referrers_has_an_empty_index(stage: Stage) -> None:
    """Nothing belongs to the image: that is an answer, and not an error."""
    digest = catalogue.COUSIN.image.digest
    answer = wire.get(f"{stage.proxy.url}/v2/docker.io/library/cousin/referrers/{digest}")

    assert answer.status == 200
    assert json.loads(answer.body)["manifests"] == []
