"""One request to an upstream: credentials, redirects by hand, and the answer or our error."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import aiohttp
from multidict import CIMultiDictProxy
from yarl import URL

from cacheproxy.domain.errors import CacheproxyError, Denied, NotFound, UpstreamUnavailable
from cacheproxy.domain.events import UpstreamAnswered, UpstreamReceived
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.ports import Clock, Observer
from cacheproxy.upstream.answers import RefusedElsewhere, error_of, ratelimit_remaining, translated
from cacheproxy.upstream.auth import Authorizer
from cacheproxy.upstream.challenge import parse as parse_challenges
from cacheproxy.upstream.config import UpstreamConfig
from cacheproxy.upstream.trust import may_follow

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_REFUSED_THERE = frozenset({400, 401, 403})
_HOPS = 5
# Signed URLs and tokens are long; aiohttp's 8 KiB are too few for both.
_FIELD_SIZE = 32 * 1024
_READ_BUFFER = 512 * 1024
_TOKEN_ANSWER = 256 * 1024
_HEADERS = {
    # Ours must be the bytes that the digest names, whatever a server would like to compress.
    "Accept-Encoding": "identity",
    "User-Agent": "cacheproxy",
}


@dataclass(frozen=True, slots=True)
class Ask:
    """A request.

    Attributes:
        method: GET or HEAD.
        url: below the upstream's API root.
        scope: what a token must be good for.
        missing: what a 404 means.
        headers: besides credentials.
        bulk: the answer may be large and slow; it waits for a connection with its like.
    """

    method: str
    url: URL
    scope: str
    missing: type[NotFound]
    headers: Mapping[str, str] = field(default_factory=dict)
    bulk: bool = False

    def __str__(self) -> str:
        return f"{self.method} {self.url.path}"


class Transport:
    """Sends requests to one upstream."""

    def __init__(
        self, config: UpstreamConfig, observer: Observer, clock: Clock, tasks: Tasks
    ) -> None:
        self.config = config
        self._observer = observer
        self._clock = clock
        self._bulk = _session(config, total=None)
        # An answer that trickles must not hold a pull for ever; a blob may take its time.
        self._small = _session(config, total=2 * config.answer_timeout)
        self._authorizer = Authorizer(
            config.url,
            config.login,
            config.realms,
            _TokenClient(self._small, config),
            tasks=tasks,
            clock=clock,
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._bulk.close()
        await self._small.close()
        await self._authorizer.close()

    @asynccontextmanager
    async def send(self, ask: Ask) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer, which is a 2xx.

        Raises:
            NotFound, Denied, UpstreamError: by `cacheproxy.upstream.answers`.
        """
        response = await self._authorized(ask)
        try:
            if response.status // 100 != 2:
                raise self._error(ask, response)
            if response.headers.get("Content-Encoding", "identity").lower() != "identity":
                raise UpstreamUnavailable(f"upstream encoded its answer to {ask}, unasked")
            with translated(self.config.registry):
                yield response
        finally:
            # Not `release`: what is left of the body would be read before the next request.
            if not response.content.at_eof():
                response.close()
            response.release()

    def _error(self, ask: Ask, response: aiohttp.ClientResponse) -> CacheproxyError:
        if response.url.origin() != ask.url.origin() and response.status in _REFUSED_THERE:
            return RefusedElsewhere(f"the place that upstream redirects {ask} to refused it")
        now = self._clock.now()
        return error_of(response.status, str(ask), response.headers, ask.missing, now)

    def received(self, count: int) -> None:
        """Say that body bytes have come."""
        self._observer.observe(UpstreamReceived(self.config.registry, count))

    async def _authorized(self, ask: Ask) -> aiohttp.ClientResponse:
        """The answer; a 401 is asked again, once, with what its challenge wants."""
        sent = await self._authorizer.current(ask.scope)
        response = await self._followed(ask, sent)
        if response.status != 401 or response.url.origin() != ask.url.origin():
            return response
        challenges = parse_challenges(response.headers.getall("WWW-Authenticate", []))
        response.close()
        answer = await self._authorizer.answer(challenges, ask.scope, sent)
        return await self._followed(ask, answer)

    async def _followed(self, ask: Ask, authorization: str | None) -> aiohttp.ClientResponse:
        """The answer at the end of the redirects."""
        hop, credentials = ask, authorization
        for _ in range(_HOPS + 1):
            response = await self._once(hop, credentials)
            location = response.headers.get("Location")
            if response.status not in _REDIRECTS or not location:
                return response
            response.close()
            url = self._target(hop.url, location)
            if url.origin() != hop.url.origin():
                # Signed URLs need none, storage services refuse both, and nobody else's
                # host may see them (CVE-2020-15157).
                credentials = None
            hop = replace(hop, url=url)
        raise UpstreamUnavailable(f"upstream redirects {ask} more than {_HOPS} times")

    def _target(self, base: URL, location: str) -> URL:
        with translated(self.config.registry):
            # encoded=True: a signature is over the URL as it was written.
            url = base.join(URL(location, encoded=True))
            allowed = may_follow(url, self.config.url)
        if not allowed:
            raise UpstreamUnavailable(f"upstream redirects to {url.host}, where we do not go")
        return url

    async def _once(self, ask: Ask, authorization: str | None) -> aiohttp.ClientResponse:
        headers = {**_HEADERS, **ask.headers}
        if authorization is not None:
            headers["Authorization"] = authorization
        session = self._bulk if ask.bulk else self._small
        begun, status, left = self._clock.monotonic(), None, None
        try:
            with translated(self.config.registry):
                async with asyncio.timeout(None) as deadline:
                    response = await session.request(
                        ask.method,
                        ask.url,
                        headers=headers,
                        allow_redirects=False,
                        proxy=self.config.proxy,
                        trace_request_ctx=deadline,
                    )
            status, left = response.status, ratelimit_remaining(response.headers)
            return response
        finally:
            seconds = self._clock.monotonic() - begun
            self._observer.observe(
                UpstreamAnswered(self.config.registry, ask.method, status, seconds, left)
            )


