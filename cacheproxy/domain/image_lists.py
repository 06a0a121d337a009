"""Lists of images: a line each, or what kubectl and crictl print as JSON."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

# More than this is no list of images, but a mistake.
LONGEST = 256 * 1024 * 1024

# Just enough to tell a name from what is none, such as a line of YAML.
_LIKELY = re.compile(r"[A-Za-z0-9\[](?:[A-Za-z0-9._:/@\[\]-]*[A-Za-z0-9_])?")
_COMMENT = re.compile(r"(?:^|(?<=\s))#.*$", re.MULTILINE)
_CONTAINERS = ("initContainers", "containers", "ephemeralContainers")
# What container engines print for an image that has no name.
_NO_NAME = "<none>"


def read_images(text: str) -> list[str]:
    """The images that a list names, each once, in its order.

    A list is one of: names between spaces and line ends, with comments from `#` to the end of
    the line; `kubectl get pods -o json`, or of anything else that has containers in it;
    `crictl images -o json`; `{"images": […]}`, or a JSON list of names.

    Raises:
        ValueError: it is none of them; the message says where.
    """
    if text.lstrip("\ufeff \t\r\n")[:1] in ("{", "["):
        return list(dict.fromkeys(_of_json(text.lstrip("\ufeff"))))
    return list(dict.fromkeys(_of_lines(text)))


def _of_lines(text: str) -> Iterator[str]:
    for number, line in enumerate(_COMMENT.sub("", text).splitlines(), start=1):
        for word in line.split():
            if _LIKELY.fullmatch(word) is None:
                raise ValueError(f"line {number}: {word[:80]!a} is no image's name")
            yield word


def _of_json(text: str) -> Iterator[str]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"begins as JSON, and is none: {error}") from None
    match document:
        case [*names] | {"images": [str(), *_] as names}:
            yield from _names(names)
        case {"images": [*images]}:
            yield from _crictl(images)
        case {"apiVersion": _} | {"items": _}:
            yield from _kubernetes(document)
        case _:
            raise ValueError(
                "is JSON, but neither a list of names nor what kubectl get -o json or crictl "
                "images -o json print"
            )


def _names(names: Iterable[Any]) -> Iterator[str]:
    for name in names:
        if not isinstance(name, str) or _LIKELY.fullmatch(name) is None:
            raise ValueError(f"{str(name)[:80]!a} is no image's name")
        yield name


def _crictl(images: Iterable[Any]) -> Iterator[str]:
    """By their tags; what has none, by its digest."""
    for image in images:
        match image:
            case {"repoTags": [_, *_] as names} | {"repoDigests": [_, *_] as names}:
                yield from (
                    name for name in names if isinstance(name, str) and _NO_NAME not in name
                )
            case _:
                continue


def _kubernetes(document: dict[str, Any]) -> Iterator[str]:
    """Of all containers, wherever they stand: in pods, in templates of pods, in lists of them."""
    waiting: list[Any] = [document]
    while waiting:
        match waiting.pop():
            case dict() as section:
                for key in _CONTAINERS:
                    yield from _images_of(section.get(key))
                waiting.extend(reversed(section.values()))
            case list() as several:
                waiting.extend(reversed(several))
            case _:
                continue


def _images_of(containers: Any) -> Iterator[str]:  # noqa: ANN401  # whatever stands there
    for container in containers if isinstance(containers, list) else ():
        match container:
            case {"image": str(name)} if name:
                yield name
            case _:
                continue
