"""The main job, in one process."""

from tests.support import images
from tests.support.hasty import HastyProxy
from tests.support.scripted_registry import ScriptedRegistry


async def test_a_second_pull_asks_upstream_for_nothing(
    hub: ScriptedRegistry, proxy: HastyProxy
) -> None:
    """An image that was pulled once is served from disk, bit for bit, without upstream."""
    image = images.simple(seed=1)
    hub.add_image("library/app", "1", image)
    for _ in range(2):
        assert await proxy.body("/v2/app/manifests/1") == image.manifest
        for digest, blob in image.all_blobs.items():
            assert await proxy.body(f"/v2/app/blobs/{digest}") == blob.body
    assert len(hub.requests()) == 1 + len(image.all_blobs)
    assert hub.body_bytes == len(image.manifest) + sum(
        len(blob.body) for blob in image.all_blobs.values()
    )
