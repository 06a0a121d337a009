"""What goes on, and what is stored: of this server."""

import asyncio
from dataclasses import dataclass

from cacheproxy.ops.api.contents import Contents
from cacheproxy.ops.api.model import Eviction, Status
from cacheproxy.ops.api.pulling import Pulling
from cacheproxy.ports import Clock


@dataclass(frozen=True, slots=True)
class Server:
    """What there is to say of the server itself.

    Attributes:
        version: of cacheproxy.
        started_at: when it began, in seconds since the epoch.
        workers: processes that serve pulls.
    """

    version: str
    started_at: float
    workers: int


@dataclass(frozen=True, slots=True)
class ServerState:
    """Asks those who know (`State`)."""

    server: Server
    pulling: Pulling
    contents: Contents
    clock: Clock

    async def status(self) -> Status:
        """What goes on now.

        Raises:
            CacheproxyError: the cache directory cannot be read.
        """
        # In this order: what lands in between is in both, and never in neither.
        live = await self.pulling.live()
        store = await asyncio.to_thread(self.contents.store)
        return Status(
            version=self.server.version,
            now=self.clock.now(),
            started_at=self.server.started_at,
            workers=self.server.workers,
            store=store,
            fills=live.fills,
            upstreams=live.upstreams,
            replicas=live.replicas,
            store_problem=live.store_problem,
        )

    async def eviction(self, limit: int) -> Eviction:
        """What would go next.

        Raises:
            CacheproxyError: the cache directory cannot be read.
        """
        return await asyncio.to_thread(self.contents.eviction, limit)
