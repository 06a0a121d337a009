"""Challenges of a 401 (RFC 9110 §11.6.1), read as leniently as registries write them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

# challenge = auth-scheme [ 1*SP ( token68 / #auth-param ) ]
# Real registries leave out the quotes, and put several challenges into one field.
_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # noqa: S105  # RFC 9110 `token`, no secret
_PARAMETER = re.compile(rf'[\s,]*({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^",\s]*))')
_SCHEME = re.compile(rf"[\s,]*({_TOKEN})(?:\s+|$|(?=,))")
_FIELD_LIMIT = 8192


@dataclass(frozen=True, slots=True)
class Bearer:
    """Fetch a token from `realm` (distribution's token authentication).

    Attributes:
        realm: URL of the token server.
        service: to name to it; some registries name none.
        scope: that upstream asks for; empty where it names none.
    """

    realm: str
    service: str
    scope: str


@dataclass(frozen=True, slots=True)
class Basic:
    """Send user name and password with each request."""


Challenge = Bearer | Basic


def parse(fields: Iterable[str]) -> tuple[Challenge, ...]:
    """Every challenge of schemes that we know, in the order in which they came."""
    challenges: list[Challenge] = []
    for field in fields:
        challenges.extend(_challenges(field[:_FIELD_LIMIT]))
    return tuple(challenges)


def may_hide_challenge(status: int, *, was_shown: bool, has_login: bool) -> bool:
    """Return whether a response may only mean that upstream wants to know who asks.

    Some registries hide what is private behind a 404 or a 403, and challenge at `/v2/` alone.

    Args:
        status: of the response.
        was_shown: whether the request had credentials.
        has_login: whether there is a login that might help.
    """
    if status == 401:
        return True
    return not was_shown and (status == 403 or (status == 404 and has_login))


def _challenges(field: str) -> Iterable[Challenge]:
    position = 0
    while scheme := _SCHEME.match(field, position):
        parameters: dict[str, str] = {}
        position = scheme.end()
        while parameter := _PARAMETER.match(field, position):
            name, quoted, bare = parameter.groups()
            value = bare if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            parameters.setdefault(name.lower(), value)
            position = parameter.end()
        match scheme[1].lower():
            case "basic":
                yield Basic()
            case "bearer" if "realm" in parameters:
                service, scope = parameters.get("service", ""), parameters.get("scope", "")
                yield Bearer(parameters["realm"], service, scope)
