"""Where aiohttp ends: it parses requests, and is told that they have been answered."""

from aiohttp import web
from multidict import MultiDict, MultiDictProxy
from typing_extensions import override
from yarl import URL

from tests.support.scripted_registry.answer import Asked


class Sent(web.StreamResponse):
    """Tells aiohttp that the answer has gone out already."""

    def __init__(self, *, keep_alive: bool) -> None:
        super().__init__()
        self._keep_alive = keep_alive

    @override
    async def prepare(self, request: web.BaseRequest) -> None:
        return None

    @override
    async def write_eof(self, data: bytes = b"") -> None:
        return None


async def asked_by(request: web.BaseRequest) -> Asked:
    """The request with its body, as it came in."""
    path, _, query_string = request.raw_path.partition("?")
    query = MultiDict(URL.build(path="/", query_string=query_string, encoded=True).query)
    return Asked(
        method=request.method,
        path=path,
        query_string=query_string,
        query=MultiDictProxy(query),
        headers=request.headers,
        body=await request.read(),
        keep_alive=request.keep_alive,
    )
