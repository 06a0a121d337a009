"""A stored manifest and what it refers to, as far as that is here too."""

import json
from collections.abc import Callable
from pathlib import Path
from stat import S_ISREG

from cacheproxy.domain import manifest as manifests
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import ManifestInvalid
from cacheproxy.ops.api.reports import Part
from cacheproxy.storage.layout import Layout


def size_of(layout: Layout, digest: Digest) -> int | None:
    """Bytes of a stored blob; None where it is not here."""
    try:
        status = Path(layout.blob(digest)).lstat()
    except OSError:
        return None
    return status.st_size if S_ISREG(status.st_mode) else None


class Contents:
    """Reads manifests, and looks for what they refer to."""

    def __init__(self, layout: Layout, bytes_before: Callable[[Digest], int | None]) -> None:
        self._layout = layout
        self._bytes_before = bytes_before

    def of(self, digest: Digest) -> Part:
        """A blob or manifest with all its parts."""
        return self._part(manifests.Descriptor(digest, None, None), None, frozenset())

    def _part(
        self, said: manifests.Descriptor, platform: str | None, within: frozenset[Digest]
    ) -> Part:
        digest, size = said.digest, size_of(self._layout, said.digest)
        # What is stored is not verified here: a damaged manifest could even contain itself.
        body = None if size is None or digest in within else self._document(digest, size)
        manifest = None if body is None else _parsed(body)
        parts: tuple[Part, ...] = ()
        if body is not None and manifest is not None:
            platforms = _platforms(body)
            inside = within | {digest}
            parts = tuple(
                self._part(child, platforms.get(child.digest), inside)
                for child in manifest.children
            )
        return Part(
            digest=digest,
            media_type=said.media_type or (manifest.media_type if manifest else None),
            platform=platform,
            size=said.size if size is None else size,
            is_here=size is not None,
            bytes_before=self._bytes_before(digest),
            parts=parts,
        )

    def _document(self, digest: Digest, size: int) -> bytes | None:
        if size > manifests.SIZE_LIMIT:
            return None
        try:
            with Path(self._layout.blob(digest)).open("rb") as file:
                begin = file.read(1)
                return begin + file.read() if begin == b"{" else None
        except OSError:
            return None


def _parsed(body: bytes) -> manifests.Manifest | None:
    try:
        return manifests.parse(body, None)
    except ManifestInvalid:
        return None


def _platforms(body: bytes) -> dict[str, str]:
    """What an index says its manifests are for: `linux/arm64/v8`."""
    found = {}
    for entry in json.loads(body).get("manifests") or ():
        platform = entry.get("platform")
        if isinstance(platform, dict):
            words = (platform.get(key) for key in ("os", "architecture", "variant"))
            found[entry["digest"]] = "/".join(word for word in words if isinstance(word, str))
    return found
