"""What clients and workers do in a simulation, and what clients check of each byte."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from cacheproxy.cluster_ports import Part
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import CacheproxyError, StorageError, UpstreamTimeout
from cacheproxy.domain.manifest import Manifest
from cacheproxy.domain.operation import PullBlob
from cacheproxy.pullthrough.answers import BlobAnswer
from tests.simulation.script import REPOSITORIES, Chore, Client, Content
from tests.simulation.upstream import Book
from tests.simulation.worker import Worker

# As the edge waits: for a response, and for the next byte.
_RESPONSE_SECONDS = 25.0
_SILENCE_SECONDS = 120.0


@dataclass(slots=True)
class Pull:
    """One client's pull and what came of it.

    Attributes:
        client: who.
        worker: which was asked.
        outcome: `whole`, `part`, `left`, or the words of the failure; empty while it lasts.
        got: bytes that came.
    """

    client: Client
    worker: Worker
    outcome: str = ""
    got: int = 0


async def pull(book: Book, worker: Worker, state: Pull) -> None:
    """Pull a blob as a client does, by way of what the edge does; the last try is judged."""
    outcome = ""
    for _ in range(state.client.retries + 1):
        outcome = await _try(book, worker, state)
        if outcome in ("whole", "part", "left"):
            break
        book.world.note(f"{worker.name}: a client fails: {outcome}")
    state.outcome = outcome


async def _try(book: Book, worker: Worker, state: Pull) -> str:
    client = state.client
    content = book.script.contents[client.blob]
    asked = PullBlob(REPOSITORIES[client.repository], content.digest, client.range)
    try:
        async with asyncio.timeout(client.patience):
            answer = await _answer(worker, asked)
    except TimeoutError:
        return "left"
    except CacheproxyError as error:
        return f"{type(error).__name__}: {error}"
    except Exception as error:  # noqa: BLE001  # a 500
        book.world.complain(f"{worker.name}: a client gets a 500: {error!r}")
        return f"500 {error!r}"
    try:
        return await _read(book, content, answer, state)
    except (CacheproxyError, TimeoutError) as error:
        return f"cut: {type(error).__name__}: {error}"
    except Exception as error:  # noqa: BLE001  # likewise
        book.world.complain(f"{worker.name}: a client is cut by {error!r}")
        return f"cut: {error!r}"
    finally:
        if answer.content is not None:
            answer.content.close()


async def _answer(worker: Worker, asked: PullBlob) -> BlobAnswer:
    try:
        async with asyncio.timeout(_RESPONSE_SECONDS):
            return await worker.core.blob(asked, head=False)
    except TimeoutError:
        raise UpstreamTimeout(f"504 after {_RESPONSE_SECONDS:g} s") from None


async def _read(book: Book, content: Content, answer: BlobAnswer, state: Pull) -> str:
    """Read a body as the edge does, and compare each byte; returns the outcome."""
    if answer.size is not None and answer.size != content.size:
        book.world.complain(f"a client is told {answer.size} bytes of {content.size}")
    part = answer.part
    start, stop = (part.start, part.stop) if part else (0, answer.size)
    offset, is_right = start, True
    async for chunk in _chunks(state.client, answer, start, stop):
        is_right = _check(book, content, offset, chunk) and is_right
        offset += len(chunk)
        state.got = offset - start
        leaves_after = state.client.leaves_after
        if leaves_after is not None and state.got >= leaves_after:
            return "left"
    if stop is not None and offset < stop:
        raise StorageError(f"the body ended at {offset}, before {stop}")
    return _judge_end(book, content, state, (start, offset), is_right=is_right)


async def _chunks(
    client: Client, answer: BlobAnswer, offset: int, stop: int | None
) -> AsyncIterator[bytes]:
    reader = answer.content
    if reader is None:
        raise AssertionError("a GET is answered without a body")
    while stop is None or offset < stop:
        length = client.reads if stop is None else min(client.reads, stop - offset)
        chunk = reader.try_read(offset, length)
        if not chunk:
            async with asyncio.timeout(_SILENCE_SECONDS):
                chunk = await reader.read(offset, length)
        if not chunk:
            return
        yield chunk
        offset += len(chunk)
        if client.pause:
            await asyncio.sleep(client.pause)


def _check(book: Book, content: Content, offset: int, chunk: bytes) -> bool:
    """Compare bytes with the blob's; whether they are right. Only a lie of upstream may differ."""
    right = content.body[offset : offset + len(chunk)]
    if chunk == right:
        return True
    lie = content.lie[offset : offset + len(chunk)]
    possible = content.digest in book.lied and len(chunk) == len(right)
    if not possible or any(c not in (r, w) for c, r, w in zip(chunk, right, lie, strict=True)):
        book.world.complain(f"a client of {content.digest[7:15]} gets bytes of something else")
    return False


