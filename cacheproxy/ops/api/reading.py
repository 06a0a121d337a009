"""What is read often: as JSON, and what the page shows as parts of it, too."""

from typing import Protocol, cast

from aiohttp import hdrs, web

from cacheproxy.domain.errors import StorageError
from cacheproxy.domain.savings import Order, Period
from cacheproxy.ops.api import asked
from cacheproxy.ops.api.figures import Figures, Missing, Source
from cacheproxy.ops.api.gathering import Gathering
from cacheproxy.ops.api.guard import PREFIX, Guard, answer
from cacheproxy.ops.api.model import Status

HTML = "text/html"
_MOST_REPOSITORIES = 500
_MOST_CANDIDATES = 200


class Drawing(Protocol):
    """Makes parts of the page of values."""

    def status(self, status: Status | Missing, request: web.Request) -> web.Response:
        """What goes on now."""
        ...

    def figures(self, figures: Figures, request: web.Request) -> web.Response:
        """What is counted."""
        ...


class Reading:
    """Answers those who look."""

    def __init__(self, source: Source, gathering: Gathering, drawing: Drawing) -> None:
        self._source = source
        self._gathering = gathering
        self._drawing = drawing

    def add_to(self, app: web.Application, guard: Guard) -> None:
        """Answer the requests of an application."""
        for path, read in (
            ("status", self._status),
            ("figures", self._figures),
            ("savings", self._savings),
            ("repositories", self._repositories),
            ("eviction", self._eviction),
        ):
            app.router.add_get(f"{PREFIX}/{path}", guard.operators(read))

    async def _status(self, request: web.Request) -> web.Response:
        if _wants_html(request):
            drawn = self._drawing.status(await self._gathering.status(), request)
        else:
            drawn = answer(await self._source.state.status())
        return _by_accept(drawn)

    async def _figures(self, request: web.Request) -> web.Response:
        figures = await self._gathering.figures(_period(request, "week"))
        if _wants_html(request):
            return _by_accept(self._drawing.figures(figures, request))
        if figures.missing is not None:
            raise StorageError(figures.missing.reason)
        return _by_accept(answer(figures))

    async def _savings(self, request: web.Request) -> web.Response:
        return answer(await self._source.counts.savings(_period(request, "today")))

    async def _repositories(self, request: web.Request) -> web.Response:
        order = cast("Order", asked.word(request, "order", Order, "saved"))
        limit = asked.number(request, "limit", 20, _MOST_REPOSITORIES)
        period = _period(request, "today")
        return answer(await self._source.counts.repositories(period, order, limit))

    async def _eviction(self, request: web.Request) -> web.Response:
        limit = asked.number(request, "limit", 20, _MOST_CANDIDATES)
        return answer(await self._source.state.eviction(limit))


def _period(request: web.Request, usual: Period) -> Period:
    return cast("Period", asked.word(request, "period", Period, usual))


def _wants_html(request: web.Request) -> bool:
    """Only who asks for nothing else: a person at these addresses is better off with JSON."""
    return request.headers.get(hdrs.ACCEPT) == HTML


def _by_accept(response: web.Response) -> web.Response:
    response.headers[hdrs.VARY] = hdrs.ACCEPT
    return response
