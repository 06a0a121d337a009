"""The host that a registry's redirects lead to."""

from typing_extensions import override

from tests.support.scripted_registry.answer import Answer, Asked
from tests.support.scripted_registry.server import ScriptedServer
from tests.support.scripted_registry.signed_urls import s3_error


class Cdn(ScriptedServer):
    """An object store with signed URLs; a registry's credentials have no business here."""

    name = "cdn"

    @override
    async def start(self) -> None:
        await super().start()
        self._stage.signed_urls.base = self.url

    @override
    def respond(self, asked: Asked) -> Answer:
        if "Authorization" in asked.headers:
            self._stage.problems.append(f"Authorization was sent to the CDN host: {asked.path}")
            return s3_error(400, "InvalidArgument", "Only one auth mechanism allowed")
        return self._stage.signed_urls.respond(asked)
