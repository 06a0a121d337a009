"""One request to an upstream: credentials, redirects by hand, and the answer or our error."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import aiohttp
from multidict import CIMultiDictProxy
from yarl import URL

from cacheproxy.domain.errors import (
    CacheproxyError,
    Denied,
    NotFound,
    UpstreamLimited,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from cacheproxy.domain.events import UpstreamAnswered, UpstreamPulled, UpstreamReceived
from cacheproxy.domain.rate_limit import Spend
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.ports import Clock, Observer
from cacheproxy.upstream.answers import (
    RefusedElsewhere,
    error_of,
    rate_limit,
    retry_after,
    translated,
)
from cacheproxy.upstream.auth import Authorizer
from cacheproxy.upstream.bandwidth import Bandwidth
from cacheproxy.upstream.challenge import parse as parse_challenges
from cacheproxy.upstream.config import UpstreamConfig
from cacheproxy.upstream.credentials.login import CredentialsUnavailable
from cacheproxy.upstream.credentials.renewing import Renewing
from cacheproxy.upstream.health import Health, Turn
from cacheproxy.upstream.tokens import LoginRefused
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
        lane: requests that a 429 to one of them is about.
        spend: what a pull is spent on; None for what costs none.
        repository: that it is about.
    """

    method: str
    url: URL
    scope: str
    missing: type[NotFound]
    headers: Mapping[str, str] = field(default_factory=dict)
    bulk: bool = False
    lane: str = "other"
    spend: Spend | None = None
    repository: str = ""

    def __str__(self) -> str:
        return f"{self.method} {self.url.path}"


class Transport:
    """Sends requests to one upstream."""

    def __init__(
        self,
        config: UpstreamConfig,
        observer: Observer,
        clock: Clock,
        tasks: Tasks,
        bandwidth: Bandwidth | None = None,
    ) -> None:
        self.config = config
        self._observer = observer
        self._clock = clock
        self._bulk = _session(config, total=None)
        # An answer that trickles must not hold a pull for ever; a blob may take its time.
        self._small = _session(config, total=2 * config.answer_timeout)
        self.bandwidth = bandwidth or Bandwidth(config.max_bandwidth, clock)
        self._authorizer = Authorizer(
            config.url,
            [Renewing(each.make(clock), each.name, tasks, clock) for each in config.credentials],
            config.realms,
            _TokenClient(self._small, config, clock),
            tasks=tasks,
            clock=clock,
        )
        self.health = Health(config, observer, clock, self._authorizer.accounts)

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
        response = await self._granted(ask)
        try:
            if response.status // 100 != 2:
                raise self._error(ask, response)
            if response.headers.get("Content-Encoding", "identity").lower() != "identity":
                raise UpstreamUnavailable(f"upstream encoded its answer to {ask}, unasked")
            with translated(self.config.place):
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

    def received(self, count: int, repository: str) -> None:
        """Say that body bytes have come."""
        self._observer.observe(UpstreamReceived(self.config.registry, count, repository))
        self.bandwidth.spend(count)

    def pulled(self, repository: str) -> None:
        """Say that a manifest has come; a mirror's is none that the registry counts."""
        if not self.config.mirror:
            self._observer.observe(UpstreamPulled(self.config.registry, repository))

    async def _granted(self, ask: Ask) -> aiohttp.ClientResponse:
        """The answer; what one account is not granted, the next one may be."""
        if ask.spend is None:
            self.health.admit(ask.lane)
            response = await self._asked(ask, self.health.any_account)
            if _is_limited(ask, response):
                self.health.limited(ask.lane, self._retry_after(response))
            return response
        left = self._authorizer.accounts
        while True:
            left -= 1
            account = self.health.account(ask.spend)
            response = await self._asked(ask, account)
            if not _is_limited(ask, response):
                return response
            self.health.refused(account, self._retry_after(response))
            if not left or not self.health.grants(ask.spend):
                return response
            response.close()

    def _retry_after(self, response: aiohttp.ClientResponse) -> float | None:
        return retry_after(response.headers.get("Retry-After"), self._clock.now())

    async def _asked(self, ask: Ask, account: int) -> aiohttp.ClientResponse:
        """The answer, unless upstream is given a rest; what it is like is remembered."""
        with self.health.asking(is_bulk=ask.bulk) as turn:
            try:
                response = await self._authorized(ask, account, turn)
            except CredentialsUnavailable:
                raise  # upstream was not asked, and may be well
            except (UpstreamTimeout, UpstreamUnavailable) as error:
                # Of its token server, too: without a token there is no answer either. But where
                # the registry redirects to is another matter.
                if not turn.is_over:
                    self.health.failed(turn, error)
                raise
            except (Denied, UpstreamLimited):
                self.health.answered(turn)
                raise
            if not turn.is_over:
                self.health.answered(turn)
        limit = rate_limit(response.headers)
        if limit is not None:
            self.health.told(account, limit)
        return response

    async def _authorized(self, ask: Ask, account: int, turn: Turn) -> aiohttp.ClientResponse:
        """The answer; a 401 is asked again, once, with what its challenge wants."""
        sent = await self._authorizer.current(ask.scope, account)
        response = await self._followed(ask, sent, turn)
        if response.status != 401 or response.url.origin() != ask.url.origin():
            return response
        challenges = parse_challenges(response.headers.getall("WWW-Authenticate", []))
        response.close()
        answer = await self._authorizer.answer(challenges, ask.scope, sent, account)
        response = await self._followed(ask, answer, turn)
        if response.status == 401 and response.url.origin() == ask.url.origin():
            await self._authorizer.refused(answer, account)
        return response

    async def _followed(
        self, ask: Ask, authorization: str | None, turn: Turn
    ) -> aiohttp.ClientResponse:
        """The answer at the end of the redirects."""
        hop, credentials = ask, authorization
        for number in range(_HOPS + 1):
            response = await self._once(hop, credentials)
            if number == 0:
                self._learn(response, turn)
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

    def _learn(self, response: aiohttp.ClientResponse, turn: Turn) -> None:
        """Whether the registry itself is well, by its own answer.

        A challenge does not say yet: what it wants may not be to be had.
        """
        if response.status >= 500:
            failure = UpstreamUnavailable(f"{self.config.place} answered {response.status}")
            self.health.failed(turn, failure, self._retry_after(response))
        elif response.status != 401:
            self.health.answered(turn)

    def _target(self, base: URL, location: str) -> URL:
        with translated(self.config.place):
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
            with translated(self.config.place):
                async with asyncio.timeout(None) as deadline:
                    response = await session.request(
                        ask.method,
                        ask.url,
                        headers=headers,
                        allow_redirects=False,
                        proxy=self.config.proxy,
                        trace_request_ctx=deadline,
                    )
            status, left = response.status, rate_limit(response.headers)
            return response
        finally:
            seconds = self._clock.monotonic() - begun
            self._observer.observe(
                UpstreamAnswered(self.config.place, ask.method, status, seconds, left)
            )


