"""The application that serves the pull API."""

from aiohttp import web

from cacheproxy.edge.api import Api


def make_app(api: Api) -> web.Application:
    """One route for all: the target is parsed by `cacheproxy.domain.target`, and only there.

    aiohttp's router would decode the path, and so let `%2f` become a slash.
    """
    app = web.Application()
    app.router.add_route("*", "/{target:.*}", api.handle)
    return app
