"""Background tasks of a running proxy: each survives an error that nobody has foreseen."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from cacheproxy.bootstrap.upkeep import Upkeep
from cacheproxy.bootstrap.warming import Schedule
from cacheproxy.domain.events import TaskFailed
from cacheproxy.ops.access_log import AccessLog
from cacheproxy.ops.traffic_log import TrafficLog
from tests.integration.fills import until
from tests.support.hasty import hasty_proxy
from tests.support.logged import Log
from tests.support.scripted_registry import ScriptedRegistry

WITHIN = 60.0  # seconds for what takes a moment on a machine that is not busy

SERVICES: list[tuple[type, str, str]] = [
    (Upkeep, "run", "upkeep"),
    (Upkeep, "forget", "forget"),
    (Schedule, "run", "warm by schedule"),
    (TrafficLog, "run", "traffic"),
    (AccessLog, "run", "access log"),
]


@pytest.mark.parametrize("running", SERVICES, ids=lambda service: service[-1])
async def test_a_background_task_that_fails_starts_again(
    hub: ScriptedRegistry,
    log: Log,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    running: tuple[type, str, str],
) -> None:
    """The failure is an event, a line of the log and a metric; the task runs again."""
    owner, method, name = running
    service: Callable[..., Any] = getattr(owner, method)
    starts = list[object]()

    async def fail_once(*arguments: Any) -> NoReturn:
        starts.append(None)
        if len(starts) == 1:
            raise ZeroDivisionError
        await service(*arguments)
        raise AssertionError  # it never returns

    monkeypatch.setattr(owner, method, fail_once)
    async with hasty_proxy({"docker.io": hub}, tmp_path / "cache") as proxy:
        await until(lambda: len(starts) > 1, WITHIN)
        assert [event.task for event in proxy.events.of(TaskFailed)] == [name]
        metrics = await (await proxy.client.get(f"{proxy.admin_url}/metrics")).text()
        assert f'cacheproxy_background_task_failures_total{{task="{name}"}} 1.0' in metrics
    (line,) = [line for line in log.lines if line["event"] == "background task failed"]
    assert (line["level"], line["task"]) == ("error", name)
