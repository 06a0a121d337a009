"""The schedule of warming, by a clock that the tests move."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from itertools import pairwise
from pathlib import Path

import pytest
from typing_extensions import override

from cacheproxy.bootstrap.warming import Schedule, terms_of
from cacheproxy.domain.events import UpkeepFailed
from cacheproxy.domain.platforms import Platforms
from cacheproxy.domain.warming import WarmStep, WarmSummary, WarmTerms
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.pullthrough.warming import Warmer
from cacheproxy.settings.model import WarmRuleSettings, WarmSettings
from tests.integration.fills import until
from tests.support.clock import FakeClock
from tests.support.hasty import Events

NGINX = WarmRuleSettings(("nginx:1",), 600.0)
REDIS = WarmRuleSettings(("redis:7", "redis:8"), 3600.0, ("linux/arm64",))
DAY = 86400.0


class Recording(Warmer):
    """Remembers what was to be warmed, when and how; it takes a minute each time."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.began = clock.monotonic()
        self.turns: list[tuple[float, tuple[str, ...], WarmTerms]] = []

    @override
    async def warm(
        self, images: Iterable[str], terms: WarmTerms
    ) -> AsyncGenerator[WarmStep | WarmSummary, None]:
        self.turns.append((self.clock.monotonic() - self.began, tuple(images), terms))
        await self.clock.sleep(60.0)
        yield WarmSummary(1, 1, 0, 0, 0, 0, 60.0)

    def of(self, rule: WarmRuleSettings) -> list[float]:
        """When a rule's turns were."""
        return [at for at, images, _ in self.turns if images == rule.images]


class Scene:
    """Processes of one volume, each with a schedule."""

    def __init__(self, lock: Path) -> None:
        self.clock = FakeClock()
        self.events = Events()
        self.lock = lock
        self.tasks: list[Tasks] = []

    def process(self, *rules: WarmRuleSettings) -> tuple[Schedule, Recording, Tasks]:
        """One that has begun."""
        warmer, tasks = Recording(self.clock), Tasks()
        self.tasks.append(tasks)
        schedule = Schedule(warmer, self.lock, self.clock, self.events)
        schedule.go_by(WarmSettings(rules))
        tasks.keep_running(schedule.run, "schedule")
        return schedule, warmer, tasks


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    """All ends with the test."""
    made = Scene(tmp_path / "warm")
    yield made
    for tasks in made.tasks:
        await tasks.close()


async def test_each_rule_has_its_turns(scene: Scene) -> None:
    """Soon after the start, then as often as it says, a little earlier or later by chance."""
    _, warmer, _ = scene.process(NGINX, REDIS)
    await until(lambda: len(warmer.of(REDIS)) >= 4)
    for rule in (NGINX, REDIS):
        first, *_ = turns = warmer.of(rule)
        assert first <= 30 + 60 + 5  # the other one's turn may be before
        between = [later - earlier for earlier, later in pairwise(turns)]
        # Each turn of the other takes a minute, and it is looked every five seconds.
        assert all(0.9 * rule.every - 60 <= each <= 1.1 * rule.every + 70 for each in between)
        assert len(set(between)) > 1


async def test_how_it_is_warmed(scene: Scene) -> None:
    """By the rule's platforms or the section's, at no cost of what is kept for clients."""
    _, warmer, _ = scene.process(NGINX, REDIS)
    await until(lambda: warmer.of(NGINX) and warmer.of(REDIS))
    how = {images: terms for _, images, terms in reversed(warmer.turns)}
    assert how[NGINX.images] == WarmTerms(
        Platforms.parse(["linux/amd64"]), 2, within=300.0, spend="refresh", is_use=True
    )
    assert how[REDIS.images].platforms == Platforms.parse(["linux/arm64"])


async def test_what_is_scheduled_counts_as_used_once_a_day(scene: Scene) -> None:
    """However often it is looked for, it is kept as what somebody pulls once a day."""
    _, warmer, _ = scene.process(NGINX)
    await until(lambda: warmer.turns and warmer.turns[-1][0] > 3 * DAY)
    uses = [at for at, _, terms in warmer.turns if terms.is_use]
    assert 3 <= len(uses) <= 4
    assert all(later - earlier >= DAY for earlier, later in pairwise(uses))


async def test_one_process_of_a_volume_does_it(scene: Scene) -> None:
    """Of several, one goes by the schedule; when it ends, another takes over."""
    _, first, tasks = scene.process(NGINX)
    await until(lambda: first.turns)
    _, second, _ = scene.process(NGINX)
    count = len(first.turns)
    await until(lambda: len(first.turns) > count + 5)
    assert not second.turns
    await tasks.close()
    await until(lambda: second.turns)


async def test_another_schedule_is_taken_over(scene: Scene) -> None:
    """Rules that are new are gone by, those that are gone are not, and none is none."""
    schedule, warmer, _ = scene.process()
    for _ in range(10):
        await asyncio.sleep(0)
    assert not warmer.turns
    schedule.go_by(WarmSettings((NGINX,)))
    await until(lambda: len(warmer.of(NGINX)) >= 2)
    schedule.go_by(WarmSettings((REDIS,)))
    await until(lambda: warmer.of(REDIS))
    count = len(warmer.of(NGINX))
    await until(lambda: len(warmer.of(REDIS)) >= 3)
    assert len(warmer.of(NGINX)) == count
    schedule.go_by(WarmSettings())
    before = len(warmer.turns)
    for _ in range(100):
        await asyncio.sleep(0)
    assert len(warmer.turns) <= before + 1
    assert schedule.settings == WarmSettings()


async def test_a_file_that_cannot_be_locked(scene: Scene, tmp_path: Path) -> None:
    """A volume that refuses is told of, and tried again."""
    scene.lock = tmp_path / "missing" / "warm"
    _, warmer, _ = scene.process(NGINX)
    await until(lambda: scene.events.of(UpkeepFailed))
    assert "cannot be locked" in scene.events.of(UpkeepFailed)[0].error
    assert not warmer.turns
    scene.lock.parent.mkdir()
    await until(lambda: warmer.turns)


def test_what_nobody_says_more_of() -> None:
    """Pushes are warmed by the section's platforms, and count as a pull."""
    terms = terms_of(WarmSettings(platforms=("all",), parallel=7))
    assert terms == WarmTerms(Platforms(), 7)
    assert terms.is_use
