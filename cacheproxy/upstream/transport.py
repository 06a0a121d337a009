"""One request to an upstream: credentials, redirects by hand, and the answer or our error."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace

import aiohttp
from yarl import URL

from cacheproxy.cluster_ports import Notable
from cacheproxy.domain.errors import (
    CacheproxyError,
    Denied,
    NotFound,
    UpstreamRefused,
    UpstreamUnavailable,
)
from cacheproxy.domain.events import UpstreamAnswered, UpstreamPulled, UpstreamReceived
from cacheproxy.domain.rate_limit import Spend
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.ports import Clock, Observer
from cacheproxy.upstream.answers import (
    MayBeLacking,
    RefusedElsewhere,
    error_of,
    rate_limit,
    rate_limit_source,
    retry_after,
    translated,
)
from cacheproxy.upstream.auth import Authorizer
from cacheproxy.upstream.bandwidth import Bandwidth
from cacheproxy.upstream.challenge import parse as parse_challenges
from cacheproxy.upstream.config import UpstreamConfig
from cacheproxy.upstream.credentials.renewing import Renewing
from cacheproxy.upstream.health import Health
from cacheproxy.upstream.pool import ConnectionPool
from cacheproxy.upstream.quotas import Quotas
from cacheproxy.upstream.tokens import LoginRefused
from cacheproxy.upstream.trust import may_follow

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_REFUSED_THERE = frozenset({400, 401, 403})
# What registries answer for an optional API that they lack, besides any other 4xx.
_LACKING = frozenset({401, 500, 501})
_HOPS = 5
# Seconds that a blob waits for a connection: its clients leave earlier, and find its download
# at its place in the queue when they come back.
_BULK_PATIENCE = 600.0
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
        is_optional: registries may lack the API; they say so in many ways.
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
    is_optional: bool = False

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
        self.bandwidth = bandwidth or Bandwidth(config.max_bandwidth, clock)
        # A blob may take its time, so others wait in the queue for longer than clients do.
        self._bulk = ConnectionPool(config, total=None, patience=_BULK_PATIENCE)
        # An answer that trickles must not hold a pull for ever.
        self._small = ConnectionPool(
            config, total=2 * config.answer_timeout, patience=config.queue_timeout
        )
        self.health = Health(config.place, config, observer, clock)
        # Without a token there is no answer. But the token service may be down while the
        # registry is up, and the other way round.
        self.tokens = Health(f"{config.place} (tokens)", config, observer, clock)
        self.quotas = Quotas(config, clock)
        self._authorizer = Authorizer(
            config.url,
            [Renewing(each.make(clock), each.name, tasks, clock) for each in config.credentials],
            config.realms,
            _TokenClient(self._small, self.tokens, config, clock),
            tasks=tasks,
            clock=clock,
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._bulk.close()
        await self._small.close()
        await self._authorizer.close()

    @property
    def notables(self) -> dict[str, Notable]:
        """What other replicas should know of this upstream, by name."""
        place = self.config.place
        return {
            place: self.health,
            f"{place} (tokens)": self.tokens,
            f"{place} (pulls)": self.quotas,
        }

    @property
    def is_silent(self) -> bool:
        """Whether requests wait in vain, for the registry or for a token."""
        return self.health.is_silent or self.tokens.is_silent

    @property
    def is_down(self) -> bool:
        """Whether the registry or its token service is silent, or not asked for a while."""
        return self.health.is_down or self.tokens.is_down

    @asynccontextmanager
    async def send(self, ask: Ask) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer, which is a 2xx.

        Raises:
            NotFound, Denied, UpstreamError: by `cacheproxy.upstream.answers`.
        """
        self.health.check()
        self.quotas.check(ask.lane, ask.spend)
        async with AsyncExitStack() as connection:
            response = await self._granted(ask, connection)
            if response.status // 100 != 2:
                raise self._error(ask, response)
            if response.headers.get("Content-Encoding", "identity").lower() != "identity":
                raise UpstreamUnavailable(f"upstream encoded its answer to {ask}, unasked")
            with translated(self.config.place):
                yield response

    def _error(self, ask: Ask, response: aiohttp.ClientResponse) -> CacheproxyError:
        if _is_lacking(ask, response):
            kind = MayBeLacking if response.status == 500 else UpstreamRefused
            return kind(f"upstream answered {response.status} to {ask}, which it may lack")
        if not _is_own(ask, response) and response.status in _REFUSED_THERE:
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

    async def _granted(self, ask: Ask, connection: AsyncExitStack) -> aiohttp.ClientResponse:
        """The answer; what one account is not granted, the next one may be."""
        if ask.spend is None:
            response = await self._asked(ask, self.quotas.any_account, connection)
            if _is_limited(ask, response):
                self.quotas.limit(ask.lane, self._retry_after(response))
            return response
        left = self._authorizer.accounts
        while True:
            left -= 1
            account = self.quotas.account(ask.spend)
            response = await self._asked(ask, account, connection)
            if not _is_limited(ask, response):
                return response
            source = rate_limit_source(response.headers)
            self.quotas.refuse(account, self._retry_after(response), source)
            if not left or not self.quotas.grants(ask.spend):
                return response

    def _retry_after(self, response: aiohttp.ClientResponse) -> float | None:
        return retry_after(response.headers.get("Retry-After"), self._clock.now())

    async def _asked(
        self, ask: Ask, account: int, connection: AsyncExitStack
    ) -> aiohttp.ClientResponse:
        """The answer; a 401 is asked again, once, with what its challenge wants.

        Whatever else needs a connection meanwhile finds this one free.
        """
        sent = await self._authorizer.current(ask.scope, account)
        response = await self._exchanged(ask, sent, connection)
        if response.status == 401 and _is_own(ask, response):
            challenges = parse_challenges(response.headers.getall("WWW-Authenticate", []))
            if not challenges and ask.is_optional:
                return response
            await connection.aclose()
            answer = await self._authorizer.answer(challenges, ask.scope, sent, account)
            response = await self._exchanged(ask, answer, connection)
            if response.status == 401 and _is_own(ask, response):
                await connection.aclose()
                await self._authorizer.refused(answer, account)
        limit = rate_limit(response.headers)
        if limit is not None:
            self.quotas.report(account, limit)
        return response

    async def _exchanged(
        self, ask: Ask, authorization: str | None, connection: AsyncExitStack
    ) -> aiohttp.ClientResponse:
        """The answer at the end of the redirects, by a connection of `connection` from now on."""
        await connection.aclose()
        pool = self._bulk if ask.bulk else self._small
        session = await connection.enter_async_context(pool.connection())
        response = await self._of_registry(session, ask, authorization)
        connection.callback(_dispose, response)
        hop, credentials = ask, authorization
        for _ in range(_HOPS):
            location = response.headers.get("Location")
            if response.status not in _REDIRECTS or not location:
                return response
            _dispose(response)
            url = self._target(hop.url, location)
            if url.origin() != hop.url.origin():
                # Signed URLs need none, storage services refuse both, and nobody else's
                # host may see them (CVE-2020-15157).
                credentials = None
            hop = replace(hop, url=url)
            response = await self._once(session, hop, credentials)
            connection.callback(_dispose, response)
        if response.status in _REDIRECTS and response.headers.get("Location"):
            raise UpstreamUnavailable(f"upstream redirects {ask} more than {_HOPS} times")
        return response

    async def _of_registry(
        self, session: aiohttp.ClientSession, ask: Ask, authorization: str | None
    ) -> aiohttp.ClientResponse:
        """The registry's own answer, by which its health is known.

        Where it redirects to is another matter, and so is its token service.
        """
        with self.health.asking() as turn:
            response = await self._once(session, ask, authorization)
            if response.status >= 500 and not _is_lacking(ask, response):
                failure = UpstreamUnavailable(f"{self.config.place} answered {response.status}")
                self.health.fail(turn, failure, self._retry_after(response))
            return response

    def _target(self, base: URL, location: str) -> URL:
        with translated(self.config.place):
            # encoded=True: a signature is over the URL as it was written.
            url = base.join(URL(location, encoded=True))
            allowed = may_follow(url, self.config.url)
        if not allowed:
            raise UpstreamUnavailable(f"upstream redirects to {url.host}, where we do not go")
        return url

    async def _once(
        self, session: aiohttp.ClientSession, ask: Ask, authorization: str | None
    ) -> aiohttp.ClientResponse:
        headers = {**_HEADERS, **ask.headers}
        if authorization is not None:
            headers["Authorization"] = authorization
        begun, status, left = self._clock.monotonic(), None, None
        try:
            with translated(self.config.place):
                async with asyncio.timeout(self.config.answer_timeout) as deadline:
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


