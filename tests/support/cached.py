"""A cache directory made by hand, as a server would have left it."""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

from cacheproxy.domain.budget import Entry, Kind, on_disk
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.freshness import TagRecord
from cacheproxy.domain.records import Link
from cacheproxy.domain.reference import Name, Repository, Tag
from cacheproxy.metadata.embedded import EmbeddedMetadata
from cacheproxy.metadata.embedded_records import EmbeddedRecords
from cacheproxy.storage.layout import Layout
from cacheproxy.storage.ledger import Ledger
from cacheproxy.storage.removal import remove
from tests.support.images import Image

AT = 1_700_000_000.0  # when everything was stored and last used


class Cached:
    """A cache that can be filled, damaged and looked into."""

    def __init__(self, root: Path) -> None:
        self.layout = Layout(root)
        self.layout.prepare()
        with self.ledger():
            pass

    @contextmanager
    def ledger(self) -> Iterator[Ledger]:
        """Its account, opened anew."""
        ledger = Ledger(self.layout.ledger, partial(remove, self.layout), self.layout.free_bytes)
        with closing(ledger):
            yield ledger

    @contextmanager
    def records(self) -> Iterator[EmbeddedRecords]:
        """Its metadata, opened anew."""
        with closing(EmbeddedRecords(self.layout.metadata)) as records:
            yield records

    def path(self, digest: str) -> Path:
        """Of a blob's file."""
        return Path(self.layout.blob(Digest(digest)))

    def has(self, digest: str) -> bool:
        """Whether a blob is here."""
        return self.path(digest).exists()

    def entry(self, digest: str) -> Entry | None:
        """What the ledger has of it."""
        with self.ledger() as ledger:
            return ledger.entry(Digest(digest))

    def write(self, digest: str, body: bytes) -> Path:
        """Put bytes where a blob belongs, whether they are right or not."""
        path = self.path(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_bytes(body)
        path.chmod(0o444)
        return path

    def blob(
        self,
        body: bytes,
        *,
        registry: str = "docker.io",
        kind: Kind = "blob",
        children: Iterable[str] = (),
    ) -> Digest:
        """Store a blob."""
        entry = self._written(body, registry, kind)
        with self.ledger() as ledger:
            ledger.commit(entry, [Digest(child) for child in children])
        return entry.digest

    def image(self, reference: str, image: Image) -> Digest:
        """Store an image with all its parts, as pulled by a tag: `docker.io/library/app:1`."""
        registry, _, rest = reference.partition("/")
        name, _, tag = rest.partition(":")
        digest = Digest(image.digest)
        with self.ledger() as ledger:
            ledger.add_found(
                (self._written(blob.body, registry, "blob"), ())
                for blob in image.all_blobs.values()
            )
            for part in image.walk():
                digests = [*(b.digest for b in part.blobs), *(c.digest for c in part.children)]
                children = [Digest(each) for each in digests]
                ledger.commit(self._written(part.manifest, registry, "manifest"), children)
            ledger.name(reference, digest)
        held = [*image.all_blobs, *(part.digest for part in image.walk())]
        asyncio.run(self._record(Repository(registry, Name(name)), Tag(tag), digest, held))
        return digest

    def _written(self, body: bytes, registry: str, kind: Kind) -> Entry:
        digest = Digest.of(body)
        self.write(digest, body)
        return Entry(digest, on_disk(len(body)), kind, registry, AT, AT, 1.0)

    async def _record(
        self, repository: Repository, tag: Tag, digest: Digest, held: list[str]
    ) -> None:
        metadata = EmbeddedMetadata(self.layout.metadata)
        await metadata.put_tag(repository, tag, TagRecord(digest, AT))
        await metadata.add_links(repository, {Digest(each): Link(1) for each in held})
        await metadata.close()
