"""Files that change: seen once each time, when whoever writes has come to an end."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cacheproxy.bootstrap import watching
from cacheproxy.bootstrap.watching import Watched
from cacheproxy.inprocess.tasks import Tasks


class Watch:
    """What is watched, and how often it was acted on."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.acts: list[str] = []
        self.watched = Watched([file])

    def act(self) -> None:
        self.acts.append(self.file.read_text() if self.file.exists() else "gone")

    async def acted(self, times: int) -> list[str]:
        """Wait until it has acted so often, and a little longer."""
        async with asyncio.timeout(60):
            while len(self.acts) < times:  # noqa: ASYNC110  # of a task that looks, too
                await asyncio.sleep(0.005)
        await asyncio.sleep(0.1)
        return self.acts


@pytest.fixture
async def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watch]:
    """A ConfigMap as Kubernetes mounts it: a link to a link to a directory."""
    monkeypatch.setattr(watching, "_LOOK_SECONDS", 0.02)
    _mounted(tmp_path, "one", "first")
    (tmp_path / "config").symlink_to("..data/config")
    made, tasks = Watch(tmp_path / "config"), Tasks()
    tasks.start(made.watched.watch(made.act), "watch")
    yield made
    await tasks.close()


def _mounted(directory: Path, name: str, text: str) -> None:
    """Have `..data` lead to another directory, at once."""
    (directory / name).mkdir()
    (directory / name / "config").write_text(text)
    (directory / "next").symlink_to(name)
    (directory / "next").replace(directory / "..data")


async def test_a_configmap_that_changes(watch: Watch, tmp_path: Path) -> None:
    """The link further up leads elsewhere: that is one change."""
    _mounted(tmp_path, "two", "second")
    assert await watch.acted(1) == ["second"]


async def test_a_file_that_is_written_over_or_replaced(watch: Watch, tmp_path: Path) -> None:
    """Also where it is as long as before."""
    (tmp_path / "one" / "config").write_text("FIRST")
    assert await watch.acted(1) == ["FIRST"]
    (tmp_path / "new").write_text("third")
    (tmp_path / "new").replace(tmp_path / "one" / "config")
    assert await watch.acted(2) == ["FIRST", "third"]


async def test_a_file_that_is_being_written(watch: Watch, tmp_path: Path) -> None:
    """Nobody acts on half of a file."""
    with (tmp_path / "one" / "config").open("w") as file:
        for part in range(20):
            file.write(f"{part} ")
            file.flush()
            await asyncio.sleep(0.003)
    assert await watch.acted(1) == [" ".join(map(str, range(20))) + " "]


async def test_a_file_that_goes_and_comes_back(watch: Watch, tmp_path: Path) -> None:
    """Both are changes."""
    (tmp_path / "one" / "config").unlink()
    await watch.acted(1)
    (tmp_path / "one" / "config").write_text("back")
    assert await watch.acted(2) == ["gone", "back"]


async def test_what_was_read_already_is_no_change(watch: Watch, tmp_path: Path) -> None:
    """Whoever reads the file for another reason says so."""
    (tmp_path / "one" / "config").write_text("other")
    watch.watched.read()
    await asyncio.sleep(0.2)
    assert watch.acts == []
