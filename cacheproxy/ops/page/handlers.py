"""The page over HTTP: itself, its parts as the API answers with them, its files, signing in."""

from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from typing import get_args

from aiohttp import hdrs, web

from cacheproxy.domain.savings import Period
from cacheproxy.ops.api.access import COOKIE, SESSION_SECONDS, Access
from cacheproxy.ops.api.figures import Figures, Missing
from cacheproxy.ops.api.gathering import Gathering
from cacheproxy.ops.api.model import Status
from cacheproxy.ops.page.document import render, render_figures, render_sign_in
from cacheproxy.ops.page.now import render_now
from cacheproxy.ops.page.view import Theme, View
from cacheproxy.ports import Clock

_TYPES = {
    "dashboard.css": "text/css",
    "dashboard.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; "
    "base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}
_WRONG = "That is not the admin token."


@dataclass(frozen=True, slots=True)
class Place:
    """What the page says of where it is.

    Attributes:
        pull_port: where clients pull.
        token_file: where the server keeps the token that it made; None: it was given one.
    """

    pull_port: int
    token_file: str | None


@dataclass(frozen=True, slots=True)
class Dashboard:
    """The page, and its parts (`Drawing`)."""

    gathering: Gathering
    access: Access
    clock: Clock
    place: Place

    def add_to(self, app: web.Application) -> None:
        """Serve the page below `/dashboard`; its script asks the API for newer parts."""
        app.router.add_get("/dashboard", self.show)
        app.router.add_get("/dashboard/session", self.show_form)
        app.router.add_post("/dashboard/session", self.sign_in)
        app.router.add_post("/dashboard/session/end", self.sign_out)
        for name, kind in _TYPES.items():
            app.router.add_get(f"/dashboard/static/{name}", _File(name, kind).show)

    def status(self, status: Status | Missing, _: web.Request) -> web.Response:
        """The parts that change from moment to moment."""
        return _html(render_now(status))

    def figures(self, figures: Figures, request: web.Request) -> web.Response:
        """The parts that are counted."""
        now = self.clock.now()
        return _html(render_figures(figures, self._view(request, now), now))

    async def show(self, request: web.Request) -> web.Response:
        """The page, or where to sign in."""
        now = self.clock.now()
        if not self.access.allows(request, now):
            return _elsewhere("dashboard/session")
        view = self._view(request, now)
        figures = await self.gathering.figures(view.period)
        return _html(render(await self.gathering.status(), figures, view, now))

    async def show_form(self, _: web.Request) -> web.Response:
        """The form to sign in with."""
        return _html(render_sign_in(self.place.token_file))

    async def sign_in(self, request: web.Request) -> web.Response:
        """Give a cookie to who shows the token."""
        shown = (await request.post()).get("token")
        if not isinstance(shown, str) or not self.access.is_token(shown.strip()):
            return _html(render_sign_in(self.place.token_file, _WRONG), 403)
        response = _elsewhere("../dashboard")
        response.set_cookie(
            COOKIE,
            self.access.session(self.clock.now()),
            max_age=SESSION_SECONDS,
            httponly=True,
            samesite="Strict",
            secure=request.secure,
            path="/",
        )
        return response

    async def sign_out(self, _: web.Request) -> web.Response:
        """Take the cookie back."""
        response = _elsewhere("../../dashboard/session")
        response.del_cookie(COOKIE, path="/", httponly=True, samesite="Strict")
        return response

    def _view(self, request: web.Request, now: float) -> View:
        period, theme = request.query.get("period"), request.query.get("theme")
        usual = View()
        return View(
            period=next((one for one in get_args(Period) if one == period), usual.period),
            theme=next((one for one in get_args(Theme) if one == theme), usual.theme),
            host=request.url.host or usual.host,
            pull_port=self.place.pull_port,
            may_sign_out=self.access.is_signed_in(request, now),
        )


class _File:
    """One of the files of the page."""

    def __init__(self, name: str, kind: str) -> None:
        self._body = files("cacheproxy.ops.page").joinpath("static", name).read_bytes()
        self._kind = kind
        self._tag = sha256(self._body).hexdigest()[:32]

    async def show(self, request: web.Request) -> web.Response:
        """The file, unless the browser has it as it is."""
        known = request.if_none_match or ()
        if any(tag.value == self._tag for tag in known):
            response = web.Response(status=304)
        else:
            response = web.Response(body=self._body, content_type=self._kind, charset="utf-8")
        response.headers.update(_HEADERS)
        response.headers[hdrs.CACHE_CONTROL] = "no-cache"
        response.etag = self._tag
        return response


def _html(text: str, status: int = 200) -> web.Response:
    response = web.Response(status=status, text=text, content_type="text/html")
    response.headers.update(_HEADERS)
    response.headers[hdrs.CACHE_CONTROL] = "no-store"
    return response


def _elsewhere(where: str) -> web.Response:
    """To another place, named relative to this one: in front may stand a proxy with a path."""
    response = web.Response(status=303, headers=_HEADERS)
    response.headers[hdrs.LOCATION] = where
    response.headers[hdrs.CACHE_CONTROL] = "no-store"
    return response
