"""A helper program: run with a deadline, its output capped, never left behind."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence
from pathlib import PurePath

from cacheproxy.upstream.credentials.login import NoLoginError

_LIMIT = 64 * 1024


async def output_of(command: Sequence[str], said: bytes, seconds: float) -> tuple[int, bytes]:
    """Run a program of our environment; its exit code, and what it printed.

    It is the leader of a group, which is killed when it takes too long, prints too much, or
    when we are cancelled. What it complains about goes nowhere, for that may have secrets.

    Args:
        command: program and arguments; no shell.
        said: to its standard input, less than a pipe holds.
        seconds: until it must have ended.

    Raises:
        NoLoginError: it cannot be run, does not end in time, or prints more than 64 KiB.
    """
    name = PurePath(command[0]).name
    with contextlib.ExitStack() as stack:
        # Our own pipes: asyncio's would have us wait for whoever holds the other end.
        reading, writing = _pipe(stack)
        stdin, stdin_writing = _pipe(stack)
        os.write(stdin_writing.fileno(), said)
        stdin_writing.close()
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=stdin.fileno(),
                stdout=writing.fileno(),
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "not a command"
            raise NoLoginError(f"{name} cannot be run: {reason}") from None
        writing.close()
        return await _ended(process, reading, name, seconds)


def _pipe(stack: contextlib.ExitStack) -> tuple["_End", "_End"]:
    ends = [_End(descriptor) for descriptor in os.pipe()]
    for end in ends:
        stack.callback(end.close)
    return ends[0], ends[1]


class _End:
    """One end of a pipe, which can be closed twice."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def fileno(self) -> int:
        if self._descriptor is None:
            raise ValueError("closed")
        return self._descriptor

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


async def _ended(
    process: asyncio.subprocess.Process, reading: _End, name: str, seconds: float
) -> tuple[int, bytes]:
    ended = False
    try:
        async with asyncio.timeout(seconds):
            printed = await _read(reading.fileno())
            if len(printed) > _LIMIT:
                raise NoLoginError(f"{name} prints more than {_LIMIT // 1024} KiB")
            code = await process.wait()
        ended = True
    except TimeoutError:
        raise NoLoginError(f"{name} did not end within {seconds:g} s") from None
    finally:
        if not ended:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            # Nothing can keep it now; unseen, it would stay a zombie.
            await asyncio.shield(process.wait())
    return code, printed


async def _read(descriptor: int) -> bytes:
    """What comes through a pipe up to its end, or a little more than is allowed."""
    loop, printed = asyncio.get_running_loop(), bytearray()
    os.set_blocking(descriptor, False)
    while len(printed) <= _LIMIT:
        readable = loop.create_future()
        loop.add_reader(descriptor, _wake, readable)
        try:
            await readable
        finally:
            loop.remove_reader(descriptor)
        with contextlib.suppress(BlockingIOError):
            chunk = os.read(descriptor, _LIMIT)
            if not chunk:
                break
            printed += chunk
    return bytes(printed)


def _wake(readable: asyncio.Future[None]) -> None:
    if not readable.done():
        readable.set_result(None)
