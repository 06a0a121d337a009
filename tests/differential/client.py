"""A client as tolerant as those that pull images: what works with it, works directly."""

import hashlib
import json
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from multidict import CIMultiDictProxy
from yarl import URL

from tests.support.images import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST

_ACCEPT = ", ".join((OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST))
_HOPS = 5
_TRIES = 4
_PAGES = 20


class Refused(Exception):
    """It does not work."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, and the bytes of its body as far as they came."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes
    is_whole: bool
    url: URL

    @property
    def document(self) -> dict[str, Any]:
        """The JSON object in the body; an empty one if there is none."""
        try:
            document = json.loads(self.body)
        except ValueError:
            return {}
        return document if isinstance(document, dict) else {}

    def has_any(self, *names: str) -> bool:
        """Whether the JSON object in the body has any of these members."""
        return bool(self.document.keys() & set(names))


@dataclass(slots=True)
class Client:
    """Pulls from one repository of a registry, directly or through a proxy.

    Attributes:
        base: URL of the registry.
        repository: in it.
        login: user and password, if any.
        tokens: what each origin wants to see.
        wrong: paths that were answered with a whole body which is not what was asked for.
    """

    session: aiohttp.ClientSession
    base: str
    repository: str
    login: tuple[str, str] | None = None
    tokens: dict[URL, str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    async def head(self, path: str) -> None:
        """Ask for a head (containerd, when it resolves a tag)."""
        reply = await self._ask("HEAD", path)
        _check(reply.status == 200)
        named, reference = reply.headers.get("Docker-Content-Digest"), path.rpartition("/")[2]
        self._expect(path, ":" not in reference or named in (None, reference))

    async def manifest(self, reference: str) -> bytes:
        """Fetch a manifest (skopeo, by tag; containerd, by digest)."""
        path = f"manifests/{reference}"
        reply = await self._ask("GET", path)
        _check(reply.status == 200 and reply.is_whole)
        is_right = ":" not in reference or _digest(reply.body) == reference
        self._expect(path, is_right and reply.has_any("layers", "manifests"))
        return reply.body

    async def blob(self, digest: str) -> bytes:
        """Fetch a blob, and go on where it breaks off (containerd)."""
        body = b""
        for _ in range(_TRIES):
            ranged = {"Range": f"bytes={len(body)}-"} if body else {}
            reply = await self._ask("GET", f"blobs/{digest}", ranged)
            _check(reply.status in (200, 206))
            if reply.status == 206:
                _check(reply.headers.get("Content-Range", "").startswith(f"bytes {len(body)}-"))
            body = reply.body if reply.status == 200 else body + reply.body
            if reply.is_whole:
                self._expect(f"blobs/{digest}", _digest(body) == digest)
                return body
        raise Refused("a blob without end")

    async def part(self, digest: str, whole: bytes) -> None:
        """Fetch a range of a blob, which may be answered with the whole (podman, nydus)."""
        first, last = 10, 99
        reply = await self._ask("GET", f"blobs/{digest}", {"Range": f"bytes={first}-{last}"})
        _check(reply.is_whole and reply.status in (200, 206))
        _check(reply.body == (whole if reply.status == 200 else whole[first : last + 1]))

    async def tags(self) -> list[str]:
        """List all tags, page by page; of a link only path and query count (skopeo)."""
        found: list[str] = []
        path = "tags/list?n=2"
        for _ in range(_PAGES):
            reply = await self._ask("GET", path)
            _check(reply.status == 200)
            self._expect(path, reply.has_any("tags"))
            found += reply.document["tags"] or []
            link = re.search(r'<([^>]*)>;\s*rel="?next"?', reply.headers.get("Link", ""))
            if link is None:
                return sorted(found)
            path = reply.url.join(URL(link[1], encoded=True)).raw_path_qs
        raise Refused("a list without end")

    async def referrers(self, subject: str) -> list[str]:
        """List referrers, by the fallback tag where the API is missing (oras, cosign)."""
        path = f"referrers/{subject}"
        reply = await self._ask("GET", path)
        is_index = reply.headers.get("Content-Type", "").partition(";")[0] == OCI_INDEX
        if reply.status != 200 or not is_index:
            reply = await self._ask("GET", f"manifests/{subject.replace(':', '-')}")
            if reply.status == 404 or (reply.status == 200 and _digest(reply.body) == subject):
                return []
            _check(reply.status == 200)
        self._expect(path, reply.has_any("manifests"))
        return sorted(entry["digest"] for entry in reply.document["manifests"] or [])

    def _expect(self, path: str, is_right: bool) -> None:
        if not is_right:
            self.wrong.append(path)
            raise Refused(path)

    async def _ask(self, method: str, path: str, headers: Mapping[str, str] | None = None) -> Reply:
        """Send a request, answer a challenge, and follow redirects without credentials."""
        where = path if path.startswith("/") else f"/v2/{self.repository}/{path}"
        url = URL(self.base + where, encoded=True)
        for _ in range(_HOPS):
            reply = await self._send(method, url, headers or {})
            may_need_login = reply.status == 401 or (reply.status == 404 and self.login)
            if may_need_login and url.origin() not in self.tokens:
                await self._log_in(url, reply)
                reply = await self._send(method, url, headers or {})
            location = reply.headers.get("Location")
            if reply.status not in (301, 302, 303, 307, 308) or location is None:
                return reply
            url = url.join(URL(location, encoded=True))
        raise Refused("too many redirects")

    async def _send(self, method: str, url: URL, headers: Mapping[str, str]) -> Reply:
        sent = {"Accept": _ACCEPT, "Accept-Encoding": "identity", **headers}
        if url.origin() in self.tokens:
            sent["Authorization"] = self.tokens[url.origin()]
        try:
            async with self.session.request(
                method, url, headers=sent, allow_redirects=False
            ) as response:
                body, is_whole = b"", True
                try:
                    async for chunk in response.content.iter_any():
                        body += chunk
                except aiohttp.ClientError:
                    is_whole = False
                return Reply(response.status, response.headers, body, is_whole, url)
        except (TimeoutError, aiohttp.ClientError) as error:
            raise Refused(type(error).__name__) from error

    async def _log_in(self, url: URL, reply: Reply) -> None:
        """Get what the origin of a URL wants to see, by its challenge or that of its ping."""
        if "WWW-Authenticate" not in reply.headers:
            reply = await self._send("GET", url.origin() / "v2" / "", {})
        named = ", ".join(reply.headers.getall("WWW-Authenticate", []))
        bearer = re.search(r"bearer\s+(.*)", named, re.IGNORECASE)
        basic = "Basic " + b64encode(":".join(self.login or ()).encode()).decode()
        if bearer is None:
            if self.login and "basic" in named.lower():
                self.tokens[url.origin()] = basic
            return
        found = re.findall(r'(\w+)=(?:"([^"]*)"|([^",\s]+))', bearer[1])
        parameters = {name: quoted or plain for name, quoted, plain in found}
        query = {"scope": parameters.get("scope") or f"repository:{self.repository}:pull"}
        if parameters.get("service"):
            query["service"] = parameters["service"]
        realm = URL(parameters["realm"]).with_query(query)
        # Only the registry's own token server is shown the login.
        is_own = self.login and realm.origin() == URL(self.base).origin()
        headers = {"Authorization": basic} if is_own else {}
        async with self.session.get(realm, headers=headers) as response:
            token = await response.json(content_type=None) if response.status == 200 else {}
        if value := token.get("token") or token.get("access_token"):
            self.tokens[url.origin()] = f"Bearer {value}"


def _digest(body: bytes) -> str:
    return "sha256:" + hashlib.sha256(body).hexdigest()


def _check(is_well: bool) -> None:
    if not is_well:
        raise Refused("not as it should be")
