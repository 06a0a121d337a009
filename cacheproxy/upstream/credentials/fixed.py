"""A login that is written in the configuration."""

from dataclasses import dataclass

from cacheproxy.upstream.credentials.login import Login


@dataclass(frozen=True, slots=True)
class Fixed:
    """Always the same login (`Source`)."""

    login: Login

    def changed(self) -> bool:
        """It never does."""
        return False

    async def fetch(self) -> tuple[Login, float | None]:
        """The login, which has no end."""
        return self.login, None
