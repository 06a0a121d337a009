"""Taking over a changed configuration while the process serves: when it changes, and at SIGHUP."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog

from cacheproxy.bootstrap.watching import Watched
from cacheproxy.domain.errors import StartError
from cacheproxy.inprocess.clock import SystemClock
from cacheproxy.inprocess.hangups import Hangups
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.ops.metrics import Reloads
from cacheproxy.ports import Observer
from cacheproxy.settings.changes import changes
from cacheproxy.settings.model import Settings
from cacheproxy.settings.problems import SettingsError

Load = Callable[[], Settings]
Apply = Callable[[Settings], None]


@dataclass(frozen=True, slots=True)
class Source:
    """Where settings come from.

    Attributes:
        load: reads them again.
        file: that they are in; None where there is none.
        hangups: each has them read again.
    """

    load: Load
    file: Path | None
    hangups: Hangups


class Reloading:
    """The configuration that is in force, and how it becomes another."""

    def __init__(
        self,
        settings: Settings,
        source: Source,
        apply: Apply,
        reloads: Reloads,
        observer: Observer,
    ) -> None:
        """Begin with what the process was started with.

        Args:
            settings: those.
            source: where they come from.
            apply: has the process go by other settings.
            reloads: is told how it went.
            observer: receives failures of the task that watches the file.
        """
        self._settings = settings
        self._source = source
        self._apply = apply
        self._watched = Watched([] if source.file is None else [source.file])
        self._reloads = reloads
        self._observer = observer
        self._log = structlog.get_logger("cacheproxy")

    def begin(self, stack: AsyncExitStack) -> None:
        """Reload at each SIGHUP, and when the file has changed, until the stack is left."""
        self._source.hangups.heed(asyncio.get_running_loop(), stack, self.reload)
        tasks = Tasks(self._observer.observe)
        stack.push_async_callback(tasks.close)
        tasks.keep_running(partial(self._watched.watch, self.reload), "configuration file")

    def reload(self) -> None:
        """Read the file, and take over what can be; a bad file changes nothing."""
        self._watched.read()
        try:
            new = changes(self._settings, self._source.load())
            self._apply(new.settings)
        except (SettingsError, StartError, OSError) as error:
            self._reloads.failed()
            self._log.error("configuration not reloaded", error=str(error))
            return
        self._settings = new.settings
        self._reloads.succeeded(SystemClock().now())
        self._log.info(
            "configuration reloaded", taken_over=new.taken_over, at_restart=new.at_restart
        )
