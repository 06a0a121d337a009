"""How a reader wants to see the page."""

from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlencode

from cacheproxy.domain.savings import Period

Theme = Literal["system", "light", "dark"]


@dataclass(frozen=True, slots=True)
class View:
    """How the reader wants to see it.

    Attributes:
        period: of the chart and of the repositories.
        theme: light or dark, or as the reader's system has it.
        host: under which the reader reaches this server, without a port.
        pull_port: where clients pull, for the first example.
        may_sign_out: the reader has signed in.
    """

    period: Period = "week"
    theme: Theme = "system"
    host: str = "127.0.0.1"
    pull_port: int = 5000
    may_sign_out: bool = False

    def query(self, **changes: str) -> str:
        """The part of a URL that asks for this view, or for another one."""
        asked = {"period": self.period, "theme": self.theme} | changes
        usual = {"period": "week", "theme": "system"}
        return urlencode({key: value for key, value in asked.items() if value != usual[key]})
