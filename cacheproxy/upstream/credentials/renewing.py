"""A login from any source, kept good: renewed before it ends, replaced once it is refused.

However many requests want it, its source is asked once. A login that upstream refuses twice
in a row is not shown again for a while: registries lock out who keeps trying.
"""

import math
from dataclasses import replace
from datetime import UTC, datetime

from cacheproxy.domain.errors import CacheproxyError, Denied
from cacheproxy.inprocess.flights import Flights
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.ports import Clock
from cacheproxy.upstream.credentials.login import (
    CredentialsUnavailable,
    Login,
    NoLoginError,
    Source,
)

# Renewed when this part of its life is over, so that none expires on the way.
RENEW_AT = 0.8
# How many refusals in a row keep a login from being shown, and for how long: then for twice
# as long each time, up to the longest.
_REFUSALS = 2
_PAUSE = 60.0
_LONGEST_PAUSE = 900.0
# Refusals further apart than this are no row.
_ROW = 60.0
# A source that fails is asked again after so long; sooner, all get the same answer.
_FAILED = 1.0
# And so long after it failed while the login that we have was still good.
_RETRY = 5.0
# What has just been given is good for at least so long, whatever the time of day is here.
_LEAST = 5.0
# A source that has changed is believed when the old login is refused, or after so long: it may
# change before upstream does.
_GRACE = 30.0


class Renewing:
    """The login of one account (`Credentials`).

    Args:
        source: where it comes from.
        name: of the credentials, for messages: `docker.io's credentials (password_file)`.
        tasks: that fetch.
        clock: that lives go by.
    """

    def __init__(self, source: Source, name: str, tasks: Tasks, clock: Clock) -> None:
        self._source = source
        self._name = name
        self._clock = clock
        self._fetching: Flights[str, Login] = Flights(tasks, "login")
        self._refusing: Flights[Login, None] = Flights(tasks, "refused login")
        self._is_fetching = False
        self._login: Login | None = None
        self._renew_at = math.inf
        self._changed_at: float | None = None
        self._failure: tuple[float, str] | None = None
        self._refused: Login | None = None
        self._refusals = 0
        self._row_ends = -math.inf
        self._open_until = -math.inf
        self._pause = _PAUSE

    async def login(self) -> Login:
        """The login to use now; one that is due but still good is renewed behind it.

        Raises:
            Denied: upstream refused it, and it is not to be shown again for now.
            CredentialsUnavailable: its source does not give one.
        """
        now = self._clock.monotonic()
        if now < self._open_until:
            return await self._reopened()
        login = self._login
        if login is None or now >= login.expires_at:
            login, _ = await self._fetching.join(self._name, self._fetch)
        elif now >= self._renew_at or self._has_long_changed(now):
            self._fetching.launch(self._name, self._fetch)
        return login

    async def refused(self, login: Login) -> None:
        """Upstream said no to this login: look whether there is a newer one."""
        if login == self._login and self._clock.monotonic() >= self._open_until:
            await self._refusing.join(login, lambda: self._replace(login))

    def accepted(self, login: Login) -> None:
        """Upstream said yes to this login."""
        if login == self._login:
            self._refusals, self._pause = 0, _PAUSE

    async def close(self) -> None:
        """Forget the login."""
        self._login = self._refused = None

    async def _reopened(self) -> Login:
        """The login of a source that has changed since the last one was refused."""
        if self._is_fetching or self._source.changed():
            login, _ = await self._fetching.join(self._name, self._fetch)
            if login != self._refused:
                self._open_until, self._refusals, self._pause = -math.inf, 0, _PAUSE
                return login
        raise Denied(self._why_not())

    def _has_long_changed(self, now: float) -> bool:
        if not self._source.changed():
            self._changed_at = None
        elif self._changed_at is None:
            self._changed_at = now
        return self._changed_at is not None and now - self._changed_at >= _GRACE

    async def _replace(self, refused: Login) -> None:
        rotated = self._source.changed()
        self._refused = refused
        newer: Login | None = None
        try:
            newer, was_flying = await self._fetching.join(self._name, self._fetch)
            if was_flying and newer == refused:
                # What was under way may have looked before the source changed.
                newer, _ = await self._fetching.join(self._name, self._fetch)
        except CacheproxyError:
            pass  # what is there stays, and counts as refused
        if rotated and newer not in (None, refused):
            self._refusals = 0
        else:
            self._count()

    def _count(self) -> None:
        now = self._clock.monotonic()
        self._refusals = self._refusals + 1 if now < self._row_ends else 1
        self._row_ends = now + _ROW
        if self._refusals >= _REFUSALS:
            self._refused = self._login
            self._open_until = now + self._pause
            # The next refusal after the pause is one too many already.
            self._refusals, self._row_ends = _REFUSALS - 1, self._open_until + _ROW
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    async def _fetch(self) -> Login:
        now = self._clock.monotonic()
        if self._failure is not None and now < self._failure[0] and not self._source.changed():
            raise CredentialsUnavailable(self._failure[1])
        self._is_fetching = True
        try:
            login, lifetime = await self._source.fetch()
        except NoLoginError as error:
            sentence = f"{self._name} cannot be had: {error}"
            now = self._clock.monotonic()
            self._failure, self._renew_at = (now + _FAILED, sentence), now + _RETRY
            raise CredentialsUnavailable(sentence) from error
        finally:
            self._is_fetching = False
        # From when it was asked for: what it took to come is part of its life.
        lifetime = math.inf if lifetime is None else max(lifetime, _LEAST)
        self._login = replace(login, expires_at=now + lifetime)
        self._renew_at = now + lifetime * RENEW_AT
        self._failure = self._changed_at = None
        return self._login

    def _why_not(self) -> str:
        seconds = self._open_until - self._clock.monotonic()
        until = datetime.fromtimestamp(self._clock.now() + seconds, UTC)
        return (
            f"upstream refused {self._name} {_REFUSALS} times in a row; they are not shown to it "
            f"again before {until:%H:%M:%S} UTC, so that it locks nobody out. Put right what they "
            "are; a file that changes is read at once"
        )
