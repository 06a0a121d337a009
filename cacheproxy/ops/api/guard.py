"""Who is let through to the admin API, and what its answers look like."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import hdrs, web

from cacheproxy.domain.errors import CacheproxyError, NotFound, RequestError
from cacheproxy.ops.api import asked
from cacheproxy.ops.api.access import Access
from cacheproxy.ops.api.encoding import encode
from cacheproxy.ops.api.model import Failure, Problem
from cacheproxy.ports import Clock

PREFIX = "/api/v1"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Guard:
    """Lets through who may, and turns errors into answers: the one place that does."""

    access: Access
    clock: Clock

    def operators(self, handler: Handler) -> Handler:
        """For those who have the token, or have signed in."""
        return self._guarded(handler, lambda request: self.access.allows(request, self.clock.now()))

    def webhooks(self, handler: Handler) -> Handler:
        """For those who may tell of pushes."""
        return self._guarded(handler, self.access.allows_webhook)

    def _guarded(self, handler: Handler, allows: Callable[[web.Request], bool]) -> Handler:
        async def guarded(request: web.Request) -> web.StreamResponse:
            if not allows(request):
                message = (
                    "show the token: Authorization: Bearer …; it is admin.token of the "
                    "configuration, or in the file admin.token in cache.directory"
                )
                response = failure(401, "unauthorized", message)
                response.headers[hdrs.WWW_AUTHENTICATE] = 'Bearer realm="cacheproxy"'
                return response
            try:
                return await handler(request)
            except (asked.AskedWronglyError, RequestError) as error:
                return failure(400, "invalid", str(error))
            except NotFound as error:
                return failure(404, "not_found", str(error))
            except CacheproxyError as error:
                return failure(503, "unavailable", str(error))

        return guarded


def failure(status: int, code: str, message: str) -> web.Response:
    """An answer that is none."""
    return answer(Failure(Problem(code, message)), status=status)


def answer(value: Any, status: int = 200) -> web.Response:  # noqa: ANN401  # any of the model
    """One of the API's values."""
    return web.Response(body=encode(value), status=status, content_type="application/json")
