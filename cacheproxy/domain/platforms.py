"""What an image runs on: `linux/amd64`, `linux/arm64/v8` (OCI image spec, "Image Index")."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

ALL = "all"
"""Written in the place of a platform."""

# As uname and others call what images call otherwise.
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "i386": "386", "i686": "386"}
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Platform:
    """What an image is for.

    Attributes:
        os: such as `linux`.
        architecture: such as `amd64`.
        variant: of the architecture, such as `v8`; None where none is said.
    """

    os: str
    architecture: str
    variant: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `OS/ARCHITECTURE` or `OS/ARCHITECTURE/VARIANT`.

        Raises:
            ValueError: it is neither.
        """
        words = text.lower().split("/")
        if not 2 <= len(words) <= 3 or not all(_WORD.fullmatch(word) for word in words):
            raise ValueError(
                f"{text[:80]!a} is not a platform; write one such as linux/amd64 or "
                f"linux/arm64/v8, or {ALL}"
            )
        return cls.of(*words)

    @classmethod
    def of(cls, os: str, architecture: str, variant: str | None = None) -> Self:
        """A platform by the words of an index, whatever its author called the architecture."""
        return cls(os, _ARCHITECTURES.get(architecture, architecture), variant or None)

    def __str__(self) -> str:
        return "/".join(word for word in (self.os, self.architecture, self.variant) if word)

    @property
    def is_unknown(self) -> bool:
        """Whether it is what builders write at attestations, which nobody runs."""
        return _UNKNOWN in (self.os, self.architecture)

    def covers(self, offered: "Platform") -> bool:
        """Whether who runs on this may run what is offered for that.

        Where either says no variant, it may: which of several it takes, the node knows.
        """
        variants = {self.variant, offered.variant} - {None}
        return (self.os, self.architecture) == (offered.os, offered.architecture) and (
            len(variants) < 2
        )


@dataclass(frozen=True, slots=True)
class Platforms:
    """Which platforms are wanted.

    Attributes:
        wanted: those; None: all.
    """

    wanted: tuple[Platform, ...] | None = None

    @classmethod
    def parse(cls, texts: Sequence[str]) -> Self:
        """Read several, or `all`.

        Raises:
            ValueError: one of them is no platform, or there is none.
        """
        if not texts:
            raise ValueError(f"no platform is named; write one such as linux/amd64, or {ALL}")
        if any(text.lower() == ALL for text in texts):
            return cls(None)
        return cls(tuple(dict.fromkeys(Platform.parse(text) for text in texts)))

    def __str__(self) -> str:
        return ALL if self.wanted is None else ", ".join(map(str, self.wanted))

    def accept(self, offered: Platform | None) -> bool:
        """Whether something that is for `offered` is wanted; None: it does not say for what."""
        if self.wanted is None or offered is None:
            return True
        return not offered.is_unknown and any(one.covers(offered) for one in self.wanted)
