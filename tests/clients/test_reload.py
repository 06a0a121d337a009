"""A configuration that is changed while the proxy serves."""

import json
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support import images
from tests.support.parts import exposition, wire
from tests.support.parts.crew import Crew, kill
from tests.support.parts.distant import DistantRegistry, bulk, distant_registry
from tests.support.parts.process import wait_until
from tests.support.parts.proxy import Proxy, proxy
from tests.support.parts.scratch import scratch

pytestmark = pytest.mark.clients

MIB = 1024 * 1024
PROMPT = 60.0


def _room(path: Path) -> int:
    """Of a file; of what is evicted just now, none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return 0
    return status.st_blocks * 512 if stat.S_ISREG(status.st_mode) else 0


class Scene:
    """A running proxy whose cache holds eight blobs of 1 MiB."""

    def __init__(self, proxy: Proxy, cache: Path, image: images.Image) -> None:
        self.proxy = proxy
        self.cache = cache
        self.image = image

    def changed(self, **sections: Any) -> dict[str, Any]:
        """Its configuration with other sections."""
        document: dict[str, Any] = json.loads(json.dumps(self.proxy.document))
        for name, section in sections.items():
            document[name] = {**document.get(name, {}), **section}
        return document

    def lines(self, event: str) -> list[dict[str, Any]]:
        """What it has logged of that kind."""
        return [line for line in self.proxy.log_lines() if line["event"] == event]

    def shown(self, name: str) -> float:
        """A number of its page."""
        return exposition.total(self.proxy.admin_url, f"cacheproxy_{name}")

    def on_disk(self) -> int:
        """Bytes of all blobs."""
        return sum(map(_room, (self.cache / "blobs").rglob("*")))

    def pull(self) -> None:
        """All of the image."""
        for layer in self.image.layers:
            url = f"{self.proxy.url}/v2/docker.io/team/large/blobs/{layer.digest}"
            assert wire.get(url).body == layer.body


@pytest.fixture(params=[1, 2], ids=["alone", "workers"])
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    """With one process, and with a supervisor and its workers."""
    image = bulk(8, MIB, count=8)
    with ExitStack() as stack:
        directory = stack.enter_context(scratch())
        hub: DistantRegistry = stack.enter_context(distant_registry("1gbit"))
        hub.hold("team/large", image)
        settings = {
            "cache": {"directory": str(directory / "cache"), "min_free": "1B"},
            "server": {"workers": request.param},
        }
        running = stack.enter_context(proxy({"docker.io": hub.url}, settings=settings))
        made = Scene(running, directory / "cache", image)
        made.pull()
        yield made


def test_a_budget_that_shrinks_is_kept_at_once(scene: Scene) -> None:
    """After SIGHUP no more is on disk than the new bound, and later pulls keep to it."""
    wait_until(lambda: scene.on_disk() >= 8 * MIB, PROMPT, "all is stored")
    scene.proxy.reload(scene.changed(cache={"max_size": "4MiB"}))
    wait_until(lambda: scene.on_disk() <= 4 * MIB, PROMPT, "what is too much is gone")
    scene.pull()
    assert scene.on_disk() <= 4 * MIB
    (line,) = scene.lines("configuration reloaded")
    assert line["taken_over"] == ["cache.max_size"]
    assert scene.shown("store_max_bytes") == 4 * MIB


def test_a_bad_file_changes_nothing(scene: Scene) -> None:
    """Its problems are logged, what was in force stays so, and pulls go on."""
    scene.proxy.reload(scene.changed(cache={"max_sizee": "4MiB"}))
    wait_until(lambda: bool(scene.lines("configuration not reloaded")), PROMPT, "it is refused")
    (line,) = scene.lines("configuration not reloaded")
    assert "did you mean max_size?" in line["error"]
    assert scene.shown("config_last_reload_success") == 0
    scene.pull()
    assert scene.on_disk() >= 8 * MIB
    scene.proxy.reload(scene.changed(admin={"listen": "127.0.0.1:1"}))
    wait_until(lambda: bool(scene.lines("configuration reloaded")), PROMPT, "it is read")
    (line,) = scene.lines("configuration reloaded")
    assert (line["taken_over"], line["at_restart"]) == ([], ["admin.listen"])
    assert scene.shown("config_last_reload_success") == 1


def test_a_price_is_shown_as_of_today(scene: Scene) -> None:
    """An upstream's new price is on the page, and since when the configuration is in force."""
    since = scene.shown("config_last_reload_success_timestamp_seconds")
    assert 0 < time.time() - since < 60
    document = scene.changed()
    document["upstreams"]["docker.io"]["price_per_gb"] = 0.05
    scene.proxy.reload(document)
    wait_until(lambda: scene.shown("price_per_gigabyte") == 0.05, PROMPT, "it is shown")
    assert scene.shown("config_last_reload_success_timestamp_seconds") > since


def test_a_file_that_changes_is_read_without_a_signal(scene: Scene) -> None:
    """Whoever edits the file need not tell the process, whose configuration is what it says."""
    scene.proxy.rewrite(scene.changed(cache={"max_size": "4MiB"}))
    wait_until(lambda: scene.on_disk() <= 4 * MIB, PROMPT, "what is too much is gone")
    (line,) = scene.lines("configuration reloaded")
    assert line["taken_over"] == ["cache.max_size"]


@pytest.mark.parametrize("scene", [2], ids=["workers"], indirect=True)
def test_a_worker_that_comes_later_goes_by_it(scene: Scene) -> None:
    """The successor of a worker that died keeps to the configuration of the last reload."""
    crew = Crew(scene.proxy, scene.cache)
    workers = crew.workers()
    scene.proxy.reload(scene.changed(upstreams={"docker.io": {"deny": ["team/**"]}}))
    wait_until(lambda: bool(scene.lines("configuration reloaded")), PROMPT, "it is read")
    kill(workers)
    wait_until(
        lambda: (
            len(crew.workers() - workers) == len(workers) and wire.answers(f"{scene.proxy.url}/v2/")
        ),
        PROMPT,
        "there are others",
    )
    url = f"{scene.proxy.url}/v2/docker.io/team/large/manifests/1"
    assert {wire.get(url).status for _ in range(8)} == {403}
