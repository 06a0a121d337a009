"""A store in an empty directory, ready for downloads."""

from pathlib import Path

from cacheproxy.domain.budget import Budget
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.manifest import Manifest
from cacheproxy.domain.reference import Name, Repository
from cacheproxy.inprocess.clock import SystemClock
from cacheproxy.ports import BlobStore, Clock, Observer
from cacheproxy.storage.filesystem import FilesystemStore
from cacheproxy.storage.layout import Layout
from tests.support.hasty import Events

REPOSITORY = Repository("docker.io", Name("library/app"))
AMPLE = Budget(max_size=2**50)


def open_store(
    root: Path,
    budget: Budget = AMPLE,
    clock: Clock | None = None,
    observer: Observer | None = None,
) -> FilesystemStore:
    """The store at `root`, which is made; all that is in it counts as counted."""
    layout = Layout(root)
    layout.prepare()
    store = FilesystemStore.at(layout, budget, clock or SystemClock(), observer or Events())
    store.accounts.all_is_counted()
    return store


async def keep(store: BlobStore, digest: Digest, body: bytes) -> None:
    """Store some bytes as if they were a verified manifest that refers to nothing."""
    manifest = Manifest(body, digest, "application/vnd.example.v1+json", ())
    await store.keep_manifest(REPOSITORY, manifest)
