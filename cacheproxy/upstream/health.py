"""Whether an upstream is to be asked now, and as whom: by what it answered lately."""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from cacheproxy.cluster_ports import Note
from cacheproxy.domain.breaker import Breaker, Failure
from cacheproxy.domain.errors import (
    CacheproxyError,
    UpstreamLimited,
    UpstreamOffline,
    UpstreamResting,
    UpstreamTimeout,
)
from cacheproxy.domain.events import UpstreamPaused, UpstreamResumed
from cacheproxy.domain.rate_limit import Quota, RateLimit, Spend
from cacheproxy.ports import Clock, Observer
from cacheproxy.upstream.config import UpstreamConfig

# Where a 429 does not say for how long it is one; and at least, where it says so.
_HOLD_SECONDS = 30.0
_SHORTEST_HOLD = 1.0
# The name of what is said of its rests.
_REST = "rest"
# Whoever waits so long for what is then a failure has waited in vain, whatever the kernel says
# of it: a host that is gone is "no route" after some seconds.
_IN_VAIN_SECONDS = 1.0


@dataclass(slots=True, eq=False)
class Turn:
    """A request that was let pass.

    Attributes:
        era: of the breaker.
        begun: on the monotonic clock.
        is_bulk: it may wait for a connection, which is no silence of upstream's.
        is_over: it is known what the registry made of it.
    """

    era: int
    begun: float
    is_bulk: bool
    is_over: bool = False


