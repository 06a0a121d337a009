"""Whether what is pinned fits into what the cache may hold."""

from cacheproxy.bootstrap.contents import Contents
from cacheproxy.bootstrap.offline import Cache
from cacheproxy.domain.budget import on_disk
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.patterns import Patterns
from cacheproxy.ops.api.reports import Part


def overdrafts(cache: Cache) -> list[tuple[str, int, int]]:
    """The bounds that pinned images do not fit into: key, bytes that are pinned, and allowed.

    What an image takes is known by its manifests once those were pulled, whether its layers
    are here or not.
    """
    budget = cache.budget
    chosen = Patterns(budget.pins)
    names = cache.ledger.relations().names
    pinned = {name: digest for name, digest in names.items() if chosen.accept(name)}
    bounds = [("cache.max_size", "", budget.max_size)]
    for registry, share in budget.shares:
        bounds.append((f"upstreams.{registry}.max_size", f"{registry}/", share))
    found = []
    for key, begin, allowed in bounds:
        digests = {digest for name, digest in pinned.items() if name.startswith(begin)}
        taken = _room(cache, digests)
        if taken > allowed:
            found.append((key, taken, allowed))
    return found


def _room(cache: Cache, digests: set[Digest]) -> int:
    contents = Contents(cache.layout, lambda _: None)
    sizes: dict[Digest, int] = {}
    for digest in digests:
        _add(contents.of(digest), sizes)
    return sum(on_disk(size) for size in sizes.values())


def _add(part: Part, sizes: dict[Digest, int]) -> None:
    """What it takes with all its parts, each once however often it is referred to."""
    sizes[part.digest] = part.size or 0
    for inner in part.parts:
        _add(inner, sizes)
