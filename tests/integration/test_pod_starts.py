"""What an hour of pod starts costs an upstream that counts."""

import random
from pathlib import Path

import pytest

from tests.support import images
from tests.support.hasty import HastyProxy, Wanted, hasty_proxy
from tests.support.scripted_registry import ScriptedRegistry
from tests.support.seen import see

_STARTS, _WINDOW = 1000, 3600.0
_IMAGES = [images.simple(seed=200 + number, size=64) for number in range(20)]


async def _start(proxy: HastyProxy, number: int, *, head_first: bool) -> None:
    """Pull an image, as Docker does, or as containerd does, which asks HEAD first."""
    base, image = f"/v2/team/app-{number}", _IMAGES[number]
    if head_first:
        head = await see(proxy, f"{base}/manifests/1", method="HEAD")
        reference = head.headers["Docker-Content-Digest"]
    else:
        reference = "1"
    answer = await see(proxy, f"{base}/manifests/{reference}")
    assert (answer.status, answer.body) == (200, image.manifest)
    for digest, blob in image.all_blobs.items():
        assert await proxy.body(f"{base}/blobs/{digest}") == blob.body


@pytest.mark.parametrize("head_first", [False, True], ids=["GET", "HEAD and GET"])
@pytest.mark.parametrize("fresh_for", [60.0, 600.0])
async def test_an_hour_of_pod_starts(
    hub: ScriptedRegistry, tmp_path: Path, fresh_for: float, head_first: bool
) -> None:
    """1,000 pod starts of 20 tags cost 20 pulls, each blob once, and a HEAD per `fresh_for`."""
    for number, image in enumerate(_IMAGES):
        hub.add_image(f"team/app-{number}", "1", image)
    dice = random.Random(20)
    wanted = Wanted(tags={"fresh_for": fresh_for})
    async with hasty_proxy({"docker.io": hub}, tmp_path, wanted) as proxy:
        begun = proxy.clock.monotonic()
        for count in range(_STARTS):
            number = count if count < len(_IMAGES) else dice.randrange(len(_IMAGES))
            await _start(proxy, number, head_first=head_first)
            proxy.clock.advance(_WINDOW / _STARTS)
        window = proxy.clock.monotonic() - begun
    gets = [each for each in hub.requests("GET") if "/manifests/" in each.path]
    blobs = [each for each in hub.requests("GET") if "/blobs/" in each.path]
    heads = hub.requests("HEAD")
    assert len(gets) == len(_IMAGES)
    assert len(blobs) == sum(len(image.all_blobs) for image in _IMAGES)
    # Who asks HEAD first costs one more of those when the tag is not here yet.
    first = len(_IMAGES) if head_first else 0
    assert first < len(heads) <= first + len(_IMAGES) * window / fresh_for
    # Shown by `pytest -s`.
    print(f"{_STARTS} starts: {len(gets)} GETs, {len(heads)} HEADs, {len(blobs)} blobs")  # noqa: T201
