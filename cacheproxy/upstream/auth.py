"""Proving who we are to a registry: token challenges, Basic, or nothing at all.

Source: distribution's token authentication specification. A token is cached for its account,
realm, service and scope, fetched once however many requests wait for it, and renewed behind
those who use it before it expires.
"""

from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any

from yarl import URL

from cacheproxy.domain.errors import CacheproxyError, Denied, UpstreamError, UpstreamUnavailable
from cacheproxy.inprocess.flights import Flights
from cacheproxy.inprocess.recent import Recent
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.ports import Clock
from cacheproxy.upstream.challenge import Basic, Bearer, Challenge
from cacheproxy.upstream.credentials.login import Credentials, Login
from cacheproxy.upstream.token_cache import TokenCache
from cacheproxy.upstream.tokens import LoginRefused, TokenServer, token_url
from cacheproxy.upstream.trust import may_follow, realm_may_have_credentials

# Seconds until `/v2/` is asked for its challenge again; and if that failed, or was of no use.
_LEARN_EVERY = 300.0
_LEARN_AGAIN = 5.0
_SCOPES = 10_000
_SCOPE_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """The credentials of one attempt at a request.

    Attributes:
        field: the Authorization field; None to send none.
        failure: the reason for sending none although upstream has asked; None if it has not.
        challenge: the one that could not be answered.
    """

    field: str | None = None
    failure: CacheproxyError | None = None
    challenge: Challenge | None = None


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
        self._tokens = TokenCache(tasks, clock)
        self._showing: Flights[tuple[int, Login], bytes] = Flights(tasks, "first showing of login")
        self._doubting: Flights[tuple[int, Login], None] = Flights(tasks, "doubt of login")
        self._learning: Flights[str, tuple[Challenge, ...]] = Flights(tasks, "challenge")
        # What upstream has taken, by account: only one request shows it what it never saw.
        self._known: dict[int, Login] = {}
        self._challenge: Challenge | None = None
        # The challenges of `/v2/`, and the time until which they are believed.
        self._learnt: tuple[tuple[Challenge, ...], float] | None = None
        # The scopes of challenges, by the scope of the requests that they answered.
        self._scopes: Recent[str] = Recent(_SCOPES)

    @property
    def accounts(self) -> int:
        """How many there are to choose from; being nobody in particular is one, too."""
        return max(1, len(self._credentials))

    @property
    def has_login(self) -> bool:
        """Whether there is any login to answer a challenge with."""
        return bool(self._credentials)

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

    async def begin(self, scope: str, account: int = 0) -> Attempt:
        """Return the first attempt; without credentials if those cannot be had.

        Upstream's challenge is dropped then: there may be another one by now, or none.
        """
        challenge = self._challenge
        try:
            return Attempt(await self.current(scope, account))
        except (Denied, UpstreamError) as error:
            self._drop()
            return Attempt(None, error, challenge)

    async def go_on(
        self, challenges: Sequence[Challenge], scope: str, tried: Attempt, account: int = 0
    ) -> Attempt:
        """Return the next attempt after a 401; once more without credentials if those were old.

        Raises:
            Denied: nothing that we have answers these challenges.
            UpstreamError: the token server failed.
        """
        known, asked = self._challenge, self._select(challenges)
        if tried.failure is not None and asked in (None, tried.challenge):
            raise tried.failure
        try:
            return Attempt(await self.answer(challenges, scope, tried.field, account))
        except _TokenRefusedError:
            raise
        except (Denied, UpstreamError) as error:
            self._drop()
            if tried.field is None:
                raise
            return Attempt(None, error, asked or known)

    async def learn(self) -> tuple[Challenge, ...]:
        """Return the challenges of `/v2/`, where some registries have their only one.

        It is asked without credentials, and at most once in five minutes.
        """
        if self._learnt is not None and self._clock.monotonic() < self._learnt[1]:
            return self._learnt[0]
        challenges, _ = await self._learning.join("/v2/", self._ask_for_challenges)
        return challenges

    async def answer(
        self, challenges: Sequence[Challenge], scope: str, sent: str | None, account: int = 0
    ) -> str:
        """Return what to send after a 401 that came although `sent` was sent.

        Raises:
            Denied: nothing that we have answers these challenges.
            UpstreamError: the token server failed.
        """
        challenge = self._choose(challenges)
        await self._note_scope(challenges, scope)
        if challenge != self._challenge:
            self._challenge = challenge
        elif sent is not None:
            await self._forget(scope, sent, account)
        authorization = await self.current(scope, account)
        if authorization is None or authorization == sent:
            raise _TokenRefusedError("upstream refuses our credentials")
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
        await self._scopes.close()
        for credentials in self._credentials:
            await credentials.close()

    def _of(self, account: int) -> Credentials | None:
        return self._credentials[account] if self._credentials else None

    def _choose(self, challenges: Sequence[Challenge]) -> Challenge:
        chosen = self._select(challenges)
        if chosen is None:
            raise Denied(
                "upstream wants credentials, and none are configured for it; set its `credentials`"
            )
        return chosen

    def _select(self, challenges: Sequence[Challenge]) -> Challenge | None:
        """Return the challenge to answer; without any, the one that upstream had last."""
        for challenge in challenges:
            if isinstance(challenge, Bearer):
                # The scope is that of one request; the challenge is kept for others.
                return replace(challenge, scope="")
        if not challenges:
            return self._challenge
        return Basic() if self._credentials else None

    def _drop(self) -> None:
        """Drop what upstream has asked for, so that it is asked again; `/v2/` a little later."""
        self._challenge = None
        if self._learnt is not None:
            challenges, ends = self._learnt
            self._learnt = challenges, min(ends, self._clock.monotonic() + _LEARN_AGAIN)

    async def _ask_for_challenges(self) -> tuple[Challenge, ...]:
        challenges: tuple[Challenge, ...] = ()
        seconds = _LEARN_AGAIN
        try:
            challenges = await self._server.fetch_challenges(self._ping)
            seconds = _LEARN_EVERY
        except CacheproxyError:
            pass  # the response that led here is believed then
        self._learnt = challenges, self._clock.monotonic() + seconds
        return challenges

    async def _note_scope(self, challenges: Sequence[Challenge], scope: str) -> None:
        """Keep the scope that a challenge names, to be asked for beside the request's own."""
        named = next((each.scope for each in challenges if isinstance(each, Bearer)), "")
        if named not in ("", scope):
            await self._scopes.set(scope, named, _SCOPE_SECONDS)

    async def _all_scopes(self, scope: str) -> str:
        named = await self._scopes.get(scope)
        return " ".join(dict.fromkeys(f"{scope} {named or ''}".split()))

    async def _forget(self, scope: str, sent: str, account: int) -> None:
        """Drop what was refused; not what another request has in its place since."""
        match self._challenge:
            case Bearer() as bearer:
                scopes = await self._all_scopes(scope)
                await self._tokens.drop(_key(account, bearer, scopes), sent)
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
        scopes = await self._all_scopes(scope)
        key = _key(account, bearer, scopes)
        return await self._tokens.get(key, lambda: self._ask(bearer, scopes, account))

    async def _ask(self, bearer: Bearer, scopes: str, account: int) -> bytes:
        """Return the token server's answer.

        Many may want tokens for different scopes at once. A login that was never taken is
        shown by the first of them; the rest wait for how that goes.
        """
        realm, credentials = self._realm(bearer), self._of(account)
        url, check = (token_url(realm, bearer.service, each) for each in (scopes, ""))
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


class _TokenRefusedError(Denied):
    """A 401 to what the challenge asked for: there is nothing else to send."""


def _key(account: int, bearer: Bearer, scopes: str) -> str:
    return f"{account} {bearer.realm} {bearer.service} {scopes}"
