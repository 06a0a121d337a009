"""From the core's answers to responses: status and header fields."""

from aiohttp import web

from cacheproxy.domain.byte_range import ByteRange
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import CacheproxyError
from cacheproxy.edge.conditions import etag
from cacheproxy.edge.errors import body_of, headers_of, rule_of
from cacheproxy.pullthrough.answers import BlobAnswer, ListingAnswer, ManifestAnswer

# A year, as long as RFC 9111 suggests at the most; what has a digest does not change.
_FOREVER = "max-age=31536000, immutable, no-transform"
_ASK_AGAIN = "no-cache, no-transform"


def ping() -> web.Response:
    """Yes, this is a registry."""
    return web.Response(body=b"{}", content_type="application/json")


def manifest(answer: ManifestAnswer, *, by_digest: bool, head: bool) -> web.StreamResponse:
    """A manifest; one that was asked for by tag may be another next time."""
    headers = _content_headers(answer.digest, by_digest=by_digest)
    headers["Content-Type"] = answer.media_type
    if answer.body is None or head:
        return _only_head(headers, answer.size)
    return web.Response(body=answer.body, headers=headers)


def not_modified(digest: Digest, *, by_digest: bool) -> web.Response:
    """The client has it already."""
    return web.Response(status=304, headers=_content_headers(digest, by_digest=by_digest))


def blob(answer: BlobAnswer, part: ByteRange | None, *, head: bool) -> web.StreamResponse:
    """The head of a blob's response, whole or a part of it."""
    headers = _content_headers(answer.digest, by_digest=True)
    headers["Content-Type"] = answer.media_type
    headers["Accept-Ranges"] = "bytes"
    if head:
        return _only_head(headers, answer.size)
    if part is not None:
        headers["Content-Range"] = part.content_range
    response = web.StreamResponse(status=206 if part else 200, headers=headers)
    response.content_length = len(part) if part else answer.size
    return response


def listing(answer: ListingAnswer, path: str, ns: str | None) -> web.Response:
    """A page of tags or referrers, which goes on at the same path of this proxy."""
    page = answer.listing
    headers = {"Content-Type": page.media_type, "Cache-Control": _ASK_AGAIN}
    if page.next_query is not None:
        query = page.next_query if ns is None else f"{page.next_query}&ns={ns}"
        headers["Link"] = f'<{path}?{query}>; rel="next"'
    if page.filters is not None:
        headers["OCI-Filters-Applied"] = page.filters
    return web.Response(body=page.body, headers=headers)


def failure(error: CacheproxyError) -> web.Response:
    """An error's response."""
    rule = rule_of(error)
    return web.Response(
        status=rule.status,
        body=body_of(rule.code, str(error)),
        headers=headers_of(error),
        content_type="application/json",
    )


def unreadable(status: int) -> web.Response:
    """The response to what is no request, which does not repeat it; the connection ends."""
    body = body_of("UNSUPPORTED", "the request is malformed, or its header is too large")
    response = web.Response(status=status, body=body, content_type="application/json")
    response.force_close()
    return response


def unexpected() -> web.Response:
    """The response to our own mistakes, which says nothing of them."""
    body = body_of("UNKNOWN", "cacheproxy failed; its log says why")
    return web.Response(status=500, body=body, content_type="application/json")


def _content_headers(digest: Digest, *, by_digest: bool) -> dict[str, str]:
    return {
        "Docker-Content-Digest": digest,
        "ETag": etag(digest),
        "Cache-Control": _FOREVER if by_digest else _ASK_AGAIN,
    }


def _only_head(headers: dict[str, str], size: int | None) -> web.StreamResponse:
    response = web.StreamResponse(headers=headers)
    response.content_length = size
    return response