def _dispose(response: aiohttp.ClientResponse) -> None:
    """Let go of a response: its connection is kept if nothing of the body is left."""
    # Not `release` alone: what is left would be read before the next request.
    if not response.content.at_eof():
        response.close()
    response.release()


def _is_own(ask: Ask, response: aiohttp.ClientResponse) -> bool:
    """Whether the registry itself answered, and not where it redirects to."""
    return response.url.origin() == ask.url.origin()


def _is_lacking(ask: Ask, response: aiohttp.ClientResponse) -> bool:
    """Whether an answer says that there is no such API: here, or where a redirect has led to."""
    if not ask.is_optional:
        return False
    is_elsewhere = not _is_own(ask, response) and response.status // 100 == 4
    return is_elsewhere or response.status in _LACKING


def _is_limited(ask: Ask, response: aiohttp.ClientResponse) -> bool:
    """Whether the registry itself limits us; a storage service that does is another matter."""
    return response.status == 429 and _is_own(ask, response)


class _TokenClient:
    """Asks token servers (`TokenServer`)."""

    def __init__(
        self, pool: ConnectionPool, health: Health, config: UpstreamConfig, clock: Clock
    ) -> None:
        self._pool = pool
        self._health = health
        self._config = config
        self._clock = clock

    async def fetch(self, url: URL, authorization: str | None) -> bytes:
        """The body of a 200 answer; a redirect is none, for it would carry credentials on."""
        headers = dict(_HEADERS)
        if authorization is not None:
            headers["Authorization"] = authorization
        self._health.check()
        async with self._pool.connection() as session:
            with self._health.asking(), translated(self._config.place):
                async with session.get(
                    url, headers=headers, allow_redirects=False, proxy=self._config.proxy
                ) as response:
                    body = await read_at_most(response, _TOKEN_ANSWER)
                    if response.status == 200:
                        return body
                    raise self._error(url, response)

    def _error(self, url: URL, response: aiohttp.ClientResponse) -> CacheproxyError:
        request, now = f"a token request to {url.host}", self._clock.now()
        error = error_of(response.status, request, response.headers, NotFound, now)
        if response.status in (401, 403):
            return LoginRefused(str(error))
        is_refusal = response.status // 100 == 4 and response.status != 429
        return Denied(str(error)) if is_refusal else error


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
