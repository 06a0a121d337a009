"""Manifests that are asked for often, in memory."""

import os
from collections import OrderedDict

from cacheproxy.domain.digest import Digest
from cacheproxy.storage.layout import Layout
from cacheproxy.storage.seal import Version, version_of

# That a body takes beside its bytes.
_OVERHEAD = 512


class Documents:
    """Keeps verified bodies, as long as their files are what they were.

    To look at a file costs a tenth of opening, locking and reading it. What was purged,
    evicted or changed is so forgotten at once, whichever process did it.
    """

    def __init__(self, layout: Layout, limit: int) -> None:
        """Begin with none.

        Args:
            layout: of the store.
            limit: bytes that they may take in memory; 0: none are kept.
        """
        self._layout = layout
        self._limit = limit
        self._bytes = 0
        self._kept: OrderedDict[Digest, tuple[bytes, Version]] = OrderedDict()

    def get(self, digest: Digest) -> bytes | None:
        """The body; None where it is not kept, or its file is another one, or gone."""
        kept = self._kept.get(digest)
        if kept is None:
            return None
        body, known = kept
        try:
            status = os.lstat(self._layout.blob(digest))
        except OSError:
            status = None
        if status is None or version_of(status) != known:
            self._forget(digest)
            return None
        self._kept.move_to_end(digest)
        return body

    def keep(self, digest: Digest, body: bytes, status: os.stat_result) -> None:
        """Keep a body; what was asked for longest ago goes for it.

        Args:
            digest: of it.
            body: the whole.
            status: of its file, from before it was read.
        """
        self._forget(digest)
        self._kept[digest] = body, version_of(status)
        self._bytes += len(body) + _OVERHEAD
        while self._bytes > self._limit:
            self._forget(next(iter(self._kept)))

    def _forget(self, digest: Digest) -> None:
        body, _ = self._kept.pop(digest, (None, None))
        if body is not None:
            self._bytes -= len(body) + _OVERHEAD
