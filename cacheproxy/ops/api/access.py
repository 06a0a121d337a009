"""Who may use the admin API: whoever shows the token, or has signed in to the page with it."""

import hashlib
import hmac
from dataclasses import dataclass

from aiohttp import hdrs, web

COOKIE = "cacheproxy_session"
SESSION_SECONDS = 30 * 86_400
_SCHEME = "Bearer "
_READING = (hdrs.METH_GET, hdrs.METH_HEAD)


@dataclass(frozen=True, slots=True)
class Access:
    """What is asked for.

    Attributes:
        token: of operators.
        is_public: reading needs none.
        webhook_token: of whoever tells of a push; None: nobody may.
    """

    token: str
    is_public: bool = False
    webhook_token: str | None = None

    def is_token(self, shown: str) -> bool:
        """Whether it is the operators'."""
        return _same(shown, self.token)

    def allows(self, request: web.BaseRequest, now: float) -> bool:
        """Whether a request may be answered. A session is good for reading only.

        So no other site can have a browser change anything.
        """
        if self.is_token(_bearer(request)):
            return True
        return request.method in _READING and (self.is_public or self.is_signed_in(request, now))

    def allows_webhook(self, request: web.BaseRequest) -> bool:
        """Whether a request may tell of a push; registries write the token in the URL."""
        shown = _bearer(request) or request.query.get("token", "")
        is_hook = self.webhook_token is not None and _same(shown, self.webhook_token)
        return is_hook or self.is_token(_bearer(request))

    def is_signed_in(self, request: web.BaseRequest, now: float) -> bool:
        """Whether it comes from a page whose reader has shown the token."""
        until, _, seal = request.cookies.get(COOKIE, "").partition(".")
        if not (until.isascii() and until.isdigit() and len(until) <= 12):
            return False
        return _same(seal, self._seal(until)) and int(until) > now

    def session(self, now: float) -> str:
        """A cookie for whoever has shown the token; it ends when the token changes."""
        until = str(int(now) + SESSION_SECONDS)
        return f"{until}.{self._seal(until)}"

    def _seal(self, until: str) -> str:
        said = f"cacheproxy session until {until}".encode()
        return hmac.new(self.token.encode(), said, hashlib.sha256).hexdigest()


def _bearer(request: web.BaseRequest) -> str:
    field = request.headers.get(hdrs.AUTHORIZATION, "")
    return field[len(_SCHEME) :] if field.startswith(_SCHEME) else ""


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(errors="replace"), other.encode())
