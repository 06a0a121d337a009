"""Docker's manifest schema 1, which some registries still serve.

The digest of a signed one is that of its payload, not of its bytes. So it cannot be stored under
its digest and verified; a pull by tag is passed through.
"""

import base64
import json
from typing import Any

from cacheproxy.domain import media_types
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.manifest import SIZE_LIMIT, Manifest


def parse(body: bytes) -> Manifest | None:
    """Read a manifest of schema 1; return None if the document is none."""
    if len(body) > SIZE_LIMIT:
        return None
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or document.get("schemaVersion") != 1:
        return None
    if not isinstance(document.get("fsLayers"), list):
        return None
    if "signatures" not in document:
        return Manifest(body, Digest.of(body), media_types.SCHEMA_1, ())
    return Manifest(body, Digest.of(_payload(body, document)), media_types.SIGNED_SCHEMA_1, ())


def _payload(body: bytes, document: dict[str, Any]) -> bytes:
    """Return the bytes that are signed, by the first signature (libtrust's JSON signature)."""
    try:
        protected = json.loads(_decode(document["signatures"][0]["protected"]))
        return body[: int(protected["formatLength"])] + _decode(protected["formatTail"])
    except (ValueError, TypeError, LookupError, RecursionError):
        return body


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
