"""Removing what somebody named: a tag, a digest, a repository, an upstream."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from cacheproxy.bootstrap.contents import size_of
from cacheproxy.bootstrap.offline import Cache
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.image import Image, parse_image
from cacheproxy.domain.relations import Relations
from cacheproxy.domain.routing import canonical_host
from cacheproxy.metadata.embedded import tag_key
from cacheproxy.ops.api.reports import PurgedTarget, PurgeReport

# Removed within one transaction, for which running servers wait.
_BATCH = 100


@dataclass(frozen=True, slots=True)
class Upstream:
    """A registry, as something to purge."""

    registry: str

    def __str__(self) -> str:
        return self.registry


Target = Digest | Image | Upstream


@dataclass(frozen=True, slots=True)
class Scope:
    """What is to be forgotten of the metadata that replicas share.

    Attributes:
        within: `docker.io/library/nginx `, with the space that ends a name; or `docker.io/`.
        tag: only this one.
    """

    within: str
    tag: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to go.

    Attributes:
        target: that was named, in full.
        blobs: files to remove, with their bytes.
        shared: bytes of what belongs to it too, and stays, since others refer to it.
        tags: to forget.
        records: keys of the metadata to forget.
        scope: what of them replicas share; None: nothing.
    """

    target: str
    blobs: dict[Digest, int]
    shared: dict[Digest, int]
    tags: list[str]
    records: list[str]
    scope: Scope | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known of the target."""
        return not (self.blobs or self.shared or self.tags or self.records)


def purge(cache: Cache, targets: Iterable[str], *, dry_run: bool) -> PurgeReport:
    """Remove what is named, or only say what would go. All is read before anything goes.

    Raises:
        RequestError: a target cannot be the name of anything.
        StorageError: Redis cannot be reached, or refused.
    """
    wanted = [read_target(cache, text) for text in targets]
    return PurgeReport(dry_run, [_purged(cache, plan(cache, target), dry_run) for target in wanted])


def _purged(cache: Cache, planned: Plan, dry_run: bool) -> PurgedTarget:
    left = [] if dry_run else carry_out(cache, planned)
    # After our own: what is gone from both cannot be put there again by whoever has it.
    records = forget_shared(cache, planned, is_rehearsal=dry_run)
    gone = {digest: size for digest, size in planned.blobs.items() if digest not in left}
    return PurgedTarget(
        target=planned.target,
        known=bool(records) or not planned.is_empty,
        freed_bytes=sum(gone.values()),
        removed=list(gone),
        shared=list(planned.shared),
        shared_bytes=sum(planned.shared.values()),
        in_use=left,
        tags=planned.tags,
        shared_records=records,
    )


def read_target(cache: Cache, text: str) -> Target:
    """What a word on the command line means.

    Raises:
        RequestError: it is no digest, and cannot be the name of anything.
    """
    if text.startswith(("sha256:", "sha512:")):
        return Digest.parse(text)
    if "/" not in text:
        host = canonical_host(text)
        route = cache.routes.by_host.get(host)
        # One that was configured once can still have something here.
        if route is not None or cache.ledger.usage(host).total:
            return Upstream(route.registry if route else host)
    image = parse_image(text, cache.routes)
    return image if image.digest is None else image.digest


def plan(cache: Cache, target: Target) -> Plan:
    """Say what would go."""
    relations = cache.ledger.relations()
    match target:
        case Digest():
            # Whatever refers to it: whoever names a digest means that one.
            going = relations.only_of((), forced=[target])
            return _plan(cache, target, (relations.with_parts([target]), going), [], [])
        case Image(tag=tag) if tag is not None:
            return _plan_tag(cache, relations, target)
        case Image():
            return _plan_scope(cache, relations, str(target), f"{target.repository}:", "")
        case Upstream():
            return _plan_scope(cache, relations, str(target), f"{target}/", target.registry)


def carry_out(cache: Cache, planned: Plan) -> list[Digest]:
    """Remove it: bytes first, so that what is cut short can be named again.

    Returns the blobs that are still there: they are being read, or cannot be removed.
    """
    left: list[Digest] = []
    for batch in _batches(list(planned.blobs)):
        gone = set(cache.ledger.purge(batch))
        left.extend(digest for digest in batch if digest not in gone)
    cache.ledger.forget_names(planned.tags)
    if cache.records is not None:
        cache.records.forget(planned.records)
    return left


def forget_shared(cache: Cache, planned: Plan, *, is_rehearsal: bool) -> int:
    """Forget what replicas share of it, here and there; returns how many records that was.

    Raises:
        StorageError: Redis cannot be reached, or refused.
    """
    if cache.shared is None or planned.scope is None:
        return 0
    return cache.shared.forget(planned.scope.within, planned.scope.tag, is_rehearsal=is_rehearsal)


def _plan_tag(cache: Cache, relations: Relations, image: Image) -> Plan:
    name = str(image)
    digest = relations.names.get(name)
    record = None
    if cache.records is not None and image.tag is not None:
        record = cache.records.tag(image.repository, image.tag)
    digests = {d for d in (digest, record.digest if record else None) if d is not None}
    going = relations.only_of(digests, without=[name])
    keys = [tag_key(image.repository, image.tag)] if record and image.tag else []
    tags = [name] if digest is not None else []
    plan = _plan(cache, name, (relations.with_parts(digests), going), tags, keys)
    return replace(plan, scope=Scope(f"{image.repository} ", image.tag))


def _plan_scope(cache: Cache, relations: Relations, target: str, names: str, registry: str) -> Plan:
    """Of a repository or an upstream.

    Args:
        cache: where.
        relations: as of now.
        target: in full.
        names: how its tags' references begin.
        registry: an upstream whose every blob is meant; empty for a repository.
    """
    tags = [name for name in relations.names if name.startswith(names)]
    within = names if registry else target + " "
    links = cache.records.links() if cache.records is not None else {}
    roots = {relations.names[tag] for tag in tags}
    others: set[Digest] = set()
    for digest, holders in links.items():
        if all(f"{holder} ".startswith(within) for holder in holders):
            roots.add(digest)
        else:
            others.add(digest)
    if registry:
        entries = cache.ledger.entries(registry)
        roots.update(entry.digest for entry in entries if entry.digest not in others)
    going = relations.only_of(roots, without=set(tags))
    keys = cache.records.below(within) if cache.records is not None else []
    plan = _plan(cache, target, (relations.with_parts(roots), going), sorted(tags), keys)
    return replace(plan, scope=Scope(within))


def _plan(
    cache: Cache,
    target: str,
    blobs: tuple[set[Digest], set[Digest]],
    tags: list[str],
    records: list[str],
) -> Plan:
    everything, going = blobs
    sizes = {
        digest: size
        for digest in sorted(everything | going)
        if (size := size_of(cache.layout, digest)) is not None
    }
    return Plan(
        target,
        {digest: size for digest, size in sizes.items() if digest in going},
        {digest: size for digest, size in sizes.items() if digest not in going},
        tags,
        records,
    )


def _batches(digests: list[Digest]) -> Iterator[list[Digest]]:
    for start in range(0, len(digests), _BATCH):
        yield digests[start : start + _BATCH]
