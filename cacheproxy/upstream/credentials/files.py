"""A small file that is replaced while we run, as Kubernetes replaces those of a Secret."""

from pathlib import Path

from cacheproxy.upstream.credentials.aside import Aside
from cacheproxy.upstream.credentials.login import Login, NoLoginError

_LIMIT = 64 * 1024
_CONFIG_LIMIT = 1024 * 1024
# A volume that hangs is given up after so many seconds.
_SECONDS = 5.0

_Signature = tuple[int, int, int, int]


class WatchedFile:
    """A file, and whether it is another one than when it was last read."""

    def __init__(self, path: Path, limit: int = _CONFIG_LIMIT) -> None:
        self.path = path
        self._limit = limit
        self._seen: _Signature | None = None
        self._aside: Aside[bytes] = Aside("the file", _SECONDS)

    def changed(self) -> bool:
        """Whether it was written, renamed over, or pointed elsewhere since the last read."""
        return _signature(self.path) != self._seen

    async def read(self) -> bytes:
        """All of it.

        Raises:
            NoLoginError: it is missing, cannot be read, or is too large.
        """
        # Before it is read: what is written meanwhile is a change.
        self._seen = _signature(self.path)
        try:
            content = await self._aside.run(self._read)
        except OSError as error:
            raise NoLoginError(f"the file cannot be read: {error.strerror}") from None
        if len(content) > self._limit:
            raise NoLoginError(f"the file is larger than {self._limit // 1024} KiB")
        return content

    def _read(self) -> bytes:
        with self.path.open("rb") as file:
            return file.read(self._limit + 1)


class PasswordFile:
    """A user whose password is what a file holds (`Source`)."""

    def __init__(self, username: str, path: Path) -> None:
        self._username = username
        self._file = WatchedFile(path, _LIMIT)

    def changed(self) -> bool:
        """Whether the file is another one."""
        return self._file.changed()

    async def fetch(self) -> tuple[Login, float | None]:
        """The file's text without the one line end at its end; it has no end of its own.

        Raises:
            NoLoginError: there is no such text.
        """
        content = await self._file.read()
        try:
            password = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise NoLoginError("the file is not UTF-8") from None
        password = password.removesuffix("\n").removesuffix("\r")
        if not password:
            raise NoLoginError("the file is empty")
        return Login(self._username, password), None


def _signature(path: Path) -> _Signature | None:
    try:
        found = path.stat()  # through symbolic links: it is those that Kubernetes swaps
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
