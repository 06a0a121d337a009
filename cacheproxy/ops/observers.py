"""One observer that is many."""

from collections.abc import Sequence

from cacheproxy.domain.events import Event
from cacheproxy.ports import Observer


class Observers:
    """Passes each event on to all."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = tuple(observers)

    def observe(self, event: Event) -> None:
        """Pass an event on."""
        for observer in self._observers:
            observer.observe(event)
