"""A store in files, with nothing in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cacheproxy.storage.filesystem import FilesystemStore
from cacheproxy.storage.layout import Layout


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """Where the files are."""
    return Layout(tmp_path / "store")


@pytest.fixture
def store(layout: Layout) -> Iterator[FilesystemStore]:
    """The store."""
    made = FilesystemStore.at(layout.root)
    yield made
    made.close()
