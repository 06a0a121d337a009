"""The page over figures that a test can change, served in a thread."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from cacheproxy.inprocess.clock import SystemClock
from cacheproxy.ops.api.access import Access
from cacheproxy.ops.page.handlers import Place
from tests.support.dashboard import dashboard_app
from tests.support.figures import FakeSource
from tests.support.parts.process import free_port

TOKEN = "s3cret"


class Shown:
    """A server of the page; it can go away and come back."""

    def __init__(self, source: FakeSource, *, public: bool) -> None:
        self._source = source
        self._access = Access(TOKEN, is_public=public)
        self._port = free_port()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="page")
        self._thread.start()
        self._runner: web.AppRunner | None = None
        self.come()

    @property
    def url(self) -> str:
        """Of the page."""
        return f"http://127.0.0.1:{self._port}/dashboard"

    def come(self) -> None:
        """Serve, at the same port each time."""
        asyncio.run_coroutine_threadsafe(self._come(), self._loop).result(10)

    def go(self) -> None:
        """Serve no more; connections are closed."""
        asyncio.run_coroutine_threadsafe(self._go(), self._loop).result(10)

    def close(self) -> None:
        """Serve no more, for good."""
        self.go()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _come(self) -> None:
        place = Place(5000, "/var/lib/cacheproxy/admin.token")
        app = dashboard_app(self._source, self._access, SystemClock(), place)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()

    async def _go(self) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()


@contextmanager
def shown(source: FakeSource, *, public: bool = True) -> Iterator[Shown]:
    """The page over `source`; without `public` it asks for `TOKEN`."""
    server = Shown(source, public=public)
    try:
        yield server
    finally:
        server.close()
