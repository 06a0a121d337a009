"""A token server's answer."""

import base64
import binascii
import re
from dataclasses import dataclass

import msgspec

from cacheproxy.domain.errors import Denied, UpstreamUnavailable

# token68 (RFC 9110 §11.2): anything else could smuggle a header line.
_TOKEN68 = re.compile(r"[A-Za-z0-9\-._~+/]+=*")
_LONGEST = 86_400.0
# The specification's default, for answers that name no lifetime.
_DEFAULT = 60.0


class LoginRefused(Denied):
    """A 401 or 403 to a login: it is wrong, or may not do what it asked for."""


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
    token: str | None = None
    access_token: str | None = None
    expires_in: float | None = None


def parse_token(body: bytes) -> tuple[str, float | None]:
    """The token, and its lifetime in seconds where the answer names one.

    Raises:
        UpstreamUnavailable: the answer holds no token.
    """
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise UpstreamUnavailable("the token server's answer is not understood") from error
    value = answer.token or answer.access_token or ""
    if _TOKEN68.fullmatch(value) is None:
        raise UpstreamUnavailable("the token server's answer holds no token")
    seconds = answer.expires_in
    return value, None if seconds is None else min(max(seconds, 0.0), _LONGEST)


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
