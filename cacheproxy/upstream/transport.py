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
    is_limit,
    rate_limit,
    rate_limit_source,
    redirect_target,
    retry_after,
    translated,
    wait_of,
)
from cacheproxy.upstream.auth import Attempt, Authorizer
from cacheproxy.upstream.bandwidth import Bandwidth
from cacheproxy.upstream.challenge import Challenge, may_hide_challenge
from cacheproxy.upstream.challenge import parse as parse_challenges
from cacheproxy.upstream.config import UpstreamConfig
from cacheproxy.upstream.credentials.renewing import Renewing
from cacheproxy.upstream.guest_tokens import GuestTokens
from cacheproxy.upstream.health import Health
from cacheproxy.upstream.pool import ConnectionPool, send_request
from cacheproxy.upstream.quotas import Quotas
from cacheproxy.upstream.token_client import TokenClient
from cacheproxy.upstream.trust import may_follow

_REFUSED_THERE = frozenset({400, 401, 403})
# What registries answer for an optional API that they lack, besides any other 4xx.
_LACKING = frozenset({401, 500, 501})
_HOPS = 5
# Seconds that a blob waits for a connection: its clients leave earlier, and find its download
# at its place in the queue when they come back.
_BULK_PATIENCE = 600.0


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
            TokenClient(self._small, self.tokens, config, clock),
            tasks=tasks,
            clock=clock,
        )
        self._guests = GuestTokens(
            config, TokenClient(self._small, None, config, clock), tasks, clock
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._bulk.close()
        await self._small.close()
        await self._authorizer.close()
        await self._guests.close()

    @property
    def notables(self) -> dict[str, Notable]:
        """Notes on this upstream for other replicas, by name."""
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
            response = await self._request(ask, connection)
            if response.status // 100 != 2:
                raise self._error(ask, response)
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

    async def _request(self, ask: Ask, connection: AsyncExitStack) -> aiohttp.ClientResponse:
        """Return the response; a pull that one account is not granted, the next one may be."""
        if ask.spend is None:
            response = await self._request_as(ask, self.quotas.any_account, connection)
            if self._is_limited(ask, response):
                self.quotas.limit(ask.lane, self._wait_of(response))
            return response
        left = self._authorizer.accounts
        while True:
            left -= 1
            account = self.quotas.account(ask.spend)
            response = await self._request_as(ask, account, connection)
            if not self._is_limited(ask, response):
                return response
            source = rate_limit_source(response.headers)
            self.quotas.refuse(account, self._wait_of(response), source)
            if not left or not self.quotas.grants(ask.spend):
                return response

    def _is_limited(self, ask: Ask, response: aiohttp.ClientResponse) -> bool:
        """Return whether the registry itself limits us; not the storage that it redirects to."""
        now = self._clock.now()
        return _is_own(ask, response) and is_limit(response.status, response.headers, now)

    def _wait_of(self, response: aiohttp.ClientResponse) -> float | None:
        return wait_of(response.headers, self._clock.now())

    async def _request_as(
        self, ask: Ask, account: int, connection: AsyncExitStack
    ) -> aiohttp.ClientResponse:
        """Return the response to what upstream's challenge wants.

        A challenge is answered once. Where its token cannot be had any more, upstream is asked
        without it before that, since it may have another challenge by now, or none.
        """
        tried = await self._authorizer.begin(ask.scope, account)
        response = await self._exchange(ask, account, tried.field, connection)
        for _ in range(2):
            challenges = await self._challenges_of(ask, response, tried, connection)
            if challenges is None:
                return response
            # Whatever else needs a connection meanwhile finds this one free.
            await connection.aclose()
            tried = await self._authorizer.go_on(challenges, ask.scope, tried, account)
            response = await self._exchange(ask, account, tried.field, connection)
            if tried.field is not None:
                break
        if response.status == 401 and _is_own(ask, response) and tried.field is not None:
            await connection.aclose()
            await self._authorizer.refused(tried.field, account)
        return response

    async def _challenges_of(
        self,
        ask: Ask,
        response: aiohttp.ClientResponse,
        tried: Attempt,
        connection: AsyncExitStack,
    ) -> tuple[Challenge, ...] | None:
        """Return the challenges to answer; None if the response is to be believed."""
        was_shown, has_login = tried.field is not None, self._authorizer.has_login
        if (
            not _is_own(ask, response)
            or self._is_limited(ask, response)
            or not may_hide_challenge(response.status, was_shown=was_shown, has_login=has_login)
        ):
            return None
        challenges = _challenges(response)
        if not challenges and response.status == 401 and ask.is_optional:
            return None  # so registries refuse an API that they lack
        if challenges or was_shown:
            return challenges
        await connection.aclose()
        learnt = await self._authorizer.learn()
        return learnt if learnt or response.status == 401 else None

    async def _exchange(
        self, ask: Ask, account: int, authorization: str | None, connection: AsyncExitStack
    ) -> aiohttp.ClientResponse:
        """Return the response at the end of the redirects, with a guest's token if that helps."""
        response = await self._follow(ask, account, authorization, connection)
        if response.status != 401 or _is_own(ask, response):
            return response
        await connection.aclose()
        shown = response.request_info.headers.get("Authorization")
        place, challenges = response.url, _challenges(response)
        if await self._guests.fetch(challenges, place, ask.scope, shown):
            response = await self._follow(ask, account, authorization, connection)
        return response

    async def _follow(
        self, ask: Ask, account: int, authorization: str | None, connection: AsyncExitStack
    ) -> aiohttp.ClientResponse:
        """Return the response, which owns a connection of `connection` from now on."""
        await connection.aclose()
        pool = self._bulk if ask.bulk else self._small
        session = await connection.enter_async_context(pool.connection())
        response = await self._ask_registry(session, ask, account, authorization)
        connection.callback(_dispose, response)
        hop, credentials = ask, authorization
        for _ in range(_HOPS):
            url = self._target(hop.url, response)
            if url is None:
                return response
            _dispose(response)
            if url.origin() != hop.url.origin():
                # Signed URLs need none, storage services refuse both, and nobody else's
                # host may see them (CVE-2020-15157).
                credentials = await self._guests.find(url, ask.scope)
            hop = replace(hop, url=url)
            response = await self._send(session, hop, credentials)
            connection.callback(_dispose, response)
        if self._target(hop.url, response) is not None:
            raise UpstreamUnavailable(f"upstream redirects {ask} more than {_HOPS} times")
        return response

    async def _ask_registry(
        self, session: aiohttp.ClientSession, ask: Ask, account: int, authorization: str | None
    ) -> aiohttp.ClientResponse:
        """Return the registry's own response, by which its health and its quotas are known.

        Where it redirects to is another matter, and so is its token service.
        """
        with self.health.asking() as turn:
            response = await self._send(session, ask, authorization)
            # A 501 is about a feature (RFC 9110 §15.6.2); the server itself is well.
            is_failure = response.status >= 500 and response.status != 501
            if is_failure and not _is_lacking(ask, response):
                failure = UpstreamUnavailable(f"{self.config.place} answered {response.status}")
                said = retry_after(response.headers.get("Retry-After"), self._clock.now())
                self.health.fail(turn, failure, said)
        limit = rate_limit(response.headers, self._clock.now())
        if limit is not None and response.status != 401:
            self.quotas.report(account, limit)
        return response

    def _target(self, base: URL, response: aiohttp.ClientResponse) -> URL | None:
        """Return where a response redirects to; None if it is no redirect."""
        with translated(self.config.place):
            url = redirect_target(response.status, response.headers, base)
            if url is None or may_follow(url, self.config.url, self.config.redirect_hosts):
                return url
        raise UpstreamUnavailable(
            f"upstream redirects to {url.host}, where we do not go; if that is right, add the host "
            "to this upstream's redirect_hosts"
        )

    async def _send(
        self, session: aiohttp.ClientSession, ask: Ask, authorization: str | None
    ) -> aiohttp.ClientResponse:
        headers = dict(ask.headers)
        if authorization is not None:
            headers["Authorization"] = authorization
        begun, status, left = self._clock.monotonic(), None, None
        is_own = ask.url.origin() == self.config.url.origin()
        place = self.config.place if is_own else f"{self.config.place} (at {ask.url.host})"
        try:
            with translated(place):
                async with asyncio.timeout(self.config.answer_timeout) as deadline:
                    response = await send_request(
                        session, self.config, ask.method, ask.url, headers, deadline
                    )
            status = response.status
            left = rate_limit(response.headers, self._clock.now()) if is_own else None
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


def _challenges(response: aiohttp.ClientResponse) -> tuple[Challenge, ...]:
    return parse_challenges(response.headers.getall("WWW-Authenticate", []))


def _is_own(ask: Ask, response: aiohttp.ClientResponse) -> bool:
    """Whether the registry itself answered, and not where it redirects to."""
    return response.url.origin() == ask.url.origin()


def _is_lacking(ask: Ask, response: aiohttp.ClientResponse) -> bool:
    """Whether an answer says that there is no such API: here, or where a redirect has led to."""
    if not ask.is_optional:
        return False
    is_elsewhere = not _is_own(ask, response) and response.status // 100 == 4
    return is_elsewhere or response.status in _LACKING
