"""Anonymous tokens for the registries that an upstream redirects to.

A facade sends its clients on to a registry with a token server of its own. Its tokens are fetched
without a login, shown to that registry alone, and say nothing of the upstream's health.
"""

from collections.abc import Sequence

from yarl import URL

from cacheproxy.domain.errors import CacheproxyError
from cacheproxy.inprocess.recent import Recent
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.ports import Clock
from cacheproxy.upstream.challenge import Bearer, Challenge
from cacheproxy.upstream.config import UpstreamConfig
from cacheproxy.upstream.token_cache import TokenCache
from cacheproxy.upstream.tokens import TokenServer, token_url
from cacheproxy.upstream.trust import may_follow

_CHALLENGES = 10_000
_REMEMBER_SECONDS = 86_400.0


class GuestTokens:
    """The tokens for hosts that redirects lead to."""

    def __init__(
        self, config: UpstreamConfig, server: TokenServer, tasks: Tasks, clock: Clock
    ) -> None:
        self._config = config
        self._server = server
        self._tokens = TokenCache(tasks, clock)
        self._challenges: Recent[Bearer] = Recent(_CHALLENGES)

    async def find(self, place: URL, scope: str) -> str | None:
        """Return the Authorization field for a registry; None if no token for it is known.

        Args:
            place: where a redirect leads.
            scope: what the upstream's own token would be for; the registry has its own.
        """
        bearer = await self._challenges.get(_key(place, scope))
        return None if bearer is None else await self._tokens.find(_token_key(place, bearer))

    async def fetch(
        self, challenges: Sequence[Challenge], place: URL, scope: str, shown: str | None
    ) -> bool:
        """Fetch a token for a registry that has answered 401; return whether there is one now.

        Args:
            challenges: of the response.
            place: the registry's URL.
            scope: as in `find`.
            shown: the Authorization field of the request; None if it had none.
        """
        bearer = next((each for each in challenges if isinstance(each, Bearer)), None)
        realm = None if bearer is None else self._realm(bearer, place)
        if bearer is None or realm is None:
            return False
        key, url = _token_key(place, bearer), token_url(realm, bearer.service, bearer.scope)
        if shown is not None:
            await self._tokens.drop(key, shown)
        try:
            await self._tokens.get(key, lambda: self._server.fetch(url, None))
        except CacheproxyError:
            return False
        await self._challenges.set(_key(place, scope), bearer, _REMEMBER_SECONDS)
        return True

    async def close(self) -> None:
        """Drop all tokens."""
        await self._tokens.close()
        await self._challenges.close()

    def _realm(self, bearer: Bearer, place: URL) -> URL | None:
        """Return the token server; None if neither place nor upstream may send there.

        Never upstream's own host: whoever it redirects to does not make it hand out tokens.
        """
        upstream, hosts = self._config.url, self._config.redirect_hosts
        try:
            realm = URL(bearer.realm)
            is_own = realm.origin() == upstream.origin()
            allowed = all(may_follow(realm, sender, hosts) for sender in (place, upstream))
        except ValueError:
            return None
        return realm if allowed and not is_own else None


def _key(place: URL, scope: str) -> str:
    return f"{place.origin()} {scope}"


def _token_key(place: URL, bearer: Bearer) -> str:
    return f"guest {place.origin()} {bearer.realm} {bearer.service} {bearer.scope}"
