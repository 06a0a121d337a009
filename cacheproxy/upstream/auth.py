"""Proving who we are to a registry: token challenges, Basic, or nothing at all.

Source: distribution's token authentication specification. A token is cached for its account,
realm, service and scope, fetched once however many requests wait for it, and renewed behind
those who use it before it expires.
"""

from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any, Protocol

from yarl import URL

from cacheproxy.domain.errors import CacheproxyError, Denied, UpstreamError, UpstreamUnavailable
from cacheproxy.inprocess.flights import Flights
from cacheproxy.inprocess.recent import Recent
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.ports import Clock
from cacheproxy.upstream.challenge import Basic, Bearer, Challenge
from cacheproxy.upstream.credentials.login import Credentials, Login
from cacheproxy.upstream.tokens import LoginRefused, Token, lifetime_of, parse_token
from cacheproxy.upstream.trust import may_follow, realm_may_have_credentials

# Renewed when this part of its life is over, so that none expires on the way.
_RENEW_AT = 0.8
# After a renewal has failed that nobody waited for, the next one is after so many seconds.
_RETRY = 5.0
_TOKENS = 10_000


class TokenServer(Protocol):
    """Asks a token server, without following redirects."""

    async def fetch(self, url: URL, authorization: str | None) -> bytes:
        """The body of its 200 answer.

        Raises:
            LoginRefused: a 401 or 403.
            Denied: it refuses otherwise.
            UpstreamError: it fails.
        """
        ...


