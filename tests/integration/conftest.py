"""A proxy in front of one scripted registry, which stands for Docker Hub."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.hasty import HastyProxy, hasty_proxy
from tests.support.scripted_registry import ScriptedRegistry


@pytest.fixture
async def hub() -> AsyncIterator[ScriptedRegistry]:
    """The upstream, named docker.io."""
    async with ScriptedRegistry() as registry:
        yield registry


@pytest.fixture
async def proxy(hub: ScriptedRegistry, tmp_path: Path) -> AsyncIterator[HastyProxy]:
    """The proxy, with its cache in an empty directory."""
    async with hasty_proxy({"docker.io": hub}, tmp_path / "cache") as running:
        yield running
