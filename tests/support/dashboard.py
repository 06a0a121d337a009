"""The page and what it asks the API for, over figures that a test can change."""

from aiohttp import web

from cacheproxy.ops.api.access import Access
from cacheproxy.ops.api.figures import Source
from cacheproxy.ops.api.gathering import Gathering
from cacheproxy.ops.api.guard import Guard
from cacheproxy.ops.api.reading import Reading
from cacheproxy.ops.page.handlers import Dashboard, Place
from cacheproxy.ports import Clock
from tests.support.figures import FakeSource


def dashboard_app(fake: FakeSource, access: Access, clock: Clock, place: Place) -> web.Application:
    """As the server wires it, but for what needs a cache."""
    app = web.Application()
    source = Source(fake, fake)
    gathering = Gathering(source, clock)
    dashboard = Dashboard(gathering, access, clock, place)
    Reading(source, gathering, dashboard).add_to(app, Guard(access, clock))
    dashboard.add_to(app)
    return app
