"""Warming on a schedule: images are asked for again and again, before nodes do.

One process of a volume does it, whoever has the lock on a file. Of several replicas each keeps
its own store warm. They share what upstream says of tags, so that who comes a moment later does
not ask it again; and the bytes cross the link once, by the leases of the cluster.
"""

import asyncio
import random
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from cacheproxy.domain.events import UpkeepFailed
from cacheproxy.domain.platforms import Platforms
from cacheproxy.domain.warming import WarmTerms
from cacheproxy.ports import Clock, Observer
from cacheproxy.pullthrough.warming import Warmer
from cacheproxy.settings.model import WarmRuleSettings, WarmSettings
from cacheproxy.storage.open_file import locked

# How often it is looked whether something is due, or has changed; and whether the lock is free.
_LOOK_SECONDS = 5.0
_TRY_SECONDS = 60.0
# Turns come so much earlier or later, by chance: replicas do not all come at once.
_JITTER = 0.1
# At first none waits for longer.
_FIRST_SECONDS = 30.0
# Who has asked upstream within this part of the time between two turns has asked for all.
_SHARED = 0.5
# What is scheduled counts as used so often, as what somebody pulls once a day does.
_USE_SECONDS = 86400.0


def terms_of(settings: WarmSettings) -> WarmTerms:
    """How to warm what nobody says more of."""
    return WarmTerms(Platforms.parse(settings.platforms or ["all"]), settings.parallel)


@dataclass(slots=True)
class _Turn:
    """When a rule is next."""

    due: float
    used: float | None = None


class Schedule:
    """Warms what the settings name, for as long as it runs (`run`)."""

    def __init__(self, warmer: Warmer, lock: Path, clock: Clock, observer: Observer) -> None:
        """Nothing is to be warmed yet.

        Args:
            warmer: does it.
            lock: a file of the volume; whoever has it goes by the schedule.
            clock: says when.
            observer: is told when the file cannot be used.
        """
        self._settings = WarmSettings()
        self._warmer = warmer
        self._lock = lock
        self._clock = clock
        self._observer = observer
        self._changed = asyncio.Event()
        self._turns: dict[WarmRuleSettings, _Turn] = {}

    @property
    def settings(self) -> WarmSettings:
        """What it goes by."""
        return self._settings

    def go_by(self, settings: WarmSettings) -> None:
        """Take over other settings; what is under way is brought to its end."""
        self._settings = settings
        self._changed.set()

    async def run(self) -> NoReturn:
        """For ever, but for cancellation."""
        while True:
            while not self._settings.schedule:
                self._changed.clear()
                await self._changed.wait()
            try:
                with locked(self._lock) as held:
                    while held is not None and self._settings.schedule:
                        await self._look()
                        await self._clock.sleep(_LOOK_SECONDS)
            except OSError as error:
                said = f"{self._lock} cannot be locked: {error.strerror}"
                self._observer.observe(UpkeepFailed(said))
            await self._clock.sleep(_TRY_SECONDS)

    async def _look(self) -> None:
        rules, now = self._settings.schedule, self._clock.monotonic()
        self._turns = {rule: self._turns.get(rule) or _first(rule, now) for rule in rules}
        for rule, turn in self._turns.items():
            if turn.due <= self._clock.monotonic():
                await self._warm(rule, turn)

    async def _warm(self, rule: WarmRuleSettings, turn: _Turn) -> None:
        begun = self._clock.monotonic()
        terms = self._terms(rule, turn, begun)
        async with aclosing(self._warmer.warm(rule.images, terms)) as steps:
            async for _ in steps:
                pass  # events tell of it
        # From when it began: how long it takes does not make it rarer.
        turn.due = begun + rule.every * _spread(1.0)

    def _terms(self, rule: WarmRuleSettings, turn: _Turn, now: float) -> WarmTerms:
        is_use = turn.used is None or now - turn.used >= _USE_SECONDS
        if is_use:
            turn.used = now
        platforms = rule.platforms or self._settings.platforms or ("all",)
        return WarmTerms(
            platforms=Platforms.parse(platforms),
            parallel=self._settings.parallel,
            within=rule.every * _SHARED,
            spend="refresh",
            is_use=is_use,
        )


def _first(rule: WarmRuleSettings, now: float) -> _Turn:
    """Soon after the start: what came while nobody looked is wanted now."""
    wait = min(rule.every * _JITTER, _FIRST_SECONDS)
    return _Turn(now + wait * random.random())  # noqa: S311  # jitter is no secret


def _spread(part: float) -> float:
    return part + _JITTER * (2 * random.random() - 1)  # noqa: S311  # jitter is no secret
