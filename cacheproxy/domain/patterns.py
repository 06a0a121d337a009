"""Glob patterns over repository names: `team/**`, `*/tools`, `library/nginx`."""

import re
from dataclasses import dataclass, field
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Patterns:
    """Which names are accepted: those that match `allow` and do not match `deny`.

    `*` stands for any characters but `/`, `**` for any at all, `?` for one but `/`.
    """

    allow: tuple[str, ...] = ("**",)
    deny: tuple[str, ...] = field(default=())

    def accept(self, name: str) -> bool:
        """Whether `name` is accepted; what is denied stays denied."""
        return any(_compiled(pattern).fullmatch(name) for pattern in self.allow) and not any(
            _compiled(pattern).fullmatch(name) for pattern in self.deny
        )


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    wild = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*|\*|\?)", pattern)
    return re.compile("".join(wild.get(part, re.escape(part)) for part in parts))