def _is_limited(ask: Ask, response: aiohttp.ClientResponse) -> bool:
    """Whether the registry itself limits us; a storage service that does is another matter."""
    return response.status == 429 and response.url.origin() == ask.url.origin()


class _TokenClient:
    """Asks token servers (`TokenServer`)."""

    def __init__(
        self, session: aiohttp.ClientSession, config: UpstreamConfig, clock: Clock
    ) -> None:
        self._session = session
        self._config = config
        self._clock = clock

    async def fetch(self, url: URL, authorization: str | None) -> bytes:
        """The body of a 200 answer; a redirect is none, for it would carry credentials on."""
        headers = dict(_HEADERS)
        if authorization is not None:
            headers["Authorization"] = authorization
        with translated(self._config.place):
            async with self._session.get(
                url, headers=headers, allow_redirects=False, proxy=self._config.proxy
            ) as response:
                body = await read_at_most(response, _TOKEN_ANSWER)
                fields: CIMultiDictProxy[str] = response.headers
        if response.status == 200:
            return body
        request, now = f"a token request to {url.host}", self._clock.now()
        error = error_of(response.status, request, fields, NotFound, now)
        if response.status in (401, 403):
            raise LoginRefused(str(error))
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


def _from_connection(config: UpstreamConfig) -> aiohttp.TraceConfig:
    """Begin a request's deadline when it has a connection to go by.

    Until then it waits for others of ours to end, which is no fault of upstream's. Where a
    connection that was kept turns out to be dead, aiohttp takes another one: to wait for that
    as well is too long, if what was found out took as long as to connect does.
    """

    async def begin(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
        deadline = context.trace_request_ctx
        if isinstance(deadline, asyncio.Timeout):
            now, before = asyncio.get_running_loop().time(), deadline.when()
            waited = 0.0 if before is None else now - (before - config.answer_timeout)
            is_late = waited > config.connect_timeout / 2
            deadline.reschedule(now if is_late else now + config.answer_timeout)

    trace = aiohttp.TraceConfig()
    trace.on_connection_create_start.append(begin)
    trace.on_connection_reuseconn.append(begin)
    return trace


def _sockets(seconds: float) -> Callable[[aiohttp.AddrInfoType], socket.socket]:
    """Sockets that give up if what they send is not even received for so long.

    A connection that was kept says nothing of whether there still is a way: without this, a
    request by one is waited for as long as a slow answer is.
    """

    def make(address: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, _ = address
        made = socket.socket(family, kind, protocol)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            milliseconds = max(1, round(seconds * 1000))
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        return made

    return make


def _session(config: UpstreamConfig, total: float | None) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=config.max_connections,
            ssl=config.tls,
            socket_factory=_sockets(config.connect_timeout),
        ),
        timeout=aiohttp.ClientTimeout(
            total=total, sock_connect=config.connect_timeout, sock_read=config.idle_timeout
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trace_configs=[_from_connection(config)],
        requote_redirect_url=False,
        read_bufsize=_READ_BUFFER,
        max_field_size=_FIELD_SIZE,
        max_line_size=_FIELD_SIZE,
    )
