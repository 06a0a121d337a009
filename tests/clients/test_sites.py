"""More than one site: proxies in a row, and a cache that is carried to where no network is."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.clients import catalogue
from tests.clients.stage import EXAMPLE, HUB, Registries, Stage, staged
from tests.support.parts.proxy import proxy
from tests.support.parts.scratch import scratch
from tests.support.parts.skopeo import Skopeo

pytestmark = pytest.mark.clients

_PAGE = Path(__file__).parents[2] / "docs/deploy.md"
_NOWHERE = "http://127.0.0.1:9"


def _script(name: str) -> str:
    """A script that the page shows."""
    (found,) = re.findall(
        rf"^```sh\n# {name}\b[^\n]*\n(.*?)^```$", _PAGE.read_text(), re.MULTILINE | re.DOTALL
    )
    return str(found)


def test_a_proxy_behind_another_one(stage: Stage) -> None:
    """Of each registry, a proxy near by has from the central one what crossed the link once."""
    near = {name: f"{stage.proxy.url}/{name}" for name in (HUB, EXAMPLE)}
    with proxy(near) as first, proxy(near) as second:
        for each in (first, second):
            for name, entry in ((HUB, catalogue.APP), (EXAMPLE, catalogue.TEAM_APP)):
                reference = f"{each.host}/{name}/{entry.repository}:{entry.tag}"
                assert Skopeo().pull(reference) == entry.contents
        tags = Skopeo().tags(f"{first.host}/{HUB}/{catalogue.APP.repository}")
    assert catalogue.APP.tag in tags
    images = (catalogue.APP.image, catalogue.TEAM_APP.image)
    sizes = {blob.digest: len(blob.body) for image in images for blob in image.blobs}
    assert stage.blob_bytes == sum(sizes.values())


def test_what_was_carried_is_served_without_a_network(registries: Registries) -> None:
    """What the page's script copies from a running cache serves its images without upstreams."""
    with scratch() as directory:
        carried = directory / "carried"
        with staged(registries) as connected:
            reference = f"{HUB}/{catalogue.APP.repository}:{catalogue.APP.tag}"
            assert Skopeo().pull(f"{connected.proxy.host}/{reference}") == catalogue.APP.contents
            cache = connected.proxy.document["cache"]["directory"]
            command = ["sh", "-ec", _script("carry.sh"), "carry.sh", cache, str(carried)]
            for _ in range(2):  # the second time there is something already
                subprocess.run(command, check=True)
        alone = {HUB: {"url": _NOWHERE, "offline": True}}
        settings = {"cache": {"directory": str(carried), "min_free": "1B"}}
        with proxy(alone, settings=settings) as running:
            assert Skopeo().pull(f"{running.host}/{reference}") == catalogue.APP.contents
