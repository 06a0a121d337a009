"""A schedule of warming, with a real registry before it and a real client behind."""

from collections.abc import Iterator

import pytest

from tests.clients import catalogue
from tests.clients.stage import Registries, Stage, staged
from tests.support.parts.process import wait_until
from tests.support.parts.skopeo import Skopeo

pytestmark = pytest.mark.clients

ENTRY = catalogue.INDEX
IMAGE = f"docker.io/{ENTRY.repository}:{ENTRY.tag}"
PROMPT = 60.0  # seconds in which the first turn is over on a busy machine


@pytest.fixture
def stage(registries: Registries) -> Iterator[Stage]:
    """A proxy with two workers that warms an image of all platforms."""
    settings = {
        "server": {"workers": 2},
        "warm": {"platforms": ["all"], "schedule": [{"images": [IMAGE], "every": "20s"}]},
    }
    with staged(registries, settings=settings) as running:
        yield running


def test_what_is_scheduled_is_pulled_without_upstream(stage: Stage) -> None:
    """All of it crosses the link once, by one of the workers, before anybody asks for it."""

    def warmed() -> list[object]:
        lines = stage.proxy.log_lines()
        return [line["image"] for line in lines if line["event"] == "image warmed"]

    wait_until(lambda: bool(warmed()), PROMPT, "the image is warm")
    assert stage.hub.blob_bytes == ENTRY.blob_bytes
    stage.cut()
    reference = f"{stage.proxy.host}/docker.io/{ENTRY.repository}:{ENTRY.tag}"
    assert Skopeo().pull(reference) == ENTRY.contents
    assert warmed() == [IMAGE]
