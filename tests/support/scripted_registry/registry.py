"""An upstream in this process: what it holds, what goes wrong with it, what was asked of it."""

import asyncio
import ssl
from collections.abc import Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from typing_extensions import override

from tests.support.images import Image
from tests.support.scripted_registry.answer import Answer, Asked
from tests.support.scripted_registry.auth import (
    Anonymous,
    Auth,
    Basic,
    Bearer,
    password_refusal,
)
from tests.support.scripted_registry.cdn import Cdn
from tests.support.scripted_registry.contents import Contents, Manifest, digest_of
from tests.support.scripted_registry.delivery import Sleep
from tests.support.scripted_registry.faults.waits import WITHIN
from tests.support.scripted_registry.journal import Recorded
from tests.support.scripted_registry.pull_api import Behaviour, PullApi
from tests.support.scripted_registry.server import ScriptedServer
from tests.support.scripted_registry.signed_urls import PREFIX
from tests.support.scripted_registry.stage import Stage
from tests.support.scripted_registry.tokens import PATH as TOKEN_PATH
from tests.support.scripted_registry.tokens import TokenDesk, TokenServer


class ScriptedRegistry(ScriptedServer):
    """A registry on loopback, with the CDN host of its redirects and, if need be, a token server.

    Leaving `async with` raises AssertionError if a fault was scripted for an answer that it could
    not happen to, or if credentials reached the CDN host: such a test has proved nothing.
    """

    name = "registry"

    def __init__(
        self,
        *,
        auth: Auth | None = None,
        behaviour: Behaviour | None = None,
        tls: ssl.SSLContext | None = None,
        sleep: Sleep = asyncio.sleep,
        clock: Callable[[], float] | None = None,
    ) -> None:
        stage = Stage(tls, sleep, clock) if clock else Stage(tls, sleep)
        super().__init__(stage)
        self.auth: Auth = auth or Anonymous()
        self.cdn = Cdn(stage)
        self._contents = Contents()
        self._api = PullApi(self._contents, behaviour or Behaviour())
        self._desk = TokenDesk(self.auth, stage.clock) if isinstance(self.auth, Bearer) else None
        own_port = isinstance(self.auth, Bearer) and self.auth.own_port
        self._tokens = TokenServer(stage, self._desk) if own_port and self._desk else None
        self._helpers = AsyncExitStack()

    # What it holds.

    def add_blob(self, repository: str, body: bytes, *, algorithm: str = "sha256") -> str:
        """Stores a blob in one repository; returns its digest."""
        digest = digest_of(body, algorithm)
        self._contents.of(repository).blobs[digest] = body
        return digest

    def add_manifest(self, repository: str, tag: str | None, body: bytes, media_type: str) -> str:
        """Stores a manifest, and points a tag to it; returns its digest."""
        manifest = Manifest(body, media_type, digest_of(body))
        place = self._contents.of(repository)
        place.manifests[manifest.digest] = manifest
        if tag is not None:
            place.tags[tag] = manifest.digest
        return manifest.digest

    def add_image(self, repository: str, tag: str | None, image: Image) -> str:
        """Stores an image with its blobs and children; returns the digest of its manifest."""
        for blob in image.all_blobs.values():
            self.add_blob(repository, blob.body)
        for part in image.walk():
            name = tag if part is image else None
            self.add_manifest(repository, name, part.manifest, part.media_type)
        return image.digest

    def remove_tag(self, repository: str, tag: str) -> None:
        """Removes a tag; the manifest stays."""
        del self._contents.of(repository).tags[tag]

    def remove_manifest(self, repository: str, digest: str) -> None:
        """Removes a manifest; tags that point to it then lead nowhere."""
        del self._contents.of(repository).manifests[digest]

    def remove_blob(self, repository: str, digest: str) -> None:
        """Removes a blob from one repository."""
        del self._contents.of(repository).blobs[digest]

    # What was asked of it (of this server alone: `requests` and `until`).

    @property
    def journal(self) -> tuple[Recorded, ...]:
        """All requests to the registry, its CDN host and its token server, oldest first."""
        return self._stage.journal.entries()

    @property
    def body_bytes(self) -> int:
        """Bytes of bodies that all three have sent: what crossed the upstream link."""
        return sum(entry.body_bytes_sent for entry in self.journal)

    def blob_gets(self, digest: str) -> tuple[Recorded, ...]:
        """The GETs of a blob, in any repository, challenges and redirects included."""
        return self.requests("GET", f"/blobs/{digest}")

    @property
    def token_requests(self) -> tuple[Recorded, ...]:
        """The requests for a token, wherever the token server is."""
        return tuple(entry for entry in self.journal if entry.path == TOKEN_PATH)

    async def quiet(self, within: float = WITHIN) -> None:
        """Waits until nothing is being answered, so that all counts are final.

        Raises:
            TimeoutError: something still was after `within` seconds.
        """
        await self._stage.journal.quiet(within)

    # What goes wrong with it (`script`, `stop` and `start` are each server's own).

    @property
    def tokens(self) -> TokenServer:
        """The token server on its own port."""
        assert self._tokens is not None, "this registry has none"
        return self._tokens

    def revoke_tokens(self) -> None:
        """All tokens that were handed out are invalid from now on."""
        assert self._desk is not None, "this registry asks for no tokens"
        self._desk.revoke_all()

    def assert_spent(self) -> None:
        """Fails if a scripted fault, of the registry or its helpers, was met by no request."""
        servers = [self, self.cdn, *([self._tokens] if self._tokens else [])]
        unspent = {server.name: server.unspent for server in servers if server.unspent}
        assert not unspent, f"scripted, but never met: {unspent}"

    @override
    def refuse(self, asked: Asked) -> Answer | None:
        if asked.path.startswith(PREFIX) or (self._desk and asked.path == TOKEN_PATH):
            return None
        match self.auth:
            case Basic() as policy:
                return password_refusal(policy, asked)
            case Bearer():
                assert self._desk is not None
                server = self._tokens or self
                return self._desk.refusal(asked, server.url + TOKEN_PATH)
            case Anonymous():
                return None

    @override
    def respond(self, asked: Asked) -> Answer:
        if asked.path.startswith(PREFIX):
            return self._stage.signed_urls.respond(asked)
        if self._desk and not self._tokens and asked.path == TOKEN_PATH:
            return self._desk.issue(asked)
        return self._api.respond(asked)

    @override
    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as entered:
            await entered.enter_async_context(self.cdn)
            if self._tokens:
                await entered.enter_async_context(self._tokens)
            await super().__aenter__()
            self._helpers = entered.pop_all()
        return self

    @override
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        async with self._helpers:
            await super().__aexit__(kind, error, trace)
        if kind is None:
            assert not self._stage.problems, "; ".join(self._stage.problems)
