"""What differs between two configurations, and which of it a running process can take over."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from cacheproxy.settings.model import Settings
from cacheproxy.settings.upstream_model import UpstreamSettings

# What is not here is read at start only: sockets, clients and threads are made with it.
_OF_CACHE = ("max_size", "min_free", "policy", "idle_for", "pins")
_OF_UPSTREAM = (
    "aliases",
    "official_namespace",
    "tags",
    "allow",
    "deny",
    "max_size",
    "retries",
    "price_per_gb",
)


@dataclass(frozen=True, slots=True)
class Changes:
    """A changed configuration, as a process that runs sees it.

    Attributes:
        settings: the old ones, with all that can be taken over from the new ones.
        taken_over: paths of the keys that were, such as `cache.max_size`.
        at_restart: paths of those that need a restart.
    """

    settings: Settings
    taken_over: tuple[str, ...]
    at_restart: tuple[str, ...]


def changes(old: Settings, new: Settings) -> Changes:
    """Compare two configurations, key by key."""
    taken = _taken_over(old, new)
    return Changes(taken, _differing(old, taken), _differing(taken, new))


def _taken_over(old: Settings, new: Settings) -> Settings:
    upstreams = {
        name: _upstream(upstream, new.upstreams.get(name, upstream))
        for name, upstream in old.upstreams.items()
    }
    is_known = new.default_upstream is None or new.default_upstream in upstreams
    return replace(
        old,
        cache=replace(old.cache, **{name: getattr(new.cache, name) for name in _OF_CACHE}),
        default_upstream=new.default_upstream if is_known else old.default_upstream,
        upstreams=upstreams,
        warm=new.warm,
    )


def _upstream(old: UpstreamSettings, new: UpstreamSettings) -> UpstreamSettings:
    return replace(old, **{name: getattr(new, name) for name in _OF_UPSTREAM})


def _differing(old: Settings, new: Settings) -> tuple[str, ...]:
    before, after = dict(_leaves("", old)), dict(_leaves("", new))
    changed = [
        path
        for path in dict.fromkeys((*before, *after))
        if before.get(path, _NONE) != after.get(path, _NONE)
    ]
    # Of an upstream that is new, or gone, its name says all.
    return tuple(
        path
        for path in changed
        if not any(path != whole and path.startswith(f"{whole}.") for whole in changed)
    )


_NONE = object()


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401  # any setting
    """Every key's path with its value; an upstream that is new or gone is one path."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield f"{path}.{name}", None
            yield from _leaves(f"{path}.{name}", inner)
    elif is_dataclass(value) and hasattr(value, "__pydantic_config__"):
        for each in fields(value):
            yield from _leaves(f"{path}.{each.name}".lstrip("."), getattr(value, each.name))
    else:
        yield path, value
