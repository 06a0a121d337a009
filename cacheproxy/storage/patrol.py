"""Scrubbing in the background: all that is stored is read again, slowly, pass after pass.

One process of a volume does it, whoever has the lock on the file that says how far it is; so a
restart goes on where the last process was, and another worker takes over from one that died.
"""

import contextlib
from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import NoReturn

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import DigestInvalid
from cacheproxy.domain.store_events import Damaged, Scrubbed
from cacheproxy.ports import Clock, Observer
from cacheproxy.storage.accounts import Accounts
from cacheproxy.storage.inventory import stored
from cacheproxy.storage.layout import Layout
from cacheproxy.storage.open_file import OpenFile, locked
from cacheproxy.storage.pace import Pace
from cacheproxy.storage.scrub import Checked, Finding, Hashed, Scrub, Step
from cacheproxy.storage.threads import run_to_end

# How often it is looked whether the lock is free, or the next pass due.
_LOOK_SECONDS = 60.0
# What a crash makes it read twice is what it reads in so long.
_NOTE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Round:
    """How far a pass is.

    Attributes:
        began: in seconds since the epoch.
        after: the last blob that was read; empty at the beginning.
        is_over: all were.
    """

    began: float
    after: str = ""
    is_over: bool = False

    def is_due(self, every: float, now: float) -> bool:
        """Whether there is something to read now. A clock that was set back makes it due."""
        return not self.is_over or not self.began <= now < self.began + every


class Patrol:
    """Reads the store again, each blob once in so long (`run`)."""

    def __init__(
        self,
        layout: Layout,
        accounts: Accounts,
        executor: Executor,
        observer: Observer,
        clock: Clock,
    ) -> None:
        self._layout = layout
        self._accounts = accounts
        self._executor = executor
        self._observer = observer
        self._clock = clock

    async def run(self, every: float, rate: int) -> NoReturn:
        """For ever, but for cancellation.

        Args:
            every: seconds from the beginning of a pass to the next one's.
            rate: bytes per second at most.

        Raises:
            OSError: the cache directory cannot be used, or a part of it could not be read.
            StorageError: the ledger cannot be written.
        """
        while True:
            with locked(self._layout.scrub) as file:
                if file is not None:
                    await self._turn(file, every, rate)
            await self._clock.sleep(_LOOK_SECONDS)

    async def _turn(self, file: OpenFile, every: float, rate: int) -> None:
        now = self._clock.now()
        last = _read(file)
        if last is not None and not last.is_due(every, now):
            return
        going = last if last is not None and not last.is_over else Round(now)
        await self._pass(file, going, rate)

    async def _pass(self, file: OpenFile, going: Round, rate: int) -> None:
        waits: list[float] = []
        pace = Pace(rate, self._clock.monotonic, waits.append)
        scrub = Scrub(self._layout, self._strike, pace)
        errors: list[OSError] = []
        listed = await run_to_end(self._executor, lambda: stored(self._layout, errors.append))
        known = await self._accounts.known()
        digests = [digest for digest, _ in listed if digest > going.after]
        noted = self._clock.monotonic()
        # Closed in any case: it has a blob open.
        with contextlib.closing(scrub.run(digests, known)) as steps:
            while (step := await run_to_end(self._executor, lambda: next(steps, None))) is not None:
                self._say(step)
                if isinstance(step, Checked) and self._clock.monotonic() > noted + _NOTE_SECONDS:
                    _write(file, Round(going.began, step.digest))
                    noted = self._clock.monotonic()
                # Here, where it can be cancelled, and no thread waits.
                await self._clock.sleep(sum(waits))
                waits.clear()
        _write(file, Round(going.began, is_over=True))
        if errors:
            raise errors[0]

    def _strike(self, digests: Iterable[Digest]) -> list[Digest]:
        return self._accounts.strike_from_thread(digests, self._layout.holds)

    def _say(self, step: Step) -> None:
        match step:
            case Hashed(count):
                self._observer.observe(Scrubbed(count))
            case Finding(digest, problem, outcome, detail):
                self._observer.observe(Damaged(digest, problem, outcome, detail))
            case _:
                pass


def _read(file: OpenFile) -> Round | None:
    """How far it was; None where nobody has written that, or not to be understood."""
    written = file.read(0, 1024).decode("ascii", "replace").split()
    try:
        began, state = written
        return Round(float(began), *_state(state))
    except (ValueError, DigestInvalid):
        return None


def _state(written: str) -> tuple[str, bool]:
    if written in ("begun", "over"):
        return "", written == "over"
    return Digest.parse(written), False


def _write(file: OpenFile, at: Round) -> None:
    line = f"{at.began} {'over' if at.is_over else at.after or 'begun'}\n".encode()
    with contextlib.suppress(OSError):  # a disk that refuses: the next process begins anew
        file.truncate()
        file.write(0, line)
