"""What a replica does when others say that something has changed, or was purged."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from cacheproxy.domain.reference import Tag
from cacheproxy.metadata.embedded import tag_of
from cacheproxy.metadata.embedded_records import EmbeddedRecords
from cacheproxy.metadata.hot import HotMetadata
from cacheproxy.metadata.redis_messages import Message
from cacheproxy.metadata.shared import SharedMetadata


class Hearing:
    """A `Listener` that keeps the copies of one process in step."""

    def __init__(self, hot: HotMetadata, shared: SharedMetadata, directory: Path) -> None:
        """Take what has copies.

        Args:
            hot: in memory.
            shared: has what waits to be written.
            directory: of this replica's own store.
        """
        self._hot = hot
        self._shared = shared
        self._directory = directory

    async def heard(self, message: Message) -> None:
        """Drop what is not true any more; what was purged, on disk as well."""
        if message.is_purge:
            self._shared.pending.forget(message.scope, message.tag)
            await asyncio.to_thread(self._purge, message)
        tag = None if message.tag is None else Tag(message.tag)
        await self._hot.forget(message.scope, tag, is_purge=message.is_purge)

    async def missed(self) -> None:
        """Whatever tags are in memory may have changed unheard."""
        self._hot.hears(hears=True)
        await self._hot.forget("")

    def deaf(self) -> None:
        """Believe what is in memory for a short time only."""
        self._hot.hears(hears=False)

    def _purge(self, message: Message) -> None:
        try:
            with closing(EmbeddedRecords(self._directory)) as records:
                if message.tag is None:
                    records.forget(records.below(message.scope))
                else:
                    records.forget([tag_of(message.scope, message.tag)])
        except sqlite3.Error:
            # Busy, or damaged. What is left is judged by its age, as ever.
            return
