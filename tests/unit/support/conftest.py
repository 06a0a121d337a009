"""A registry with one blob in it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from tests.support.scripted_registry import ScriptedRegistry

BODY = bytes(number % 251 for number in range(1000))


class Naps(list[float]):
    """Stands in for sleeping: notes for how long, and is over at once."""

    async def __call__(self, seconds: float) -> None:
        self.append(seconds)
        await asyncio.sleep(0)


@dataclass(frozen=True, slots=True)
class Upstream:
    """A registry, the blob in it, and its naps."""

    registry: ScriptedRegistry
    digest: str
    naps: Naps
    body: bytes = BODY

    @property
    def blob(self) -> str:
        """The path of the blob."""
        return f"/v2/team/app/blobs/{self.digest}"

    @property
    def url(self) -> str:
        """The URL of the blob."""
        return self.registry.url + self.blob


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    naps = Naps()
    async with ScriptedRegistry(sleep=naps) as registry:
        yield Upstream(registry, registry.add_blob("team/app", BODY), naps)
