"""The server of the pull API."""

from typing import Any

from aiohttp import web
from typing_extensions import override

from cacheproxy.edge.api import Api
from cacheproxy.edge.guard import GuardedServer


class PullServer(GuardedServer):
    """A server without routes: the target is parsed by `cacheproxy.domain.target`, and only there.

    aiohttp's router would decode the path first, and so let `%2f` become a slash; and it
    costs as much as all the rest of a small answer.
    """

    def __init__(self, api: Api, **options: Any) -> None:  # noqa: ANN401  # aiohttp's own
        super().__init__(api.handle, **options)
        self.api = api

    @override
    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class _Connection(web.RequestHandler):
    """One client's connection."""

    def __init__(self, server: PullServer, **options: Any) -> None:  # noqa: ANN401  # aiohttp's own
        super().__init__(server, **options)
        self._api = server.api

    @override
    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is no HTTP, or too much of it.

        aiohttp's own answer quotes what it could not read, and logs it with a traceback: with
        the credentials that may be in it, and as often as any client likes.
        """
        return self._api.refuse(request, status)
