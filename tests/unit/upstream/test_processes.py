import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from cacheproxy.upstream.credentials.login import NoLoginError
from cacheproxy.upstream.credentials.processes import output_of
from tests.support.leaks import open_files, opened_since, other_tasks, settle


@pytest.fixture(autouse=True)
async def _nothing_is_left() -> AsyncIterator[None]:
    """Whatever a program does, no file, task or zombie of it is left."""
    await output_of(["true"], b"", 5)  # what is made once for all, such as a child watcher
    before, children = open_files(), _children()
    yield
    await settle()
    assert not opened_since(before)
    assert not other_tasks()
    assert not [child for child in _children() - children if not _runs(child)]


def _children() -> set[int]:
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended since
            found.update(map(int, (task / "children").read_text().split()))
    return found


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def _gone(pid: int) -> bool:
    end = time.monotonic() + 5
    while _runs(pid) and time.monotonic() < end:  # noqa: ASYNC110  # there is no event for it
        await asyncio.sleep(0.01)
    return not _runs(pid)


async def _child(file: Path) -> int:
    """The process id that a script has written into a file."""
    while not file.exists():  # noqa: ASYNC110  # there is no event for it
        await asyncio.sleep(0.01)
    return int(file.read_text())


async def test_what_a_program_prints() -> None:
    """A program gets its input and our environment; its output and exit code come back."""
    code, printed = await output_of(["sh", "-c", "cat; echo $HOME; exit 3"], b"said ", 5)
    assert (code, printed) == (3, f"said {os.environ['HOME']}\n".encode())


async def test_standard_input_ends() -> None:
    """A program that reads on and on is not waited for: there is nothing more to read."""
    assert await output_of(["cat"], b"", 5) == (0, b"")


async def test_what_it_complains_about_goes_nowhere(capfd: pytest.CaptureFixture[str]) -> None:
    """Standard error may have secrets: it is neither kept nor passed on."""
    assert await output_of(["sh", "-c", "echo s3cret >&2"], b"", 5) == (0, b"")
    assert "s3cret" not in "".join(capfd.readouterr())


async def test_a_helper_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    """At its deadline a program is killed with all of its group, whatever that ignores."""
    child = tmp_path / "child"
    script = f"trap '' TERM; (trap '' TERM; exec sleep 100) & echo $! > {child}.new;"
    begun = time.monotonic()
    with pytest.raises(NoLoginError, match=r"^sh did not end within 0\.5 s$"):
        await output_of(["sh", "-c", f"{script} mv {child}.new {child}; wait"], b"", 0.5)
    assert time.monotonic() - begun < 60  # of the 100 seconds that its child sleeps
    assert await _gone(await _child(child))


async def test_who_gives_up_leaves_nothing(tmp_path: Path) -> None:
    """Cancelled, the program is killed with its group before the cancellation goes on."""
    child = tmp_path / "child"
    script = f"sleep 100 & echo $! > {child}.new; mv {child}.new {child}; wait"
    async with asyncio.TaskGroup() as group:
        task = group.create_task(output_of(["sh", "-c", script], b"", 60))
        pid = await _child(child)
        task.cancel()
    assert task.cancelled()
    assert await _gone(pid)


async def test_a_child_that_holds_the_output_is_killed(tmp_path: Path) -> None:
    """A program that ends, but whose child keeps its output open, has not ended in time."""
    child = tmp_path / "child"
    with pytest.raises(NoLoginError, match="did not end within"):
        await output_of(["sh", "-c", f"sleep 100 & echo $! > {child}"], b"", 0.5)
    assert await _gone(await _child(child))


async def test_megabytes_are_cut_off() -> None:
    """A program that prints on and on is killed as soon as it is too much."""
    begun = time.monotonic()
    with pytest.raises(NoLoginError, match="yes prints more than 64 KiB"):
        await output_of(["yes", "s3cret"], b"", 30)
    assert time.monotonic() - begun < 30  # the deadline


async def test_output_in_pieces() -> None:
    """What comes slowly is waited for."""
    program = "import sys,time\nfor _ in range(3): print('x'*999, flush=True); time.sleep(0.02)"
    code, printed = await output_of([sys.executable, "-c", program], b"", 20)
    assert (code, len(printed)) == (0, 3000)


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        pytest.param(["/nonexistent/helper"], "No such file", id="missing"),
        pytest.param(["no-such-helper-anywhere"], "No such file", id="not in PATH"),
        pytest.param(["/"], "Permission denied", id="a directory"),
        pytest.param(["/etc/passwd"], "Permission denied", id="no program"),
        pytest.param(["a\0b"], "not a command", id="NUL"),
    ],
)
async def test_what_cannot_be_run(command: list[str], reason: str) -> None:
    """A program that is missing or is none is said to be so."""
    with pytest.raises(NoLoginError, match=rf"cannot be run: {reason}"):
        await output_of(command, b"", 5)
