"""What crosses the upstream link: each blob once, whoever asks for it however often."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.clients import catalogue
from tests.clients.catalogue import Entry
from tests.clients.stage import Registries, Stage, staged
from tests.support.parts import wire
from tests.support.parts.skopeo import Skopeo

pytestmark = pytest.mark.clients

APP = "docker.io/library/app:1"
CLIENTS = 12


def test_a_first_pull_costs_each_byte_once(stage: Stage) -> None:
    """What crosses for a new image is its manifests and blobs, one time each."""
    Skopeo().pull(f"{stage.proxy.host}/docker.io/library/multi:1")

    assert stage.hub.blob_bytes == catalogue.INDEX.blob_bytes
    assert stage.hub.manifest_bytes == catalogue.INDEX.manifest_bytes


def test_a_second_pull_of_a_fresh_tag_asks_upstream_nothing(stage: Stage) -> None:
    """While a tag is fresh, pulling it again crosses the link with no request at all."""
    Skopeo().pull(f"{stage.proxy.host}/{APP}")
    stage.forget()
    Skopeo().pull(f"{stage.proxy.host}/{APP}")

    assert stage.hub.crossings == []


def test_a_second_pull_of_a_stale_tag_costs_no_body(registries: Registries) -> None:
    """A tag that has to be revalidated costs HEAD requests, and not one byte of a body."""
    with staged(registries, upstream={"tags": {"fresh_for": "0s"}}) as stage:
        Skopeo().pull(f"{stage.proxy.host}/{APP}")
        stage.forget()
        Skopeo().pull(f"{stage.proxy.host}/{APP}")

        asked = {(crossing.method, crossing.target) for crossing in stage.hub.crossings}
        assert asked == {("HEAD", "/v2/library/app/manifests/1")}
        assert stage.hub.body_bytes == 0


@pytest.mark.parametrize(
    ("second", "other"),
    [
        ("docker.io/library/cousin:1", catalogue.COUSIN),
        ("registry.example.com/team/app:1", catalogue.TEAM_APP),
    ],
    ids=["repository", "upstream"],
)
def test_a_shared_layer_crosses_once(stage: Stage, second: str, other: Entry) -> None:
    """A layer that another repository, or another upstream, has brought is not fetched again."""
    Skopeo().pull(f"{stage.proxy.host}/{APP}")
    stage.forget()
    pulled = Skopeo().pull(f"{stage.proxy.host}/{second}")

    assert pulled == other.contents
    assert stage.blob_bytes == other.blob_bytes - len(catalogue.COMMON.body)


@pytest.mark.parametrize("workers", [1, 2])
def test_many_clients_at_once_cost_each_byte_once(registries: Registries, workers: int) -> None:
    """Clients that pull a new image at the same moment cost together what one costs."""
    with (
        staged(registries, settings={"server": {"workers": workers}}) as stage,
        ThreadPoolExecutor(CLIENTS) as pool,
    ):
        reference = f"{stage.proxy.host}/{APP}"
        pulled = list(pool.map(lambda _: Skopeo().pull(reference), range(CLIENTS)))

        assert pulled == [catalogue.APP.contents] * CLIENTS
        assert stage.hub.blob_bytes == catalogue.APP.blob_bytes
        if workers == 1:  # manifests are small enough for each worker to ask on its own
            assert stage.hub.manifest_bytes == catalogue.APP.manifest_bytes


def test_a_link_that_breaks_costs_no_byte_twice(stage: Stage) -> None:
    """A download whose upstream connection is reset half way is continued, not begun again."""
    (layer,) = catalogue.LARGE.image.layers
    stage.hub.rate = 3_000_000.0
    url = f"{stage.proxy.url}/v2/docker.io/library/large/blobs/{layer.digest}"
    with ThreadPoolExecutor(1) as pool:
        download = pool.submit(wire.get, url)
        stage.hub.wait_for_blob_bytes(len(layer.body) // 2)
        stage.hub.cut()
        stage.hub.restore()
        assert download.result().body == layer.body

    # What was on its way when the link broke may come again; it is little.
    assert stage.hub.blob_bytes < len(layer.body) * 1.2
