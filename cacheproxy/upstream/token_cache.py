"""Tokens in memory: fetched once however many requests wait, and renewed before they expire."""

from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from cacheproxy.domain.errors import CacheproxyError
from cacheproxy.inprocess.flights import Flights
from cacheproxy.inprocess.recent import Recent
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.ports import Clock
from cacheproxy.upstream.tokens import Token, lifetime_of, parse_token

# Renewed when this part of its life is over, so that none expires on the way.
_RENEW_AT = 0.8
# After a renewal has failed that nobody waited for, the next one is after so many seconds.
_RETRY = 5.0
_TOKENS = 10_000

Fetch = Callable[[], Coroutine[Any, Any, bytes]]
"""Asks a token server; returns the body of its response."""


class TokenCache:
    """The tokens of one upstream, by key."""

    def __init__(self, tasks: Tasks, clock: Clock) -> None:
        self._clock = clock
        self._tokens: Recent[Token] = Recent(_TOKENS)
        self._fetching: Flights[str, Token] = Flights(tasks, "token")

    async def get(self, key: str, fetch: Fetch) -> str:
        """Return the Authorization field with a token, fetched if none is good.

        Raises:
            CacheproxyError: by `fetch`, or the response holds no token.
        """
        token, now = await self._tokens.get(key), self._clock.monotonic()
        if token is None or now >= token.expires_at:
            token, _ = await self._fetching.join(key, lambda: self._fetch(key, fetch))
        elif now >= token.renew_at:
            old = token
            self._fetching.launch(key, lambda: self._renew(key, fetch, old))
        return token.authorization

    async def find(self, key: str) -> str | None:
        """Return the Authorization field with a token that is good; None if there is none."""
        token = await self._tokens.get(key)
        is_good = token is not None and self._clock.monotonic() < token.expires_at
        return token.authorization if token is not None and is_good else None

    async def drop(self, key: str, refused: str) -> None:
        """Drop a token that was refused; not the one that another request has put in its place."""
        token = await self._tokens.get(key)
        if token is not None and token.authorization == refused:
            await self._tokens.drop(key)

    async def close(self) -> None:
        """Drop all tokens."""
        await self._tokens.close()

    async def _renew(self, key: str, fetch: Fetch, old: Token) -> Token:
        """Fetch a token in place of one that is still good, and stays if there is no new one."""
        try:
            return await self._fetch(key, fetch)
        except CacheproxyError:
            now = self._clock.monotonic()
            later = replace(old, renew_at=now + _RETRY)
            await self._tokens.set(key, later, old.expires_at - now)
            raise

    async def _fetch(self, key: str, fetch: Fetch) -> Token:
        value, seconds = parse_token(await fetch())
        lifetime = lifetime_of(value, self._clock.now()) if seconds is None else seconds
        now = self._clock.monotonic()
        token = Token(f"Bearer {value}", now + lifetime * _RENEW_AT, now + lifetime)
        await self._tokens.set(key, token, lifetime)
        return token
