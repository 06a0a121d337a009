"""Pages of tags and of referrers: no digest protects them, so their shape is checked."""

import json
import re
from typing import Any

from cacheproxy.domain import media_types
from cacheproxy.domain.digest import Digest

SIZE_LIMIT = 8 * 1024 * 1024
"""Bytes of a page."""
DEPTH_LIMIT = 32
"""Objects and arrays within each other; referrers with annotations need four."""

_ESCAPE = re.compile(rb"\\.", re.DOTALL)
# A string without an end goes to the end of the text, so that each is looked at once.
_STRING = re.compile(rb'"[^"]*"?')
_ALL_SQUARE = bytes.maketrans(b"{}", b"[]")
_ELSE = bytes(set(range(256)) - set(b'[]{}"'))
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
    if _is_too_deep(body):
        return {}
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _is_too_deep(body: bytes) -> bool:
    """Whether a text goes deeper than a page may, or its brackets do not match."""
    # A page may have millions of texts and brackets, so most of this is done in C.
    bare = _ESCAPE.sub(b"", body).translate(_ALL_SQUARE, _ELSE)
    brackets = _STRING.sub(b"", bare.replace(b'""', b""))
    for _ in range(DEPTH_LIMIT):
        if b"[]" not in brackets:
            break
        brackets = brackets.replace(b"[]", b"")  # the innermost level
    return bool(brackets)
