"""One request and its response: what the canonical log line will say."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from aiohttp import web

from cacheproxy.domain.cache_status import CacheStatus
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.events import Asked, Responded, Source
from cacheproxy.domain.operation import (
    ListReferrers,
    ListTags,
    Operation,
    Ping,
    PullBlob,
    PullManifest,
)
from cacheproxy.domain.reference import Repository
from cacheproxy.ports import Clock

_LONGEST_TARGET = 512
_LONGEST_AGENT = 256
_NOTHING_YET = CacheStatus("error")


@dataclass(slots=True)
class Exchange:
    """What is known of a request and its response so far."""

    clock: Clock
    begun: float
    heard: Callable[..., Asked]
    asked: Asked | None = None
    status: CacheStatus = _NOTHING_YET
    source: Source = "none"
    http_status: int = 499
    body_bytes: int = 0
    head_sent: float | None = None
    response: web.StreamResponse | None = None
    error: str | None = None
    has_left: bool = False
    digest: Digest | None = None
    size: int | None = None

    @classmethod
    def of(cls, request: web.BaseRequest, clock: Clock) -> "Exchange":
        """The exchange that begins with a request."""
        # Made once, when it is known what is asked for: each request makes one.
        heard = partial(
            Asked,
            request.method,
            request.raw_path[:_LONGEST_TARGET],
            request.remote or "",
            request.headers.get("User-Agent", "")[:_LONGEST_AGENT],
        )
        return cls(clock, clock.monotonic(), heard)

    def understood(self, operation: Operation) -> None:
        """Note what the request asks for."""
        match operation:
            case Ping():
                self.asked = self.heard("ping")
            case PullManifest(repository, reference):
                self._names("manifest", repository, reference)
            case PullBlob(repository, digest):
                self._names("blob", repository, digest)
            case ListTags(repository):
                self._names("tags", repository)
            case ListReferrers(repository, digest):
                self._names("referrers", repository, digest)

    def answered(self, status: CacheStatus, source: Source) -> None:
        """Note what the core did for it."""
        self.status, self.source = status, source

    def sends(self, digest: Digest, size: int | None) -> None:
        """Note of what the body is, or is a part of; the size is of the whole."""
        self.digest, self.size = digest, size

    def head_is_out(self, response: web.StreamResponse) -> None:
        """Note that the response's head was sent."""
        self.response, self.http_status = response, response.status
        self.head_sent = self.clock.monotonic()

    def client_left(self) -> None:
        """Note that the client did not wait for the end: its affair, and no error of ours."""
        self.has_left = True

    def ended(self) -> Responded:
        """The fact that it is over."""
        now = self.clock.monotonic()
        return Responded(
            asked=self.asked or self.heard(),
            outcome="error" if self.error is not None else self.status.outcome,
            status=self.http_status,
            body_bytes=self.body_bytes,
            source=self.source,
            first_byte=(now if self.head_sent is None else self.head_sent) - self.begun,
            duration=now - self.begun,
            error=self.error or ("the client left" if self.has_left else None),
            digest=self.digest,
            size=self.size,
        )

    def _names(self, operation: str, repository: Repository, reference: str = "") -> None:
        self.asked = self.heard(operation, repository.registry, repository.name, reference)
