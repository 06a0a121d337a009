"""Proving who we are to a registry: token challenges, Basic, or nothing at all.

Source: distribution's token authentication specification. A token is cached for its upstream
and scope, fetched once however many requests wait for it, and renewed before it expires.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from yarl import URL

from cacheproxy.domain.errors import Denied, UpstreamUnavailable
from cacheproxy.inprocess.flights import Flights
from cacheproxy.inprocess.recent import Recent
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.ports import Clock
from cacheproxy.upstream.challenge import Basic, Bearer, Challenge
from cacheproxy.upstream.tokens import Token, parse_token
from cacheproxy.upstream.trust import may_follow, realm_may_have_credentials

# The specification's default, for answers that name no lifetime.
_DEFAULT_SECONDS = 60.0
# Renewed when this part of its life is over, so that none expires on the way.
_RENEW_AT = 0.8
_TOKENS = 10_000


@dataclass(frozen=True, slots=True)
class Login:
    """A user name and a password. Its representation shows neither."""

    username: str
    password: str

    def __repr__(self) -> str:
        return "Login(***)"

    @property
    def basic(self) -> str:
        """The Authorization field (RFC 7617)."""
        pair = f"{self.username}:{self.password}".encode()
        return "Basic " + base64.b64encode(pair).decode("ascii")


class TokenServer(Protocol):
    """Asks a token server, without following redirects."""

    async def fetch(self, url: URL, authorization: str | None) -> bytes:
        """The body of its 200 answer.

        Raises:
            Denied: it refuses.
            UpstreamError: it fails.
        """
        ...


class Authorizer:
    """The Authorization field for requests to one upstream."""

    def __init__(
        self,
        upstream: URL,
        login: Login | None,
        realms: frozenset[str],
        server: TokenServer,
        *,
        tasks: Tasks,
        clock: Clock,
    ) -> None:
        self._upstream = upstream
        self._login = login
        self._realms = realms
        self._server = server
        self._clock = clock
        self._tokens: Recent[Token] = Recent(_TOKENS)
        self._fetching: Flights[str, Token] = Flights(tasks, "token")
        self._challenge: Challenge | None = None

    async def current(self, scope: str) -> str | None:
        """What to send, by what upstream last asked for; None to send nothing.

        Raises:
            Denied, UpstreamError: a token that was due for renewal could not be had.
        """
        match self._challenge:
            case None:
                return None
            case Basic():
                return self._login.basic if self._login else None
            case Bearer() as bearer:
                return await self._bearer(bearer, scope)

    async def answer(self, challenges: Sequence[Challenge], scope: str, sent: str | None) -> str:
        """What to send after a 401 that came although `sent` was sent.

        Raises:
            Denied: nothing that we have answers these challenges.
            UpstreamError: the token server failed.
        """
        challenge = self._choose(challenges)
        if challenge != self._challenge:
            self._challenge = challenge
        elif isinstance(challenge, Bearer) and sent is not None:
            await self._forget(challenge, scope, sent)
        authorization = await self.current(scope)
        if authorization is None or authorization == sent:
            raise Denied("upstream refuses our credentials")
        return authorization

    async def close(self) -> None:
        """Forget all tokens."""
        await self._tokens.close()

    def _choose(self, challenges: Sequence[Challenge]) -> Challenge:
        for challenge in challenges:
            if isinstance(challenge, Bearer):
                # The scope is ours to name, by the request; the challenge is kept for others.
                return Bearer(challenge.realm, challenge.service, "")
        if self._login is not None and challenges:
            return Basic()
        raise Denied("upstream wants credentials, and none are configured for it")

    async def _forget(self, bearer: Bearer, scope: str, sent: str) -> None:
        """Drop the token that was refused; not one that another request fetched since."""
        known = await self._tokens.get(_key(bearer, scope))
        if known is not None and known.authorization == sent:
            await self._tokens.drop(_key(bearer, scope))

    async def _bearer(self, bearer: Bearer, scope: str) -> str:
        key = _key(bearer, scope)
        token = await self._tokens.get(key)
        if token is None or self._clock.monotonic() >= token.renew_at:
            token, _ = await self._fetching.join(key, lambda: self._fetch(bearer, scope, key))
        return token.authorization

    async def _fetch(self, bearer: Bearer, scope: str, key: str) -> Token:
        realm = self._realm(bearer)
        body = await self._server.fetch(_token_url(realm, bearer, scope), self._basic_for(realm))
        value, seconds = parse_token(body)
        lifetime = _DEFAULT_SECONDS if seconds is None else seconds
        token = Token(f"Bearer {value}", self._clock.monotonic() + lifetime * _RENEW_AT)
        await self._tokens.set(key, token, lifetime)
        return token

    def _realm(self, bearer: Bearer) -> URL:
        """The token server; upstream names it, so it is trusted no more than a redirect."""
        try:
            realm = URL(bearer.realm)
            allowed = may_follow(realm, self._upstream, self._realms)
        except ValueError as error:
            raise UpstreamUnavailable("upstream names a token server that is no URL") from error
        if not allowed:
            raise UpstreamUnavailable(
                f"upstream sends for tokens to {realm.host}, where we do not go"
            )
        return realm

    def _basic_for(self, realm: URL) -> str | None:
        if self._login is None:
            return None
        if not realm_may_have_credentials(realm, self._upstream, self._realms):
            raise UpstreamUnavailable(
                f"{self._upstream.host} sends for tokens to {realm.host}, which is not of its "
                "domain: credentials are not sent there; if that is right, add the host to "
                "this upstream's token_realms"
            )
        return self._login.basic


def _key(bearer: Bearer, scope: str) -> str:
    return f"{bearer.realm} {bearer.service} {scope}"


def _token_url(realm: URL, bearer: Bearer, scope: str) -> URL:
    parameters = {"service": bearer.service} if bearer.service else {}
    return realm.update_query({**parameters, "scope": scope})
