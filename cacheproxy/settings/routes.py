"""What names mean by the settings: the upstreams that are configured, and images of theirs."""

from cacheproxy.domain.errors import CacheproxyError
from cacheproxy.domain.image import parse_image, pullable
from cacheproxy.domain.patterns import Patterns
from cacheproxy.domain.routing import Route, Routes
from cacheproxy.settings.draft import Draft
from cacheproxy.settings.model import Settings


def routes_of(settings: Settings) -> Routes:
    """Every name of every upstream."""
    by_host: dict[str, Route] = {}
    for name, upstream in settings.upstreams.items():
        allow = Patterns(upstream.allow, upstream.deny)
        route = Route(name, upstream.official_namespace, allow)
        by_host.update(dict.fromkeys((name, *upstream.aliases), route))
    default = settings.default_upstream
    return Routes(by_host, by_host[default] if default is not None else None)


def check_schedule(draft: Draft, settings: Settings) -> None:
    """Report what is to be warmed and cannot be pulled."""
    if draft.problems:
        return  # upstreams may be among them
    routes = routes_of(settings)
    for number, rule in enumerate(settings.warm.schedule):
        for place, image in enumerate(rule.images):
            try:
                pullable(parse_image(image, routes), routes)
            except CacheproxyError as error:
                location = ("warm", "schedule", number, "images", place)
                draft.report(location, str(error))
        if not rule.images:
            draft.report(("warm", "schedule", number, "images"), "names no image")
