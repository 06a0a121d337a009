"""A value that must not be shown."""

from typing import final

HIDDEN = "***"


@final
class Secret:
    """A text that shows itself only when asked to; logging or printing it gives `***`.

    No dataclass, for `asdict` would take it apart. Equal when the texts are.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

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