class Health:
    """What is known of one upstream, or of one of its mirrors."""

    def __init__(
        self, config: UpstreamConfig, observer: Observer, clock: Clock, accounts: int = 1
    ) -> None:
        """Nothing is known yet.

        Args:
            config: when to give it a rest, and how many pulls to keep.
            observer: is told of rests.
            clock: of this machine.
            accounts: as which it can be asked.
        """
        self._place = config.place
        self._is_offline = config.offline
        self._policy = config.breaker
        self._reserve = config.ratelimit_reserve
        self._patience = config.patience
        self._observer = observer
        self._clock = clock
        self._breaker = Breaker()
        self._quotas = [Quota() for _ in range(accounts)]
        self._held: dict[str, float] = {}
        self._waiting: set[Turn] = set()
        self._failed_in_vain = False
        # By name, what other replicas should know.
        self._notes: dict[str, Note] = {}

    # -- before it is asked ----------------------------------------------------------------

    @property
    def is_silent(self) -> bool:
        """Whether it lets all who ask it wait in vain.

        The last one did, or one does that has begun since it last answered anybody.
        """
        if self._failed_in_vain:
            return True
        late = self._clock.monotonic() - self._patience
        return any(turn.begun <= late for turn in self._waiting)

    @property
    def is_down(self) -> bool:
        """Whether it is silent, or given a rest."""
        return self._breaker.is_open or self.is_silent

    @contextmanager
    def asking(self, *, is_bulk: bool = False) -> Iterator[Turn]:
        """Ask it within this context, and say by `answered` or `failed` what came of it.

        Raises:
            UpstreamOffline: it is not to be asked, by configuration.
            UpstreamResting: it failed several times a moment ago.
        """
        if self._is_offline:
            raise UpstreamOffline(f"{self._place} is not asked, since it is set to be offline")
        now = self._clock.monotonic()
        wait = self._breaker.wait(now)
        if wait is not None:
            raise UpstreamResting(
                f"{self._place} is not asked for {wait:.0f} s more: {self._breaker.error}", wait
            )
        self._breaker = self._breaker.asking()
        turn = Turn(self._breaker.era, now, is_bulk)
        if not is_bulk:
            self._waiting.add(turn)
        try:
            yield turn
        finally:
            self._waiting.discard(turn)
            # Which changes nothing where it is known what came of it.
            self._breaker = self._breaker.gave_up(turn.era)

    def admit(self, lane: str) -> None:
        """Let a request pass that costs no pull.

        Raises:
            UpstreamLimited: upstream answered such a one with 429 a moment ago.
        """
        wait = self._held.get(lane, 0.0) - self._clock.monotonic()
        if wait > 0:
            raise UpstreamLimited(f"{self._place} limits such requests, for now", wait)

    def account(self, spend: Spend) -> int:
        """As whom to spend a pull.

        Raises:
            UpstreamLimited: none is granted, or what is left is kept for what is not cached.
        """
        granted = self._granted(spend)
        if granted is None:
            wait = min(self._waits(spend))
            raise UpstreamLimited(f"{self._place} grants no more pulls for now", wait)
        return granted

    def grants(self, spend: Spend) -> bool:
        """Whether a pull may be spent, as anybody."""
        return self._granted(spend) is not None

    @property
    def any_account(self) -> int:
        """As whom to ask for what costs no pull: as whom the next one is spent."""
        return self._granted("fetch") or 0

    def _granted(self, spend: Spend) -> int | None:
        waits = enumerate(self._waits(spend))
        return next((number for number, wait in waits if wait <= 0), None)

    def _waits(self, spend: Spend) -> list[float]:
        now = self._clock.monotonic()
        return [quota.wait(spend, self._reserve, now) for quota in self._quotas]

    # -- after it was ----------------------------------------------------------------------

    def answered(self, turn: Turn) -> None:
        """It has answered, whatever it was."""
        turn.is_over = True
        was_open = self._breaker.is_open
        self._breaker = self._breaker.answered()
        self._failed_in_vain = False
        self._waiting.clear()
        if was_open:
            self._note(_REST, {"for": 0.0})
            self._observer.observe(UpstreamResumed(self._place))

    def failed(self, turn: Turn, error: CacheproxyError, retry_after: float | None = None) -> None:
        """It has not answered, or with a failure of its own."""
        turn.is_over = True
        now, before = self._clock.monotonic(), self._breaker
        failure = Failure(str(error), retry_after)
        jitter = random.random()  # noqa: S311  # no secret
        self._breaker = after = before.failed(turn.era, failure, now, self._policy, jitter)
        if after is before:
            return
        self._failed_in_vain = (
            isinstance(error, UpstreamTimeout) or now - turn.begun >= _IN_VAIN_SECONDS
        )
        if after.opens_at is not None:
            pause = after.opens_at - now
            self._note(_REST, {"for": pause, "error": after.error})
            self._observer.observe(UpstreamPaused(self._place, pause, str(error)))

    def limited(self, lane: str, seconds: float | None) -> None:
        """It has answered 429 to a request that costs no pull."""
        self._held[lane] = self._clock.monotonic() + _hold(seconds)

    def refused(self, account: int, seconds: float | None) -> None:
        """It has answered 429 to a pull."""
        now = self._clock.monotonic()
        self._quotas[account] = self._quotas[account].refused(_hold(seconds), now)
        self._note_quota(account)

    def told(self, account: int, limit: RateLimit) -> None:
        """It has said how many pulls are left."""
        now = self._clock.monotonic()
        self._quotas[account] = self._quotas[account].told(limit, now)
        self._note_quota(account)

    # -- what replicas tell each other (`Notable`) -------------------------------------------

    def notes(self) -> Mapping[str, Note]:
        """Rests and quotas, as they were learnt last."""
        return self._notes

    def hear(self, name: str, note: Note) -> None:
        """Go by what another replica has learnt, if that is newer."""
        known = self._notes.get(name)
        if known is not None and note.at <= known.at:
            return
        self._notes[name] = note
        since = note.at - self._clock.now() + self._clock.monotonic()
        if name == _REST:
            self._hear_rest(note.said, since)
        elif name in self._accounts:
            account = self._accounts.index(name)
            self._quotas[account] = self._quotas[account].or_newer(_quota(note.said, since))

    def _hear_rest(self, said: Mapping[str, float | str], since: float) -> None:
        """Another replica gives upstream a rest, or has had an answer again.

        It may be that one's own way that is broken, so pulls that need upstream ask it all the
        same. But those that can do without do not wait for it any more.
        """
        if not self._breaker.is_open:
            self._failed_in_vain = since + _number(said.get("for")) > self._clock.monotonic()

    @property
    def _accounts(self) -> list[str]:
        return [f"account {number}" for number in range(len(self._quotas))]

    def _note_quota(self, account: int) -> None:
        quota, now = self._quotas[account], self._clock.monotonic()
        said: dict[str, float | str] = {"refused_for": max(0.0, quota.refused_until - now)}
        if quota.seen is not None:
            said |= {"seen_for": now - quota.seen_at, "remaining": quota.seen.remaining}
            said |= {} if quota.seen.limit is None else {"limit": quota.seen.limit}
            said |= {} if quota.seen.window is None else {"window": quota.seen.window}
        self._note(self._accounts[account], said)

    def _note(self, name: str, said: Mapping[str, float | str]) -> None:
        self._notes[name] = Note(self._clock.now(), said)


def _hold(seconds: float | None) -> float:
    return _HOLD_SECONDS if seconds is None else max(seconds, _SHORTEST_HOLD)


def _quota(said: Mapping[str, float | str], since: float) -> Quota:
    """What another replica knows of an account, by this one's monotonic clock."""
    seen = None
    if "remaining" in said:
        limit, window = said.get("limit"), said.get("window")
        seen = RateLimit(
            int(_number(said["remaining"])),
            None if limit is None else int(_number(limit)),
            None if window is None else _number(window),
        )
    return Quota(
        seen, since - _number(said.get("seen_for")), since + _number(said.get("refused_for"))
    )


def _number(value: float | str | None) -> float:
    """A number, whatever somebody has written."""
    return float(value) if isinstance(value, int | float) else 0.0
