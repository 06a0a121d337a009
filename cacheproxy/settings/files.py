"""Read a small text file, or say what keeps us from it."""

from pathlib import Path

from cacheproxy.settings.draft import Position


class UnreadableError(Exception):
    """The file cannot be read as text; `str()` says why and what to do.

    Attributes:
        place: of the first byte that is not text, if that is the reason.
    """

    def __init__(self, message: str, place: Position | None = None) -> None:
        super().__init__(message)
        self.place = place


def read_text(path: Path, limit: int) -> str:
    """Return the text of a UTF-8 file of at most `limit` bytes, without a byte order mark.

    Raises:
        UnreadableError: it is missing, a directory, not permitted, too large, or not UTF-8.
    """
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except FileNotFoundError:
        raise UnreadableError("does not exist; check the name and the current directory") from None
    except IsADirectoryError:
        raise UnreadableError("is a directory; name a file in it") from None
    except PermissionError:
        raise UnreadableError("is not readable by this user; check owner and permissions") from None
    except OSError as error:
        raise UnreadableError(f"cannot be read: {error.strerror}") from None
    if len(content) > limit:
        raise UnreadableError(f"is larger than {limit // 1024} KiB; is it the right file?")
    return _decoded(content)


def _decoded(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start]  # without the byte order mark
        line_start = before.rfind(b"\n") + 1
        column = len(before[line_start:].decode()) + 1
        place = Position(before.count(b"\n") + 1, column)
        message = f"is not UTF-8 (byte 0x{error.object[error.start]:02x}); save it in UTF-8"
        raise UnreadableError(message, place) from None
