"""A registry in this process that has some quirks, all at once."""

import re
from collections.abc import Callable, Sequence

from typing_extensions import override

from tests.differential.quirk import ELSEWHERE, Change, Quirk, Where
from tests.support.scripted_registry import Anonymous, Auth, Basic, Bearer, Behaviour
from tests.support.scripted_registry import ScriptedRegistry as Plain
from tests.support.scripted_registry.answer import Answer, Asked
from tests.support.scripted_registry.auth import challenge
from tests.support.scripted_registry.cdn import Cdn
from tests.support.scripted_registry.faults.fault import Offers
from tests.support.scripted_registry.oci_errors import json_answer
from tests.support.scripted_registry.signed_urls import PREFIX
from tests.support.scripted_registry.stage import Stage
from tests.support.scripted_registry.tokens import PATH as TOKEN_PATH

USER, PASSWORD = "ada", "secret"
_FOREIGN_TOKEN = "of-the-other-registry"
_FOREIGN_TOKEN_PATH = "/other-token"


class QuirkyRegistry(Plain):
    """A registry, and the storage or the other registry that it redirects to."""

    def __init__(self, quirks: Sequence[Quirk]) -> None:
        settings = {name: value for quirk in quirks for name, value in quirk.behaviour.items()}
        super().__init__(
            auth=_auth(quirks), behaviour=Behaviour(**{"strict_accept": False, **settings})
        )
        self._changes = _Changes(quirks, self._stage)
        self._scope = next((quirk.own_scope for quirk in quirks if quirk.own_scope), None)
        self._moves_tokens = any(quirk.moves_tokens for quirk in quirks)
        self._facade = next((quirk.facade for quirk in quirks if quirk.facade), "")
        self.cdn = _Elsewhere(self._stage, self._changes, self._inner, self._facade == "token")

    @override
    def refuse(self, asked: Asked) -> Answer | None:
        if asked.path.rstrip("/") == TOKEN_PATH:
            return None
        refused = super().refuse(asked)
        if refused is None:
            return None
        named = refused.header("WWW-Authenticate") or ""
        if self._scope is not None:
            named = re.sub(r',scope="[^"]*"|$', f',scope="{self._scope}"', named, count=1)
            refused = refused.having("WWW-Authenticate", named)
        return self._changes.applied("challenge", asked, refused)

    @override
    def _answer(self, asked: Asked) -> Answer:
        refused = self.refuse(asked)
        if refused is not None:
            return refused
        if self._desk and asked.path.rstrip("/") == TOKEN_PATH:
            return self._token(asked)
        if self._facade and asked.path.startswith("/v2/"):
            location = f"{self.cdn.url}{asked.path}?{asked.query_string}".rstrip("?")
            return Answer(307, (("Location", location),))
        where: Where = "storage" if asked.path.startswith(PREFIX) else "registry"
        answer = self._changes.answer(where, asked, self.respond)
        led_to = answer.header("Location")
        if led_to is None:
            return answer
        return answer.having("Location", led_to.replace(ELSEWHERE, self.cdn.url))

    def _inner(self, asked: Asked) -> Answer:
        """The answer of the registry that a facade redirects to."""
        return self._changes.answer("registry", asked, self._api.respond)

    def _token(self, asked: Asked) -> Answer:
        if self._moves_tokens and asked.path == TOKEN_PATH:
            return Answer(307, (("Location", f"{TOKEN_PATH}/?{asked.query_string}"),))
        assert self._desk is not None
        return self._changes.answer("token", asked, self._desk.issue)


class _Changes:
    """The changes of all quirks, applied in the order of the catalogue."""

    def __init__(self, quirks: Sequence[Quirk], stage: Stage) -> None:
        self._changes = [change for quirk in quirks for change in quirk.changes]
        self._offers: Offers = stage.signed_urls

    def answer(self, where: Where, asked: Asked, respond: Callable[[Asked], Answer]) -> Answer:
        """Return the answer to a request as it is understood here."""
        fitting = self._fitting(where, asked)
        for change in fitting:
            asked = change.fault.ask(asked)
        return self._changed(fitting, respond(asked))

    def applied(self, where: Where, asked: Asked, answer: Answer) -> Answer:
        """Return an answer as it goes out from here."""
        return self._changed(self._fitting(where, asked), answer)

    def _fitting(self, where: Where, asked: Asked) -> list[Change]:
        return [each for each in self._changes if each.where == where and each.match.fits(asked)]

    def _changed(self, changes: Sequence[Change], answer: Answer) -> Answer:
        for change in changes:
            answer = change.fault.answer(answer, self._offers)
        return answer


class _Elsewhere(Cdn):
    """Storage, and the other registry: neither may see credentials that are not its own."""

    def __init__(
        self,
        stage: Stage,
        changes: _Changes,
        inner: Callable[[Asked], Answer],
        wants_token: bool,
    ) -> None:
        super().__init__(stage)
        self._changes = changes
        self._inner = inner
        self._wants_token = wants_token

    @override
    def _answer(self, asked: Asked) -> Answer:
        if asked.path == _FOREIGN_TOKEN_PATH:
            return json_answer({"token": _FOREIGN_TOKEN})
        if not asked.path.startswith("/v2/"):
            return self._changes.answer("storage", asked, self.respond)
        if self._wants_token:
            if asked.headers.get("Authorization") != f"Bearer {_FOREIGN_TOKEN}":
                return challenge(f'Bearer realm="{self.url}{_FOREIGN_TOKEN_PATH}",service="other"')
        elif "Authorization" in asked.headers:
            self._stage.problems.append(f"Authorization was sent elsewhere: {asked.path}")
        return self._inner(asked)


def _auth(quirks: Sequence[Quirk]) -> Auth:
    """How clients log in: by the strictest way of any quirk."""
    logins = {quirk.login for quirk in quirks}
    needs_scope = not any(quirk.own_scope for quirk in quirks)
    if "basic" in logins:
        return Basic(USER, PASSWORD)
    if "user" in logins:
        users = {USER: PASSWORD}
        return Bearer(users=users, anonymous=False, own_port=False, needs_scope=needs_scope)
    if "anonymous" in logins:
        return Bearer(own_port=False, needs_scope=needs_scope)
    return Anonymous()
