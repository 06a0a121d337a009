"""Requests to token servers, and for the challenge of a registry (`TokenServer`)."""

import asyncio
from contextlib import AbstractContextManager, nullcontext

import aiohttp
from yarl import URL

from cacheproxy.domain.errors import (
    CacheproxyError,
    Denied,
    NotFound,
    UpstreamLimited,
    UpstreamUnavailable,
)
from cacheproxy.ports import Clock
from cacheproxy.upstream.answers import (
    error_of,
    read_at_most,
    redirect_target,
    translated,
)
from cacheproxy.upstream.challenge import Challenge
from cacheproxy.upstream.challenge import parse as parse_challenges
from cacheproxy.upstream.config import UpstreamConfig
from cacheproxy.upstream.health import Health
from cacheproxy.upstream.pool import ConnectionPool, send_request
from cacheproxy.upstream.tokens import LoginRefused
from cacheproxy.upstream.trust import may_follow, may_keep_login

_HOPS = 5
_RESPONSE_LIMIT = 256 * 1024


class TokenClient:
    """Asks the token servers of one upstream."""

    def __init__(
        self, pool: ConnectionPool, health: Health | None, config: UpstreamConfig, clock: Clock
    ) -> None:
        """Ask nothing yet.

        Args:
            pool: of connections.
            health: of the token service; None if no failure counts.
            config: of the upstream.
            clock: of the time of day.
        """
        self._pool = pool
        self._health = health
        self._config = config
        self._clock = clock
        self._ping = config.url / "v2" / ""

    async def fetch(self, url: URL, authorization: str | None) -> bytes:
        """Return the body of a 200 response, at the end of the redirects.

        Raises:
            LoginRefused: a 401 or 403.
            Denied: the server refuses otherwise.
            UpstreamError: it fails.
        """
        if self._health is not None:
            self._health.check()
        async with self._pool.connection() as session:
            with self._asking(), translated(self._config.place):
                return await self._follow(session, url, authorization)

    async def fetch_challenges(self, url: URL) -> tuple[Challenge, ...]:
        """Return the challenges of a response, whatever its status, to a request without a login.

        Raises:
            UpstreamError: there is no response.
        """
        async with self._pool.connection() as session:
            with translated(self._config.place):
                async with (
                    asyncio.timeout(self._config.answer_timeout),
                    await self._get(session, url, None) as response,
                ):
                    return parse_challenges(response.headers.getall("WWW-Authenticate", []))

    def _asking(self) -> AbstractContextManager[object]:
        return nullcontext() if self._health is None else self._health.asking()

    async def _follow(
        self, session: aiohttp.ClientSession, url: URL, authorization: str | None
    ) -> bytes:
        for _ in range(_HOPS + 1):
            async with await self._get(session, url, authorization) as response:
                target = self._target(url, response)
                if target is None:
                    body = await read_at_most(response, _RESPONSE_LIMIT)
                    if response.status == 200:
                        return body
                    raise self._error(url, response)
            if not may_keep_login(target, url):
                authorization = None
            url = target
        raise UpstreamUnavailable(f"a token server redirects more than {_HOPS} times")

    async def _get(
        self, session: aiohttp.ClientSession, url: URL, authorization: str | None
    ) -> aiohttp.ClientResponse:
        headers = {} if authorization is None else {"Authorization": authorization}
        return await send_request(session, self._config, "GET", url, headers)

    def _target(self, url: URL, response: aiohttp.ClientResponse) -> URL | None:
        """Return where a redirect leads; None if the response is none, or not to be followed.

        A redirect of `/v2/` says nothing of the login that was shown there.
        """
        target = redirect_target(response.status, response.headers, url)
        if target is None or url == self._ping:
            return None
        if not may_follow(target, self._config.url, self._config.realms):
            raise UpstreamUnavailable(
                f"the token server redirects to {target.host}, where we do not go"
            )
        return target

    def _error(self, url: URL, response: aiohttp.ClientResponse) -> CacheproxyError:
        request, now = f"a token request to {url.host}", self._clock.now()
        error = error_of(response.status, request, response.headers, NotFound, now)
        if isinstance(error, Denied):
            return LoginRefused(str(error))
        is_refusal = response.status // 100 == 4 and not isinstance(error, UpstreamLimited)
        return Denied(str(error)) if is_refusal else error
