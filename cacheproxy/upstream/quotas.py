"""The pulls that a registry grants, and the requests that it limits besides."""

from collections.abc import Mapping

from cacheproxy.cluster_ports import Note
from cacheproxy.domain.errors import UpstreamLimited
from cacheproxy.domain.rate_limit import Quota, RateLimit, Spend, counted_by
from cacheproxy.ports import Clock
from cacheproxy.upstream.answers import LONGEST_WAIT
from cacheproxy.upstream.config import UpstreamConfig

# Seconds for which a 429 counts that does not say so; and the least, if it does.
_HOLD_SECONDS = 30.0
_SHORTEST_HOLD = 1.0


class Quotas:
    """The quotas of one upstream's accounts.

    An account is the number of one of the configured logins. Without any, the only account is
    number 0, and upstream counts it by source address.
    """

    def __init__(self, config: UpstreamConfig, clock: Clock) -> None:
        self._place = config.place
        self._reserve = config.ratelimit_reserve
        self._has_logins = bool(config.credentials)
        self._clock = clock
        self._quotas = [Quota() for _ in config.credentials or (None,)]
        self._held: dict[str, float] = {}
        self._notes: dict[str, Note] = {}

    # -- before a request --------------------------------------------------------------------

    def check(self, lane: str, spend: Spend | None) -> None:
        """Refuse a request that upstream would not grant.

        Args:
            lane: of requests that share a limit and cost no pull.
            spend: the reason for a pull; None for a request that costs none.

        Raises:
            UpstreamLimited: upstream limits such requests, or keeps the remaining pulls.
        """
        if spend is not None:
            self.account(spend)
            return
        wait = self._held.get(lane, 0.0) - self._clock.monotonic()
        if wait > 0:
            raise UpstreamLimited(f"{self._place} limits such requests, for now", wait)

    def account(self, spend: Spend) -> int:
        """Return the account to spend a pull of.

        Raises:
            UpstreamLimited: no account has any, or what is left is kept for what is not cached.
        """
        granted = self._find_account(spend)
        if granted is None:
            wait = min(self._waits(spend))
            raise UpstreamLimited(f"{self._place} grants no more pulls for now", wait)
        return granted

    def grants(self, spend: Spend) -> bool:
        """Return whether any account may spend a pull."""
        return self._find_account(spend) is not None

    @property
    def any_account(self) -> int:
        """The account for requests that cost no pull: the one that the next pull is spent of."""
        return self._find_account("fetch") or 0

    def _find_account(self, spend: Spend) -> int | None:
        waits = enumerate(self._waits(spend))
        return next((number for number, wait in waits if wait <= 0), None)

    def _waits(self, spend: Spend) -> list[float]:
        now = self._clock.monotonic()
        return [quota.wait(spend, self._reserve, now) for quota in self._quotas]

    # -- after a response --------------------------------------------------------------------

    def limit(self, lane: str, seconds: float | None) -> None:
        """Hold a lane after a 429 to a request that costs no pull."""
        self._held[lane] = self._clock.monotonic() + _hold(seconds)

    def refuse(self, account: int, seconds: float | None, source: str | None = None) -> None:
        """Hold an account after a 429 to a pull.

        Args:
            account: of the pull.
            seconds: until the next pull may help; None if upstream did not say.
            source: the account or the address that upstream counts; None if it did not say.
        """
        now = self._clock.monotonic()
        self._quotas[account] = self._quotas[account].refuse(_hold(seconds), now, source)
        self._note(account)

    def report(self, account: int, limit: RateLimit) -> None:
        """Take over the quota that a response reports."""
        now = self._clock.monotonic()
        self._quotas[account] = self._quotas[account].report(limit, now)
        self._note(account)

    # -- shared with other replicas (`Notable`) ----------------------------------------------

    def notes(self) -> Mapping[str, Note]:
        """Return the quotas that other replicas may share, by what upstream counts."""
        return self._notes

    def hear(self, name: str, note: Note) -> None:
        """Take over another replica's newer note, for each account that shares its quota."""
        known = self._notes.get(name)
        if known is not None and note.at <= known.at:
            return
        # A note from the future is of now, by a clock that is ahead.
        since = min(note.at - self._clock.now(), 0.0) + self._clock.monotonic()
        for account, quota in enumerate(self._quotas):
            if self._counted_by(account) == name:
                self._notes[name] = note
                self._quotas[account] = quota.merge(_quota_of(note, since))

    def _counted_by(self, account: int) -> str | None:
        return counted_by(self._quotas[account].source, account if self._has_logins else None)

    def _note(self, account: int) -> None:
        name = self._counted_by(account)
        if name is None:
            return
        quota, now = self._quotas[account], self._clock.monotonic()
        said: dict[str, float | str] = {"refused_for": max(0.0, quota.refused_until - now)}
        if quota.seen is not None:
            said |= {"seen_for": now - quota.seen_at, "remaining": quota.seen.remaining}
            said |= {} if quota.seen.limit is None else {"limit": quota.seen.limit}
            said |= {} if quota.seen.window is None else {"window": quota.seen.window}
        # An address that upstream does not count us by any more is others' to note.
        names = {self._counted_by(each) for each in range(len(self._quotas))}
        kept = {each: note for each, note in self._notes.items() if each in names}
        self._notes = kept | {name: Note(self._clock.now(), said)}


def _hold(seconds: float | None) -> float:
    return _HOLD_SECONDS if seconds is None else max(seconds, _SHORTEST_HOLD)


def _quota_of(note: Note, since: float) -> Quota:
    """Return the quota that another replica has noted.

    Args:
        note: of that replica.
        since: the time of the note, on our monotonic clock.
    """
    seen = None
    if "remaining" in note.said:
        seen = RateLimit(
            int(note.number("remaining")),
            int(note.number("limit")) if "limit" in note.said else None,
            note.number("window") if "window" in note.said else None,
        )
    refused_for = min(note.number("refused_for"), LONGEST_WAIT)
    return Quota(seen, since - note.number("seen_for"), since + refused_for)
