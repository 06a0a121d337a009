"""Tokens: handed out, counted, expired, revoked."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qs

from typing_extensions import override

from tests.support.scripted_registry.answer import Answer, Asked
from tests.support.scripted_registry.auth import Bearer, basic_login, challenge, needed_scope
from tests.support.scripted_registry.oci_errors import json_answer, oci_error
from tests.support.scripted_registry.server import ScriptedServer
from tests.support.scripted_registry.stage import Stage

PATH = "/token"
_UNSAID = 60  # seconds that a token is good for if its answer does not say


@dataclass(frozen=True, slots=True)
class _Grant:
    scopes: frozenset[str]
    until: float


class TokenDesk:
    """Hands out tokens, and knows those that are still good."""

    def __init__(self, policy: Bearer, clock: Callable[[], float]) -> None:
        self._policy = policy
        self._clock = clock
        self._grants: dict[str, _Grant] = {}
        self._numbers = itertools.count(1)

    def revoke_all(self) -> None:
        """No token that was handed out is good any more."""
        self._grants.clear()

    def issue(self, asked: Asked) -> Answer:
        """The answer to a request for a token."""
        form = parse_qs(asked.body.decode()) if asked.method == "POST" else {}
        if asked.method not in ("GET", "POST") or (form and not self._policy.oauth2):
            return oci_error(405, "UNSUPPORTED", "The operation is unsupported.")
        if not self._welcome(_form_login(form) or basic_login(asked)):
            return oci_error(401, "UNAUTHORIZED", "incorrect username or password")
        scopes = form.get("scope") or list(asked.query.getall("scope", ()))
        return self._granted(frozenset(" ".join(scopes).split()))

    def refusal(self, asked: Asked, realm: str) -> Answer | None:
        """A 401 unless the request brings a token that is good for it."""
        scope = needed_scope(asked)
        said = f'Bearer realm="{self._policy.realm or realm}",service="{self._policy.service}"'
        said += f',scope="{scope}"' if scope else ""
        scheme, _, token = asked.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return challenge(said)
        grant = self._grants.get(token)
        if grant is None or grant.until <= self._clock():
            return challenge(said + ',error="invalid_token"')
        if scope and self._policy.needs_scope and not _covers(grant.scopes, scope):
            return challenge(said + ',error="insufficient_scope"')
        return None

    def _welcome(self, login: tuple[str, str] | None) -> bool:
        if login is None:
            return self._policy.anonymous
        user, password = login
        return self._policy.users.get(user) == password

    def _granted(self, scopes: frozenset[str]) -> Answer:
        token = f"token-{next(self._numbers)}"
        lifetime = self._policy.expires_in
        until = self._clock() + (_UNSAID if lifetime is None else lifetime)
        self._grants[token] = _Grant(scopes, until)
        document: dict[str, str | int] = dict.fromkeys(self._policy.fields, token)
        if lifetime is not None:
            document["expires_in"] = lifetime
        return json_answer(document)


class TokenServer(ScriptedServer):
    """The token server on a port of its own."""

    name = "token"

    def __init__(self, stage: Stage, desk: TokenDesk) -> None:
        super().__init__(stage)
        self._desk = desk

    @override
    def respond(self, asked: Asked) -> Answer:
        if asked.path != PATH:
            return oci_error(404, "NAME_UNKNOWN", "tokens are at " + PATH)
        return self._desk.issue(asked)


def _form_login(form: dict[str, list[str]]) -> tuple[str, str] | None:
    """User and password of an OAuth2 form; None if it has none."""
    if "username" not in form:
        return None
    return form["username"][0], form.get("password", [""])[0]


def _covers(scopes: frozenset[str], needed: str) -> bool:
    """Whether one of `type:name:action,action` allows what is needed."""
    resource, _, action = needed.rpartition(":")
    for scope in scopes:
        granted, _, actions = scope.rpartition(":")
        if granted == resource and action in actions.split(","):
            return True
    return False
