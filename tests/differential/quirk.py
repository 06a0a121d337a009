"""A quirk: one way in which a registry departs from the distribution spec, as a value."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.support.scripted_registry import Fault, Match

Where = Literal["registry", "storage", "token", "challenge"]
Document = dict[str, Any]
Edit = Callable[[Document], Document]

ELSEWHERE = "https://elsewhere.example"
"""Stands in a Location for the host that the registry redirects to."""


@dataclass(frozen=True, slots=True)
class Change:
    """A fault that every answer to matching requests has.

    Attributes:
        fault: changes the answer, or what is understood of the request.
        match: the requests.
        where: who answers: the registry, the storage that it redirects to, its token server; or
            the registry with a 401.
    """

    fault: Fault
    match: Match = field(default_factory=Match)
    where: Where = "registry"


@dataclass(frozen=True, slots=True)
class Quirk:
    """A quirk of registries.

    Attributes:
        name: in words and dashes.
        source: its public report, as owner/repository#number.
        summary: a sentence of what the registry does.
        changes: of its answers.
        behaviour: what differs from `Behaviour`'s defaults.
        login: how clients must log in.
        own_scope: that the challenge names; None: the one of the distribution spec.
        moves_tokens: whether the token server redirects to a path beside its own.
        facade: whether every request is redirected to another host; `token`: which challenges.
        fallback: what the fallback tag of referrers names.
        edits: of the documents that are pulled: `manifest`, `index`.
        has_empty_layer: whether the image has a layer without bytes.
    """

    name: str
    source: str
    summary: str
    changes: tuple[Change, ...] = ()
    behaviour: Mapping[str, bool] = field(default_factory=dict)
    login: Literal["", "anonymous", "user", "basic"] = ""
    own_scope: str | None = None
    moves_tokens: bool = False
    facade: Literal["", "open", "token"] = ""
    fallback: Literal["list", "subject"] = "list"
    edits: Mapping[str, Edit] = field(default_factory=dict)
    has_empty_layer: bool = False
