"""Which request meets which fault."""

import re
from collections import deque
from dataclasses import dataclass

from tests.support.scripted_registry.answer import Asked
from tests.support.scripted_registry.faults import Always, Fault, Well


@dataclass(frozen=True, slots=True)
class Match:
    """The requests that a line of a script is for; None matches any.

    `ranged` is whether there is a Range header; `nth` leaves out matches before the nth (from 1).
    """

    method: str | None = None
    path_suffix: str | None = None
    path_regex: str | None = None
    ranged: bool | None = None
    nth: int = 1

    @classmethod
    def blob(cls, digest: str = "", *, ranged: bool | None = None, nth: int = 1) -> "Match":
        """GETs of one blob, or of any."""
        return cls("GET", path_regex=f"/blobs/{re.escape(digest)}", ranged=ranged, nth=nth)

    @classmethod
    def manifest(cls, reference: str = "", *, method: str | None = None, nth: int = 1) -> "Match":
        """Requests (any method) for one manifest by tag or digest, or for any manifest."""
        end = f"{re.escape(reference)}$" if reference else ""
        return cls(method, path_regex=f"/manifests/{end}", nth=nth)

    def fits(self, asked: Asked) -> bool:
        """Whether the request is one of these, `nth` aside."""
        return (
            self.method in (None, asked.method)
            and (self.path_suffix is None or asked.path.endswith(self.path_suffix))
            and (self.path_regex is None or re.search(self.path_regex, asked.path) is not None)
            and self.ranged in (None, "Range" in asked.headers)
        )


class _Line:
    """The faults of one match that are still to come."""

    def __init__(self, match: Match, faults: tuple[Fault, ...]) -> None:
        self._match = match
        self._faults = deque(faults)
        self._seen = 0
        self._settled = False

    def sees(self, asked: Asked) -> bool:
        """Counts the request; says whether there is a fault for it."""
        if not self._match.fits(asked):
            return False
        self._seen += 1
        return self._seen >= self._match.nth and bool(self._faults)

    def take(self) -> Fault:
        """The next fault."""
        if isinstance(self._faults[0], Always):
            self._settled = True
            return self._faults[0]
        return self._faults.popleft()

    @property
    def unspent(self) -> list[Fault]:
        """The faults that nobody has met."""
        return [] if self._settled else list(self._faults)


class Script:
    """Lines of faults; a request meets the first fault of the first line that has one for it."""

    def __init__(self) -> None:
        self._lines: list[_Line] = []

    def add(self, match: Match, *faults: Fault) -> None:
        """Adds a line: each matching request consumes the next fault, then all is well."""
        assert not any(isinstance(fault, Always) for fault in faults[:-1]), "nobody gets that far"
        self._lines.append(_Line(match, faults))

    def next(self, asked: Asked) -> Fault:
        """The fault for this request, which is consumed."""
        # All lines count the request, whichever has the fault: `nth` is about requests.
        ready = [line for line in self._lines if line.sees(asked)]
        return ready[0].take() if ready else Well()

    @property
    def unspent(self) -> list[Fault]:
        """The faults that nobody has met."""
        return [fault for line in self._lines for fault in line.unspent]