class _TokenClient:
    """Asks token servers (`TokenServer`)."""

    def __init__(self, session: aiohttp.ClientSession, config: UpstreamConfig) -> None:
        self._session = session
        self._config = config

    async def fetch(self, url: URL, authorization: str | None) -> bytes:
        """The body of a 200 answer; a redirect is none, for it would carry credentials on."""
        headers = dict(_HEADERS)
        if authorization is not None:
            headers["Authorization"] = authorization
        with translated(self._config.registry):
            async with self._session.get(
                url, headers=headers, allow_redirects=False, proxy=self._config.proxy
            ) as response:
                body = await read_at_most(response, _TOKEN_ANSWER)
                fields: CIMultiDictProxy[str] = response.headers
        if response.status == 200:
            return body
        error = error_of(response.status, f"a token request to {url.host}", fields, NotFound, 0.0)
        raise (
            Denied(str(error)) if response.status // 100 == 4 and response.status != 429 else error
        )


async def read_at_most(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The whole body.

    Raises:
        UpstreamUnavailable: it is longer than `limit` bytes.
    """
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > limit:
            raise UpstreamUnavailable(f"an upstream's answer is longer than {limit} bytes")
    return bytes(body)


def _from_connection(seconds: float) -> aiohttp.TraceConfig:
    """Begin a request's deadline when it has a connection to go by.

    Until then it waits for others of ours to end, which is no fault of upstream's.
    """

    async def begin(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
        deadline = context.trace_request_ctx
        if isinstance(deadline, asyncio.Timeout):
            deadline.reschedule(asyncio.get_running_loop().time() + seconds)

    trace = aiohttp.TraceConfig()
    trace.on_connection_create_start.append(begin)
    trace.on_connection_reuseconn.append(begin)
    return trace


def _session(config: UpstreamConfig, total: float | None) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=config.max_connections, ssl=config.tls),
        timeout=aiohttp.ClientTimeout(
            total=total, sock_connect=config.connect_timeout, sock_read=config.idle_timeout
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trace_configs=[_from_connection(config.answer_timeout)],
        requote_redirect_url=False,
        read_bufsize=_READ_BUFFER,
        max_field_size=_FIELD_SIZE,
        max_line_size=_FIELD_SIZE,
    )
