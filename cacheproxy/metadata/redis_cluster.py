"""A client of a Redis Cluster whose servers fail one by one.

After any failure redis-py closes connections of other calls, or has the next call look anew for
all servers while the others wait. Here a failure concerns the keys of one server: calls for
those fail at once until the server answers again, and all other calls go on. Which server has
which keys is looked up anew by `examine` alone, which no request waits for.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.exceptions import (
    ClusterDownError,
    MaxConnectionsError,
    RedisClusterException,
    RedisError,
    SlotNotCoveredError,
)
from redis.exceptions import ConnectionError as NotConnectedError
from redis.exceptions import TimeoutError as NoAnswerError
from redis.typing import EncodableT
from typing_extensions import override


class ServerRestingError(RedisError):
    """The server of these keys failed a moment ago, and was not asked."""


class ServerFailedError(RedisError):
    """The server of these keys did not answer."""


class Cluster(RedisCluster):
    """A client of all servers (`RedisCluster`)."""

    def __init__(
        self,
        startup_nodes: Sequence[ClusterNode],
        **options: Any,  # noqa: ANN401  # redis-py's own
    ) -> None:
        super().__init__(startup_nodes=list(startup_nodes), **options)
        # The last error of each server that fails, by its name.
        self._errors: dict[str, str] = {}
        self._is_closed = False

    @property
    def has_failures(self) -> bool:
        """Whether a server fails, so that `examine` should come soon."""
        return bool(self._errors)

    @property
    def any_server(self) -> ClusterNode:
        """A server that answered last time, if there is any."""
        servers = self.get_primaries()
        return next((each for each in servers if each.name not in self._errors), servers[0])

    async def examine(self) -> None:
        """Find out which servers answer; if one does not, look up who has its keys now.

        Raises:
            RedisError: no server answers.
        """
        await self.initialize()
        servers = self.get_primaries()
        outcomes = await asyncio.gather(
            *(self._ask(server, "TIME") for server in servers), return_exceptions=True
        )
        errors = [each for each in outcomes if isinstance(each, Exception)]
        if errors and len(errors) == len(servers):
            raise errors[0]
        self._errors = {
            server.name: str(outcome)
            for server, outcome in zip(servers, outcomes, strict=True)
            if isinstance(outcome, Exception)
        }
        if self._errors:
            with suppress(RedisError, OSError):  # the next look may succeed
                failed = next(iter(self._errors))
                await self.nodes_manager.initialize(last_failed_node_name=failed)

    async def disconnect(self) -> None:
        """Close all connections, for good."""
        self._initialize = self._is_closed = True
        await self.nodes_manager.aclose()
        await self.nodes_manager.aclose("startup_nodes")

    @override
    async def aclose(self) -> None:
        """Keep all connections: redis-py closes them after the failure of any one call."""

    @override
    async def _determine_nodes(self, *args: Any, **options: Any) -> list[ClusterNode]:
        servers: list[ClusterNode] = await super()._determine_nodes(*args, **options)
        for server in servers:
            if server.name in self._errors:
                raise ServerRestingError(
                    f"{server.name} is not asked for a moment: {self._errors[server.name]}"
                )
        return servers

    @override
    async def _execute_command(self, target_node: ClusterNode, *args: Any, **options: Any) -> Any:
        try:
            return await self._ask(target_node, *args, **options)
        except ServerFailedError as error:
            self._errors[target_node.name] = str(error)
            raise

    async def _ask(self, server: ClusterNode, *args: EncodableT, **options: object) -> object:
        """Send a command, and once more if only its connection was broken.

        Raises:
            ServerFailedError: the server did not answer.
        """
        try:
            try:
                return await super()._execute_command(server, *args, **options)
            except NotConnectedError:
                return await super()._execute_command(server, *args, **options)
        except MaxConnectionsError:
            raise  # ours are all in use
        except (NotConnectedError, NoAnswerError) as error:
            raise ServerFailedError(str(error) or type(error).__name__) from error
        finally:
            # Set by redis-py, to have the next call look for all servers.
            self._initialize = self._is_closed


def concerns_one_server(error: Exception) -> bool:
    """Return whether other calls of a Cluster may fare better than the one that failed.

    A Cluster that is down, or of which no server can be found, fails as a whole.
    """
    is_whole = isinstance(error, (RedisClusterException, ClusterDownError))
    return isinstance(error, SlotNotCoveredError) or not is_whole
