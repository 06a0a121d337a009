"""The system calls of simulated processes: owned descriptors, faults, interruptions, crashes.

Files are real, in a directory of the simulation's own; so names, inodes, locks (flock) and the
reuse of descriptor numbers are the kernel's. What the `os` module offers is replaced by
functions that ask the world first. Code outside of simulated processes is not affected.
"""

import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

from cacheproxy.metadata import embedded
from cacheproxy.storage import accounts, filesystem
from tests.simulation.clock import virtual_time
from tests.simulation.world import Process, SimulatedPool, World

_BY_PATH = (
    "open", "stat", "lstat", "unlink", "remove", "rename", "replace", "mkdir", "rmdir",
    "scandir", "listdir", "chmod", "access",
)  # fmt: skip
_BY_DESCRIPTOR = (
    "close", "dup", "pread", "preadv", "pwrite", "ftruncate", "fsync", "fstat", "fchmod",
    "posix_fadvise", "utime",
)  # fmt: skip
_WRITES = frozenset({"pwrite", "ftruncate", "unlink", "rename", "replace"})

Fault = Callable[[Process, str, str], OSError | None]


class Disk:
    """What simulated processes do to files.

    Attributes:
        fault: returns the error with which a call fails, or None.
        on_change: is called after each call that changes what files there are, or their sizes.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.fault: Fault = lambda *_: None
        self.on_change: Callable[[], None] = lambda: None
        self._owners: dict[int, Process] = {}

    def close_all(self, process: Process) -> None:
        """Close what a process has open, as the kernel does at its end."""
        for descriptor in process.files:
            REAL["close"](descriptor)
            self._owners.pop(descriptor, None)
        process.files.clear()

    def close(self) -> None:
        """Let go of everything."""
        self._owners.clear()

    def by_path(self, process: Process, name: str, args: Any, options: Any) -> Any:
        """Do a call that names a file."""
        path = args[0] if args else ""
        if isinstance(path, int):
            return self.by_descriptor(process, name, args, options)
        self._before(process, name, os.fspath(path))
        result = REAL[name](*args, **options)
        if name == "open":
            process.files[result] = os.fspath(path)
            self._owners[result] = process
        self._after(name)
        return result

    def by_descriptor(self, process: Process, name: str, args: Any, options: Any) -> Any:
        """Do a call on an open file."""
        descriptor = args[0]
        if not isinstance(descriptor, int):
            return self.by_path(process, name, args, options)
        if process.is_alive and descriptor not in process.files:
            self.world.complain(f"{process.name} uses descriptor {descriptor}, which it has closed")
        self._before(process, name, process.files.get(descriptor, "?"))
        result = REAL[name](*args, **options)
        if name == "close":
            del process.files[descriptor], self._owners[descriptor]
        elif name == "dup":
            process.files[result] = process.files[descriptor]
            self._owners[result] = process
        self._after(name)
        return result

    def lock(self, process: Process, descriptor: int, operation: int) -> None:
        """Do a call of flock."""
        if process.is_alive and descriptor not in process.files:
            self.world.complain(f"{process.name} locks descriptor {descriptor}, which is closed")
        self._before(process, "flock", process.files.get(descriptor, "?"))
        REAL["flock"](descriptor, operation)

    def _before(self, process: Process, name: str, path: str) -> None:
        self.world.at_system_call(process, f"{name} {self._short(path)}")
        if name != "close":
            error = self.fault(process, name, path)
            if error is not None:
                self.world.note(f"{process.name}: {name} {self._short(path)} fails: {error}")
                raise error

    def _short(self, path: str) -> str:
        return path.removeprefix(self.world.root)[:32]

    def _after(self, name: str) -> None:
        if name in _WRITES:
            self.on_change()


REAL: dict[str, Any] = {
    name: getattr(os, name) for name in dict.fromkeys((*_BY_PATH, *_BY_DESCRIPTOR))
}
REAL["flock"] = fcntl.flock


def _replace(name: str, method: str) -> None:
    real = REAL[name]

    def call(*args: Any, **options: Any) -> Any:
        process = World.current
        if process is None:
            return real(*args, **options)
        return getattr(process.world.disk, method)(process, name, args, options)

    setattr(os, name, call)


def _replace_all(names: Sequence[str], method: str) -> None:
    for name in names:
        _replace(name, method)


def install() -> None:
    """Replace the functions of `os`, once in the life of this (real) process."""
    _replace_all(_BY_PATH, "by_path")
    _replace_all(_BY_DESCRIPTOR, "by_descriptor")
    # pathlib and shutil ask what these functions can do, by identity.
    for supported in (os.supports_fd, os.supports_follow_symlinks, os.supports_dir_fd):
        supported |= {getattr(os, n) for n, real in REAL.items() if real in supported}

    def flock(descriptor: int, operation: int) -> None:
        process = World.current
        if process is None:
            REAL["flock"](descriptor, operation)
        else:
            process.world.disk.lock(process, descriptor, operation)

    fcntl.flock = flock  # type: ignore[assignment]  # the store passes numbers
    time.time = virtual_time
    connect = sqlite3.connect

    def connect_database(*args: Any, **options: Any) -> sqlite3.Connection:
        database: sqlite3.Connection = connect(*args, **options)
        if World.current is not None:
            World.current.databases.append(database)
        return database

    sqlite3.connect = connect_database  # type: ignore[assignment]
    for module in (accounts, filesystem, embedded):
        module.ThreadPoolExecutor = _make_pool  # type: ignore[attr-defined]


def _make_pool(*args: Any, **options: Any) -> Executor:
    """Make a thread pool: the world's for a simulated process."""
    make = ThreadPoolExecutor if World.current is None else SimulatedPool
    return make(*args, **options)
