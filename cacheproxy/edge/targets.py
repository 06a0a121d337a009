"""What request targets mean, remembered: all nodes of a cluster ask for the same few."""

from functools import lru_cache

from cacheproxy.domain.operation import Operation
from cacheproxy.domain.routing import Routes
from cacheproxy.domain.target import Target, parse

# Some 4 MiB, whoever asks for whatever.
_REMEMBERED = 4096
_LONGEST = 512


class Targets:
    """Reads the targets of requests by the routes of one configuration."""

    def __init__(self, routes: Routes) -> None:
        self.routes = routes
        self._remembered = lru_cache(_REMEMBERED)(self._read)

    def read(self, raw: str) -> tuple[Target, Operation]:
        """What a target says, and what it asks for.

        Raises:
            RequestError, NotFound, Denied: as `target.parse` and `Routes.resolve` do.
        """
        return self._remembered(raw) if len(raw) <= _LONGEST else self._read(raw)

    def _read(self, raw: str) -> tuple[Target, Operation]:
        target = parse(raw)
        return target, self.routes.resolve(target)
