"""A response of the proxy, read to its end, and what must be true of any."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass

from multidict import CIMultiDictProxy
from yarl import URL

from tests.support.hasty import HastyProxy
from tests.support.structured_fields import Value, read_item

# Distribution spec, "Error Codes": below 500 no others may be sent.
SPEC_CODES = frozenset(
    {
        "BLOB_UNKNOWN",
        "BLOB_UPLOAD_INVALID",
        "BLOB_UPLOAD_UNKNOWN",
        "DIGEST_INVALID",
        "MANIFEST_BLOB_UNKNOWN",
        "MANIFEST_INVALID",
        "MANIFEST_UNKNOWN",
        "NAME_INVALID",
        "NAME_UNKNOWN",
        "SIZE_INVALID",
        "UNAUTHORIZED",
        "DENIED",
        "UNSUPPORTED",
        "TOOMANYREQUESTS",
    }
)
# What upstream says to us alone, and what would be wrong for the bytes that digests name.
_NEVER_SENT = ("WWW-Authenticate", "Set-Cookie", "Location", "Content-Encoding")
_WITHIN = 60.0  # seconds in which a blob that has been served has to be stored
# What may differ between the responses to two requests for the same thing.
_VOLATILE = ("Date", "Cache-Status")


@dataclass(frozen=True, slots=True)
class Seen:
    """Status, header fields and body."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def code(self) -> str:
        """The code of the one error in the body, which has the distribution spec's shape."""
        return error_code(self.status, self.headers.get("Content-Type"), self.body)

    @property
    def cache(self) -> dict[str, Value]:
        """The parameters of this cache in Cache-Status (RFC 9211)."""
        name, parameters = read_item(self.headers["Cache-Status"])
        assert name == "cacheproxy"
        return parameters

    @property
    def stable(self) -> dict[str, str]:
        """The header fields that are the same each time."""
        return {key: value for key, value in self.headers.items() if key not in _VOLATILE}


def error_code(status: int, content_type: str | None, body: bytes) -> str:
    """The code of an error body.

    Raises:
        AssertionError: it is not one by the distribution spec.
    """
    assert content_type == "application/json"
    document = json.loads(body)
    assert set(document) == {"errors"}
    (error,) = document["errors"]
    assert set(error) == {"code", "message"}
    assert error["message"]
    assert status >= 500 or error["code"] in SPEC_CODES
    return str(error["code"])


async def see(
    proxy: HastyProxy,
    target: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
) -> Seen:
    """What the proxy answers; the target is sent as it is written.

    Raises:
        AssertionError: the response has what none may have.
        aiohttp.ClientError: it was cut.
    """
    url = URL(proxy.url + target, encoded=True)
    async with proxy.client.request(
        method, url, headers=headers, allow_redirects=False
    ) as response:
        seen = Seen(response.status, response.headers, await response.read())
    assert not [name for name in _NEVER_SENT if name in seen.headers]
    assert method != "HEAD" or not seen.body
    return seen


async def see_hit(proxy: HastyProxy, target: str) -> Seen:
    """What the proxy answers once the download that it serves from has its name in the store.

    Raises:
        TimeoutError: it never is a hit.
    """
    async with asyncio.timeout(_WITHIN):
        while "hit" not in (seen := await see(proxy, target)).cache:
            pass
        return seen
