"""What of the store belongs to what: tags name manifests, manifests refer to their parts."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from cacheproxy.domain.digest import Digest


@dataclass(frozen=True, slots=True)
class Relations:
    """Who refers to whom.

    Attributes:
        names: what each tag names, by reference (`docker.io/library/nginx:1.25`).
        children: what each stored manifest refers to.
    """

    names: Mapping[str, Digest] = field(default_factory=dict)
    children: Mapping[Digest, Collection[Digest]] = field(default_factory=dict)

    def tags_of(self, digest: Digest) -> list[str]:
        """The tags that name a digest."""
        return sorted(name for name, named in self.names.items() if named == digest)

    def parents_of(self, digest: Digest) -> list[Digest]:
        """The manifests that refer to a digest."""
        return sorted(parent for parent, parts in self.children.items() if digest in parts)

    def with_parts(self, roots: Iterable[Digest]) -> set[Digest]:
        """These, and all that they refer to: an index to images, those to their layers."""
        found = set(roots)
        waiting = list(found)
        while waiting:
            new = set(self.children.get(waiting.pop(), ())) - found
            found |= new
            waiting.extend(new)
        return found

    def only_of(
        self,
        roots: Collection[Digest],
        without: Collection[str] = (),
        forced: Collection[Digest] = (),
    ) -> set[Digest]:
        """These with their parts, but for what something else refers to.

        Args:
            roots: what is to go.
            without: tags that do not count, since they go too.
            forced: are to go with their parts whatever refers to them.
        """
        candidates = self.with_parts({*roots, *forced})
        held = {digest for name, digest in self.names.items() if name not in without}
        for parent, parts in self.children.items():
            if parent not in candidates:
                held.update(parts)
        return (candidates - self.with_parts(held & candidates - {*forced})) | {*forced}
