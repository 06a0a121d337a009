"""Pages of tags and of referrers: no digest protects them, so their shape is checked."""

import json
import re
from itertools import accumulate
from typing import Any

from cacheproxy.domain import media_types
from cacheproxy.domain.digest import Digest

SIZE_LIMIT = 8 * 1024 * 1024
"""Bytes of a page."""
DEPTH_LIMIT = 32
"""Objects and arrays within each other; referrers with annotations need four."""

# A string without an end goes to the end of the text, so that each is looked at once.
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")
# Registries send JSON by these names too (ECR: text/plain). A login page is text/html.
_JSON_TYPES = frozenset(
    {None, "application/json", "text/json", "text/plain", "application/octet-stream"}
)


def is_tag_page(body: bytes, content_type: str | None) -> bool:
    """Whether an answer is a page of tags; `null` is how some registries write none."""
    media_type = media_types.essence(content_type)
    if media_type not in _JSON_TYPES and not str(media_type).endswith("+json"):
        return False
    document = _document(body)
    return "tags" in document and _all_are(document["tags"], str)


def is_referrers_page(body: bytes, content_type: str | None, subject: Digest) -> bool:
    """Whether an answer is a page of referrers: an image index, and not the subject itself."""
    if media_types.essence(content_type) not in _JSON_TYPES | {media_types.OCI_INDEX}:
        return False
    document = _document(body)
    if document.get("mediaType", media_types.OCI_INDEX) != media_types.OCI_INDEX:
        return False
    entries = document.get("manifests", "")
    if not _all_are(entries, dict) or subject.names(body):
        return False
    return all(isinstance(entry.get("digest"), str) for entry in entries or ())


def _all_are(values: object, kind: type) -> bool:
    """Whether these are values of a kind in a list, or none."""
    if isinstance(values, list):
        return all(isinstance(value, kind) for value in values)
    return values is None


def _document(body: bytes) -> dict[str, Any]:
    """Return the JSON object in a body; an empty one if there is none."""
    if _depth(body) > DEPTH_LIMIT:
        return {}
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _depth(body: bytes) -> int:
    """Return how deep a text goes, if it is JSON; the brackets in strings do not count."""
    brackets = _BRACKET.findall(_STRING.sub(b"", body))
    return max(accumulate(1 if each in b"[{" else -1 for each in brackets), default=0)