def _judge_end(
    book: Book, content: Content, state: Pull, span: tuple[int, int], *, is_right: bool
) -> str:
    """Judge a body that has ended as it should."""
    start, stop = span
    is_whole = start == 0 and stop == content.size
    if is_whole and not is_right:
        book.world.complain(f"a client gets all of {content.digest[7:15]}, wrong, and a clean end")
    if state.client.range is None and not is_whole:
        book.world.complain(f"a client gets {stop} of {content.size} bytes and a clean end")
    return "whole" if is_whole else "part"


async def do(book: Book, worker: Worker, chore: Chore) -> None:
    """Do what a worker does beside serving; the disk may refuse it."""
    content = book.script.contents[chore.blob]
    try:
        await _CHORES[chore.kind](book, worker, content)
    except (CacheproxyError, OSError) as error:
        book.world.note(f"{worker.process.name}: {chore.kind}: {type(error).__name__}: {error}")
    except Exception as error:  # noqa: BLE001  # none of them may fail otherwise
        book.world.complain(f"{worker.process.name}: {chore.kind} fails: {error!r}")


async def _settle(_: Book, worker: Worker, __: Content) -> None:
    await worker.store.settle()


async def _sweep(_: Book, worker: Worker, __: Content) -> None:
    await worker.store.sweep(0.0)


async def _take_stock(_: Book, worker: Worker, __: Content) -> None:
    await worker.store.take_stock()


async def _flush(_: Book, worker: Worker, __: Content) -> None:
    await worker.store.accounts.flush()


async def _purge(_: Book, worker: Worker, content: Content) -> None:
    accounts = worker.store.accounts
    await accounts._do(lambda ledger: ledger.purge([content.digest]))


async def _drop_partial(_: Book, worker: Worker, content: Content) -> None:
    await worker.store.accounts.drop_partial([content.digest])


async def _keep_manifest(book: Book, worker: Worker, content: Content) -> None:
    media_type = "application/vnd.oci.image.manifest.v1+json"
    manifest = Manifest(content.body, content.digest, media_type, ())
    await worker.store.keep_manifest(REPOSITORIES[0], manifest)


async def _keep(_: Book, worker: Worker, content: Content) -> None:
    asked = PullBlob(REPOSITORIES[0], content.digest)
    await worker.core.keep(asked, lambda _: None, is_use=True)


async def _shrink(_: Book, worker: Worker, __: Content) -> None:
    await worker.store.accounts.make_room(1)


async def _lose_ledger(book: Book, worker: Worker, __: Content) -> None:
    """Remove the ledger, as somebody does who tidies up."""
    world = book.world
    if world.ledger_is_busy():
        return
    world.note(f"{worker.name}: the ledger is removed")
    with world.entered(None):
        for path in worker.directory.glob("ledger.db*"):
            path.unlink(missing_ok=True)


async def _peer(book: Book, worker: Worker, content: Content) -> None:
    """Read as another replica does, which may be refused at any time."""
    digest = Digest(content.digest)
    offer = worker.core.sharing.look(Part(digest))
    try:
        await offer.wait_beyond()
        answer = await offer.answer()
    except BaseException:
        offer.close()
        raise
    reader: Any = answer.content
    offset = 0
    try:
        while chunk := reader.try_read(offset, 8192) or await reader.read(offset, 8192):
            _check(book, content, offset, chunk)
            offset += len(chunk)
    finally:
        reader.close()
        offer.close()


_CHORES = {
    "settle": _settle,
    "sweep": _sweep,
    "take_stock": _take_stock,
    "flush": _flush,
    "purge": _purge,
    "drop_partial": _drop_partial,
    "keep_manifest": _keep_manifest,
    "keep": _keep,
    "shrink": _shrink,
    "peer": _peer,
    "lose_ledger": _lose_ledger,
}
