"""What a replica does when others say that something has changed, or was purged."""

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path

from cacheproxy.domain.errors import StorageError
from cacheproxy.domain.reference import Tag
from cacheproxy.inprocess.databases import is_passing
from cacheproxy.metadata.embedded import EmbeddedMetadata, tag_of
from cacheproxy.metadata.embedded_records import EmbeddedRecords
from cacheproxy.metadata.hot import HotMetadata
from cacheproxy.metadata.pending import Pending
from cacheproxy.metadata.redis_connection import RedisConnection
from cacheproxy.metadata.redis_messages import Message
from cacheproxy.metadata.redis_purge_log import read_purges

# More than so many purges at once, and memory begins with nothing: each is a look at all of it.
_MANY = 20


class Hearing:
    """A `Listener` that keeps the copies of one process in step."""

    def __init__(
        self,
        connection: RedisConnection,
        hot: HotMetadata,
        pending: Pending,
        own: EmbeddedMetadata,
        directory: Path,
    ) -> None:
        """Take what has copies.

        Args:
            connection: where what was purged is kept.
            hot: in memory.
            pending: waits to be written.
            own: this replica's own store.
            directory: of that.
        """
        self._connection = connection
        self._hot = hot
        self._pending = pending
        self._own = own
        self._directory = directory
        # Up to when purges are carried out here: in this process's memory, and on disk.
        self._purged_until: float | None = None
        self._turn = asyncio.Lock()

    async def begin(self) -> float:
        """Note, and return, up to when purges were carried out; before the directory is read.

        What another process carries out there from now on, this one must as well, since it may
        have read by then what is purged.
        """
        self._purged_until = await self._own.purged_until()
        return self._purged_until

    async def heard(self, message: Message) -> None:
        """Drop what is not true any more; what was purged, on disk as well."""
        if not message.is_purge:
            tag = None if message.tag is None else Tag(message.tag)
            await self._hot.forget(message.scope, tag)
            return
        known: Sequence[Message] = ()
        with suppress(StorageError):
            known = await self.catch_up()
        if message not in known:  # it is not kept: by an older version, or not to be read now
            with suppress(StorageError):
                await self._purge([message])

    async def missed(self) -> None:
        """Whatever tags are in memory may have changed unheard, and anything been purged."""
        self._hot.hears(hears=True)
        await self._hot.forget("")
        with suppress(StorageError):  # it is tried again before anything is told to Redis
            await self.catch_up()

    def deaf(self) -> None:
        """Believe what is in memory for a short time only."""
        self._hot.hears(hears=False)

    async def catch_up(self) -> Sequence[Message]:
        """Carry out what was purged since the last time, and say what that was.

        Raises:
            StorageError: Redis does not say what it was, or the disk refuses; it is tried again
                the next time.
        """
        async with self._turn:
            since = await self.begin() if self._purged_until is None else self._purged_until
            news = await read_purges(self._connection, since)
            if not news:
                return ()
            messages = [message for _, message in news]
            await self._purge(messages)
            self._purged_until = news[-1][0]
            with suppress(StorageError):  # after the next start it is done once more
                await self._own.note_purged(self._purged_until)
        return messages

    async def _purge(self, messages: Sequence[Message]) -> None:
        """Drop what was purged.

        Raises:
            StorageError: that of it which is on disk is still there, and can be dropped later.
        """
        async with self._pending.lock:
            is_gone = await asyncio.to_thread(self._forget, messages)
            # After what is on disk: whoever has read that meanwhile reads it again.
            for message in messages:
                self._pending.forget(message.scope, message.tag)
        await self._forget_hot(messages)
        if not is_gone:
            raise StorageError("what was purged cannot be removed from the disk now")

    async def _forget_hot(self, messages: Sequence[Message]) -> None:
        if len(messages) > _MANY:
            await self._hot.forget("", is_purge=True)
            return
        for message in messages:
            tag = None if message.tag is None else Tag(message.tag)
            await self._hot.forget(message.scope, tag, is_purge=True)

    def _forget(self, messages: Sequence[Message]) -> bool:
        """Remove what is on disk; return False if that may work later."""
        try:
            with closing(EmbeddedRecords(self._directory)) as records:
                for message in messages:
                    if message.tag is None:
                        records.forget(records.below(message.scope))
                    else:
                        records.forget([tag_of(message.scope, message.tag)])
        except sqlite3.Error as error:
            return not is_passing(error)  # of what is damaged nothing can be read either
        return True
