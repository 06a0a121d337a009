"""A value that must not be shown."""

from pathlib import Path
from typing import final

HIDDEN = "***"


@final
class Secret:
    """A text that shows itself only when asked to; logging or printing it gives `***`.

    No dataclass, for `asdict` would take it apart. Equal when the texts are.

    Attributes:
        file: that it was read from, and that may change; None where there is none.
    """

    __slots__ = ("_text", "file")

    def __init__(self, text: str, file: Path | None = None) -> None:
        self._text = text
        self.file = file

    def reveal(self) -> str:
        """The text itself: for the one who must send it, never for a message."""
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __str__(self) -> str:
        return HIDDEN

    def __repr__(self) -> str:
        return f"Secret({HIDDEN})"
