"""Token servers: what they are asked, and how their responses are read."""

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Protocol

import msgspec
from multidict import MultiDict
from yarl import URL

from cacheproxy.domain.errors import Denied, UpstreamUnavailable
from cacheproxy.upstream.challenge import Challenge

# token68 (RFC 9110 §11.2): anything else could smuggle a header line.
_TOKEN68 = re.compile(r"[A-Za-z0-9\-._~+/]+=*")
_LONGEST = 86_400.0
# The specification's default, for answers that name no lifetime.
_DEFAULT = 60.0


class LoginRefused(Denied):
    """A 401 or 403 to a login: it is wrong, or may not do what it asked for."""


class TokenServer(Protocol):
    """Asks token servers, and registries for their challenge."""

    async def fetch(self, url: URL, authorization: str | None) -> bytes:
        """Return the body of a 200 response.

        Raises:
            LoginRefused: a 401 or 403.
            Denied: the server refuses otherwise.
            UpstreamError: it fails.
        """
        ...

    async def fetch_challenges(self, url: URL) -> tuple[Challenge, ...]:
        """Return the challenges of a response, whatever its status, to a request without a login.

        Raises:
            UpstreamError: there is no response.
        """
        ...


def token_url(realm: URL, service: str, scopes: str) -> URL:
    """Return the URL that a token is asked for at (distribution's token authentication).

    Args:
        realm: the token server; its own query stays.
        service: of the challenge; empty if it names none.
        scopes: one, or several with spaces between; empty to check a login alone.
    """
    query = MultiDict(realm.query)
    if service:
        query["service"] = service
    if scopes:
        query.popall("scope", None)
        query.extend([("scope", scope) for scope in scopes.split()])
    return realm.with_query(query)


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token. Its representation does not show it.

    Attributes:
        authorization: the Authorization field.
        renew_at: on the monotonic clock.
        expires_at: likewise.
    """

    authorization: str
    renew_at: float
    expires_at: float

    def __repr__(self) -> str:
        return "Token(***)"


class _Answer(msgspec.Struct):
    token: object = None
    access_token: object = None
    expires_in: object = None


def parse_token(body: bytes) -> tuple[str, float | None]:
    """Return the token, and its lifetime in seconds; None if the answer names none.

    Raises:
        UpstreamUnavailable: the answer holds no token.
    """
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise UpstreamUnavailable("the token server's answer is not understood") from error
    for value in (answer.token, answer.access_token):
        if isinstance(value, str) and _TOKEN68.fullmatch(value):
            return value, _lifetime(answer.expires_in)
    raise UpstreamUnavailable("the token server's answer holds no token")


def _lifetime(said: object) -> float | None:
    """Return a lifetime within a day; None if the answer names none, or one that is none.

    Servers also write it as a string, as 0, or as null. Clients take all of these for unsaid.
    """
    if isinstance(said, bool) or not isinstance(said, int | float | str):
        return None
    try:
        seconds = float(said)
    except (ValueError, OverflowError):
        return None
    # Written so that NaN ends as unsaid too.
    return min(seconds, _LONGEST) if seconds > 0 else None


class _Claims(msgspec.Struct):
    exp: float | None = None
    iat: float | None = None


def lifetime_of(value: str, now: float, unsaid: float = _DEFAULT) -> float:
    """The seconds that a token is good for whose answer names no lifetime.

    A JWT (RFC 7519) says when it ends; it is not verified, that is for upstream to do. Where
    it also says when it was made, the clock of this machine has no say.

    Args:
        value: the token.
        now: seconds since the epoch.
        unsaid: what it is good for when it does not say either.
    """
    parts = value.split(".")
    if len(parts) != 3:
        return unsaid
    try:
        payload = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        claims = msgspec.json.decode(payload, type=_Claims)
    except (binascii.Error, msgspec.MsgspecError, ValueError, RecursionError):
        return unsaid
    if claims.exp is None:
        return unsaid
    seconds = claims.exp - (now if claims.iat is None else claims.iat)
    return min(seconds, _LONGEST) if seconds > 0 else unsaid
