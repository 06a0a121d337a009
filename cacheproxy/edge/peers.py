"""The port where other replicas ask for blobs: by digest, with a signature, and nothing else."""

import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass

from aiohttp import hdrs, web

from cacheproxy.cluster_ports import Part, ReplicaBusy
from cacheproxy.domain import peer
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import BlobUnknown, CacheproxyError, DigestInvalid
from cacheproxy.domain.events import PeerServed, Unexpected
from cacheproxy.edge.body import BodyWriter, Patient
from cacheproxy.ports import Observer
from cacheproxy.pullthrough.answers import BlobAnswer
from cacheproxy.pullthrough.sharing import Offer, Sharing

_SILENCE_SECONDS = 60.0
# So many readers are named to one that finds no room.
_NAMED = 16
_ADDRESS = re.compile(r"[A-Za-z0-9.:\[\]-]{1,255}")


@dataclass(frozen=True, slots=True)
class Limits:
    """How many are served at once.

    Attributes:
        streams: of all blobs.
        readers: of one blob that takes its time; the next is sent to those.
    """

    streams: int
    readers: int


class PeerApi:
    """Answers other replicas."""

    def __init__(
        self,
        sharing: Sharing,
        is_signed: Callable[[str, Digest], bool],
        observer: Observer,
        limits: Limits,
        on_unknown: Callable[[Digest], None],
    ) -> None:
        """Serve nobody yet.

        Args:
            sharing: what there is to give.
            is_signed: whether an Authorization field is a replica's, for this digest.
            observer: is told of bytes.
            limits: how many are served at once.
            on_unknown: is told of a blob that another replica expects here, and that is not.
        """
        self._sharing = sharing
        self._is_signed = is_signed
        self._observer = observer
        self._on_unknown = on_unknown
        self._free = limits.streams
        self._limits = limits
        # Who reads what; those that do not say at which address they are asked, without one.
        self._readers: dict[Digest, list[str]] = {}

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        digest = _digest(request)
        if digest is None or request.method != hdrs.METH_GET:
            return web.Response(status=404)
        if not self._is_signed(request.headers.get(hdrs.AUTHORIZATION, ""), digest):
            return web.Response(status=401)
        start, is_ahead = _number(request, "start") or 0, request.query.get("ahead") == "1"
        part = Part(digest, start, _number(request, "stop"), is_ahead)
        try:
            offer = self._sharing.look(part)
        except BlobUnknown:
            self._on_unknown(digest)
            return web.Response(status=404)
        except ReplicaBusy:
            return self._elsewhere(digest)
        with closing(offer):
            if await self._has_room(offer):
                with self._reading(digest, request.headers.get(peer.ASKER, "")):
                    return await self._serve(request, offer)
            return self._elsewhere(digest, is_waiting=offer.is_waiting)

    def readers(self, digest: Digest) -> list[str]:
        """Addresses of those who read a blob now; the first came first."""
        return [address for address in self._readers.get(digest, ()) if address]

    async def _has_room(self, offer: Offer) -> bool:
        """Whether one more can be served.

        Where there is nothing yet to be had from anybody, it says so a moment later.
        """
        if self._is_full(offer):
            with suppress(CacheproxyError):
                await offer.wait_beyond()
        return not self._is_full(offer)

    def _is_full(self, offer: Offer) -> bool:
        readers = len(self._readers.get(offer.part.digest, ()))
        return self._free < 1 or (readers >= self._limits.readers and not offer.is_little)

    def _elsewhere(self, digest: Digest, *, is_waiting: bool = False) -> web.Response:
        """Name the replicas to ask instead."""
        headers = {peer.READERS: ",".join(self.readers(digest)[:_NAMED])}
        if is_waiting:
            headers[peer.WAITING] = "1"
        return web.Response(status=503, headers=headers)

    @contextmanager
    def _reading(self, digest: Digest, address: str) -> Iterator[None]:
        """Count as a stream, and among the blob's readers."""
        name = address if _ADDRESS.fullmatch(address) else ""
        self._free -= 1
        readers = self._readers.setdefault(digest, [])
        readers.append(name)
        try:
            yield
        finally:
            self._free += 1
            readers.remove(name)
            if not readers:
                del self._readers[digest]

    async def _serve(self, request: web.BaseRequest, offer: Offer) -> web.StreamResponse:
        try:
            answer = await offer.answer()
        except ReplicaBusy:
            return self._elsewhere(offer.part.digest, is_waiting=offer.is_waiting)
        except CacheproxyError:
            return web.Response(status=502)
        try:
            return await self._body(request, offer.part, answer)
        except ConnectionError:
            return web.Response()  # it has left
        except CacheproxyError:
            # What cannot be ended must not look as if it had.
            return _cut(request)
        except Exception as error:  # noqa: BLE001  # the rim: a mistake of ours cuts one stream
            self._observer.observe(Unexpected(error))
            return _cut(request)
        finally:
            if answer.content is not None:
                answer.content.close()

    async def _body(
        self, request: web.BaseRequest, part: Part, answer: BlobAnswer
    ) -> web.StreamResponse:
        start, stop = part.start, part.stop
        end = answer.size if stop is None else min(stop, answer.size or stop)
        response = web.StreamResponse(headers={peer.START: str(start)})
        if answer.size is not None:
            response.headers[peer.SIZE] = str(answer.size)
        if end is not None:
            response.content_length = max(0, end - start)
        else:
            response.enable_chunked_encoding()
        await response.prepare(request)
        if answer.content is not None:
            patient = Patient(answer.content, _SILENCE_SECONDS)
            writer = BodyWriter(response, request.transport, patient)
            try:
                await writer.write(start, end)
            finally:
                self._observer.observe(PeerServed(writer.written))
        await response.write_eof()
        return response


def _cut(request: web.BaseRequest) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _digest(request: web.BaseRequest) -> Digest | None:
    try:
        return Digest.parse(request.path.removeprefix(peer.PATH))
    except DigestInvalid:
        return None


def _number(request: web.BaseRequest, name: str) -> int | None:
    written = request.query.get(name, "")
    return int(written) if written.isascii() and written.isdigit() and len(written) < 19 else None
