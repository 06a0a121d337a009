"""The space that a cache takes on its disk."""

import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Self


class Disk:
    """The space that blobs and downloads take, measured again and again until it is left."""

    def __init__(self, directory: Path, pause: float = 0.002) -> None:
        """Look at the directory of a cache, every `pause` seconds."""
        self._directory = directory
        self._pause = pause
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="disk")
        self.most = 0
        self.looks = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        before = self._blocks()
        while not self._ended.is_set():
            now = self._blocks()
            # No look is of one moment: what was there before the moment between two looks
            # and still is after it was there in that moment.
            both = before.keys() & now.keys()
            self.most = max(self.most, sum(min(before[key], now[key]) for key in both))
            self.looks += 1
            before = now
            time.sleep(self._pause)

    def _blocks(self) -> dict[int, int]:
        found: dict[int, int] = {}
        for below in ("ingest", "blobs"):
            for path, _, names in os.walk(self._directory / below):
                for name in names:
                    with suppress(FileNotFoundError):
                        status = os.lstat(f"{path}/{name}")
                        found[status.st_ino] = status.st_blocks * 512
        return found