class Authorizer:
    """The Authorization field for requests to one upstream.

    An account is the number of one of its credentials, in the order in which they are
    configured; which one a request goes by is up to who sends it.
    """

    def __init__(
        self,
        upstream: URL,
        credentials: Sequence[Credentials],
        realms: frozenset[str],
        server: TokenServer,
        *,
        tasks: Tasks,
        clock: Clock,
    ) -> None:
        self._upstream = upstream
        self._credentials = tuple(credentials)
        self._realms = realms
        self._server = server
        self._clock = clock
        self._tokens: Recent[Token] = Recent(_TOKENS)
        self._fetching: Flights[str, Token] = Flights(tasks, "token")
        self._showing: Flights[tuple[int, Login], bytes] = Flights(tasks, "first showing of login")
        self._doubting: Flights[tuple[int, Login], None] = Flights(tasks, "doubt of login")
        # What upstream has taken, by account: only one request shows it what it never saw.
        self._known: dict[int, Login] = {}
        self._challenge: Challenge | None = None

    @property
    def accounts(self) -> int:
        """How many there are to choose from; being nobody in particular is one, too."""
        return max(1, len(self._credentials))

    async def current(self, scope: str, account: int = 0) -> str | None:
        """What to send, by what upstream last asked for; None to send nothing.

        Raises:
            Denied, UpstreamError: a token or login that is needed could not be had.
        """
        match self._challenge:
            case None:
                return None
            case Basic():
                credentials = self._of(account)
                return await self._basic(credentials, account) if credentials else None
            case Bearer() as bearer:
                return await self._bearer(bearer, scope, account)

    async def answer(
        self, challenges: Sequence[Challenge], scope: str, sent: str | None, account: int = 0
    ) -> str:
        """What to send after a 401 that came although `sent` was sent.

        Raises:
            Denied: nothing that we have answers these challenges.
            UpstreamError: the token server failed.
        """
        challenge = self._choose(challenges)
        if challenge != self._challenge:
            self._challenge = challenge
        elif sent is not None:
            await self._forget(scope, sent, account)
        authorization = await self.current(scope, account)
        if authorization is None or authorization == sent:
            raise Denied("upstream refuses our credentials")
        return authorization

    async def refused(self, sent: str, account: int = 0) -> None:
        """Upstream said no to an answer, too, which ends the request.

        A new token says nothing of the login that it was fetched with: that was good.
        """
        if isinstance(self._challenge, Basic):
            try:
                await self._forget("", sent, account)
            except CacheproxyError:
                return  # this request has its error already

    async def close(self) -> None:
        """Forget all tokens and logins."""
        await self._tokens.close()
        for credentials in self._credentials:
            await credentials.close()

    def _of(self, account: int) -> Credentials | None:
        return self._credentials[account] if self._credentials else None

    def _choose(self, challenges: Sequence[Challenge]) -> Challenge:
        for challenge in challenges:
            if isinstance(challenge, Bearer):
                # The scope is ours to name, by the request; the challenge is kept for others.
                return Bearer(challenge.realm, challenge.service, "")
        if self._credentials and challenges:
            return Basic()
        raise Denied("upstream wants credentials, and none are configured for it")

    async def _forget(self, scope: str, sent: str, account: int) -> None:
        """Drop what was refused; not what another request has in its place since."""
        match self._challenge:
            case Bearer() as bearer:
                key = _key(account, bearer, scope)
                known = await self._tokens.get(key)
                if known is not None and known.authorization == sent:
                    await self._tokens.drop(key)
            case Basic() if (credentials := self._of(account)) is not None:
                login = await credentials.login()
                if login.basic == sent:
                    await self._doubt(login, account, self._ping)

    @property
    def _ping(self) -> URL:
        """Where a registry says whether a login is right, and nothing else (OCI end-1)."""
        return self._upstream / "v2" / ""

    async def _basic(self, credentials: Credentials, account: int) -> str:
        """The login's field; a new login is tried by one before all others use it."""
        login = await credentials.login()
        if login == self._known.get(account):
            return login.basic
        says_nothing = False
        try:
            await self._showing.join(
                (account, login), lambda: self._shown(self._ping, self._ping, login, account)
            )
        except LoginRefused:
            pass  # there is a newer one now, or none to be shown
        except (Denied, UpstreamError):
            says_nothing = True
        login = await credentials.login()
        if says_nothing:
            self._known[account] = login  # of such a registry we need not ask again
        return login.basic

    async def _bearer(self, bearer: Bearer, scope: str, account: int) -> str:
        key = _key(account, bearer, scope)
        token, now = await self._tokens.get(key), self._clock.monotonic()
        if token is None or now >= token.expires_at:
            token, _ = await self._fetching.join(key, lambda: self._fetch(bearer, scope, account))
        elif now >= token.renew_at:
            old = token
            self._fetching.launch(key, lambda: self._renew(bearer, scope, account, old))
        return token.authorization

    async def _renew(self, bearer: Bearer, scope: str, account: int, old: Token) -> Token:
        """A new token in place of one that is still good, and stays if there is no new one."""
        try:
            return await self._fetch(bearer, scope, account)
        except CacheproxyError:
            now = self._clock.monotonic()
            later = replace(old, renew_at=now + _RETRY)
            await self._tokens.set(_key(account, bearer, scope), later, old.expires_at - now)
            raise

    async def _fetch(self, bearer: Bearer, scope: str, account: int) -> Token:
        value, seconds = parse_token(await self._asked(bearer, scope, account))
        lifetime = lifetime_of(value, self._clock.now()) if seconds is None else seconds
        now = self._clock.monotonic()
        token = Token(f"Bearer {value}", now + lifetime * _RENEW_AT, now + lifetime)
        await self._tokens.set(_key(account, bearer, scope), token, lifetime)
        return token

    async def _asked(self, bearer: Bearer, scope: str, account: int) -> bytes:
        """The token server's answer.

        Many may want tokens for different scopes at once. A login that was never taken is
        shown by the first of them; the rest wait for how that goes.
        """
        realm, credentials = self._realm(bearer), self._of(account)
        url, check = _token_url(realm, bearer, scope), _token_url(realm, bearer, "")
        if credentials is None:
            return await self._server.fetch(url, None)
        self._check_may_have_login(realm)
        login = await credentials.login()
        if login != self._known.get(account):
            is_first = False

            def show() -> Coroutine[Any, Any, bytes]:
                nonlocal is_first
                is_first = True
                return self._shown(url, check, login, account)

            try:
                body, _ = await self._showing.join((account, login), show)
            except CacheproxyError:
                if is_first:
                    raise
            else:
                if is_first:
                    return body
            login = await credentials.login()
        return await self._shown(url, check, login, account)

    async def _shown(self, url: URL, check: URL, login: Login, account: int) -> bytes:
        """The answer to a login; asked again if there is a newer login than it refuses."""
        credentials = self._credentials[account]
        try:
            body = await self._server.fetch(url, login.basic)
        except LoginRefused:
            await self._doubt(login, account, check)
            newer = await credentials.login()
            if newer == login:
                raise
            login = newer
            try:
                body = await self._server.fetch(url, login.basic)
            except LoginRefused:
                await self._doubt(login, account, check)
                raise
        self._take(login, account)
        return body

    def _take(self, login: Login, account: int) -> None:
        self._known[account] = login
        self._credentials[account].accepted(login)

    async def _doubt(self, login: Login, account: int, check: URL) -> None:
        """Tell the credentials of a refusal, and find out what it was that was refused.

        Registries refuse a right login too, for what it may not read or what does not exist.
        So one that nothing newer replaces is shown again, where no repository is named: what
        is refused there is the login, and then it is not shown any more. What is not refused
        there is good, whoever asks for whatever else.
        """
        await self._doubting.join((account, login), lambda: self._find_out(login, account, check))

    async def _find_out(self, login: Login, account: int, check: URL) -> None:
        credentials = self._credentials[account]
        await credentials.refused(login)
        if await credentials.login() != login:
            return
        try:
            await self._server.fetch(check, login.basic)
        except LoginRefused:
            self._known.pop(account, None)
            await credentials.refused(login)
        except (Denied, UpstreamError):
            return  # who knows: the next refusal is one too many
        else:
            self._take(login, account)

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

    def _check_may_have_login(self, realm: URL) -> None:
        if not realm_may_have_credentials(realm, self._upstream, self._realms):
            raise UpstreamUnavailable(
                f"{self._upstream.host} sends for tokens to {realm.host}, which is not of its "
                "domain: credentials are not sent there; if that is right, add the host to "
                "this upstream's token_realms"
            )


def _key(account: int, bearer: Bearer, scope: str) -> str:
    return f"{account} {bearer.realm} {bearer.service} {scope}"


def _token_url(realm: URL, bearer: Bearer, scope: str) -> URL:
    parameters = {"service": bearer.service, "scope": scope}
    return realm.update_query({name: value for name, value in parameters.items() if value})
