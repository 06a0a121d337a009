"""A store in files, with nothing in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cacheproxy.storage.filesystem import FilesystemStore
from cacheproxy.storage.layout import Layout
from tests.support.stores import open_store


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """Where the files are."""
    return Layout(tmp_path / "store")


@pytest.fixture
def store(layout: Layout) -> Iterator[FilesystemStore]:
    """The store."""
    made = open_store(layout.root)
    yield made
    made.close()
