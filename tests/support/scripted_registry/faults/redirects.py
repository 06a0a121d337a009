"""Registries that keep their blobs elsewhere."""

from dataclasses import dataclass

from typing_extensions import override

from tests.support.scripted_registry.answer import Answer, Asked
from tests.support.scripted_registry.faults.fault import Fault, Offers

_KEPT = ("docker-content-digest", "docker-distribution-api-version")


@dataclass(frozen=True, slots=True)
class Redirect(Fault):
    """A signed URL of the CDN host instead of the content; errors are answered as they are.

    `location` is sent as it stands instead; `relative` keeps the client on this host; `hops` is
    how many redirects lead to the content; `uses` is how often the URL works (None: always).
    """

    location: str | None = None
    status: int = 307
    hops: int = 1
    relative: bool = False
    uses: int | None = None

    @override
    def ask(self, asked: Asked) -> Asked:
        # The storage host reads the Range; the registry only says where to go.
        return asked.lacking("Range")

    @override
    def answer(self, answer: Answer, offers: Offers) -> Answer:
        if answer.status != 200:
            return answer
        location = self.location or offers.offer(
            answer, uses=self.uses, hops=self.hops, relative=self.relative
        )
        kept = tuple(pair for pair in answer.headers if pair[0].lower() in _KEPT)
        return Answer(self.status, (*kept, ("Location", location)))


@dataclass(frozen=True, slots=True)
class SignedUrlExpired(Fault):
    """A redirect to a signed URL that works `uses` times, and answers 403 from then on."""

    uses: int = 0

    @override
    def ask(self, asked: Asked) -> Asked:
        return Redirect().ask(asked)

    @override
    def answer(self, answer: Answer, offers: Offers) -> Answer:
        return Redirect(uses=self.uses).answer(answer, offers)
