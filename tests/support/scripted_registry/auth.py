"""Who may pull: everybody, who knows a password, or who has fetched a token."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.support.scripted_registry.answer import Answer, Asked
from tests.support.scripted_registry.oci_errors import oci_error
from tests.support.scripted_registry.routes import route


@dataclass(frozen=True, slots=True)
class Anonymous:
    """Nobody is asked for anything."""


@dataclass(frozen=True, slots=True)
class Basic:
    """A password with each request."""

    user: str
    password: str
    realm: str = "scripted registry"


@dataclass(frozen=True, slots=True)
class Bearer:
    """A token with each request, from a token server.

    `users` are passwords by user; `anonymous` is whether those who bring none get a token, too.
    `expires_in` seconds (None: not mentioned, and 60, as the token spec has it). `fields` are the
    names under which the token is given. `realm` is announced instead of the token server's URL.
    `own_port` is whether the token server has its own; otherwise it is `/token` of the registry.
    `oauth2` is whether POST works as well as GET. `needs_scope` is whether a token is good only
    for the repositories that it was asked for.
    """

    users: Mapping[str, str] = field(default_factory=dict)
    service: str = "registry.test"
    anonymous: bool = True
    expires_in: int | None = 300
    fields: tuple[str, ...] = ("token", "access_token")
    realm: str | None = None
    own_port: bool = True
    oauth2: bool = True
    needs_scope: bool = True


Auth = Anonymous | Basic | Bearer


def password_refusal(policy: Basic, asked: Asked) -> Answer | None:
    """A 401 unless the request brings the password."""
    if basic_login(asked) == (policy.user, policy.password):
        return None
    return challenge(f'Basic realm="{policy.realm}"')


def challenge(header: str) -> Answer:
    """The 401 that says what is asked for."""
    refused = oci_error(401, "UNAUTHORIZED", "authentication required")
    return refused.having("WWW-Authenticate", header)


def basic_login(asked: Asked) -> tuple[str, str] | None:
    """User and password of a request's Basic credentials; None if there are none."""
    scheme, _, value = asked.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return user, password


def needed_scope(asked: Asked) -> str:
    """What a token must be good for; nothing in particular for the ping."""
    found = route(asked.path)
    return f"repository:{found.repository}:pull" if found and found.repository else ""
