"""A login, who gives one, and where one comes from."""

import base64
import math
from dataclasses import dataclass, field
from typing import Protocol

from cacheproxy.domain.errors import UpstreamUnavailable


@dataclass(frozen=True, slots=True)
class Login:
    """A user name and a password. Its representation shows neither.

    Attributes:
        username: without a colon.
        password: or token.
        expires_at: on the monotonic clock; infinite where nobody says. Two logins are the
            same when user name and password are.
    """

    username: str
    password: str
    expires_at: float = field(default=math.inf, compare=False)

    def __repr__(self) -> str:
        return "Login(***)"

    @property
    def basic(self) -> str:
        """The Authorization field (RFC 7617)."""
        pair = f"{self.username}:{self.password}".encode()
        return "Basic " + base64.b64encode(pair).decode("ascii")


class CredentialsUnavailable(UpstreamUnavailable):
    """Our own credentials cannot be had: upstream was not asked, and may be well."""


class NoLoginError(Exception):
    """A source has no login to give; `str()` says why, without any secret."""


class Source(Protocol):
    """Where a login comes from."""

    def changed(self) -> bool:
        """Whether it may give another login than at the last fetch. Cheap, and asks nobody."""
        ...

    async def fetch(self) -> tuple[Login, float | None]:
        """The login that it gives now, and the seconds that it is good for, where it says so.

        Raises:
            NoLoginError: it has none.
        """
        ...


class Credentials(Protocol):
    """A login that is kept good, for all requests of one account."""

    async def login(self) -> Login:
        """The login to use now.

        Raises:
            Denied: upstream refused it, and it is not to be shown again for now.
            CredentialsUnavailable: its source does not give one.
        """
        ...

    async def refused(self, login: Login) -> None:
        """Upstream said no to this login: look whether there is a newer one."""
        ...

    def accepted(self, login: Login) -> None:
        """Upstream said yes to this login."""
        ...

    async def close(self) -> None:
        """Forget the login."""
        ...
