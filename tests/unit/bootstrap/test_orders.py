import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from cacheproxy.bootstrap.orders import SERVES, Orders, WorkerLink, read_orders, write_report
from cacheproxy.settings import Settings, load


class Pair:
    """Both ends of a connection between a supervisor and a worker."""

    def __init__(
        self, link: WorkerLink, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.link, self.reader, self.writer = link, reader, writer


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    """Two ends that are connected."""
    ours, theirs = socket.socketpair()
    _, link = await asyncio.get_running_loop().create_connection(WorkerLink, sock=ours)
    reader, writer = await asyncio.open_connection(sock=theirs)
    yield Pair(link, reader, writer)
    link.close()
    writer.close()
    await writer.wait_closed()


def _orders(number: int) -> Orders:
    """Orders that differ by a number."""
    settings: Settings = load(None, {})
    return Orders(replace(settings, server=replace(settings.server, drain_delay=float(number))))


async def test_orders_arrive(pair: Pair) -> None:
    """A worker reads the orders that its supervisor has sent."""
    orders = replace(_orders(1), is_leaving=True)
    pair.link.send(orders)
    assert await read_orders(pair.reader) == orders


async def test_only_the_newest_orders_wait_for_a_worker_that_reads_none(pair: Pair) -> None:
    """A worker that reads again gets few old orders, and the newest ones last."""
    orders, count = _orders(1), 5000
    for _ in range(count):
        pair.link.send(orders)
    pair.link.send(replace(orders, is_leaving=True))
    read = 0
    while (received := await read_orders(pair.reader)) is not None:
        read += 1
        if received.is_leaving:
            break
    assert read < count / 2


async def test_a_worker_knows_when_its_supervisor_is_gone(pair: Pair) -> None:
    """There are no orders after the connection has ended."""
    pair.link.close()
    assert await read_orders(pair.reader) is None
    pair.link.send(_orders(1))  # to nobody


@pytest.mark.parametrize("text", [SERVES, "the directory is read-only"])
async def test_a_report_arrives(pair: Pair, text: str) -> None:
    """A supervisor reads the report of its worker."""
    write_report(pair.writer, text)
    assert await pair.link.report == text


async def test_a_worker_that_ends_without_a_report_has_died(pair: Pair) -> None:
    """The supervisor is told that the worker died before it served."""
    pair.writer.close()
    assert "died before it served" in await pair.link.report
