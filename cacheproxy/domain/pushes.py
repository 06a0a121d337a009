"""What registries say when something was pushed to them: notifications, as images to warm.

Their shapes: distribution's notifications (and those of its descendants), the webhooks of
Docker Hub, Harbor and Quay, and a plain `{"images": […]}` for everything else.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cacheproxy.domain.errors import CacheproxyError, Denied, UpstreamUnknown
from cacheproxy.domain.image import Image, parse_image, pullable
from cacheproxy.domain.reference import Tag
from cacheproxy.domain.routing import Route, Routes

# Bytes of a notification, images in it, and characters of what is repeated of either.
LONGEST = 1024 * 1024
MOST_IMAGES = 200
_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a notification says.

    Attributes:
        images: that were pushed and may be pulled through here, each once.
        ignored: what else was pushed, with the reason, in sentences.
    """

    images: tuple[Image, ...] = ()
    ignored: tuple[str, ...] = ()


def parse_push(body: bytes, routes: Routes, upstream: str | None = None) -> Pushed:
    """Read a notification.

    What it says of other things than pushes (pulls, deletions, blobs) is none of our business,
    so that there may be no image in it at all.

    Args:
        body: of the request.
        routes: the configured upstreams.
        upstream: by which of their names the registry is known here; None: the default one.

    Raises:
        ValueError: it is no notification, or too much of one, or of no configured upstream.
    """
    if len(body) > LONGEST:
        raise ValueError(f"a notification has at most {LONGEST} bytes")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise ValueError("the notification is not JSON") from None
    route = _route(routes, upstream)
    images: dict[Image, None] = {}
    ignored: dict[str, None] = {}
    for text in _named(document, route):
        try:
            images[_image(text, routes, route)] = None
        except (Denied, UpstreamUnknown) as error:
            ignored[str(error)] = None
        except CacheproxyError as error:
            raise ValueError(f"{text[:_SHOWN]!a} is no image: {error}") from None
        if len(images) + len(ignored) > MOST_IMAGES:
            raise ValueError(f"a notification names at most {MOST_IMAGES} images")
    return Pushed(tuple(images), tuple(ignored))


def _route(routes: Routes, upstream: str | None) -> Route:
    if upstream is not None:
        found = routes.by_host.get(upstream.lower())
        if found is None:
            raise ValueError(
                f"{upstream[:_SHOWN]!a} is not a configured upstream; ?upstream= must name the "
                "one that the notification is from"
            )
        return found
    if routes.default is None:
        raise ValueError("no upstream is the default; say which by ?upstream=NAME")
    return routes.default


def _image(text: str, routes: Routes, route: Route) -> Image:
    image = pullable(parse_image(text, Routes(routes.by_host, route)), routes)
    return image if image.tag or image.digest else Image(image.repository, Tag("latest"))


def _named(document: Any, route: Route) -> Iterator[str]:  # noqa: ANN401  # whatever was sent
    """The images, as they would be written."""
    match document:
        case {"images": [*images]}:
            yield from _plain(images)
        case {"events": [*events]}:
            yield from _distribution(events, route)
        case {"push_data": {"tag": str(tag)}, "repository": {"repo_name": str(name)}}:
            yield f"{route.registry}/{name}:{tag}"  # Docker Hub
        case {"event_data": {"repository": {"repo_full_name": str(name)}} as event}:
            yield from _harbor(document, event, name, route)
        case {"docker_url": str(), "repository": str(name)}:
            tags = document.get("updated_tags") or ()  # Quay
            for tag in _plain(list(tags) if isinstance(tags, list | dict) else []):
                yield f"{route.registry}/{name}:{tag}"
        case _:
            raise ValueError(
                "the notification has none of the shapes that are known: distribution's, those "
                'of Docker Hub, Harbor and Quay, or {"images": ["NAME:TAG"]}'
            )


def _plain(images: list[Any]) -> Iterator[str]:
    if not all(isinstance(image, str) for image in images):
        raise ValueError("images and tags must be lists of texts")
    yield from images


def _distribution(events: list[Any], route: Route) -> Iterator[str]:
    """Those with a tag: what is pushed by digest alone belongs to something with one."""
    for event in events:
        match event:
            case {"action": "push", "target": {"repository": str(name), "tag": str(tag)}} if tag:
                yield f"{route.registry}/{name}:{tag}"
            case {"action": str()}:
                continue
            case _:
                raise ValueError("an event of the notification has no action")


def _harbor(
    document: dict[str, Any], event: dict[str, Any], name: str, route: Route
) -> Iterator[str]:
    # The second is what versions before 2 send.
    if document.get("type") not in ("PUSH_ARTIFACT", "pushImage"):
        return
    resources = event.get("resources")
    for resource in resources if isinstance(resources, list) else ():
        match resource:
            case {"tag": str(tag)} if tag and ":" not in tag:
                yield f"{route.registry}/{name}:{tag}"
            case _:
                continue  # by digest alone
