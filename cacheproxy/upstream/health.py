"""The health of one server: whether to ask it now, by its last responses."""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from cacheproxy.cluster_ports import Note
from cacheproxy.domain.breaker import Breaker, Failure, Permit
from cacheproxy.domain.errors import (
    CacheproxyError,
    UpstreamOffline,
    UpstreamResting,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from cacheproxy.domain.events import UpstreamPaused, UpstreamResumed
from cacheproxy.ports import Clock, Observer
from cacheproxy.upstream.config import UpstreamConfig

# The name of the note about the breaker.
_REST = "rest"
# A failure that took so long kept its caller waiting in vain, whatever the kernel's error: a
# host that is gone is "no route" after some seconds.
_IN_VAIN_SECONDS = 1.0


@dataclass(slots=True, eq=False)
class Turn:
    """A request that was admitted, and has a connection.

    Attributes:
        permit: the breaker's.
        begun: on the monotonic clock.
        is_over: whether its outcome has been counted.
    """

    permit: Permit
    begun: float
    is_over: bool = False


class Health:
    """The health of one server: a registry, a mirror, or the token service of either."""

    def __init__(
        self, place: str, config: UpstreamConfig, observer: Observer, clock: Clock
    ) -> None:
        """Begin with a closed breaker.

        Args:
            place: the server's name in errors and events.
            config: of its upstream.
            observer: is told when the breaker opens and closes.
            clock: of this machine.
        """
        self._place = place
        self._is_offline = config.offline
        self._policy = config.breaker
        self._patience = config.patience
        self._observer = observer
        self._clock = clock
        self._breaker = Breaker()
        self._waiting: set[Turn] = set()
        self._failed_in_vain = False
        # By name, what other replicas should know.
        self._notes: dict[str, Note] = {}

    @property
    def is_silent(self) -> bool:
        """Whether requests wait in vain.

        The last one did, or one does that has begun since the last response.
        """
        if self._failed_in_vain:
            return True
        late = self._clock.monotonic() - self._patience
        return any(turn.begun <= late for turn in self._waiting)

    @property
    def is_down(self) -> bool:
        """Whether it is silent, or its breaker is open."""
        return self._breaker.is_open or self.is_silent

    def check(self) -> None:
        """Refuse a request that would not be admitted now, before it waits for a connection.

        Raises:
            UpstreamOffline: the configuration forbids requests.
            UpstreamResting: the breaker is open.
        """
        if self._is_offline:
            raise UpstreamOffline(f"{self._place} is not asked, since it is set to be offline")
        wait = self._breaker.wait(self._clock.monotonic())
        if wait is not None:
            raise UpstreamResting(
                f"{self._place} is not asked for {wait:.0f} s more: {self._breaker.error}", wait
            )

    @contextmanager
    def asking(self) -> Iterator[Turn]:
        """Send a request within this context; the caller owns a connection by now.

        The context's end is the outcome: an error that says that the server failed is a
        failure, any other error of ours or none is a response. A cancellation says nothing.

        Raises:
            UpstreamOffline, UpstreamResting: by `check`.
        """
        self.check()
        self._breaker, permit = self._breaker.admit()
        turn = Turn(permit, self._clock.monotonic())
        self._waiting.add(turn)
        try:
            yield turn
        except (UpstreamTimeout, UpstreamUnavailable) as error:
            self.fail(turn, error)
            raise
        except CacheproxyError:
            self.succeed(turn)
            raise
        else:
            self.succeed(turn)
        finally:
            self._waiting.discard(turn)
            if not turn.is_over:
                self._breaker = self._breaker.give_up(permit)

    def succeed(self, turn: Turn) -> None:
        """Count a response, whatever it says."""
        if turn.is_over:
            return
        turn.is_over = True
        was_open = self._breaker.is_open
        self._breaker = self._breaker.close()
        self._failed_in_vain = False
        self._waiting.clear()
        if was_open:
            self._note(_REST, {"for": 0.0})
            self._observer.observe(UpstreamResumed(self._place))

    def fail(self, turn: Turn, error: CacheproxyError, retry_after: float | None = None) -> None:
        """Count a failure: no response, or one that says that the server failed.

        Args:
            turn: of the request.
            error: the failure.
            retry_after: seconds after which the server wants the next request, if it said so.
        """
        if turn.is_over:
            return
        turn.is_over = True
        now, before = self._clock.monotonic(), self._breaker
        failure = Failure(str(error), retry_after)
        jitter = random.random()  # noqa: S311  # no secret
        self._breaker = after = before.fail(turn.permit, failure, now, self._policy, jitter)
        if after is before:
            return
        self._failed_in_vain = (
            isinstance(error, UpstreamTimeout) or now - turn.begun >= _IN_VAIN_SECONDS
        )
        if after.opens_at is not None:
            pause = after.opens_at - now
            self._note(_REST, {"for": pause, "error": after.error})
            self._observer.observe(UpstreamPaused(self._place, pause, str(error)))

    # -- shared with other replicas (`Notable`) ----------------------------------------------

    def notes(self) -> Mapping[str, Note]:
        """Return the last state of the breaker."""
        return self._notes

    def hear(self, name: str, note: Note) -> None:
        """Take over whether the server is silent, if the other replica's note is newer.

        The broken link may be the other replica's own, so pulls that need the server still ask
        it. But pulls that can do without it do not wait for it any more.
        """
        known = self._notes.get(name)
        if name != _REST or (known is not None and note.at <= known.at):
            return
        self._notes[name] = note
        since = note.at - self._clock.now() + self._clock.monotonic()
        if not self._breaker.is_open:
            self._failed_in_vain = since + note.number("for") > self._clock.monotonic()

    def _note(self, name: str, said: Mapping[str, float | str]) -> None:
        self._notes[name] = Note(self._clock.now(), said)
