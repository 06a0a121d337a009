"""A token server's answer."""

import re
from dataclasses import dataclass

import msgspec

from cacheproxy.domain.errors import UpstreamUnavailable

# token68 (RFC 9110 §11.2): anything else could smuggle a header line.
_TOKEN68 = re.compile(r"[A-Za-z0-9\-._~+/]+=*")
_LONGEST = 86_400.0


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token. Its representation does not show it.

    Attributes:
        authorization: the Authorization field.
        renew_at: on the monotonic clock.
    """

    authorization: str
    renew_at: float

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
