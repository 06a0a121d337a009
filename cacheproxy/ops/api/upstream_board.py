"""How each upstream does, by its last answers (`Observer`)."""

from dataclasses import replace

from cacheproxy.domain.events import Event, UpstreamAnswered, UpstreamPaused, UpstreamResumed
from cacheproxy.ops.api.model import UpstreamStatus
from cacheproxy.ports import Clock


class UpstreamBoard:
    """What one process has seen of all upstreams."""

    def __init__(self, names: tuple[str, ...], clock: Clock) -> None:
        self._clock = clock
        self._seen = {name: UpstreamStatus(name) for name in names}

    def observe(self, event: Event) -> None:
        """Take note, if it is about an upstream."""
        match event:
            case UpstreamAnswered():
                self._answered(event)
            case UpstreamPaused(registry, seconds, error):
                until = self._clock.now() + seconds
                self._note(registry, state="paused", error=error, paused_until=until)
            case UpstreamResumed(registry):
                self._note(registry, state="up", error=None, paused_until=None)
            case _:
                pass

    def statuses(self) -> list[UpstreamStatus]:
        """All that are configured, and what else was asked."""
        now = self._clock.now()
        return [_as_of(now, status) for _, status in sorted(self._seen.items())]

    def _answered(self, event: UpstreamAnswered) -> None:
        seen = self._seen.get(event.registry, UpstreamStatus(event.registry))
        if event.status is None or event.status >= 500:
            said = "it did not answer" if event.status is None else f"it answered {event.status}"
            state, error, until = "down", said, seen.paused_until
        else:
            state, error, until = "up", None, None
        limit = event.rate_limit
        self._seen[event.registry] = UpstreamStatus(
            event.registry,
            "paused" if until is not None else state,  # type: ignore[arg-type]  # one of them
            error,
            until,
            seen.ratelimit_remaining if limit is None else limit.remaining,
            seen.ratelimit_limit if limit is None or limit.limit is None else limit.limit,
            self._clock.now(),
        )

    def _note(self, name: str, **changes: object) -> None:
        seen = self._seen.get(name, UpstreamStatus(name))
        self._seen[name] = replace(seen, **changes)  # type: ignore[arg-type]  # of its fields


def _as_of(now: float, status: UpstreamStatus) -> UpstreamStatus:
    """A rest that is over leaves an upstream that was down when it was last asked."""
    if status.paused_until is not None and status.paused_until <= now:
        return replace(status, state="down", paused_until=None)
    return status


def merged(boards: list[list[UpstreamStatus]]) -> list[UpstreamStatus]:
    """What several processes have seen: of each upstream the latest word, and any rest."""
    found: dict[str, UpstreamStatus] = {}
    for status in (status for board in boards for status in board):
        known = found.get(status.name)
        found[status.name] = status if known is None else _later(known, status)
    return [status for _, status in sorted(found.items())]


def _later(one: UpstreamStatus, other: UpstreamStatus) -> UpstreamStatus:
    is_newer = (other.answered_at or 0.0) > (one.answered_at or 0.0)
    late, early = (other, one) if is_newer else (one, other)
    if late.ratelimit_remaining is None:
        late = replace(
            late,
            ratelimit_remaining=early.ratelimit_remaining,
            ratelimit_limit=early.ratelimit_limit,
        )
    return late
