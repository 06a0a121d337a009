"""The server of the pull API."""

from typing import Any

from aiohttp import web

from cacheproxy.edge.api import Api


def make_server(api: Api, **options: Any) -> web.Server:  # noqa: ANN401  # aiohttp's own
    """A server without routes: the target is parsed by `cacheproxy.domain.target`, and only there.

    aiohttp's router would decode the path first, and so let `%2f` become a slash; and it
    costs as much as all the rest of a small answer.
    """
    return web.Server(api.handle, **options)
